package daemon

import (
	"context"
	"time"

	"github.com/coderclaw/gateway/pkg/service/tasks"
	"github.com/coderclaw/gateway/pkg/transport"
	"github.com/coderclaw/gateway/pkg/transport/local"
)

// resumeAfter is how long runs of an earlier life wait for their clients: those of
// protocol 3 come back a second after they have lost a connection.
const resumeAfter = 2 * time.Second

// newTasks makes the tasks service over the engine of this process.
func (d *Daemon) newTasks() (*tasks.Service, error) {
	way, err := local.New(local.Config{
		Tasks: d.tasks, Version: d.cfg.Version,
		Agents: func(context.Context) (list []transport.AgentInfo, _ error) {
			for _, a := range d.agents.List() {
				list = append(list, transport.AgentInfo{
					ID: a.ID, Name: a.Name, Description: d.agents.Written(a.ID).Theme, Model: modelName(d.modelOf(a.ID)),
				})
			}
			return list, nil
		},
	})
	if err != nil {
		return nil, err
	}
	service, err := tasks.New(tasks.Config{
		Transport: way, Engine: d.tasks, Sessions: d.sessions, Agents: d.agents, Emitter: d.gateway, Log: d.log, DefaultAgentID: d.agents.DefaultID, CheckModel: d.checkModel,
	})
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, way.Close, func() error { service.Close(); return nil })
	return service, nil
}
