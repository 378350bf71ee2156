package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// ServerConfig says what a Server plays.
type ServerConfig struct {
	// Cases are the conversations, each played once, in this order. A client picks
	// one by the path of the URL, such as /chat/send.txtar; any other path gets the
	// next one that has not been played.
	Cases []Case
	// Patience is how long to wait for what the client is to say next; 0 means 30 s.
	Patience time.Duration
	// Linger is how long a client may stay when all is said; 0 means 2 s.
	Linger time.Duration
	// Ended hears how each conversation went, one call at a time.
	Ended func(Outcome)
}

// Server plays the gateway's side of conversations, so that clients can be graded:
// it says what a gateway would say, in the order of the conversation, and holds
// what the client says against it. What a client asks besides is answered with the
// schema's examples and not held against it.
type Server struct {
	cfg ServerConfig

	// mu guards the fields below.
	mu       sync.Mutex
	plays    []*play
	over     chan struct{}
	handlers sync.WaitGroup
}

// play is one conversation of a server.
type play struct {
	c Case
	// ended is closed when outcome is there.
	ended   chan struct{}
	outcome *Outcome
	// house is what the clients have come to; nil until the first came.
	house *house
}

// NewServer makes a server of the cases. Run runs it.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Linger == 0 {
		cfg.Linger = 2 * time.Second
	}
	s := &Server{cfg: cfg, over: make(chan struct{})}
	for _, c := range cfg.Cases {
		s.plays = append(s.plays, &play{c: c, ended: make(chan struct{})})
	}
	return s
}

// Run accepts clients until every conversation has been played or ctx ends, closes
// the listener, and returns when every client has been left.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	if len(s.plays) == 0 {
		return errors.New("there is no conversation to play")
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case <-s.over:
	case err = <-served:
		served <- err
	}
	stop()
	_ = server.Close() // its only errors are those of closing sockets
	s.handlers.Wait()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Report tells how the conversations went that have been played.
func (s *Server) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r Report
	for _, p := range s.plays {
		if p.outcome != nil {
			r.Outcomes = append(r.Outcomes, *p.outcome)
		} else {
			r.Outcomes = append(r.Outcomes, Outcome{Name: p.c.Name, Status: NotApplicable, Note: "not played"})
		}
	}
	return r
}

// ServeHTTP takes a client in. The first one of a conversation plays it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.handlers.Done()
	p, first, why := s.choose(strings.TrimPrefix(r.URL.Path, "/"))
	if p == nil {
		http.Error(w, why, http.StatusGone)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		if first {
			s.end(p, failed(p.c.Name, "the client does not open a WebSocket: "+err.Error()))
		}
		return
	}
	g := &guest{conn: attend(r.Context(), ws, s.cfg.Patience, p.house.hear)}
	defer g.conn.close()
	p.house.arrive(g)
	if first {
		s.end(p, p.c.play(r.Context(), p.house))
		return
	}
	<-p.ended
}

// choose returns the conversation that a path means, and whether this is its first
// client; else why there is none.
func (s *Server) choose(path string) (p *play, first bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	goingOn := func(p *play) bool { return p.outcome == nil && (p.house == nil || p.house.open()) }
	i := slices.IndexFunc(s.plays, func(p *play) bool { return p.c.Name == path || slices.Contains(p.c.names, path) })
	if i < 0 {
		i = slices.IndexFunc(s.plays, goingOn)
	}
	if i < 0 || !goingOn(s.plays[i]) {
		return nil, false, "this conversation has been played"
	}
	p = s.plays[i]
	if p.house == nil {
		p.house, first = newHouse(s.cfg), true
	}
	return p, first, ""
}

// end notes an outcome, and the end of all when it was the last one.
func (s *Server) end(p *play, o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.outcome = &o
	close(p.ended)
	if s.cfg.Ended != nil {
		s.cfg.Ended(o)
	}
	if !slices.ContainsFunc(s.plays, func(p *play) bool { return p.outcome == nil }) {
		close(s.over)
	}
}
