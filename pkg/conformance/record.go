package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
)

// RecorderConfig says what a Recorder records.
type RecorderConfig struct {
	// Upstream is the gateway's ws:// or wss:// URL.
	Upstream string
	// Dir is where the files are written. It is made when it is missing, and must
	// hold no INDEX.json.
	Dir string
	// Token and Password are the gateway's secrets, as far as they are known: they
	// are told apart from other secrets, so that a replay can put another gateway's
	// in their place.
	Token, Password string
	// HTTPClient opens the connections to the gateway; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Written hears of each file that is complete, one call at a time.
	Written func(name string, frames int)
}

// Recorder stands between clients and a gateway and writes down each connection as
// a file that LoadFrames reads: what was said and when, without the secrets.
type Recorder struct {
	cfg   RecorderConfig
	relay *relay

	// mu guards the fields below.
	mu     sync.Mutex
	redact *redactor
	takes  []*take
}

// take is one connection on its way into a file.
type take struct {
	r     *Recorder
	name  string
	file  *os.File
	err   error
	begin time.Time
	until time.Time
	info  info
	count int
	// methods maps the ids of requests to their methods, live is the challenge.
	methods map[string]string
	live    challenge
	// presents is the word for the token that the client connected with, given the
	// one for the token that it was given.
	presents, given string
	accepted        bool
	scopes          []string
}

// NewRecorder makes the directory and a recorder. Run runs it.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	r := &Recorder{cfg: cfg, redact: newRedactor(cfg.Token, cfg.Password)}
	var err error
	if r.relay, err = newRelay(cfg.Upstream, r.open); err != nil {
		return nil, err
	}
	r.relay.client = cfg.HTTPClient
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	index := filepath.Join(cfg.Dir, "INDEX.json")
	if _, err := os.Stat(index); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already: record into another directory", index)
	}
	return r, nil
}

// Run relays and records until ctx ends, closes the listener, and returns when all
// is written.
func (r *Recorder) Run(ctx context.Context, listener net.Listener) error {
	var handlers sync.WaitGroup
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			handlers.Add(1)
			defer handlers.Done()
			r.relay.ServeHTTP(w, req)
		}),
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = server.Close() // its only errors are those of closing sockets
	})
	err := server.Serve(listener)
	if !stop() {
		<-closed
	}
	handlers.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, r.finish())
}

// open begins a file for a connection.
func (r *Recorder) open(req *http.Request) listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &take{r: r, name: fmt.Sprintf("%03d.jsonl", len(r.takes)+1), begin: time.Now(), methods: map[string]string{}}
	t.info.Headers = recordedHeaders(req)
	if req.URL.Path != "/" {
		t.info.Path = req.URL.Path
	}
	t.file, t.err = os.OpenFile(filepath.Join(r.cfg.Dir, t.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	r.takes = append(r.takes, t)
	return t
}

// recordedHeaders returns the headers that decide who a client is to a gateway.
// {hostport} stands for the address that the client dialled.
func recordedHeaders(req *http.Request) map[string]string {
	headers := map[string]string{}
	for _, name := range []string{"Origin", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip"} {
		if value := req.Header.Get(name); value != "" {
			headers[strings.ToLower(name)] = strings.ReplaceAll(value, req.Host, "{hostport}")
		}
	}
	if host, _, err := net.SplitHostPort(req.Host); err != nil || net.ParseIP(host) == nil && host != "localhost" {
		headers["host"] = req.Host
	}
	if len(headers) == 0 {
		return nil
	}
	return headers
}

// said writes one message down and passes it on unchanged.
func (t *take) said(byClient bool, message []byte) [][]byte {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	f := readFrame(message)
	dir, method := "s2c", t.methods[string(f.ID)]
	if byClient {
		dir, method = "c2s", f.Method
		if f.Method != "" {
			t.methods[string(f.ID)] = f.Method
			t.info.Methods = append(t.info.Methods, f.Method)
		}
	}
	if f.Event == protocol.EventConnectChallenge.Name {
		_ = json.Unmarshal(f.Payload, &t.live) // one that is none makes every signature wrong
	}
	if method == protocol.MethodConnect.Name {
		t.handshake(byClient, f)
	}
	t.write(dir, t.r.redact.frame(f, method))
	return [][]byte{message}
}

// handshake notes what a replay has to know of how the client was let in.
func (t *take) handshake(byClient bool, f frame) {
	if byClient {
		var params connectParams
		if json.Unmarshal(orEmpty(f.Params), &params) != nil {
			return
		}
		h, err := params.handshake()
		if err != nil {
			return
		}
		t.presents = ""
		if h.token != "" {
			t.presents = t.r.redact.word(h.token)
		}
		if h.device != nil {
			wrong, err := h.findDefects(t.live)
			word := redactedSignature
			if err != nil || wrong.badSignature {
				word = wrongSignature
			}
			t.r.redact.know(h.device.Signature, word)
		}
		return
	}
	var hello struct {
		Auth struct {
			DeviceToken string
			Scopes      []string
		}
	}
	if !f.OK || json.Unmarshal(f.Payload, &hello) != nil {
		return
	}
	t.accepted, t.scopes = true, hello.Auth.Scopes
	if hello.Auth.DeviceToken != "" {
		t.given = t.r.redact.word(hello.Auth.DeviceToken)
	}
}

// closed writes the end down.
func (t *take) closed(end closing) closing {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.write("close", encode(end))
	t.until = time.Now()
	if end.By == byGateway && end.Code == protocol.CloseServiceRestartCode {
		t.info.Action = "sigterm"
	}
	t.err = errors.Join(t.err, t.file.Close())
	t.file = nil
	if t.r.cfg.Written != nil && t.err == nil {
		t.r.cfg.Written(t.name, t.count)
	}
	return end
}

// write adds a line to the file. The first error is kept; what follows is lost.
func (t *take) write(dir string, raw json.RawMessage) {
	if t.err != nil || t.file == nil {
		return
	}
	line := encode(step{Dir: dir, T: time.Since(t.begin).Milliseconds(), Frame: raw})
	t.count++
	_, t.err = t.file.Write(append(line, '\n'))
}

// finish closes the files of connections that were still open and writes INDEX.json.
func (r *Recorder) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var failures []error
	for _, t := range r.takes {
		if t.file != nil {
			t.err = errors.Join(t.err, t.file.Close())
			t.until = time.Now()
		}
		failures = append(failures, t.err)
		t.info.Profile = Target{Password: r.cfg.Password}.profile()
		slices.Sort(t.info.Methods)
		t.info.Methods = slices.Compact(t.info.Methods)
	}
	r.group()
	transcripts := map[string]info{}
	for _, t := range r.takes {
		transcripts[t.name] = t.info
	}
	raw, err := json.MarshalIndent(map[string]any{
		"about":       "What each recording needs of the gateway and of the replaying client; see LoadFrames.",
		"transcripts": transcripts,
	}, "", " ")
	if err != nil {
		return err
	}
	failures = append(failures, os.WriteFile(filepath.Join(r.cfg.Dir, "INDEX.json"), append(raw, '\n'), 0o644))
	return errors.Join(failures...)
}

// group puts connections that were open at the same time on one timeline, and notes
// whose device was paired before.
func (r *Recorder) group() {
	byTime := slices.Clone(r.takes)
	slices.SortStableFunc(byTime, func(a, b *take) int { return cmp.Compare(a.begin.UnixNano(), b.begin.UnixNano()) })
	given := map[string]string{} // token to group
	var until time.Time
	number := 0
	for i, t := range byTime {
		alone := i == 0 || t.begin.After(until)
		if alone {
			number++
		}
		if t.until.After(until) {
			until = t.until
		}
		next := i+1 < len(byTime) && !byTime[i+1].begin.After(until)
		if !alone || next {
			t.info.Group = fmt.Sprintf("recorded-%d", number)
		}
		own := cmp.Or(t.info.Group, t.name)
		if t.accepted && strings.HasPrefix(t.presents, redactedPrefix) && given[t.presents] != own {
			t.info.Pair = t.scopes
		}
		if t.given != "" && given[t.given] == "" {
			given[t.given] = own
		}
	}
}
