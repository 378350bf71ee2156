package daemon

import (
	"context"
	"strings"

	"github.com/coderclaw/gateway/pkg/agents"
	agentsvc "github.com/coderclaw/gateway/pkg/service/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// openAgents reads which agents there are.
func (d *Daemon) openAgents() (err error) {
	d.agents, err = agents.New(agents.Config{
		DB: d.db, Log: d.log, DefaultID: defaultAgentID, DefaultName: defaultAgentName,
		Workspace: d.workspace(), StateDir: d.cfg.StateDir, Home: d.cfg.Getenv("HOME"), CheckModel: d.checkModel,
	})
	return err
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
