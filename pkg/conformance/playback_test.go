package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// playback is a gateway that knows one transcript by heart. change, if set, may
// alter what it says.
type playback struct {
	t      *transcript
	change func(step) step
}

// start serves the playback and returns a target for it.
func (p playback) start(t *testing.T) Target {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return Target{
		URL:       strings.Replace(server.URL, "http", "ws", 1),
		RemoteURL: strings.Replace(server.URL, "http", "ws", 1),
		Token:     "the target's token",
		Offers:    []string{"llm"},
		Stop:      func(context.Context) error { return nil },
	}
}

func (p playback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	p.play(r.Context(), ws)
}

// play says the challenge first, then follows the recording.
func (p playback) play(ctx context.Context, ws *websocket.Conn) {
	write := func(s step) bool {
		if p.change != nil {
			s = p.change(s)
		}
		return s.Frame == nil || ws.Write(ctx, websocket.MessageText, s.Frame) == nil
	}
	for _, s := range p.t.steps {
		if isChallenge(s) && !write(s) {
			return
		}
	}
	reads := &replay{t: p.t, known: manifest()}
	for _, s := range p.t.steps {
		switch {
		case isChallenge(s):
		case s.Dir == "s2c":
			if !write(s) {
				return
			}
		case s.Dir == "close":
			p.end(ctx, ws, s)
			return
		case s.Dir == "c2s":
			if !p.read(ctx, ws, reads, s) {
				return
			}
		}
	}
}

// read waits for one message of the client, unless the replay leaves it out, and
// answers the connects that go before a transcript. It reports whether to go on.
func (p playback) read(ctx context.Context, ws *websocket.Conn, reads *replay, s step) bool {
	var request struct {
		ID     json.RawMessage
		Method string
	}
	if json.Unmarshal(s.Frame, &request) == nil && request.Method != "" &&
		!reads.known.methods[request.Method] && !reads.meantUnknown(request.ID) {
		return true
	}
	_, raw, err := ws.Read(ctx)
	if err != nil {
		return false
	}
	if strings.Contains(string(raw), `"id":"before"`) {
		answer := `{"type":"res","id":"before","ok":true,"payload":{"type":"hello-ok","auth":{"deviceToken":"the paired token"}}}`
		if strings.Contains(string(raw), "a wrong secret") {
			answer = `{"type":"res","id":"before","ok":false,"error":{"code":"X","message":"x"}}`
		}
		_ = ws.Write(ctx, websocket.MessageText, []byte(answer))
		_, _, _ = ws.Read(ctx)
		return false
	}
	return true
}

func (p playback) end(ctx context.Context, ws *websocket.Conn, s step) {
	if p.change != nil {
		s = p.change(s)
	}
	var c closing
	if json.Unmarshal(s.Frame, &c) != nil || c.By == "client" || c.Code == 1005 {
		_, _, _ = ws.Read(ctx)
		return
	}
	_ = ws.Close(websocket.StatusCode(c.Code), c.Reason)
}

func isChallenge(s step) bool {
	return s.Dir == "s2c" && strings.Contains(string(s.Frame), `"connect.challenge"`)
}

const framesDir = "../../testdata/frames"

// transcripts loads the recordings without their exceptions.
func transcripts(t *testing.T) map[string]*transcript {
	t.Helper()
	cases, err := LoadFrames(framesDir)
	require.NoError(t, err)
	all := map[string]*transcript{}
	for _, c := range cases {
		all[c.Name] = loadOne(t, c.Name)
	}
	return all
}

func loadOne(t *testing.T, name string) *transcript {
	t.Helper()
	var index struct{ Transcripts map[string]info }
	readJSON(t, framesDir+"/INDEX.json", &index)
	tr, err := loadTranscript(framesDir+"/"+name, index.Transcripts[name])
	require.NoError(t, err)
	return tr
}
