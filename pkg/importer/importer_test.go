package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const (
	source  = "testdata/openclaw"
	mainKey = "agent:main:main"
	mainID  = "0b5f2d3c-8f39-4a15-9d4e-0c2a51f0a001"
)

// house is a gateway's state directory and what its store is opened as.
type house struct {
	dir      string
	db       *store.DB
	guard    *identity.Guard
	sessions *session.Sessions
	record   *audit.Log
}

func newHouse(t *testing.T) *house {
	h := &house{dir: t.TempDir()}
	var err error
	h.db, err = store.Open(store.Options{Dir: h.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.db.Close()) })
	h.record, err = audit.New(audit.Config{DB: h.db})
	require.NoError(t, err)
	h.guard, err = identity.New(identity.Config{DB: h.db, Audit: h.record, Token: settings.NewSecret("a-secret-that-nobody-has")})
	require.NoError(t, err)
	h.sessions, err = session.New(session.Config{DB: h.db})
	require.NoError(t, err)
	return h
}

func (h *house) run(t *testing.T, from string, apply bool) Report {
	t.Helper()
	r, err := Run(t.Context(), h.config(from, apply))
	require.NoError(t, err)
	return r
}

func (h *house) config(from string, apply bool) Config {
	return Config{From: from, StateDir: h.dir, ConfigPath: filepath.Join(h.dir, "coderclaw.json"), Guard: h.guard, Sessions: h.sessions, Apply: apply}
}

// copied is the source in a folder that a test may change.
func copied(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.CopyFS(dir, os.DirFS(source)))
	return dir
}

// tree describes everything below dir: names, modes, times, contents.
func tree(t *testing.T, dir string) string {
	var out strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		var sum [32]byte
		if e.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			sum = sha256.Sum256(raw)
		}
		fmt.Fprintf(&out, "%s %v %d %x\n", path, info.Mode(), info.ModTime().UnixNano(), sum)
		return nil
	}))
	return out.String()
}

func verdicts(r Report) map[string]string {
	out := map[string]string{}
	for _, i := range r.Items {
		out[i.Kind+" "+i.Name] = strings.TrimSpace(i.Verdict + " " + i.Note)
	}
	return out
}

func TestImportTakesOverWhatFits(t *testing.T) {
	h := newHouse(t)
	r := h.run(t, source, true)
	v := verdicts(r)
	require.Equal(t, "new 3 messages, and what summarises older ones, 2 broken lines left out", v["session "+mainKey])
	require.Equal(t, "new 1 messages", v["session agent:work:main"])
	require.Equal(t, "new without a transcript, unreadable: spawnDepth", v["session agent:main:whatsapp:group:123@g.us"])
	require.Contains(t, v["session agent:main:escape"], "skipped its session id is not one")
	require.Equal(t, "skipped 2 transcripts that no session uses any more", v["archive agents/work/sessions"])
	require.Contains(t, v["device unread"], "skipped it is unreadable")
	require.Contains(t, v["node pairing mac-mini"], "skipped")
	require.Equal(t, "new", v["device key identity/device.json"])
	require.Equal(t, 4, r.Messages)
	require.Equal(t, 2, r.ToolMessages)
	require.Equal(t, 2, r.BrokenLines)
	require.Equal(t, []string{
		"agents/main/sessions/" + mainID + ".jsonl:8: it is not JSON at byte 87",
		"agents/main/sessions/" + mainID + ".jsonl:9: it is not JSON at byte 2",
	}, r.Problems)
	require.True(t, slices.ContainsFunc(r.Items, func(i Item) bool {
		return i.Kind == KindDevice && i.Verdict == VerdictSkipped && i.Note == "its id is not that of its key"
	}))
	require.True(t, slices.ContainsFunc(r.Items, func(i Item) bool { return i.Kind == KindPending && i.Verdict == VerdictSkipped }))
}

func TestImportedSessionsReadAsTheyDid(t *testing.T) {
	h := newHouse(t)
	h.run(t, source, true)
	e, ok, err := h.sessions.Get(mainKey)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, session.Entry{
		Key: mainKey, SessionID: mainID, CreatedAt: 1766000001000, UpdatedAt: 1766000060000, MessageCount: 4, SystemSent: true, ThinkingLevel: "low", Label: "home",
		Model: "claude-x", ModelProvider: "anthropic", ContextTokens: 200000, InputTokens: 120, OutputTokens: 40, TotalTokens: 160, TotalTokensFresh: true,
		ChatType: "direct", LastChannel: "whatsapp", LastTo: "+15550100",
		Origin: &session.Origin{Label: "Sam", Provider: "whatsapp", From: "+15550100"}, Delivery: &session.Delivery{Channel: "whatsapp", To: "+15550100"},
	}, e)
	list, err := h.sessions.History("main", 0)
	require.NoError(t, err)
	require.Len(t, list, 4, "three messages and a summary")
	require.Equal(t, "What is in the picture?", list[0].Text)
	require.Equal(t, []session.Image{{MimeType: "image/png", Data: []byte("\x89PNG\r\n\x1a\n")}}, list[0].Images)
	require.Equal(t, int64(1766000001000), list[0].Timestamp)
	require.Equal(t, "A cat.", list[1].Text)
	require.Equal(t, &session.Usage{Input: 20, Output: 30, CacheRead: 5, Total: 55}, list[1].Usage)
	require.Equal(t, "Thanks, as plain text.", list[2].Text)
	require.Equal(t, int64(1766000006000), list[2].Timestamp, "from the line, where the message has none")
	_, _, err = h.sessions.Append(t.Context(), "main", nil, session.Message{Role: "user", Text: "and on it goes"})
	require.NoError(t, err)
	found, err := h.sessions.FindByLabel("home")
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestImportedDevicesKeepWhatTheyWereApprovedFor(t *testing.T) {
	h := newHouse(t)
	h.run(t, source, true)
	list, err := h.guard.Devices()
	require.NoError(t, err)
	require.Len(t, list, 2)
	i := slices.IndexFunc(list, func(d identity.Device) bool { return d.ClientID == "coderclaw-ios" })
	require.GreaterOrEqual(t, i, 0)
	phone := list[i]
	require.Equal(t, "Sam's phone", phone.DisplayName)
	require.Equal(t, []string{"node", "operator"}, phone.Roles)
	require.Equal(t, []string{"operator.read", "operator.write"}, phone.Scopes, "a scope that no release knows is dropped")
	require.False(t, phone.Self)
	for _, token := range phone.Tokens {
		if token.Role == "operator" {
			require.NotZero(t, token.RevokedAtMs, "what was revoked stays revoked")
		}
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, store.FileName))
	require.NoError(t, err)
	require.NotContains(t, string(raw), "canary-imported-token", "tokens are kept as hashes")
	records, err := h.record.List(audit.Query{Limit: 10, Action: audit.ActionPairApprove})
	require.NoError(t, err)
	require.Len(t, records, 3, "one for each device and role")
	require.Contains(t, records[0].Reason, "imported from ")
}

func TestImportedConfigIsOneThatLoads(t *testing.T) {
	h := newHouse(t)
	r := h.run(t, source, true)
	require.Subset(t, r.ConfigTaken, []string{
		"gateway.auth.mode", "gateway.auth.rateLimit.maxAttempts", "gateway.auth.token", "gateway.bind", "gateway.port", "gateway.trustedProxies",
	})
	require.Contains(t, r.ConfigUnknown, "retiredFeature")
	require.NotContains(t, r.ConfigUnknown, "gateway.customBindHost")
	require.True(t, slices.ContainsFunc(r.ConfigRefused, func(k RefusedKey) bool { return k.Key == "gateway.controlUi.allowedOrigins" }))
	s, err := settings.Load(settings.Source{Path: filepath.Join(h.dir, "coderclaw.json"), Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	require.Equal(t, 18790, s.Gateway.Port)
	require.Equal(t, "127.0.0.1", s.Gateway.Bind)
	require.Equal(t, 5, s.Gateway.Auth.RateLimit.MaxAttempts)
	require.True(t, strings.HasPrefix(s.Gateway.Auth.Token.Reveal(), "canary-imported-token"))
	info, err := os.Stat(filepath.Join(h.dir, "coderclaw.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestReportHoldsNoSecretAndNoText(t *testing.T) {
	raw, err := json.Marshal(newHouse(t).run(t, source, true))
	require.NoError(t, err)
	require.NotContains(t, string(raw), "canary-imported-token")
	require.NotContains(t, string(raw), "What is in the picture?")
	require.NotContains(t, string(raw), "PRIVATE KEY")
}

func TestTheSecondRunImportsNothing(t *testing.T) {
	h := newHouse(t)
	first := h.run(t, source, true)
	require.Positive(t, first.Count(VerdictNew))
	before := tree(t, filepath.Join(h.dir, "identity"))
	second := h.run(t, source, true)
	require.Zero(t, second.Count(VerdictNew), second.Items)
	require.Equal(t, first.Count(VerdictNew), second.Count(VerdictThere), second.Items)
	require.Equal(t, first.Count(VerdictSkipped), second.Count(VerdictSkipped))
	require.Equal(t, before, tree(t, filepath.Join(h.dir, "identity")))
	list, err := h.sessions.History("main", 0)
	require.NoError(t, err)
	require.Len(t, list, 4, "three messages and a summary")
}

func TestADryRunTellsTheSameAndWritesNothing(t *testing.T) {
	h := newHouse(t)
	dry := h.run(t, source, false)
	sessions, err := h.sessions.List()
	require.NoError(t, err)
	require.Empty(t, sessions)
	devices, err := h.guard.Devices()
	require.NoError(t, err)
	require.Empty(t, devices)
	require.NoFileExists(t, filepath.Join(h.dir, "coderclaw.json"))
	require.NoDirExists(t, filepath.Join(h.dir, "identity"))
	applied := h.run(t, source, true)
	dry.Applied = true
	require.Equal(t, applied, dry)
}

func TestNothingOfTheSourceIsChanged(t *testing.T) {
	from := copied(t)
	before := tree(t, from)
	h := newHouse(t)
	h.run(t, from, false)
	h.run(t, from, true)
	h.run(t, from, true)
	require.Equal(t, before, tree(t, from))
}

func TestNoLinkAndNoDeviceOfTheSourceIsFollowedOutOfIt(t *testing.T) {
	from := copied(t)
	outside := filepath.Join(t.TempDir(), "outside.jsonl")
	line := `{"type":"message","message":{"role":"user","content":"from outside"}}`
	require.NoError(t, os.WriteFile(outside, []byte(line), 0o600))
	transcript := filepath.Join(from, "agents/main/sessions", mainID+".jsonl")
	require.NoError(t, os.Remove(transcript))
	require.NoError(t, os.Symlink(outside, transcript))
	require.NoError(t, os.Remove(filepath.Join(from, "identity/device.json")))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(from, "identity/device.json")))
	require.NoError(t, os.Remove(filepath.Join(from, "devices/pending.json")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(from, "devices/pending.json"), 0o600)) // it would block
	h := newHouse(t)
	r := h.run(t, from, true)
	list, err := h.sessions.History("main", 0)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoFileExists(t, filepath.Join(h.dir, "identity/device.json"))
	all := strings.Join(r.Problems, "\n")
	require.Contains(t, all, mainID+".jsonl: ")
	require.Contains(t, all, "devices/pending.json: ")
}

func TestWhatIsHereAlreadyStays(t *testing.T) {
	h := newHouse(t)
	_, _, err := h.sessions.Append(t.Context(), "main", nil, session.Message{Role: "user", Text: "mine"})
	require.NoError(t, err)
	_, err = h.sessions.Patch(t.Context(), "agent:work:main", nil) // empty: it makes room
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte("{}"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(h.dir, "identity"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "identity/device.json"), []byte("mine"), 0o600))
	v := verdicts(h.run(t, source, true))
	require.Contains(t, v["session "+mainKey], "skipped this gateway has a conversation of that name")
	require.Equal(t, "new 1 messages", v["session agent:work:main"])
	require.Contains(t, v["config openclaw.json"], "skipped")
	require.Contains(t, v["device key identity/device.json"], "skipped")
	list, err := h.sessions.History("main", 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	raw, err := os.ReadFile(filepath.Join(h.dir, "coderclaw.json"))
	require.NoError(t, err)
	require.Equal(t, "{}", string(raw))
}

// An import that was killed between a transcript and its entry is done again.
func TestAnInterruptedImportIsFinished(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := h.sessions.Import(ctx, mainKey, session.Entry{SessionID: mainID, UpdatedAt: 5}, func(yield func(session.Message) bool) {
		for ; n < 450; n++ {
			if n == 420 {
				cancel()
			}
			if !yield(session.Message{Role: "user", Text: fmt.Sprint(n), Timestamp: 1}) {
				return
			}
		}
	})
	require.Error(t, err)
	_, ok, err := h.sessions.Get(mainKey)
	require.NoError(t, err)
	require.False(t, ok)
	kept, err := h.sessions.Import(t.Context(), mainKey, session.Entry{SessionID: mainID, UpdatedAt: 5}, func(yield func(session.Message) bool) {
		for i := range 450 {
			if !yield(session.Message{Role: "user", Text: fmt.Sprint(i), Timestamp: 1}) {
				return
			}
		}
	})
	require.NoError(t, err)
	require.Equal(t, int64(450), kept)
	list, err := h.sessions.History(mainKey, 0)
	require.NoError(t, err)
	require.Len(t, list, 450)
	require.Equal(t, "449", list[449].Text)
}

func TestALineThatIsTooLongIsLeftOut(t *testing.T) {
	from := copied(t)
	path := filepath.Join(from, "agents/work/sessions/0b5f2d3c-8f39-4a15-9d4e-0c2a51f0a002.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("\n" + `{"type":"message","message":{"role":"user","content":"`)
	require.NoError(t, err)
	for range lineBytesMax>>20 + 1 {
		_, err = f.Write(bytes.Repeat([]byte("x"), 1<<20))
		require.NoError(t, err)
	}
	_, err = f.WriteString(`"}}` + "\n" + `{"type":"message","message":{"role":"user","content":"after it"}}` + "\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r := newHouse(t).run(t, from, false)
	require.Equal(t, "new 2 messages, 1 broken lines left out", verdicts(r)["session agent:work:main"])
}

func TestSourcesThatAreRefused(t *testing.T) {
	h := newHouse(t)
	inside := filepath.Join(t.TempDir(), "outer")
	require.NoError(t, os.CopyFS(inside, os.DirFS(source)))
	require.NoError(t, os.Mkdir(filepath.Join(inside, "state"), 0o700))
	nested := h.config(inside, true)
	nested.StateDir = filepath.Join(inside, "state", "not-yet")
	install := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(install, "abc123"), os.DirFS(source)))
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"itself":             {h.config(h.dir, true), ErrSameDirectory.Error()},
		"one around it":      {nested, ErrSameDirectory.Error()},
		"a missing folder":   {h.config(filepath.Join(h.dir, "missing"), true), "no such file"},
		"an empty folder":    {h.config(t.TempDir(), true), "holds no state of an OpenClaw"},
		"one level too high": {h.config(install, true), filepath.Join(install, "abc123")},
		"one of our own":     {h.config(newHouse(t).dir, true), "coderclaw restore"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), c.config)
			require.ErrorContains(t, err, c.want)
		})
	}
}
