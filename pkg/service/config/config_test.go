package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// fakeSteward notes what was changed and answers with outcome.
type fakeSteward struct {
	changed []Origin
	applied int
	outcome Outcome
}

func (f *fakeSteward) Write(from Origin, write func() (settings.Written, error)) (settings.Written, Outcome, error) {
	w, err := write()
	if err != nil || w.Before.Hash == w.After.Hash && !from.Restart {
		return w, Outcome{Mode: ModeNone}, err
	}
	f.changed = append(f.changed, from)
	o := f.outcome
	o.Delay = from.Delay
	o.Apply = func() { f.applied++ }
	return w, o, nil
}

func (f *fakeSteward) Warnings() []settings.Issue {
	return []settings.Issue{{Path: "gateway.port", Message: "waits"}}
}

// memAudit keeps records in memory.
type memAudit struct{ records []audit.Record }

func (m *memAudit) Append(_ context.Context, r audit.Record) error {
	m.Note(r)
	return errors.New("the disk is full") // which must not make a written change look refused
}
func (m *memAudit) Note(r audit.Record) { m.records = append(m.records, r) }

type rig struct {
	*Service
	t       *testing.T
	path    string
	steward *fakeSteward
	audit   *memAudit
	logs    bytes.Buffer
}

func newRig(t *testing.T, text string) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "coderclaw.json"), steward: &fakeSteward{outcome: Outcome{Mode: ModeRestart}}, audit: &memAudit{}}
	if text != "" {
		require.NoError(t, os.WriteFile(r.path, []byte(text), 0o600))
	}
	var err error
	r.Service, err = New(Config{
		Store:   settings.NewStore(settings.Source{Path: r.path, Getenv: func(string) string { return "" }}),
		Steward: r.steward, Audit: r.audit, Log: slog.New(slog.NewTextHandler(&r.logs, nil)), Path: r.path, Journal: r.path + ".log", PID: 7,
	})
	require.NoError(t, err)
	return r
}

var desk = &wire.Peer{DeviceID: "desk", ConnID: "c1", Role: "operator", Client: wire.ClientInfo{ID: "cli"}}

func (r *rig) hash() wire.Opt[string] {
	s, err := r.ConfigGet(r.t.Context(), desk, protocol.ConfigGetParams{})
	require.NoError(r.t, err)
	require.NoError(r.t, protocol.Validate("ConfigFileSnapshot", s.AppendJSON(nil)))
	return s.Hash
}

func TestNewNeedsItsParts(t *testing.T) {
	_, err := New(Config{})
	require.Error(t, err)
}

func TestGetOfAFileThatCannotBeRead(t *testing.T) {
	r := newRig(t, "")
	s, err := r.ConfigGet(t.Context(), desk, protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.Equal(t, []any{false, true, false}, []any{s.Exists, s.Valid, s.Raw.Valid})
	require.Equal(t, settings.HashOf(nil), s.Hash.Or(""), "a page that does not save without a hash has one")
	require.Equal(t, "waits", s.Warnings[0].Message)
	require.NoError(t, os.Mkdir(r.path, 0o700))
	s, err = r.ConfigGet(t.Context(), desk, protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.Equal(t, []any{true, false}, []any{s.Exists, s.Valid})
	require.Contains(t, s.Issues[0].Message, "is not a regular file")
	require.False(t, s.Hash.Set)
}

// The original's control page has a form for the whole configuration and sends all
// of it back, defaults and placeholders of secrets included.
func TestSavedFormChangesWhatItChanges(t *testing.T) {
	const before = "// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}},\n}\n"
	r := newRig(t, before)
	s, err := r.ConfigGet(t.Context(), desk, protocol.ConfigGetParams{})
	require.NoError(t, err)
	var form map[string]any
	require.NoError(t, json.Unmarshal(s.Config, &form))
	form["ui"] = map[string]any{"seamColor": "#336699"}
	text, err := json.Marshal(form)
	require.NoError(t, err)
	_, err = r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: string(text), BaseHash: s.Hash})
	require.NoError(t, err)
	got, err := os.ReadFile(r.path)
	require.NoError(t, err)
	require.Equal(t, "// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}},\n  \"ui\": {\n    \"seamColor\": \"#336699\"\n  }\n}\n", string(got))
}

func TestPatchTellsWhatComesOfIt(t *testing.T) {
	r := newRig(t, `{gateway: {auth: {token: "hunter2-hunter2"}}}`)
	got, err := r.ConfigPatch(t.Context(), desk, protocol.ConfigPatchParams{Raw: `{gateway: {port: 5}}`, BaseHash: r.hash(), Note: wire.Some("why"), SessionKey: wire.Some("main")})
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("ConfigWriteResult", got.AppendJSON(nil)))
	require.Equal(t, []any{true, "restart", int64(2000), int64(7)}, []any{got.Restart.Ok, got.Restart.Mode, got.Restart.DelayMs, got.Restart.Pid})
	require.Equal(t, "config-patch", got.Sentinel.Payload.Kind)
	require.NotContains(t, string(got.AppendJSON(nil)), "hunter2")
	require.Equal(t, []Origin{{Action: "config.patch", By: "desk", Client: "cli", Note: "why", ConnID: "c1", Delay: 2 * time.Second}}, r.steward.changed)
	require.Equal(t, 1, r.steward.applied)
	require.Equal(t, audit.Record{Action: audit.ActionConfigWrite, Decision: audit.Allowed, Actor: "desk", Client: "cli", Role: "operator", ConnID: "c1", Reason: "config.patch: gateway.port"}, r.audit.records[0])
	require.Contains(t, r.logs.String(), "config change is not in the record")

	got, err = r.ConfigApply(t.Context(), desk, protocol.ConfigApplyParams{Raw: `{}`, BaseHash: r.hash(), RestartDelayMs: wire.Some[int64](1 << 40)})
	require.NoError(t, err)
	require.EqualValues(t, 60_000, got.Restart.DelayMs)

	same, err := r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: `{}`, BaseHash: r.hash()})
	require.NoError(t, err)
	require.True(t, same.Ok)
	require.Len(t, r.steward.changed, 2, "the same text changes nothing")
}

func TestRefusalsInTheWordsThatClientsKnow(t *testing.T) {
	r := newRig(t, `{gateway: {port: 1}}`)
	for _, c := range []struct {
		base wire.Opt[string]
		raw  string
		want string
		code string
	}{
		{wire.Opt[string]{}, `{}`, "config base hash required; re-run config.get and retry", protocol.DetailConfigHashRequired},
		{wire.Some("zz"), `{}`, "config changed since last load; re-run config.get and retry", protocol.DetailConfigChanged},
		{r.hash(), `{`, "SyntaxError: JSON5: invalid end of input at 1:2", protocol.DetailConfigSyntax},
		{r.hash(), `{gateway: {port: "x", prot: 1}}`, "invalid config", protocol.DetailConfigInvalid},
	} {
		_, err := r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: c.raw, BaseHash: c.base})
		var refused *wire.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []string{protocol.ErrorInvalidRequest, c.want}, []string{refused.Code, refused.Message})
		details, err := protocol.DecodeErrorDetails(refused.Details)
		require.NoError(t, err)
		require.Equal(t, c.code, details.Code.V)
		require.NotEmpty(t, details.RecommendedNextStep.V)
		if c.code == protocol.DetailConfigInvalid {
			require.Len(t, details.Issues, 2)
			require.Equal(t, "gateway.port", details.Issues[0].Path)
			require.EqualValues(t, 1, details.Issues[0].Line.V)
		}
		last := r.audit.records[len(r.audit.records)-1]
		require.Equal(t, audit.Refused, last.Decision)
	}
	_, err := r.ConfigPatch(t.Context(), desk, protocol.ConfigPatchParams{Raw: `[]`, BaseHash: r.hash()})
	require.ErrorContains(t, err, "config.patch raw must be an object")
	require.NoError(t, os.WriteFile(r.path, []byte(`{`), 0o600))
	_, err = r.ConfigPatch(t.Context(), desk, protocol.ConfigPatchParams{Raw: `{}`, BaseHash: r.hash()})
	require.ErrorContains(t, err, "invalid config; fix before patching")
	require.Empty(t, r.steward.changed)
}

// A loop of writes must not restart the gateway for ever.
func TestWritesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, `{}`)
		call := func(peer *wire.Peer) error {
			_, err := r.ConfigPatch(t.Context(), peer, protocol.ConfigPatchParams{Raw: `{}`})
			return err
		}
		for range 3 {
			require.ErrorContains(t, call(desk), "config base hash required")
		}
		time.Sleep(20 * time.Second)
		_, err := r.ConfigApply(t.Context(), desk, protocol.ConfigApplyParams{Raw: `{}`})
		var limited *wire.Error
		require.ErrorAs(t, err, &limited)
		require.Equal(t, protocol.ErrorUnavailable, limited.Code)
		require.Equal(t, "rate limit exceeded for config.apply; retry after 40s", limited.Message)
		require.EqualValues(t, 40_000, *limited.RetryAfterMs)
		require.True(t, *limited.Retryable)
		require.JSONEq(t, `{"code":"RATE_LIMITED","method":"config.apply","limit":"3 per 60s","recommendedNextStep":"wait_then_retry"}`, string(limited.Details))

		require.ErrorContains(t, call(&wire.Peer{DeviceID: "other"}), "config base hash required", "each device for itself")
		require.ErrorContains(t, call(&wire.Peer{DeviceID: "desk", RemoteIP: "192.0.2.1"}), "config base hash required", "and each address")
		for range 30 {
			_, err := r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: `{}`})
			require.ErrorContains(t, err, "config base hash required", "a person's editor is not kept waiting")
		}
		_, err = r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: `{}`})
		require.ErrorContains(t, err, "rate limit exceeded for config.set")
		time.Sleep(40 * time.Second)
		require.ErrorContains(t, call(desk), "config base hash required")
	})
}

func TestSchemaAndHintsAgree(t *testing.T) {
	r := newRig(t, "")
	got, err := r.ConfigSchema(t.Context(), desk, protocol.ConfigSchemaParams{})
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("ConfigSchemaResponse", got.AppendJSON(nil)))
	require.Equal(t, "dev", got.Version)
	var schema struct {
		Properties map[string]struct{ Properties map[string]any }
	}
	require.NoError(t, json.Unmarshal(got.Schema, &schema))
	for section, s := range schema.Properties {
		require.Contains(t, got.UIHints, section)
		for key := range s.Properties {
			require.Contains(t, got.UIHints, section+"."+key)
		}
	}
	require.True(t, got.UIHints["gateway.auth.password"].Sensitive.V)
}

// What the file system refuses is told in its words, not as a defect of the gateway.
func TestNotSaved(t *testing.T) {
	r := newRig(t, "")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(r.path), "file"), nil, 0o600))
	below := filepath.Join(filepath.Dir(r.path), "file", "coderclaw.json")
	var err error
	r.Service, err = New(Config{
		Store: settings.NewStore(settings.Source{Path: below}), Steward: r.steward, Audit: r.audit, Log: slog.New(slog.NewTextHandler(&r.logs, nil)), Path: below, PID: 7,
	})
	require.NoError(t, err)
	_, err = r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: `{}`})
	var refused *wire.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, protocol.ErrorUnavailable, refused.Code)
	require.Equal(t, "config not saved: not a directory; see to the folder of the file, then try again", refused.Message)
	require.Contains(t, string(refused.Details), protocol.DetailConfigNotSaved)
	require.NotContains(t, refused.Message, below)
	require.Contains(t, r.logs.String(), filepath.Dir(below), "the log has the whole of it")
	require.Empty(t, r.steward.changed)
}

// A delay above 0 asks for a restart, as it does of the original, even when nothing
// else differs; keys without effect are told with each answer.
func TestRestartOnDemand(t *testing.T) {
	r := newRig(t, "{\n hooks: {token: 'hook-secret-1'}}")
	got, err := r.ConfigPatch(t.Context(), desk, protocol.ConfigPatchParams{Raw: `{}`, BaseHash: r.hash(), RestartDelayMs: wire.Some[int64](5)})
	require.NoError(t, err)
	require.Equal(t, "restart", got.Restart.Mode)
	require.Len(t, r.steward.changed, 1)
	require.True(t, r.steward.changed[0].Restart)
	require.Equal(t, "hooks", got.Warnings[0].Path)
	require.EqualValues(t, 2, got.Warnings[0].Line.V)
	require.NotContains(t, string(got.AppendJSON(nil)), "hook-secret")
	require.NoError(t, protocol.Validate("ConfigWriteResult", got.AppendJSON(nil)))

	got, err = r.ConfigPatch(t.Context(), desk, protocol.ConfigPatchParams{Raw: `{hooks: {enabled: true}}`, BaseHash: r.hash(), RestartDelayMs: wire.Some[int64](0)})
	require.NoError(t, err)
	require.False(t, r.steward.changed[1].Restart)
	require.Contains(t, r.audit.records[len(r.audit.records)-1].Reason, "config.patch: hooks")
	set, err := r.ConfigSet(t.Context(), desk, protocol.ConfigSetParams{Raw: `{ui: {seamColor: "#112233"}}`, BaseHash: r.hash()})
	require.NoError(t, err)
	require.Empty(t, set.Warnings)
	require.NotContains(t, string(set.AppendJSON(nil)), "warnings")
}
