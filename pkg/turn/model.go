package turn

import (
	"strings"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// current is the backend as it is configured now, for a run to keep.
func (r *Runs) current() agent.Backend {
	if c, ok := r.backend.(agent.Changeable); ok {
		return c.Current()
	}
	return r.backend
}

// choose tells which model a backend would ask. A backend with one provider has one
// window, that of Config.
func (r *Runs) choose(b agent.Backend, agentID, model string) (agent.Choice, error) {
	if c, ok := b.(agent.Chooser); ok {
		return c.Choose(agentID, model)
	}
	return agent.Choice{Provider: b.Name(), Model: model, ContextWindow: r.contextTokens}, nil
}

// chosenModel is the model that a session has chosen, or empty when it has chosen none
// or one of a provider that is not configured: what came from elsewhere, or was taken
// out of the settings since, leaves the agent's own model in force.
func (r *Runs) chosenModel(b agent.Backend, agentID string, e session.Entry) string {
	if e.ModelOverride == "" {
		return ""
	}
	_, many := b.(agent.Chooser)
	switch {
	case !many && (e.ProviderOverride == "" || strings.EqualFold(e.ProviderOverride, b.Name())):
		return e.ModelOverride
	case !many:
		return ""
	}
	name := e.ModelOverride
	if e.ProviderOverride != "" {
		name = e.ProviderOverride + "/" + name
	}
	if _, err := r.choose(b, agentID, name); err != nil {
		r.log.Debug("a session's model is left out", "sessionKey", e.Key, "err", err)
		return ""
	}
	return name
}

// pick takes the backend and the model as they are now, for the whole of the run. It
// returns the model as the turn names it.
func (run *Run) pick(entry session.Entry) (model string) {
	r := run.runs
	run.backend = r.current()
	model = orElse(run.req.Model, r.chosenModel(run.backend, run.req.AgentID, entry))
	choice, err := r.choose(run.backend, run.req.AgentID, model)
	if err != nil { // the backend says it again, when it is asked
		run.choice = agent.Choice{Provider: run.backend.Name()}
		return model
	}
	run.choice = choice
	if _, many := run.backend.(agent.Chooser); many {
		return choice.Ref()
	}
	return model
}

// provider names who answers, before anybody has.
func (run *Run) provider() string {
	if run.choice.Provider == "" {
		return run.runs.backend.Name()
	}
	return run.choice.Provider
}

// noteWindow puts the window of the model that has answered on the session; 0 is not
// known.
func (run *Run) noteWindow(e *session.Entry, provider, model string) {
	if _, many := run.backend.(agent.Chooser); !many {
		if run.runs.contextTokens > 0 {
			e.ContextTokens = run.runs.contextTokens
		}
		return
	}
	choice, _ := run.runs.choose(run.backend, run.req.AgentID, provider+"/"+model)
	e.ContextTokens = choice.ContextWindow
}
