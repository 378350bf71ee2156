// Package config answers config.get, config.set, config.patch, config.apply and
// config.schema: the configuration file without its secrets, and changes of it.
//
// It never shows a secret, also not to an operator with every scope, and writes
// nothing that the gateway could not run with. What a change does to the running
// gateway is decided by its Steward; the file itself is package settings' matter.
//
// mu of limiter guards its counters; handlers need no other lock.
package config

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The modes of an Outcome.
const (
	// ModeRestart restarts the gateway in place.
	ModeRestart = "restart"
	// ModeHot put the change into effect.
	ModeHot = "hot"
	// ModeNone had nothing to do.
	ModeNone = "none"
	// ModeManual waits for a restart by hand.
	ModeManual = "manual"
)

// The bounds of restartDelayMs, as in the original.
const (
	restartDelayDefault = 2 * time.Second
	restartDelayMost    = time.Minute
)

// Origin is where a change comes from.
type Origin struct {
	// Action is the method.
	Action string
	// By is the device id or the principal, Client the client id.
	By, Client, Note string
	// ConnID is the connection that asks; empty when none does.
	ConnID string
	// Delay is how long a restart waits at least.
	Delay time.Duration
	// Restart asks for a restart even if the change needs none.
	Restart bool
}

// Outcome is what a change of the file does to the running gateway.
type Outcome struct {
	Mode      string
	Delay     time.Duration
	Cooldown  time.Duration
	Coalesced bool
	// Apply puts the change into effect. It is called once, behind the answer, and
	// does not block.
	Apply func()
}

// Steward keeps the running gateway and the file in step.
type Steward interface {
	// Write performs a change of the file, takes note of it and says what will come
	// of it. Nothing else of the gateway looks at the file meanwhile. The error is that
	// of write; a write that changed nothing comes to nothing.
	Write(from Origin, write func() (settings.Written, error)) (settings.Written, Outcome, error)
	// Warnings lists what is no fault of the file but should be known.
	Warnings() []settings.Issue
}

// Audit keeps the record of who changed what.
type Audit interface {
	Append(ctx context.Context, r audit.Record) error
	Note(r audit.Record)
}

// Config is what a Service needs.
type Config struct {
	Store   *settings.Store
	Steward Steward
	Audit   Audit
	Log     *slog.Logger
	// Path is the config file, Journal the record of its changes, PID this process.
	Path    string
	Journal string
	PID     int
	Version string
}

// Service implements protocol.ConfigService.
type Service struct {
	c      Config
	limits limiter
}

var _ protocol.ConfigService = (*Service)(nil)

// New returns the service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Steward == nil || c.Audit == nil || c.Log == nil || c.Path == "" {
		return nil, errors.New("the config service needs store, steward, audit, log and path")
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return &Service{c: c, limits: limiter{windows: map[limitKey]window{}}}, nil
}

// ConfigGet handles config.get. A file that cannot be read is a fault of the
// snapshot and not of the request, so that clients can show it.
func (s *Service) ConfigGet(context.Context, *wire.Peer, protocol.ConfigGetParams) (protocol.ConfigFileSnapshot, error) {
	out := protocol.ConfigFileSnapshot{
		Path: s.c.Path, Parsed: wire.Raw("{}"), Resolved: wire.Raw("{}"), Config: wire.Raw("{}"),
		Issues: []protocol.ConfigIssue{}, Warnings: issues(s.c.Steward.Warnings()), LegacyIssues: []protocol.ConfigIssue{},
	}
	d, err := s.c.Store.Read()
	if err != nil {
		out.Exists = true
		out.Issues = []protocol.ConfigIssue{{Message: err.Error()}}
		return out, nil
	}
	view := d.View()
	out.Exists, out.Valid, out.Issues = d.Exists, d.Settings != nil, issues(d.Issues)
	out.Warnings = append(out.Warnings, issues(d.Warnings)...)
	out.Parsed, out.Resolved, out.Config = view.Parsed, view.Resolved, view.Config
	if view.Raw != nil {
		out.Raw = wire.NotNull(string(view.Raw))
	}
	// Without a file it is that of no text: the original's control page does not save
	// without one.
	out.Hash = wire.Some(settings.HashOf(d.Raw))
	return out, nil
}

func issues(list []settings.Issue) []protocol.ConfigIssue {
	out := make([]protocol.ConfigIssue, 0, len(list))
	for _, i := range list {
		p := protocol.ConfigIssue{Path: i.Path, Message: i.Message}
		if i.Line > 0 {
			p.Line = wire.Some(int64(i.Line))
		}
		if i.File != "" {
			p.File = wire.Some(i.File)
		}
		out = append(out, p)
	}
	return out
}

// ConfigSchema handles config.schema.
func (s *Service) ConfigSchema(context.Context, *wire.Peer, protocol.ConfigSchemaParams) (protocol.ConfigSchemaResponse, error) {
	hints := map[string]protocol.ConfigUiHint{}
	for _, h := range settings.Hints() {
		hint := protocol.ConfigUiHint{Label: wire.Some(h.Label), Group: wire.Some(h.Group), Order: wire.Some(int64(h.Order))}
		if h.Help != "" {
			hint.Help = wire.Some(h.Help)
		}
		if h.Placeholder != "" {
			hint.Placeholder = wire.Some(h.Placeholder)
		}
		if h.Advanced {
			hint.Advanced = wire.Some(true)
		}
		if h.Sensitive {
			hint.Sensitive = wire.Some(true)
		}
		hints[h.Path] = hint
	}
	return protocol.ConfigSchemaResponse{
		Schema: wire.Raw(settings.Schema()), UIHints: hints, Version: s.c.Version,
		GeneratedAt: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
	}, nil
}
