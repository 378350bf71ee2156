package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/coderclaw/gateway/pkg/agents"
	agentsvc "github.com/coderclaw/gateway/pkg/service/agent"
	"github.com/coderclaw/gateway/pkg/service/health"
	"github.com/coderclaw/gateway/pkg/service/sessions"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
)

// openAgents reads which agents there are.
func (d *Daemon) openAgents() (err error) {
	d.agents, err = agents.New(agents.Config{
		DB: d.db, Log: d.log, DefaultID: defaultAgentID, DefaultName: defaultAgentName,
		Workspace: d.workspace(), StateDir: d.cfg.StateDir, Home: d.cfg.Getenv("HOME"), CheckModel: d.checkModel,
	})
	return err
}

// declareAgents puts the agents of the settings in force. A folder that cannot be used
// is told and keeps nothing else from working.
func (d *Daemon) declareAgents(a settings.Agents) {
	var list []agents.Declared
	for i, e := range a.List {
		list = append(list, agents.Declared{
			Key: fmt.Sprintf("agents.list[%d]", i), ID: e.ID, Default: e.Default, Name: e.Name, Workspace: e.Workspace,
			Model: e.Model.Primary, Fallbacks: e.Model.Fallbacks, Identity: agents.Identity(e.Identity),
		})
	}
	problems := d.agents.Declare(list, a.Defaults.Workspace)
	for _, p := range problems {
		d.log.Error("a declared agent's folder cannot be used", "fault", p)
	}
	d.agentFaults.Store(&problems)
	d.sessions.SetDefaultAgent(d.agents.DefaultID())
}

// degraded words why the gateway does not do what it is told to.
func (d *Daemon) degraded() []string {
	out := d.config.degraded()
	if problems := d.agentFaults.Load(); problems != nil {
		out = append(out, *problems...)
	}
	return out
}

// healthAgents is the agents as health tells of them.
func (d *Daemon) healthAgents() (list []health.Agent) {
	for _, a := range d.agents.List() {
		if a.ID == defaultAgentID && a.Name == defaultAgentName {
			a.Name = "" // nobody gave it one
		}
		list = append(list, health.Agent{ID: a.ID, Name: a.Name, Workspace: a.Workspace})
	}
	return list
}

func healthModel(m sessions.Model) health.Model {
	return health.Model{ID: m.ID, ContextTokens: m.ContextTokens}
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
