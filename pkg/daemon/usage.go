package daemon

import (
	"github.com/coderclaw/gateway/pkg/service/usage"
	"github.com/coderclaw/gateway/pkg/settings"
)

// usage makes the service that tells what runs have used.
func (d *Daemon) usage(storePath string) *usage.Service {
	return usage.New(usage.Config{Sessions: d.sessions, StorePath: storePath, Price: prices(d.settings.Agent)})
}

// prices knows what models cost: the built-in replies nothing, the configured model
// what the settings say. The price is that of every model of the server when the
// settings name none.
func prices(a settings.Agent) func(provider, model string) (usage.Price, bool) {
	return func(provider, model string) (usage.Price, bool) {
		cost := a.OpenAI.Cost
		switch {
		case provider == settings.BackendBuiltin:
			return usage.Price{}, true
		case a.Backend != settings.BackendOpenAI || cost == (settings.Cost{}):
			return usage.Price{}, false
		case a.OpenAI.Model != "" && a.OpenAI.Model != model:
			return usage.Price{}, false
		}
		return usage.Price(cost), true
	}
}
