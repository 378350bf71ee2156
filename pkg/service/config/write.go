package config

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// ConfigSet handles config.set: it writes what the client gave, comments included.
func (s *Service) ConfigSet(ctx context.Context, peer *wire.Peer, p protocol.ConfigSetParams) (protocol.ConfigSetResult, error) {
	from := s.origin(peer, protocol.MethodConfigSet.Name)
	if err := s.limits.take(peer, from.Action, time.Now()); err != nil {
		return protocol.ConfigSetResult{}, err
	}
	w, _, err := s.write(ctx, peer, from, p.Raw, p.BaseHash, s.c.Store.Replace)
	if err != nil {
		return protocol.ConfigSetResult{}, err
	}
	return protocol.ConfigSetResult{Ok: true, Path: s.c.Path, Config: w.After.View().Config, Warnings: warnings(w)}, nil
}

// ConfigPatch handles config.patch. What the patch does not name stays as written.
func (s *Service) ConfigPatch(ctx context.Context, peer *wire.Peer, p protocol.ConfigPatchParams) (protocol.ConfigWriteResult, error) {
	return s.effective(ctx, peer, protocol.MethodConfigPatch.Name, request(p), s.c.Store.Patch)
}

// ConfigApply handles config.apply: config.set that tells what comes of it.
func (s *Service) ConfigApply(ctx context.Context, peer *wire.Peer, p protocol.ConfigApplyParams) (protocol.ConfigWriteResult, error) {
	return s.effective(ctx, peer, protocol.MethodConfigApply.Name, request(p), s.c.Store.Replace)
}

// request is what patch and apply have in common, which is all of it.
type request protocol.ConfigPatchParams

func (s *Service) effective(ctx context.Context, peer *wire.Peer, method string, p request, write func(string, []byte) (settings.Written, error)) (protocol.ConfigWriteResult, error) {
	from := s.origin(peer, method)
	from.Note = p.Note.Or("")
	from.Delay = restartDelayDefault
	if ms, ok := p.RestartDelayMs.Get(); ok {
		from.Delay = time.Duration(min(ms, restartDelayMost.Milliseconds())) * time.Millisecond
		from.Restart = ms > 0
	}
	if err := s.limits.take(peer, method, time.Now()); err != nil {
		return protocol.ConfigWriteResult{}, err
	}
	w, outcome, err := s.write(ctx, peer, from, p.Raw, p.BaseHash, write)
	if err != nil {
		return protocol.ConfigWriteResult{}, err
	}
	payload := protocol.ConfigRestartPayload{
		Kind: strings.ReplaceAll(method, ".", "-"), Status: "ok", Ts: time.Now().UnixMilli(), SessionKey: p.SessionKey,
		DoctorHint: wire.Some("Run: coderclaw doctor"),
		Stats:      wire.Some(protocol.ConfigRestartStats{Mode: wire.Some(method), Root: wire.Some(s.c.Path)}),
	}
	payload.Message = wire.SomeNull[string]()
	if from.Note != "" {
		payload.Message = wire.SomeValue(from.Note)
	}
	sentinel := protocol.ConfigRestartSentinel{Payload: payload}
	if outcome.Mode == ModeRestart {
		sentinel.Path = wire.NotNull(s.c.Journal)
	}
	return protocol.ConfigWriteResult{
		Ok: true, Path: s.c.Path, Config: w.After.View().Config, Warnings: warnings(w),
		Restart: protocol.ConfigRestart{
			Ok: outcome.Mode != ModeManual, Pid: int64(s.c.PID), Signal: "none", DelayMs: outcome.Delay.Milliseconds(), Reason: wire.Some(method),
			Mode: outcome.Mode, Coalesced: wire.Some(outcome.Coalesced), CooldownMsApplied: wire.Some(outcome.Cooldown.Milliseconds()),
		},
		Sentinel: sentinel,
	}, nil
}

// write performs a change, records it, and has it put into effect behind the
// answer: a change of the secret closes the connection that asked for it.
func (s *Service) write(ctx context.Context, peer *wire.Peer, from Origin, raw string, base wire.Opt[string], write func(string, []byte) (settings.Written, error)) (settings.Written, Outcome, error) {
	w, outcome, err := s.c.Steward.Write(from, func() (settings.Written, error) { return write(base.Or(""), []byte(raw)) })
	record := audit.Record{
		Action: audit.ActionConfigWrite, Decision: audit.Allowed, Actor: from.By, Client: from.Client,
		Address: peer.RemoteIP, Role: peer.Role, ConnID: peer.ConnID, Reason: from.Action,
	}
	if err != nil {
		refused := refusal(err)
		if detail := new(wire.Error); errors.As(refused, &detail) && detail.Code == protocol.ErrorUnavailable {
			s.c.Log.Warn("config not saved", "action", from.Action, "err", err)
		}
		record.Decision, record.Reason = audit.Refused, from.Action+": "+refused.Error()
		s.c.Audit.Note(record)
		return w, Outcome{}, refused
	}
	if w.Before.Hash == w.After.Hash && !from.Restart {
		return w, outcome, nil
	}
	record.Reason = fmt.Sprintf("%s: %s", from.Action, strings.Join(changedKeys(w), ", "))
	if err := s.c.Audit.Append(ctx, record); err != nil {
		// The file is written; to say otherwise would be worse than a gap in the record.
		s.c.Log.Error("config change is not in the record", "err", err, "hash", w.After.Hash)
	}
	wire.AfterReply(ctx, outcome.Apply)
	return w, outcome, nil
}

// warnings tells what is no fault of the text that was written; nil when there is
// nothing to tell.
func warnings(w settings.Written) []protocol.ConfigIssue {
	if len(w.After.Warnings) == 0 {
		return nil
	}
	return issues(w.After.Warnings)
}

// changedKeys names the keys that differ, and no value.
func changedKeys(w settings.Written) []string {
	if w.Before.Settings == nil || w.After.Settings == nil {
		return []string{"the whole file, which had faults"}
	}
	keys := settings.ChangedKeys(w.Before, w.After)
	if keys == nil {
		return []string{"no key, only the text"}
	}
	return keys
}

func (s *Service) origin(peer *wire.Peer, method string) Origin {
	by := peer.DeviceID
	if by == "" {
		by = peer.Principal
	}
	return Origin{Action: method, By: by, Client: peer.Client.ID, ConnID: peer.ConnID}
}

// refusal words the errors of a write as the original does; clients show them.
func refusal(err error) error {
	var syntax *settings.SyntaxError
	var invalid *settings.InvalidError
	var system syscall.Errno
	switch {
	case errors.Is(err, settings.ErrHashRequired):
		return refused(protocol.DetailConfigHashRequired, nil, "config base hash required; re-run config.get and retry")
	case errors.Is(err, settings.ErrChanged):
		return refused(protocol.DetailConfigChanged, nil, "config changed since last load; re-run config.get and retry")
	case errors.Is(err, settings.ErrNotObject):
		return refused(protocol.DetailConfigInvalid, nil, "config.patch raw must be an object")
	case errors.Is(err, settings.ErrBroken):
		return refused(protocol.DetailConfigInvalid, nil, "invalid config; fix before patching")
	case errors.As(err, &syntax):
		return refused(protocol.DetailConfigSyntax, nil, "SyntaxError: "+syntax.Error())
	case errors.As(err, &invalid):
		return refused(protocol.DetailConfigInvalid, issues(invalid.Issues), "invalid config")
	case errors.Is(err, settings.ErrBusy):
		return notSaved(settings.ErrBusy.Error())
	case errors.As(err, &system):
		return notSaved(fmt.Sprintf("config not saved: %v; see to the folder of the file, then try again", system))
	}
	return err
}

// notSaved tells what the file system says, which a person has to see to.
func notSaved(message string) *wire.Error {
	d := protocol.ErrorDetails{Code: wire.Some(protocol.DetailConfigNotSaved), RecommendedNextStep: wire.Some(protocol.DetailNextStep(protocol.DetailConfigNotSaved))}
	return &wire.Error{Code: protocol.ErrorUnavailable, Message: message, Details: d.AppendJSON(nil), Retryable: new(true)}
}

func refused(code string, list []protocol.ConfigIssue, message string) *wire.Error {
	d := protocol.ErrorDetails{Code: wire.Some(code), Issues: list}
	if step := protocol.DetailNextStep(code); step != "" {
		d.RecommendedNextStep = wire.Some(step)
	}
	return &wire.Error{Code: protocol.ErrorInvalidRequest, Message: message, Details: d.AppendJSON(nil)}
}
