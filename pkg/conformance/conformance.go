// Package conformance tells whether a gateway speaks the protocol, and whether a
// client does: it holds conversations with any WebSocket URL and reports what
// differs (Run), plays the gateway's side of them for clients (Server), and writes
// down what others say to each other (Recorder).
//
// There are two kinds of conversations. Recorded ones (LoadFrames) were taken from
// another implementation frame by frame; a replay sends what its client sent, signs
// the handshake anew, and compares the answers: ok, error code and message of each
// response, code and reason of each close, keys and types of each payload. Clients
// that ran at the same time are replayed on one timeline, and what one of them was
// told by name another one repeats by the live name. Deliberate defects of a recorded
// handshake (a bad signature, a foreign nonce, an old time, a wrong id) are found by
// checking the recording and are made again. Written ones (LoadConversations) are
// examples for readers as much as tests; their notation is described at
// Conversation. Whatever is said, everything received also has to keep the rules
// that every conversation obeys; they are listed at audit.
//
// The package judges nothing that the other side cannot see, knows no rule of any
// method beyond the schema, and starts no gateway: the caller gives it a Target. What
// our gateway refuses on purpose stands beside the recordings in EXCEPTIONS.md. An
// exception whose conversation passes after all is itself reported as a failure, so
// that the list cannot rot.
//
// Conversations run one after another, in the order in which their state builds
// up; only those in which the client stays silent run beside the others. Server and
// Recorder serve many connections at once; apart from them nothing here is safe for
// concurrent use, except that everything that takes a context may be cancelled.
package conformance

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is the gateway under test and what the caller can do with it.
type Target struct {
	// URL is where it listens, such as ws://127.0.0.1:18789.
	URL string
	// RemoteURL reaches the same gateway by an address that is not loopback. When
	// it is empty, recordings of remote clients do not apply.
	RemoteURL string
	// Token is the gateway's shared secret. Password is that of a gateway in the
	// profile password; when it is set, Token is not used.
	Token, Password string
	// Offers names what the gateway has of the needs that conversations state:
	// "llm" for an agent that answers word0 to word7, or counts slowly when the
	// message contains SLOW, and fails with HTTP 401 when it contains FAIL401.
	Offers []string
	// HTTPClient opens the connections; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Restart stops the gateway gracefully and starts it again on the same state.
	// It returns when the URL answers. nil: conversations that need it do not apply.
	Restart func(context.Context) error
	// Stop begins a graceful stop and returns at once. The conversations that need
	// it come last. nil: they do not apply.
	Stop func(context.Context) error
	// Patience is how long to wait for one expected frame; 0 means 10 s.
	Patience time.Duration
}

// profile names the way in which the gateway knows its clients, as INDEX.json does.
func (t Target) profile() string {
	if t.Password != "" {
		return "password"
	}
	return "token"
}

// secret returns connect's auth with the gateway's secret.
func (t Target) secret() map[string]string {
	if t.Password != "" {
		return map[string]string{"password": t.Password}
	}
	return map[string]string{"token": t.Token}
}

func (t Target) patience() time.Duration {
	if t.Patience > 0 {
		return t.Patience
	}
	return 10 * time.Second
}

// offers reports whether the target has everything that is needed, else the
// first thing that is missing.
func (t Target) offers(needs []string) (missing string, ok bool) {
	for _, need := range needs {
		switch {
		case need == "restart" && t.Restart != nil:
		case need == "stop" && t.Stop != nil:
		case need == "remote" && t.RemoteURL != "":
		case slices.Contains(t.Offers, need):
		default:
			return need, false
		}
	}
	return "", true
}

// Case is one conversation that can be run, or several that only make sense
// together. LoadFrames and LoadConversations make them.
type Case struct {
	// Name is the path of its file below the directory it was loaded from, or the
	// name of a group.
	Name string
	// About says what a written conversation shows and why; recorded ones say nothing.
	About string
	// names are those of its outcomes.
	names []string
	// silent conversations only wait; they run beside the others.
	silent bool
	// restarts marks those that stop the gateway for a while, final those that stop
	// it for good; they wait for the silent ones.
	restarts, final bool
	run             func(ctx context.Context, target Target) []Outcome
	// play is the other side: the gateway's, for the clients that come to a house.
	play func(ctx context.Context, h *house) Outcome
}

// Names returns the names of the files that belong to the case.
func (c Case) Names() []string { return slices.Clone(c.names) }

// matches reports whether the case or one of its files is called so. In a pattern
// with * ? or [ these mean what they mean in a shell, and * does not match a slash;
// any other text may stand anywhere in the name.
func (c Case) matches(pattern string) bool {
	return slices.ContainsFunc(append(c.Names(), c.Name), func(name string) bool {
		if !strings.ContainsAny(pattern, "*?[") {
			return strings.Contains(name, pattern)
		}
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	})
}

// Select returns the cases that match the pattern. A group comes whole.
func Select(cases []Case, pattern string) []Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return !c.matches(pattern) })
}

// Reach tells whether anybody listens at the target's URL. It says nothing there, and
// waits no longer than the target's patience.
func Reach(ctx context.Context, target Target) error {
	u, err := url.Parse(target.URL)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	dialer := net.Dialer{Timeout: target.patience()}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return c.Close()
}

// Progress is what Run tells while it runs.
type Progress struct {
	// Case is the case that begins or has ended.
	Case Case
	// Ended holds the outcomes of a case that has ended, nil when it begins.
	Ended []Outcome
	// Done and Total count the cases.
	Done, Total int
}

// Run runs the cases against the target and reports each by name, in the order
// given. It runs them in that order too, but for those that end the gateway, which
// come last, and those that only wait, which run beside the others. told, if not nil, hears when a case begins and ends, one call at a time.
// Run stops early when ctx ends; the cases it did not reach have failed.
func Run(ctx context.Context, target Target, cases []Case, told func(Progress)) Report {
	run := running{target: target, told: told, outcomes: make([][]Outcome, len(cases))}
	var waiting sync.WaitGroup
	for i, c := range cases {
		if c.silent {
			waiting.Go(func() { run.one(ctx, i, c) })
		}
	}
	for _, final := range []bool{false, true} {
		for i, c := range cases {
			if c.silent || c.final != final {
				continue
			}
			if c.restarts || c.final {
				waiting.Wait()
			}
			run.one(ctx, i, c)
		}
	}
	waiting.Wait()
	return Report{Outcomes: slices.Concat(run.outcomes...)}
}

// running is a run on its way.
type running struct {
	target   Target
	outcomes [][]Outcome

	// mu guards done and orders the calls of told.
	mu   sync.Mutex
	told func(Progress)
	done int
}

// one runs the case at position i.
func (r *running) one(ctx context.Context, i int, c Case) {
	if err := ctx.Err(); err != nil {
		for _, name := range c.names {
			r.outcomes[i] = append(r.outcomes[i], failed(name, fmt.Sprintf("not run: %v", err)))
		}
		return
	}
	r.tell(c, nil)
	begin := time.Now()
	r.outcomes[i] = c.run(ctx, r.target)
	for j := range r.outcomes[i] {
		r.outcomes[i][j].Took = time.Since(begin)
	}
	r.tell(c, r.outcomes[i])
}

func (r *running) tell(c Case, ended []Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ended != nil {
		r.done++
	}
	if r.told != nil {
		r.told(Progress{Case: c, Ended: ended, Done: r.done, Total: len(r.outcomes)})
	}
}

// Status is how a conversation went.
type Status string

// The four ways a conversation can go.
const (
	// Passed: every exchange that applies was as recorded or written.
	Passed Status = "passed"
	// Excepted: it differs, and EXCEPTIONS.md says why.
	Excepted Status = "excepted"
	// NotApplicable: the target lacks what the conversation needs.
	NotApplicable Status = "not applicable"
	// Failed: it differs.
	Failed Status = "failed"
)

// Outcome is how one conversation went.
type Outcome struct {
	Name   string
	Status Status
	// Note says why it is excepted or does not apply, or which exchanges of a
	// passed conversation were left out.
	Note string
	// Failures tells each difference, in the order met.
	Failures []string
	// Took is how long the case took, partners of a group together.
	Took time.Duration
}

func failed(name, why string) Outcome {
	return Outcome{Name: name, Status: Failed, Failures: []string{why}}
}

// Report tells how all conversations went.
type Report struct{ Outcomes []Outcome }

// Count returns how many conversations ended in a status.
func (r Report) Count(status Status) int {
	n := 0
	for _, o := range r.Outcomes {
		if o.Status == status {
			n++
		}
	}
	return n
}

// String lists the conversations by status and name, one a line, for a golden
// file. It does not tell the failures in detail: Err does.
func (r Report) String() string {
	var b strings.Builder
	for _, status := range []Status{Passed, Excepted, NotApplicable, Failed} {
		for _, o := range r.Outcomes {
			if o.Status != status {
				continue
			}
			fmt.Fprintf(&b, "%s %s", o.Status, o.Name)
			if o.Note != "" {
				fmt.Fprintf(&b, " (%s)", o.Note)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Err returns nil when nothing failed, else an error that tells every difference.
func (r Report) Err() error {
	var b strings.Builder
	for _, o := range r.Outcomes {
		for _, f := range o.Failures {
			fmt.Fprintf(&b, "%s: %s\n", o.Name, f)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return fmt.Errorf("conformance:\n%s", strings.TrimSuffix(b.String(), "\n"))
}
