package daemon

import (
	"cmp"
	"context"
	"strings"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/fallback"
	"github.com/coderclaw/gateway/pkg/agent/prompt"
	"github.com/coderclaw/gateway/pkg/agents"
	agentsvc "github.com/coderclaw/gateway/pkg/service/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
)

// openAgents reads which agents there are.
func (d *Daemon) openAgents() (err error) {
	d.agents, err = agents.New(agents.Config{
		DB: d.db, Log: d.log, DefaultID: defaultAgentID, DefaultName: defaultAgentName,
		Workspace: d.workspace(), StateDir: d.cfg.StateDir, Home: d.cfg.Getenv("HOME"),
	})
	return err
}

// choosing puts the choice of models in front of a backend: the agent's, and the
// fallbacks of the agent or of the settings; and before that, what the agent's
// folder says. The built-in replies know neither.
func (d *Daemon) choosing(b agent.Backend) (agent.Backend, error) {
	if d.settings.Agent.Backend == settings.BackendBuiltin {
		return b, nil
	}
	o := d.settings.Agent.OpenAI
	window := func(model string) int64 {
		if model == o.Model {
			return o.ContextTokens
		}
		return 0
	}
	chosen, err := fallback.New(fallback.Config{
		Backend: b, Log: d.log,
		Chain: func(agentID string) (string, []string) {
			a, ok := d.agents.Find(agentID)
			if !ok || a.Fallbacks == nil {
				a.Fallbacks = o.Fallbacks
			}
			return cmp.Or(a.Model, o.Model), a.Fallbacks
		},
		Configured: func() []agent.Model {
			names := append([]string{o.Model}, o.Fallbacks...)
			for _, a := range d.agents.List() {
				names = append(append(names, a.Model), a.Fallbacks...)
			}
			var models []agent.Model
			for _, name := range names {
				if name != "" {
					models = append(models, agent.Model{ID: name, Name: name, Provider: b.Name(), ContextWindow: window(name)})
				}
			}
			return models
		},
	})
	if err != nil {
		return nil, err
	}
	return prompt.New(prompt.Config{Backend: chosen, Text: func(t agent.Turn) string {
		return d.agents.Prompt(t.AgentID, t.SessionKey == "agent:"+t.AgentID+":"+mainKey)
	}})
}

// endSessions ends and removes the sessions of an agent.
func (d *Daemon) endSessions(ctx context.Context, agentID string) (removed int, _ error) {
	list, err := d.sessions.List()
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		id, _, ok := strings.Cut(strings.TrimPrefix(e.Key, "agent:"), ":")
		if !ok || !strings.HasPrefix(e.Key, "agent:") || session.NormalizeAgentID(id) != agentID {
			continue
		}
		err := d.runs.EndSession(ctx, e.Key, func() error {
			_, _, err := d.sessions.Delete(ctx, e.Key, true)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// presenter is the registry as the agent service asks it.
type presenter struct{ *agents.Registry }

// Present tells how an agent presents itself. The default one has an avatar of its
// own until it is given another.
func (p presenter) Present(id string) agentsvc.Identity {
	a, who, _ := p.Identity(id)
	if a.ID == defaultAgentID && who.Avatar == "" {
		who.Avatar = defaultAgentAvatar
	}
	return agentsvc.Identity{Name: who.Name, Avatar: who.Avatar, Emoji: who.Emoji}
}
