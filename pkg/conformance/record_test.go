package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// recording starts a recorder in front of a gateway. stop ends it and returns the
// directory that it has written.
func recording(t *testing.T, cfg RecorderConfig) (url string, stop func() string) {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "frames")
	r, err := NewRecorder(cfg)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, listener) }()
	t.Cleanup(cancel)
	return "ws://" + listener.Addr().String(), func() string {
		cancel()
		require.NoError(t, <-done)
		return cfg.Dir
	}
}

// TestRecordedConversationsCanBeReplayed records clients of a gateway and replays
// the files against another one: the round trip of both formats.
func TestRecordedConversationsCanBeReplayed(t *testing.T) {
	for name, tt := range map[string]struct {
		// groups is 0 where a client may have come back before its leaving was noted.
		files, groups int
	}{
		"chat/send.txtar":         {files: 3, groups: 1}, // three clients at the same time
		"chat/abort.txtar":        {files: 2, groups: 1},
		"frames/connect.txtar":    {files: 2}, // the second one with the device's token
		"agents/list.txtar":       {files: 1, groups: 1},
		"sessions/patch.txtar":    {files: 2},
		"presence/presence.txtar": {files: 2, groups: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, _ := playedBy(t, caseNamed(t, name))
			url, stop := recording(t, RecorderConfig{Upstream: target.URL, Token: target.Token})
			target.URL = url
			require.NoError(t, Run(t.Context(), target, []Case{caseNamed(t, name)}, nil).Err())
			dir := stop()

			require.NotContains(t, everything(t, dir), target.Token)
			groups, err := loadGroups(os.DirFS(dir), nil)
			require.NoError(t, err)
			files := 0
			for _, g := range groups {
				files += len(g)
				target, played := playedBy(t, g.asCase())
				for _, o := range g.run(t.Context(), target) {
					require.Equal(t, Outcome{Name: o.Name, Status: Passed}, o)
				}
				require.Equal(t, Passed, played().Status)
			}
			require.Equal(t, tt.files, files)
			if tt.groups > 0 {
				require.Len(t, groups, tt.groups)
			}
		})
	}
}

func everything(t *testing.T, dir string) string {
	t.Helper()
	var all bytes.Buffer
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		all.Write(raw)
		return err
	}))
	return all.String()
}

// TestRecorderKeepsDefects records a client that signs wrongly and one that sends no
// JSON; how each connection ended is part of the file.
func TestRecorderKeepsDefects(t *testing.T) {
	for name, want := range map[string]string{
		"connect-device-bad-sig.jsonl":              wrongSignature,
		"connect-device-v2-autoapprove.jsonl":       redactedSignature,
		"first-frame-non-json.jsonl":                `"raw":"`,
		"connect-control-ui-bad-origin.jsonl":       `"origin": "https://evil.example"`,
		"connect-remote-host-header-nodevice.jsonl": `"host": "gw.example.com"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := group{loadOne(t, name)}
			target, _ := playedBy(t, g.asCase())
			url, stop := recording(t, RecorderConfig{Upstream: target.URL, Token: target.Token})
			target.URL = url
			require.Equal(t, Passed, g.run(t.Context(), target)[0].Status)
			dir := stop()
			require.Contains(t, everything(t, dir), want)

			again, err := loadGroups(os.DirFS(dir), nil)
			require.NoError(t, err)
			require.Len(t, again, 1)
			target, _ = playedBy(t, g.asCase())
			require.Empty(t, again[0].run(t.Context(), target)[0].Failures)
		})
	}
}

func TestRedactor(t *testing.T) {
	r := newRedactor("the gateway's token", "")
	for name, tt := range map[string]struct{ raw, method, want string }{
		"gateway's": {`{"type":"req","id":"1","method":"connect","params":{"auth":{"token":"the gateway's token"}}}`, "connect",
			`{"type":"req","id":"1","method":"connect","params":{"auth":{"token":"<gateway token>"}}}`},
		"password": {`{"type":"req","id":"1","method":"connect","params":{"auth":{"password":"pw1"},"locale":"pw1"}}`, "connect",
			`{"type":"req","id":"1","method":"connect","params":{"auth":{"password":"<secret 1>"},"locale":"pw1"}}`},
		"hello": {`{"type":"res","id":"1","ok":true,"payload":{"auth":{"deviceToken":"device-token","role":"operator"}}}`, "connect",
			`{"type":"res","id":"1","ok":true,"payload":{"auth":{"deviceToken":"<secret 2>","role":"operator"}}}`},
		"in a text": {`{"type":"event","event":"chat","payload":{"message":{"text":"it is device-token, is it?","device-token":1}}}`, "",
			`{"type":"event","event":"chat","payload":{"message":{"text":"it is <secret 2>, is it?","<secret 2>":1}}}`},
		"not secret here": {`{"type":"req","id":"1","method":"chat.send","params":{"message":"token","sessionKey":"password"}}`, "chat.send",
			`{"type":"req","id":"1","method":"chat.send","params":{"message":"token","sessionKey":"password"}}`},
		"of a method that nobody knows": {`{"type":"req","id":"1","method":"no.such","params":{"deep":[{"token":"hidden-1"}]}}`, "no.such",
			`{"type":"req","id":"1","method":"no.such","params":{"deep":[{"token":"<secret 3>"}]}}`},
		"in a member that nobody knows": {`{"type":"req","id":"1","method":"chat.send","params":{"more":{"signature":"hidden-2"},"password":"hidden-3"}}`, "chat.send",
			`{"type":"req","id":"1","method":"chat.send","params":{"more":{"signature":"<secret 4>"},"password":"<secret 5>"}}`},
		"no frame":        {`the gateway's token`, "", `{"raw":"<gateway token>"}`},
		"no object":       {`["device-token"]`, "", `{"raw":"[\"<secret 2>\"]"}`},
		"numbers survive": {`{"type":"event","event":"tick","payload":{"ts":9007199254740993}}`, "", `{"type":"event","event":"tick","payload":{"ts":9007199254740993}}`},
	} {
		// One redactor serves them all, in any order: the words are made beforehand.
		for i, secret := range []string{"pw1", "device-token", "hidden-1", "hidden-2", "hidden-3"} {
			require.Equal(t, "<secret "+string(rune('1'+i))+">", r.word(secret))
		}
		t.Run(name, func(t *testing.T) {
			require.JSONEq(t, tt.want, string(r.frame(readFrame([]byte(tt.raw)), tt.method)))
		})
	}
}

func TestRecorderRefuses(t *testing.T) {
	_, err := NewRecorder(RecorderConfig{Upstream: "http://127.0.0.1:1", Dir: t.TempDir()})
	require.ErrorContains(t, err, "is no ws:// or wss:// URL")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "INDEX.json"), []byte("{}"), 0o600))
	_, err = NewRecorder(RecorderConfig{Upstream: "ws://127.0.0.1:1", Dir: dir})
	require.ErrorContains(t, err, "record into another directory")
}

// TestRecorderPassesPagesOn fetches a page through the recorder: what a browser
// loads there opens its WebSocket there too.
func TestRecorderPassesPagesOn(t *testing.T) {
	gateway := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Host + r.URL.Path))
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- gateway.Serve(listener) }()
	url, stop := recording(t, RecorderConfig{Upstream: "ws://" + listener.Addr().String()})
	host := strings.TrimPrefix(url, "ws://")
	resp, err := http.Get("http://" + host + "/page")
	require.NoError(t, err)
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, host+"/page", body.String())
	_, resp, err = websocket.Dial(t.Context(), url, nil)
	require.Error(t, err, "the page server speaks no WebSocket")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	stop()
	require.NoError(t, gateway.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	http.DefaultClient.CloseIdleConnections()
}

// TestRecorderGroups puts connections on timelines by when they were open.
func TestRecorderGroups(t *testing.T) {
	begin := time.Now()
	at := func(from, to int) *take {
		return &take{begin: begin.Add(time.Duration(from)), until: begin.Add(time.Duration(to))}
	}
	a, b, c, d := at(0, 10), at(5, 6), at(8, 20), at(30, 40)
	a.given, a.accepted, a.presents = "<secret 1>", true, redactedToken
	c.accepted, c.presents, c.scopes = true, "<secret 1>", []string{"same group"}
	d.accepted, d.presents, d.scopes = true, "<secret 1>", []string{"operator.read"}
	r := &Recorder{takes: []*take{a, b, c, d}}
	r.group()
	for _, t1 := range []*take{a, b, c} {
		require.Equal(t, "recorded-1", t1.info.Group)
		require.Nil(t, t1.info.Pair)
	}
	require.Empty(t, d.info.Group)
	require.Equal(t, []string{"operator.read"}, d.info.Pair, "its device was paired before")
	raw, err := json.Marshal(info{Profile: "token"})
	require.NoError(t, err)
	require.Equal(t, `{"profile":"token"}`, string(raw))
}
