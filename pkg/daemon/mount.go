package daemon

import (
	"path/filepath"

	"github.com/coderclaw/gateway/gen/protocol"
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
	"github.com/coderclaw/gateway/pkg/session"
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

// mount makes the services and binds every method to its handler.
func (d *Daemon) mount(versions *wire.StateVersions, host string, devices device.Guard) error {
	storePath := filepath.Join(d.cfg.StateDir, store.FileName)
	d.presence = presence.New(presence.Config{
		Log: d.log, Emitter: d.gateway, Versions: versions, Notes: d.sessions, Host: host, IP: outwardIP(), Version: d.cfg.Version,
	})
	d.health = health.New(health.Config{
		Log: d.log, Emitter: d.gateway, Versions: versions, Sessions: d.sessions, StorePath: storePath, Agents: d.healthAgents,
		QueuedEvents: d.queuedEvents, Degraded: d.degraded,
		Model:        func() health.Model { return healthModel(d.modelOf("")) },
		SessionModel: func(e *session.Entry) health.Model { return healthModel(d.talks.ModelOf(e)) },
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
		StorePath: storePath, Model: d.modelOf, Resolve: d.resolveModel,
	})
	if err != nil {
		return err
	}
	d.sessions.OnChange(d.talks.Noted)
	if d.taskWatches, err = d.newTasks(); err != nil {
		return err
	}
	d.catalogue = models.New(models.Config{Log: d.log, Catalogue: &d.models})
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
		d.catalogue,
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
		DefaultAgentID: d.agents.DefaultID(), MainKey: mainKey, MainSessionKey: d.sessions.MainKey(),
		Scope: wire.Some(string(protocol.SessionScopePerSender)),
	}
}
