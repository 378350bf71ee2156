package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

// service is a backend that answers with what it was asked.
type service struct {
	agent.Backend
	name   string
	listed []string
	err    error
	hold   chan struct{}
	turns  []agent.Turn
}

func (s *service) Name() string { return s.name }

func (s *service) Models(context.Context) (list []agent.Model, err error) {
	for _, id := range s.listed {
		list = append(list, agent.Model{ID: id, Name: id, Provider: s.name})
	}
	return list, s.err
}

func (s *service) Run(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.turns = append(s.turns, turn)
	return agent.Result{Text: "x", Provider: s.name, Model: turn.Model}, nil
}

func resolve(name string) (string, error) {
	if strings.HasPrefix(name, "nobody/") {
		return "", errors.New("names nobody")
	}
	if !strings.Contains(name, "/") {
		name = "one/" + name
	}
	return name, nil
}

func newSet(t *testing.T, one, two *service, edit ...func(*Config)) *Set {
	t.Helper()
	cfg := Config{
		Providers: []Provider{
			{ID: "one", Backend: one, Models: []Model{{ID: "a", Name: "A", ContextWindow: 9000, MaxTokens: 7, Reasoning: true, Input: []string{"text"}}}},
			{ID: "two", Backend: two, Models: []Model{{ID: "org/b", ContextWindow: 100}}},
		},
		Default: "one/a", ContextTokens: 1000, Resolve: resolve, Listed: true,
		Agent: func(id string) (string, []string) {
			return map[string]string{"ops": "two/org/b", "lost": "nobody/x"}[id], []string{"b", "nobody/y"}
		},
	}
	for _, e := range edit {
		e(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	return s
}

func TestContract(t *testing.T) {
	agenttest.Contract(t, func(t *testing.T) agent.Backend {
		script := &agenttest.Script{Interval: agenttest.DefaultInterval}
		s, err := New(Config{
			Providers: []Provider{{ID: script.Name(), Backend: script}}, Default: script.Name() + "/", Listed: true,
			Resolve: func(name string) (string, error) {
				return script.Name() + "/" + strings.TrimPrefix(name, script.Name()+"/"), nil
			},
		})
		require.NoError(t, err)
		var w Switch
		w.Use(s, s)
		return &w
	})
}

func TestChoose(t *testing.T) {
	s := newSet(t, &service{name: "one"}, &service{name: "two"})
	for _, c := range []struct {
		agentID, model string
		want           agent.Choice
	}{
		{"main", "", agent.Choice{Provider: "one", Model: "a", ContextWindow: 1000}},
		{"ops", "", agent.Choice{Provider: "two", Model: "org/b", ContextWindow: 100}},
		{"ops", "b", agent.Choice{Provider: "one", Model: "b", ContextWindow: 1000}},
	} {
		got, err := s.Choose(c.agentID, c.model)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := s.Choose("lost", "")
	require.EqualError(t, err, `the model "nobody/x" names nobody`)
	model, fallbacks := s.Chain("main")
	require.Equal(t, []string{"one/a", "one/b", "nobody/y"}, append([]string{model}, fallbacks...))
	_, err = New(Config{Default: "none/x", Resolve: resolve})
	require.Error(t, err)
}

func TestRunGoesToTheProviderOfTheModel(t *testing.T) {
	one, two := &service{name: "one"}, &service{name: "two"}
	s := newSet(t, one, two)
	look := []agent.Message{{Role: "user", Text: "look", Images: []agent.Image{{}, {}}}}
	res, err := s.Run(t.Context(), agent.Turn{AgentID: "main", Messages: look}, nil)
	require.NoError(t, err)
	require.Equal(t, "one", res.Provider)
	require.Equal(t, agent.Turn{AgentID: "main", Model: "a", MaxTokens: 7, Messages: []agent.Message{{Role: "user", Text: "look\n[2 image(s) came with this message; you cannot see images.]"}}}, one.turns[0])
	require.Len(t, look[0].Images, 2, "the caller's messages stay")
	_, err = s.Run(t.Context(), agent.Turn{Model: "two/org/b", Messages: look}, nil)
	require.NoError(t, err)
	require.Equal(t, agent.Turn{Model: "org/b", Messages: look}, two.turns[0])
	_, err = s.Run(t.Context(), agent.Turn{Model: "nobody/x"}, nil)
	require.ErrorIs(t, err, agent.ErrNotConfigured)
}

func TestModelsOfAll(t *testing.T) {
	ids := func(s *Set) (list []string) {
		models, err := s.Models(t.Context())
		require.NoError(t, err)
		for _, m := range models {
			list = append(list, fmt.Sprintf("%s/%s %d", m.Provider, m.ID, m.ContextWindow))
		}
		return list
	}
	one, two := &service{name: "one", listed: []string{"c", "a"}}, &service{name: "two", err: errors.New("down")}
	named := func(c *Config) { c.Named = func() []string { return []string{"nobody/y", "one/n"} } }
	require.Equal(t, []string{"one/a 1000", "one/n 1000", "two/org/b 100", "one/c 1000"}, ids(newSet(t, one, two, named)), "a service that is down hides what it has beside")
	require.Equal(t, []string{"one/a 1000", "two/org/b 100"}, ids(newSet(t, one, two, func(c *Config) { c.Listed = false })))
	models, err := newSet(t, one, two).Models(t.Context())
	require.NoError(t, err)
	require.Equal(t, agent.Model{ID: "a", Name: "A", Provider: "one", ContextWindow: 1000, Reasoning: true, Input: []string{"text"}}, models[0])
	bare := func(c *Config) { c.Providers, c.Default = []Provider{{ID: "two", Backend: two}}, "two/" }
	_, err = newSet(t, one, two, bare).Models(t.Context())
	require.ErrorContains(t, err, "down")
	fixed := func(c *Config) { c.Unbounded = "one" }
	require.NotContains(t, ids(newSet(t, one, two, fixed, func(c *Config) { c.Default = "two/org/b" })), "one/c 0", "the fixed replies are listed as the default alone")
}

// A provider that is configured no more is closed, and again when its last run ends.
func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := 0
		hold := make(chan struct{})
		s := NewShared(&service{name: "one", hold: hold}, func() error { closed++; return nil })
		done := make(chan error)
		go func() {
			_, err := s.Run(context.Background(), agent.Turn{}, nil)
			done <- err
		}()
		synctest.Wait()
		require.Zero(t, closed)
		require.NoError(t, s.Retire())
		require.Equal(t, 1, closed)
		close(hold)
		require.NoError(t, <-done)
		require.Equal(t, 2, closed)
	})
}

// Who holds the state of its beginning goes on with it.
func TestSwitchKeepsWhatIsHeld(t *testing.T) {
	one, two := &service{name: "one"}, &service{name: "two"}
	var w Switch
	before := newSet(t, one, two)
	w.Use(before, before)
	held := w.Current()
	after := newSet(t, one, two, func(c *Config) { c.Default = "two/org/b" })
	w.Use(after, after)
	require.Equal(t, "two", w.Name())
	require.Same(t, after, w.Set())
	res, err := held.Run(t.Context(), agent.Turn{}, nil)
	require.NoError(t, err)
	require.Equal(t, "one", res.Provider)
}
