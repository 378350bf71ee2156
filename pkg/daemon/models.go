package daemon

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/builtin"
	"github.com/coderclaw/gateway/pkg/agent/fallback"
	"github.com/coderclaw/gateway/pkg/agent/openai"
	"github.com/coderclaw/gateway/pkg/agent/prompt"
	"github.com/coderclaw/gateway/pkg/agent/providers"
	"github.com/coderclaw/gateway/pkg/service/sessions"
	"github.com/coderclaw/gateway/pkg/service/usage"
	"github.com/coderclaw/gateway/pkg/settings"
)

// modelRoom is the models in force. The settings it holds are those of models and
// agents, which change while the gateway runs.
type modelRoom struct {
	providers.Switch
	settings atomic.Pointer[settings.Settings]

	change   sync.Mutex // one change after the other; guards the field below
	services map[address]*providers.Shared
}

// address is what makes a model service another one.
type address struct{ provider, baseURL, key string }

// useModels puts the models of the settings in force: for the next run, since runs that
// go on keep what they began with. An error changes nothing.
func (d *Daemon) useModels(s *settings.Settings) error {
	room := &d.models
	room.change.Lock()
	defer room.change.Unlock()
	services := map[address]*providers.Shared{}
	list := []providers.Provider{{ID: settings.ProviderBuiltin, Backend: d.builtin}}
	for _, id := range s.Models.ProviderIDs() {
		p := s.Models.Providers[id]
		at := address{id, p.BaseURL, p.APIKey.Reveal()}
		service, known := room.services[at]
		if !known {
			b, err := openai.New(openai.Config{Provider: id, BaseURL: at.baseURL, APIKey: at.key, Log: d.log})
			if err != nil {
				return fmt.Errorf("models.providers.%s: %w", id, err)
			}
			service = providers.NewShared(b, b.Close)
		}
		services[at] = service
		list = append(list, providers.Provider{ID: id, Backend: service, Models: configured(p.Models)})
	}
	set, front, err := d.choosing(s, list)
	if err != nil {
		return err
	}
	old := room.services
	room.services = services
	room.settings.Store(s)
	room.Use(set, front)
	for at, service := range old {
		if services[at] == nil {
			err = errors.Join(err, service.Retire())
		}
	}
	return err
}

// closeModels releases what the model services hold.
func (d *Daemon) closeModels() error {
	d.models.change.Lock()
	defer d.models.change.Unlock()
	var errs []error
	for _, service := range d.models.services {
		errs = append(errs, service.Retire())
	}
	d.models.services = nil
	return errors.Join(errs...)
}

// configured is what the settings say of models, as the port has it.
func configured(list []settings.Model) (out []providers.Model) {
	for _, m := range list {
		out = append(out, providers.Model{
			ID: m.ID, Name: m.Name, ContextWindow: m.ContextWindow, MaxTokens: m.MaxTokens, Reasoning: m.Reasoning, Input: m.Input,
		})
	}
	return out
}

// choosing makes the choice of models, and what stands in front of it: the fallbacks of
// the agent or of the settings, and before that, what the agent's folder says.
func (d *Daemon) choosing(s *settings.Settings, list []providers.Provider) (*providers.Set, agent.Backend, error) {
	defaults := s.Agents.Defaults
	set, err := providers.New(providers.Config{
		Providers: list, Default: defaults.Model.Primary, ContextTokens: defaults.ContextTokens, Unbounded: settings.ProviderBuiltin,
		Resolve: func(name string) (string, error) { return s.Models.Resolve(name, s.DefaultProvider()) },
		Agent: func(id string) (string, []string) {
			a, ok := d.agents.Find(id)
			if !ok || a.Fallbacks == nil {
				a.Fallbacks = defaults.Model.Fallbacks
			}
			return a.Model, a.Fallbacks
		},
		Named: func() []string {
			names := append([]string{}, defaults.Model.Fallbacks...)
			for _, a := range d.agents.List() {
				if a.Model != "" {
					names = append(names, a.Model)
				}
				names = append(names, a.Fallbacks...)
			}
			return names
		},
		Listed: s.Models.Mode == settings.ModelsMerge, Log: d.log,
	})
	if err != nil {
		return nil, nil, err
	}
	chosen, err := fallback.New(fallback.Config{Backend: set, Log: d.log, Chain: set.Chain})
	if err != nil {
		return nil, nil, err
	}
	front, err := prompt.New(prompt.Config{Backend: chosen, Text: func(t agent.Turn) string {
		return d.agents.Prompt(t.AgentID, t.SessionKey == "agent:"+t.AgentID+":"+mainKey)
	}})
	return set, front, err
}

// newBuiltin makes the fixed replies of a gateway without a model.
func (d *Daemon) newBuiltin() agent.Backend {
	return builtin.New(builtin.Config{ConfigPath: d.cfg.ConfigPath})
}

// modelOf tells which model answers for an agent when a session names none, without
// asking the network; of the agent "" it is the default.
func (d *Daemon) modelOf(agentID string) sessions.Model {
	set := d.models.Set()
	name := ""
	if agentID == "" {
		name = d.models.settings.Load().Agents.Defaults.Model.Primary
	}
	c, err := set.Choose(agentID, name)
	if err != nil { // the agent's model is of a provider that is gone
		return sessions.Model{}
	}
	return sessions.Model{Provider: c.Provider, ID: c.Model, ContextTokens: c.ContextWindow}
}

// resolveModel writes the name of a model as it is asked; ok is false when there is no
// such provider.
func (d *Daemon) resolveModel(name string) (provider, id string, ok bool) {
	if err := d.checkModel(name); err != nil {
		return "", "", false
	}
	c, _ := d.models.Set().Choose("", name)
	return c.Provider, c.Model, true
}

// checkModel tells why a model cannot be asked: its provider is not configured.
func (d *Daemon) checkModel(name string) error {
	_, err := d.models.Set().Choose("", name)
	return err
}

// runTimeout is how long a run may take that does not say.
func (d *Daemon) runTimeout() time.Duration {
	return time.Duration(d.models.settings.Load().Agents.Defaults.TimeoutSeconds) * time.Second
}

// price knows what models cost: the fixed replies nothing, a configured model what the
// settings say.
func (d *Daemon) price(provider, model string) (usage.Price, bool) {
	if provider == settings.ProviderBuiltin {
		return usage.Price{}, true
	}
	m, ok := d.models.settings.Load().Models.Providers[strings.ToLower(provider)].Find(model)
	if !ok || m.Cost == (settings.Cost{}) {
		return usage.Price{}, false
	}
	return usage.Price(m.Cost), true
}

// modelName is a model for people: "provider/model", or the provider alone where its
// service chooses.
func modelName(m sessions.Model) string {
	if m.ID == "" {
		return m.Provider
	}
	return m.Provider + "/" + m.ID
}

// ofModels reports whether a key is one of models or agents.
func ofModels(key string) bool {
	return strings.HasPrefix(key, "models.") || strings.HasPrefix(key, "agents.")
}

// takeUpModels puts changed settings of models and agents in force. What cannot be is
// logged: the settings have been checked, so it is the gateway's own fault, and it goes
// on with what it has.
func (d *Daemon) takeUpModels(s *settings.Settings) {
	if err := d.useModels(s); err != nil {
		d.log.Error("changed models are not in force", "err", err)
		return
	}
	d.declareAgents(s.Agents)
	d.catalogue.Forget()
}
