package settings

import (
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// movedKeys are keys of earlier versions, with what stands in their place.
var movedKeys = []struct{ key, now string }{
	{"agent.backend", "a model service is an entry of models.providers, and agents.defaults.model says which model answers (builtin/builtin for none)"},
	{"agent.openai.baseUrl", "write models.providers.openai.baseUrl"},
	{"agent.openai.apiKey", "write models.providers.openai.apiKey"},
	{"agent.openai.model", `write agents.defaults.model, such as "openai/MODEL"`},
	{"agent.openai.fallbacks", `write agents.defaults.model.fallbacks, such as ["openai/MODEL"]`},
	{"agent.openai.contextTokens", "write models.providers.openai.models[].contextWindow, or agents.defaults.contextTokens for all models"},
	{"agent.openai.cost", "write models.providers.openai.models[].cost"},
	{"agent", "write models.providers and agents.defaults"},
}

// moved notes a key of an earlier version, each key below it by itself, and reports
// whether it was one.
func (w *walker) moved(path string, n *json5.Node) bool {
	for _, m := range movedKeys {
		switch {
		case path == m.key && (n.Kind != json5.Object || len(n.Members) == 0 || m.key == "agent.openai.cost"):
			w.bad(path, n, "unknown key %s: %s", path, m.now)
			return true
		case n.Kind == json5.Object && len(n.Members) > 0 && strings.HasPrefix(m.key, path+"."):
			for _, member := range n.Members {
				if full := join(path, member.Key); !w.moved(full, member.Value) {
					w.bad(full, member.Value, "unknown key %s: write models.providers and agents.defaults", printable(full))
				}
			}
			return true
		}
	}
	return false
}
