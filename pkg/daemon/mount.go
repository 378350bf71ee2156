package daemon

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/builtin"
	"github.com/coderclaw/gateway/pkg/agent/openai"
	agentsvc "github.com/coderclaw/gateway/pkg/service/agent"
	"github.com/coderclaw/gateway/pkg/service/agents"
	auditsvc "github.com/coderclaw/gateway/pkg/service/audit"
	"github.com/coderclaw/gateway/pkg/service/backup"
	"github.com/coderclaw/gateway/pkg/service/chat"
	"github.com/coderclaw/gateway/pkg/service/device"
	"github.com/coderclaw/gateway/pkg/service/health"
	"github.com/coderclaw/gateway/pkg/service/logs"
	"github.com/coderclaw/gateway/pkg/service/models"
	"github.com/coderclaw/gateway/pkg/service/node"
	"github.com/coderclaw/gateway/pkg/service/presence"
	"github.com/coderclaw/gateway/pkg/service/sessions"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The agent that is always there, and its main session.
const (
	defaultAgentID     = "main"
	defaultAgentName   = "Assistant"
	defaultAgentAvatar = "A"
	mainKey            = "main"
)

// backend makes the agent backend that the settings name.
func (d *Daemon) backend() (agent.Backend, error) {
	switch d.settings.Agent.Backend {
	case settings.BackendBuiltin:
		return builtin.New(builtin.Config{ConfigPath: d.cfg.ConfigPath}), nil
	case settings.BackendOpenAI:
		o := d.settings.Agent.OpenAI
		b, err := openai.New(openai.Config{
			BaseURL: o.BaseURL, APIKey: o.APIKey.Reveal(), Model: o.Model, ContextTokens: o.ContextTokens, Log: d.log,
		})
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, b.Close)
		return b, nil
	}
	return nil, fmt.Errorf("agent.backend %q has no implementation", d.settings.Agent.Backend)
}

// defaultModel tells which model answers when a session names none, without asking
// the network: what the built-in backend knows of itself, or what the settings say.
func (d *Daemon) defaultModel(b agent.Backend) sessions.Model {
	if d.settings.Agent.Backend != settings.BackendBuiltin {
		o := d.settings.Agent.OpenAI
		return sessions.Model{Provider: b.Name(), ID: o.Model, ContextTokens: o.ContextTokens}
	}
	known := sessions.Model{Provider: b.Name()}
	if list, err := b.Models(context.Background()); err == nil && len(list) > 0 {
		known.ID, known.ContextTokens = list[0].ID, list[0].ContextWindow
	}
	return known
}

// mount makes the services and binds every method to its handler.
func (d *Daemon) mount(backend agent.Backend, versions *wire.StateVersions, host string, devices device.Guard) error {
	known := d.defaultModel(backend)
	storePath := filepath.Join(d.cfg.StateDir, store.FileName)
	d.presence = presence.New(presence.Config{
		Log: d.log, Emitter: d.gateway, Versions: versions, Notes: d.sessions, Host: host, IP: outwardIP(), Version: d.cfg.Version,
	})
	d.health = health.New(health.Config{
		Log: d.log, Emitter: d.gateway, Versions: versions, Sessions: d.sessions, StorePath: storePath, Workspace: d.workspace(),
		DefaultAgentID: defaultAgentID, QueuedEvents: d.queuedEvents, Degraded: d.config.degraded,
		Model: func() (string, int64) { return known.ID, known.ContextTokens },
	})
	agentService, err := agentsvc.New(agentsvc.Config{
		Sessions: d.sessions, Runs: d.runs,
		Agents: presenter{d.agents},
	})
	if err != nil {
		return err
	}
	agentsService, err := agents.New(agents.Config{
		Agents: d.agents, MainKey: mainKey, EndSessions: d.endSessions,
	})
	if err != nil {
		return err
	}
	auditService, err := auditsvc.New(auditsvc.Config{Log: d.audit})
	if err != nil {
		return err
	}
	chatService, err := chat.New(chat.Config{Sessions: d.sessions, Runs: d.runs, Emitter: d.gateway, Agents: d.agents})
	if err != nil {
		return err
	}
	configService, err := d.configService()
	if err != nil {
		return err
	}
	deviceService, err := device.New(device.Config{Guard: devices})
	if err != nil {
		return err
	}
	nodeService, err := node.New(node.Config{Guard: d.guard})
	if err != nil {
		return err
	}
	d.talks, err = sessions.New(sessions.Config{
		Sessions: d.sessions, Runs: d.runs, Talk: chatService, Emitter: d.gateway, Log: d.log, Show: chat.Show, Whole: chat.Whole,
		StorePath: storePath, Model: func() sessions.Model { return known },
	})
	if err != nil {
		return err
	}
	d.sessions.OnChange(d.talks.Noted)
	if d.taskWatches, err = d.newTasks(known.ID); err != nil {
		return err
	}
	protocol.Mount(d.gateway,
		agentService,
		agents.Record(agentsService, d.audit, d.log),
		auditService,
		backup.New(d.keeper()),
		chatService,
		configService,
		deviceService,
		d.health,
		logs.New(logs.Config{Path: d.logPath}),
		models.New(models.Config{Log: d.log, Catalogue: backend}),
		nodeService,
		d.presence,
		d.talks,
		d.taskWatches,
		d.usage(storePath),
	)
	return nil
}

// queuedEvents lists what waits for the next agent turn, for people to read.
func (d *Daemon) queuedEvents() []string {
	notes, err := d.sessions.Notes()
	if err != nil {
		d.log.Warn("waiting notes are unreadable", "err", err)
		return nil
	}
	var texts []string
	for _, n := range notes {
		texts = append(texts, n.Text)
	}
	return texts
}

func (d *Daemon) sessionDefaults() protocol.SessionDefaults {
	return protocol.SessionDefaults{
		DefaultAgentID: defaultAgentID, MainKey: mainKey, MainSessionKey: d.sessions.MainKey(),
		Scope: wire.Some(string(protocol.SessionScopePerSender)),
	}
}
