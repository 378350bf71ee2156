// Package sessions answers the methods of sessions: what operators see and change of
// the conversations, and how they are told when one changes.
//
// It holds the rules (which values a level may have, that a main session stays,
// that a run ends before its session does) and nothing else: the sessions are in
// pkg/session, the runs with whoever keeps them. It starts no run and writes no
// message: sessions.send hands over to the service of chat.send.
//
// What surprises: keys are answered as they were asked for where the original
// does so (preview, errors) and canonical elsewhere. The only state is who wants to
// be told (subscribe.go, with the only lock); Run tells them.
package sessions

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Sessions is what the service needs of the session store. *session.Sessions is one.
type Sessions interface {
	Canonical(raw string) (session.Key, error)
	MainKey() string
	Get(key string) (session.Entry, bool, error)
	FindByID(sessionID string) (session.Entry, bool, error)
	FindByLabel(label string) ([]session.Entry, error)
	// Newest returns the n sessions that changed last, or all; they must not be
	// written to.
	Newest(n int) (list []*session.Entry, total int, err error)
	History(key string, limit int) ([]session.Message, error)
	Head(key string, limit int) ([]session.Message, error)
	Patch(ctx context.Context, key string, fn func(*session.Entry) error) (session.Entry, error)
	Create(ctx context.Context, key string, fn func(*session.Entry) error) (session.Entry, error)
	Reset(ctx context.Context, key string) (session.Entry, error)
	Truncate(ctx context.Context, key string, keep int) (e session.Entry, archived string, err error)
	End(key string) (session.Position, error)
	After(key string, p session.Position, limit int) (list []session.Message, next session.Position, err error)
	Backward(key string, before uint64, visit func(session.Message) bool) (sessionID string, err error)
	Delete(ctx context.Context, key string, dropTranscript bool) (deleted bool, archived []string, err error)
}

// Runs ends what a session is doing. EndSession aborts the runs of a canonical
// key, calls then when nothing of them is left and before a new one may begin, and
// returns then's error; or it returns the UNAVAILABLE that the client is told after
// 15 s of waiting. *task.Runs is one.
type Runs interface {
	EndSession(ctx context.Context, sessionKey string, then func() error) error
}

// Model is a model and its context window in tokens; what is not known is empty.
type Model struct {
	Provider, ID  string
	ContextTokens int64
}

// Config is what the service needs. All fields but Log are required.
type Config struct {
	Sessions Sessions
	Runs     Runs
	Talk     Talk
	Emitter  wire.Emitter
	Log      *slog.Logger
	// Show is a message as clients see it in chat.history.
	Show func(session.Message) protocol.ChatMessage
	// Whole is a message with all of its text.
	Whole func(session.Message) protocol.ChatMessage
	// Model returns the model of an agent's sessions that have chosen none; the agent ""
	// stands for those without one of their own. It must not block.
	Model func(agentID string) Model
	// Resolve tells provider and id of a model's name; false is a provider that is not
	// known. nil knows that of Model.
	Resolve func(name string) (provider, id string, ok bool)
	// StorePath is where sessions are kept, for people to read.
	StorePath string
}

// Service implements protocol.SessionsService.
type Service struct {
	sessions    Sessions
	runs        Runs
	talk        Talk
	emitter     wire.Emitter
	log         *slog.Logger
	show, whole func(session.Message) protocol.ChatMessage
	model       func(agentID string) Model
	resolve     func(name string) (provider, id string, ok bool)
	path        string
	pageBytes   int // of sessions.messages.list
	subscribers *subscribers
}

var _ protocol.SessionsService = (*Service)(nil)

// New returns the service.
func New(c Config) (*Service, error) {
	if c.Sessions == nil || c.Runs == nil || c.Talk == nil || c.Emitter == nil || c.Show == nil || c.Whole == nil || c.Model == nil {
		return nil, errors.New("sessions: sessions, runs, talk, emitter, show, whole and model are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Resolve == nil {
		c.Resolve = func(name string) (string, string, bool) {
			def := c.Model("").Provider
			provider, id := splitModel(name, def)
			return provider, id, provider == def
		}
	}
	return &Service{
		sessions: c.Sessions, runs: c.Runs, talk: c.Talk, emitter: c.Emitter, log: c.Log, show: c.Show, whole: c.Whole, model: c.Model, resolve: c.Resolve,
		path: c.StorePath, pageBytes: pageBytesMax, subscribers: newSubscribers(),
	}, nil
}

// key returns the canonical form of a key that a client sent for a change.
func (s *Service) key(method, raw string) (session.Key, error) {
	k, err := s.sessions.Canonical(raw)
	switch {
	case errors.Is(err, session.ErrEmptyKey):
		return k, wire.Errorf(protocol.ErrorInvalidRequest, "key required")
	case err != nil:
		return k, wire.Errorf(protocol.ErrorInvalidRequest, "invalid %s params: malformed session key %q", method, raw)
	}
	return k, nil
}

// refusal turns the store's refusals into what a client is told.
func refusal(err error) error {
	switch {
	case errors.Is(err, session.ErrTooLarge), errors.Is(err, session.ErrTooMany):
		return detailed(wire.Errorf(protocol.ErrorInvalidRequest, "%s", err), protocol.DetailLimitExceeded)
	case errors.Is(err, session.ErrLabelInUse):
		return wire.Errorf(protocol.ErrorInvalidRequest, "%s", err)
	}
	return err
}

// detailed adds a finer code to a refusal.
func detailed(e *wire.Error, code string) *wire.Error {
	return e.WithDetails(protocol.ErrorDetails{
		Code:                wire.Some(code),
		RecommendedNextStep: wire.Some(protocol.DetailNextStep(code)),
	}.AppendJSON(nil))
}

// resolved is the model of a session's next run: what was chosen for it, if that is
// of a provider that there is, else def, its agent's.
func (s *Service) resolved(e *session.Entry, def Model) (provider, id string) {
	name := e.ModelOverride
	if name != "" && e.ProviderOverride != "" {
		name = e.ProviderOverride + "/" + name
	}
	if name != "" {
		if provider, id, ok := s.resolve(name); ok {
			return provider, id
		}
	}
	return def.Provider, def.ID
}

// ModelOf is the model of a session's next run.
func (s *Service) ModelOf(e *session.Entry) Model {
	def := s.model(agentOf(e.Key))
	provider, id := s.resolved(e, def)
	if provider == def.Provider && id == def.ID {
		return def
	}
	return Model{Provider: provider, ID: id}
}

// agentOf is the agent of a stored key.
func agentOf(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "agent:"), ":")
	if !strings.HasPrefix(key, "agent:") {
		return ""
	}
	return id
}

// agentModels looks the models of agents up once each.
func (s *Service) agentModels() func(key string) Model {
	known := map[string]Model{}
	return func(key string) Model {
		id := agentOf(key)
		m, ok := known[id]
		if !ok {
			m = s.model(id)
			known[id] = m
		}
		return m
	}
}

// splitModel takes "provider/model" apart; a model alone is the default provider's.
func splitModel(name, defaultProvider string) (provider, id string) {
	provider, id, ok := strings.Cut(name, "/")
	if !ok {
		return defaultProvider, name
	}
	return strings.ToLower(strings.TrimSpace(provider)), strings.TrimSpace(id)
}

// some is a member that is absent when there is nothing to say.
func some[T comparable](v T) wire.Opt[T] {
	var zero T
	if v == zero {
		return wire.Opt[T]{}
	}
	return wire.Some(v)
}
