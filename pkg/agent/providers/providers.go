// Package providers is an agent backend in front of several: it sends each turn to the
// provider that its model names, and knows what is configured of the models.
//
// It speaks to no service itself. A Set is one state of the configuration and never
// changes; a Switch holds the Set in force, and a run that has taken the Set of its
// beginning goes on with it. A model is called "provider/model".
//
// All methods are safe for concurrent use. A Set has no lock; Switch exchanges a
// pointer; Shared counts the runs of a provider under its mu.
package providers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/coderclaw/gateway/pkg/agent"
)

// Model is what is configured of a model.
type Model struct {
	ID string
	// Name is for people; empty means the id.
	Name string
	// ContextWindow and MaxTokens are in tokens; 0 means unknown, and no bound.
	ContextWindow, MaxTokens int64
	Reasoning                bool
	// Input is what the model takes: text, image. Empty means everything.
	Input []string
}

// InputImage is the word for images in a Model's Input.
const InputImage = "image"

func (m Model) takesImages() bool { return len(m.Input) == 0 || slices.Contains(m.Input, InputImage) }

// Provider is one provider with what is configured of its models.
type Provider struct {
	ID      string
	Backend agent.Backend
	Models  []Model
}

// Config is one state of the configuration. Providers, Default and Resolve are
// required.
type Config struct {
	Providers []Provider
	// Default is the model of agents without one, as "provider/model".
	Default string
	// ContextTokens bounds the windows of all models, and stands for those that are not
	// known; 0 is no bound. It says nothing of Unbounded.
	ContextTokens int64
	// Unbounded is the provider whose models have no window.
	Unbounded string
	// Resolve writes a model as "provider/model"; the error is for people.
	Resolve func(model string) (string, error)
	// Agent returns the model of an agent, empty for the default, and those that follow
	// it; nil means none of both.
	Agent func(id string) (model string, fallbacks []string)
	// Named lists models that are named somewhere, agents' for example; models.list
	// tells them too.
	Named func() []string
	// Listed says that Models asks the services what else there is.
	Listed bool
	// Log may be nil, which logs nothing.
	Log *slog.Logger
}

// Set is an agent.Chooser over providers.
type Set struct {
	cfg       Config
	providers map[string]Provider
}

var _ agent.Chooser = (*Set)(nil)

// New returns a Set.
func New(cfg Config) (*Set, error) {
	if cfg.Resolve == nil {
		return nil, errors.New("providers need a way to resolve names")
	}
	if cfg.Agent == nil {
		cfg.Agent = func(string) (string, []string) { return "", nil }
	}
	if cfg.Named == nil {
		cfg.Named = func() []string { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{cfg: cfg, providers: map[string]Provider{}}
	for _, p := range cfg.Providers {
		s.providers[p.ID] = p
	}
	if _, ok := s.providers[s.Name()]; !ok {
		return nil, fmt.Errorf("the model %s is of a provider that is not there", cfg.Default)
	}
	return s, nil
}

// Name is the provider of the default model.
func (s *Set) Name() string {
	provider, _, _ := strings.Cut(s.cfg.Default, "/")
	return provider
}

// Choose meets agent.Chooser.
func (s *Set) Choose(agentID, model string) (agent.Choice, error) {
	if model == "" {
		model, _ = s.cfg.Agent(agentID)
	}
	if model == "" {
		model = s.cfg.Default
	}
	full, err := s.cfg.Resolve(model)
	if err != nil {
		return agent.Choice{}, fmt.Errorf("the model %q %w", model, err)
	}
	provider, id, _ := strings.Cut(full, "/")
	p, ok := s.providers[provider]
	if !ok {
		return agent.Choice{}, fmt.Errorf("the model %q names the provider %s, which is not configured", model, provider)
	}
	return agent.Choice{Provider: provider, Model: id, ContextWindow: s.window(p, id)}, nil
}

// Chain returns the models of an agent, each with its provider: the one to ask first
// and those that follow.
func (s *Set) Chain(agentID string) (model string, fallbacks []string) {
	model, fallbacks = s.cfg.Agent(agentID)
	if model == "" {
		model = s.cfg.Default
	}
	full := func(name string) string {
		if c, err := s.Choose(agentID, name); err == nil {
			return c.Ref()
		}
		return name // asked in its turn, and refused with the reason
	}
	out := make([]string, len(fallbacks))
	for i, f := range fallbacks {
		out[i] = full(f)
	}
	return full(model), out
}

func (p Provider) find(id string) (Model, bool) {
	i := slices.IndexFunc(p.Models, func(m Model) bool { return m.ID == id })
	if i < 0 {
		return Model{}, false
	}
	return p.Models[i], true
}

// window is the context that a run may take of a model.
func (s *Set) window(p Provider, id string) int64 {
	m, _ := p.find(id)
	if most := s.cfg.ContextTokens; most > 0 && p.ID != s.cfg.Unbounded && (m.ContextWindow == 0 || most < m.ContextWindow) {
		return most
	}
	return m.ContextWindow
}

// imageNote stands in a message for what the model cannot see.
const imageNote = "[%d image(s) came with this message; you cannot see images.]"

// Run has the provider of the turn's model answer. A turn without a model is asked of
// its agent's.
func (s *Set) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	choice, err := s.Choose(turn.AgentID, turn.Model)
	if err != nil {
		return agent.Result{}, fmt.Errorf("%w: %w", agent.ErrNotConfigured, err)
	}
	p := s.providers[choice.Provider]
	m, _ := p.find(choice.Model)
	turn.Model, turn.MaxTokens = choice.Model, m.MaxTokens
	if !m.takesImages() {
		turn.Messages = withoutImages(turn.Messages)
	}
	return p.Backend.Run(ctx, turn, emit)
}

// withoutImages returns the messages with their images left out, and said to be.
func withoutImages(messages []agent.Message) []agent.Message {
	out := slices.Clone(messages)
	for i, m := range out {
		if n := len(m.Images); n > 0 {
			out[i].Images = nil
			out[i].Text = strings.TrimSpace(m.Text + "\n" + fmt.Sprintf(imageNote, n))
		}
	}
	return out
}

// Models lists the configured models and those that are named anywhere, the default one
// first; where the configuration asks for it, also what the services list. A service
// that does not answer hides what it has beside, and is an error only when there is
// nothing else to tell.
func (s *Set) Models(ctx context.Context) ([]agent.Model, error) {
	var list []agent.Model
	add := func(provider string, m agent.Model) {
		m.Provider = provider
		if m.ID != "" && !slices.ContainsFunc(list, func(have agent.Model) bool { return have.ID == m.ID && have.Provider == provider }) {
			list = append(list, m)
		}
	}
	named := append([]string{s.cfg.Default}, s.cfg.Named()...)
	for _, name := range named {
		if c, err := s.Choose("", name); err == nil && c.Provider != s.cfg.Unbounded { // which lists itself
			add(c.Provider, s.describe(c.Provider, c.Model, agent.Model{Name: c.Model}))
		}
	}
	for _, p := range s.cfg.Providers {
		for _, m := range p.Models {
			add(p.ID, s.describe(p.ID, m.ID, agent.Model{Name: m.ID}))
		}
	}
	found, failures := s.ask(ctx, list)
	for _, p := range s.cfg.Providers {
		for _, m := range found[p.ID] {
			add(p.ID, s.describe(p.ID, m.ID, m))
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(list) == 0 && len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	for _, err := range failures {
		s.cfg.Log.Warn("a model service lists no models, telling the configured ones", "err", err)
	}
	return list, nil
}

// describe is a model with what is configured of it.
func (s *Set) describe(provider, id string, m agent.Model) agent.Model {
	p := s.providers[provider]
	known, ok := p.find(id)
	m.ID = id
	if ok {
		m.Reasoning, m.Input = known.Reasoning, known.Input
	}
	if known.Name != "" {
		m.Name = known.Name
	}
	if w := s.window(p, id); w > 0 {
		m.ContextWindow = w
	}
	return m
}

// ask has the services list their models, all at a time. The fixed replies are listed
// when they are the default alone.
func (s *Set) ask(ctx context.Context, known []agent.Model) (found map[string][]agent.Model, failures []error) {
	found = map[string][]agent.Model{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range s.cfg.Providers {
		alone := s.Name() == p.ID && !slices.ContainsFunc(known, func(m agent.Model) bool { return m.Provider == p.ID })
		if p.ID == s.cfg.Unbounded && s.Name() != p.ID || !s.cfg.Listed && !alone && p.ID != s.cfg.Unbounded {
			continue
		}
		wg.Go(func() {
			models, err := p.Backend.Models(ctx)
			mu.Lock()
			defer mu.Unlock()
			if found[p.ID] = models; err != nil {
				failures = append(failures, err)
			}
		})
	}
	wg.Wait()
	return found, failures
}
