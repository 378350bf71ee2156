package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/service/config"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// configPatience bounds the waits of these tests; none of them is about speed.
const configPatience = 30 * time.Second

// serve starts a gateway that restarts itself, with this config, and returns its
// house and what stops it. The secret is testToken, in the environment unless the
// config names one.
func serve(t *testing.T, config string) *house {
	t.Helper()
	h := prepare(t, nil)
	if config != "" {
		h.write(config)
	}
	h.serve()
	return h
}

func (h *house) write(config string) {
	h.t.Helper()
	require.NoError(h.t, os.MkdirAll(h.dir, 0o700))
	// As editors do: beside it, then into its place.
	tmp := filepath.Join(h.dir, "edited")
	require.NoError(h.t, os.WriteFile(tmp, []byte(config), 0o600))
	require.NoError(h.t, os.Rename(tmp, h.file()))
}

func (h *house) file() string { return filepath.Join(h.dir, "coderclaw.json") }

func (h *house) text() string {
	raw, err := os.ReadFile(h.file())
	require.NoError(h.t, err)
	return string(raw)
}

func (h *house) serve() {
	h.t.Helper()
	free := 0
	cfg := Config{
		StateDir: h.dir, ConfigPath: h.file(), Version: "test", Stdout: &h.logs, Level: slog.LevelInfo,
		Getenv: func(name string) string { return h.env[name] }, Flags: settings.Flags{Port: &free},
	}
	if raw, err := os.ReadFile(h.file()); err != nil || !strings.Contains(string(raw), "token:") {
		h.env["CODERCLAW_GATEWAY_TOKEN"] = testToken
	}
	if raw, _ := os.ReadFile(h.file()); strings.Contains(string(raw), "port:") {
		cfg.Flags.Port = nil
	}
	if h.change != nil {
		h.change(&cfg)
	}
	ready := make(chan string, 1)
	cfg.Ready = func(url, _ string) { ready <- url }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, cfg) }()
	select {
	case url := <-ready:
		_, err := fmt.Sscanf(url, "ws://127.0.0.1:%d", &h.port)
		require.NoError(h.t, err)
	case err := <-ended:
		h.t.Fatalf("the gateway did not start: %v\n%s", err, h.logs.String())
	case <-time.After(configPatience):
		h.t.Fatal("the gateway did not start")
	}
	stopped := false
	h.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(h.t, <-ended)
		}
	}
}

// logged waits until the log says something n times.
func (h *house) logged(text string, n int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return strings.Count(h.logs.String(), text) >= n }, configPatience, 10*time.Millisecond, "%q %d times in the log", text, n)
}

// come connects to the n-th life of the gateway.
func (h *house) come(name string, n int) *visitor {
	h.t.Helper()
	h.logged("gateway ready", n)
	return h.visit(name)
}

func (v *visitor) hash() string {
	v.t.Helper()
	got, err := v.ConfigGet(v.t.Context(), protocol.ConfigGetParams{})
	require.NoError(v.t, err)
	return got.Hash.Or("")
}

func (v *visitor) patch(raw string) (protocol.ConfigWriteResult, error) {
	params := protocol.ConfigPatchParams{Raw: raw, RestartDelayMs: wire.Some[int64](0), Note: wire.Some("a test")}
	if hash := v.hash(); hash != "" {
		params.BaseHash = wire.Some(hash)
	}
	return v.ConfigPatch(v.t.Context(), params)
}

func (v *visitor) degraded() []string {
	v.t.Helper()
	h, err := v.Health(v.t.Context(), protocol.HealthParams{Probe: wire.Some(true)})
	require.NoError(v.t, err)
	return h.Degraded
}

func TestConfigRestartInPlace(t *testing.T) {
	h := serve(t, `{ui: {seamColor: "#112233"}} // mine`)
	v := h.visit("v")
	got, err := v.patch(`{gateway: {maxBufferedBytes: 70000, proxySecret: {header: "X-A"}}}`)
	require.NoError(t, err)
	require.Equal(t, []any{true, "restart", int64(0)}, []any{got.Restart.Ok, got.Restart.Mode, got.Restart.DelayMs})
	require.Equal(t, int64(os.Getpid()), got.Restart.Pid)
	v.until("shutdown", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, e := range v.events {
			if e.Name == protocol.EventShutdown.Name {
				require.JSONEq(t, `{"reason":"gateway restarting","restartExpectedMs":1000}`, string(e.Payload))
				return true
			}
		}
		return false
	})
	<-v.Conn.Done()
	var closed *client.CloseError
	require.ErrorAs(t, v.Conn.Err(), &closed)
	require.Equal(t, 1012, closed.Code)

	again := h.come("again", 2)
	require.EqualValues(t, 70000, again.Conn.Hello().Policy.MaxBufferedBytes, "on the same port, with the new value")
	require.Empty(t, again.degraded())
	require.Contains(t, h.text(), "// mine")

	// A second one soon after the first has to wait; what comes meanwhile joins it.
	got, err = again.patch(`{gateway: {proxySecret: {header: "X-B"}}}`)
	require.NoError(t, err)
	require.Greater(t, got.Restart.DelayMs, int64(0))
	require.Equal(t, got.Restart.DelayMs, got.Restart.CooldownMsApplied.V)
	got, err = again.patch(`{gateway: {tailscale: {socket: "/nowhere/t.sock"}}}`)
	require.NoError(t, err)
	require.True(t, got.Restart.Coalesced.V)
	_, err = again.patch(`{gateway: {proxySecret: {header: "X-A"}, tailscale: null}}`)
	require.NoError(t, err)
	entries, err := settings.ReadJournal(h.dir)
	require.NoError(t, err)
	require.Equal(t, "config.patch", entries[0].Action)
	require.Equal(t, "a test", entries[0].Note)
	require.Equal(t, []string{"gateway.proxySecret.header", "gateway.maxBufferedBytes"}, entries[0].Keys)
}

// The secret of the config is put into force while the gateway runs: security of a
// rotation must not wait for anybody.
func TestConfigSecretChangesAtOnce(t *testing.T) {
	const next = "canary-gateway-token-next-77aa"
	h := serve(t, fmt.Sprintf(`{gateway: {auth: {token: %q}}}`, testToken))
	old := h.visit("old")
	h.write(fmt.Sprintf(`{gateway: {auth: {token: %q}}}`, next))
	<-old.Conn.Done()
	var closed *client.CloseError
	require.ErrorAs(t, old.Conn.Err(), &closed)
	require.Equal(t, protocol.CloseGatewaySecretChangedCode, closed.Code)
	fresh := h.visit("fresh", func(o *client.Options) { o.Token = next })

	// Whoever changes it through the gateway is answered first.
	got, err := fresh.patch(fmt.Sprintf(`{gateway: {auth: {token: %q}}}`, testToken))
	require.NoError(t, err)
	require.Equal(t, "hot", got.Restart.Mode)
	<-fresh.Conn.Done()
	back := h.visit("back")
	s, err := back.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.NotContains(t, string(s.AppendJSON(nil)), testToken)
	require.NotContains(t, h.logs.String(), next)
	require.NotContains(t, h.logs.String(), "restarting in place")
}

func TestConfigFaultsWhileRunning(t *testing.T) {
	h := serve(t, `{logging: {level: "error"}}`)
	v := h.visit("v")
	require.NotContains(t, h.logs.String(), "gateway ready")
	require.Empty(t, v.degraded())
	h.write("{\n gateway: {prot: 1}}")
	h.logged("config change refused", 1)
	require.Equal(t, []string{"config refused: line 2: unknown key gateway.prot (did you mean gateway.port?)"}, v.degraded())
	s, err := v.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.False(t, s.Valid)
	require.Len(t, s.Issues, 1)
	require.Equal(t, "gateway.prot", s.Issues[0].Path)
	require.Contains(t, s.Warnings[0].Message, "last good config")

	// What was good can be taken back, or the file mended.
	list, err := settings.Backups(h.file())
	require.NoError(t, err)
	raw, err := settings.ReadBackup(list[0])
	require.NoError(t, err)
	require.Equal(t, `{logging: {level: "error"}}`, string(raw))
	h.write(`{logging: {level: "info"}}`)
	h.logged("config changed", 1) // which the level before would have kept out
	require.Empty(t, v.degraded())

	require.NoError(t, os.Remove(h.file()))
	h.logged("config change refused", 2)
	require.Contains(t, v.degraded()[0], "the file is gone")
}

func TestConfigIncludesAreWatched(t *testing.T) {
	h := prepare(t, nil)
	h.write(`{$include: "level.json5"}`)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "level.json5"), []byte(`{}`), 0o600))
	h.serve()
	h.logged("gateway ready", 1)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "level.json5"), []byte(`{ui: {seamColor: "#123456"}}`), 0o600))
	h.logged("config changed", 1)
}

func TestConfigStartsFromTheLastGood(t *testing.T) {
	h := serve(t, `{gateway: {maxBufferedBytes: 70000}}`)
	h.visit("v")
	h.stop()
	h.write(`{gateway: `)
	h.serve()
	v := h.visit("w")
	require.EqualValues(t, 70000, v.Conn.Hello().Policy.MaxBufferedBytes)
	require.Contains(t, v.degraded()[0], "config refused: line 1: not JSON5 at line 1, column 11")
	require.Contains(t, h.logs.String(), "running with the last good one")
	h.write(`{gateway: {maxBufferedBytes: 70000}}`)
	require.Eventually(t, func() bool { return len(v.degraded()) == 0 }, configPatience, 100*time.Millisecond)
	h.stop()

	fresh := prepare(t, nil)
	fresh.stop = func() {}
	fresh.write(`{gateway: `)
	err := Serve(t.Context(), fresh.config())
	require.ErrorContains(t, err, "not JSON5 at line 1", "without a good one before, a person has to mend it")
}

func TestConfigThatDoesNotComeUpIsRolledBack(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	before := fmt.Sprintf("{gateway: {port: %d}} // before", port)
	h := serve(t, before)
	v := h.visit("v")
	_, err = v.patch(fmt.Sprintf(`{gateway: {port: %d}}`, busy.Addr().(*net.TCPAddr).Port))
	require.NoError(t, err)
	<-v.Conn.Done()
	again := h.come("again", 2)
	require.Equal(t, before, h.text())
	require.Contains(t, again.degraded()[0], "the last config change was rolled back: the gateway did not start with it: another gateway instance is already listening")
	require.NoFileExists(t, filepath.Join(h.dir, "config-probation.json"))
}

func TestConfigThatCrashesIsRolledBack(t *testing.T) {
	h := prepare(t, nil)
	h.stop = func() {}
	h.write("{} // before")
	before, err := settings.Read(settings.Source{Path: h.file()})
	require.NoError(t, err)
	h.write(`{gateway: {maxBufferedBytes: 70000}}`)
	after, err := settings.Read(settings.Source{Path: h.file()})
	require.NoError(t, err)
	// As a gateway leaves it that is killed while it tries a config.
	require.NoError(t, settings.BeginProbation(h.dir, before, after, []string{"gateway.maxBufferedBytes"}))

	// Another gateway on the same directory must not take that for a crash.
	db, err := store.Open(store.Options{Dir: h.dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Error(t, Serve(t.Context(), h.config()))
	require.Equal(t, string(after.Raw), h.text())
	require.NotNil(t, settings.ReadProbation(h.dir))
	require.NoError(t, db.Close())

	h.serve()
	require.Equal(t, "{} // before", h.text())
	v := h.visit("v")
	require.Equal(t, []string{"the last config change was rolled back: the gateway ended within 30 s of it"}, v.degraded())
	h.stop()

	// A graceful end is no crash.
	_, err = settings.Read(settings.Source{Path: h.file()})
	require.NoError(t, err)
	h.serve()
	v = h.visit("w")
	_, err = v.patch(`{gateway: {proxySecret: {header: "X-B"}}}`)
	require.NoError(t, err)
	<-v.Conn.Done()
	h.come("x", 3)
	require.NotNil(t, settings.ReadProbation(h.dir))
	h.stop()
	require.Nil(t, settings.ReadProbation(h.dir))
	h.serve()
	require.Contains(t, h.text(), "X-B")
}

func TestConfigWithoutSupervisorWaits(t *testing.T) {
	h := open(t, nil)
	v := h.visit("v")
	got, err := v.patch(`{gateway: {proxySecret: {header: "X-A"}}, ui: {seamColor: "#112233"}}`)
	require.NoError(t, err)
	require.Equal(t, []any{false, "manual"}, []any{got.Restart.Ok, got.Restart.Mode})
	s, err := v.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.Equal(t, "gateway.proxySecret.header", s.Warnings[0].Path)
	_, err = v.patch(`{gateway: null}`)
	require.NoError(t, err)
	s, err = v.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.Empty(t, s.Warnings, "what is taken back need not wait")
	records, err := h.d.audit.List(audit.Query{Action: audit.ActionConfigWrite})
	require.NoError(t, err)
	require.Len(t, records, 2)
	require.Equal(t, "config.patch: gateway.proxySecret.header, ui.seamColor", records[1].Reason)
	require.NotEmpty(t, records[1].Actor)
}

func TestConfigReloadModes(t *testing.T) {
	h := serve(t, `{gateway: {reload: {mode: "hot"}}}`)
	v := h.visit("v")
	got, err := v.patch(`{gateway: {proxySecret: {header: "X-A"}}}`)
	require.NoError(t, err)
	require.Equal(t, "manual", got.Restart.Mode)
	got, err = v.patch(`{gateway: {proxySecret: null}, logging: {level: "debug"}}`)
	require.NoError(t, err)
	require.Equal(t, "hot", got.Restart.Mode)
	got, err = v.patch(`{gateway: {reload: {mode: "off"}}}`)
	require.NoError(t, err)
	require.Equal(t, "hot", got.Restart.Mode)
	h.write(`{gateway: {reload: {mode: "off"}, proxySecret: {header: "X-C"}}}`)
	h.logged("gateway.reload.mode is off", 1)
	var limited *wire.Error
	_, err = v.patch(`{}`)
	require.True(t, errors.As(err, &limited))
	require.Equal(t, "UNAVAILABLE", limited.Code)
	require.NotContains(t, h.logs.String(), "restarting in place")
}

// What was read of the file before a change must not be taken for a later one: that
// would put the old secret back for a moment.
func TestTheFileIsNotLookedAtDuringAChange(t *testing.T) {
	h := open(t, nil)
	c := h.d.config
	looked := make(chan struct{})
	_, outcome, err := c.Write(config.Origin{Action: "test"}, func() (settings.Written, error) {
		go func() { c.look(); close(looked) }()
		select {
		case <-looked:
			t.Error("the file was looked at while it was being changed")
		case <-time.After(200 * time.Millisecond):
		}
		return c.store.Patch("", []byte(`{ui: {seamColor: "#112233"}}`))
	})
	require.NoError(t, err)
	outcome.Apply()
	<-looked
	require.Equal(t, "#112233", c.Settings().UI.SeamColor)
	h.logged("config changed", 1)
}
