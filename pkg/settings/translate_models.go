package settings

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// The keys of a foreign config that are translated as a whole.
const (
	providersKey = "models.providers"
	agentsKey    = "agents.list"
	modelKey     = "agents.defaults.model"
)

// models translates the providers, the default model and the agents of a foreign
// config: what this gateway cannot speak is refused piece by piece, and the rest taken.
func (t *Translation) models(top map[string]any) (leaves []leaf) {
	models, _ := top["models"].(map[string]any)
	agents, _ := top["agents"].(map[string]any)
	defaults, _ := agents["defaults"].(map[string]any)
	taken := t.providers(models["providers"])
	known := map[string]bool{ProviderOpenAI: true}
	for id := range taken {
		known[id] = true
	}

	if value, ok := defaults["model"]; ok {
		choice := t.choice(modelKey, value, known)
		for _, key := range slices.Sorted(maps.Keys(choice)) {
			leaves = append(leaves, leaf{modelKey + "." + key, choice[key]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(taken)) {
		leaves = append(leaves, leaf{providersKey + "." + id, taken[id]})
	}
	if list := t.agents(agents["list"], known); len(list) > 0 {
		leaves = append(leaves, leaf{agentsKey, list})
	}
	return leaves
}

// chosen returns a config in which some model is chosen, as every config with several
// providers must.
func chosen(config map[string]any) map[string]any {
	path := append(strings.Split(modelKey, "."), "primary")
	var at any = config
	for _, part := range path {
		object, _ := at.(map[string]any)
		at = object[part]
	}
	if at != nil {
		return config
	}
	return with(config, path, ModelBuiltin)
}

// providers returns the providers that can be taken, by id.
func (t *Translation) providers(value any) map[string]map[string]any {
	taken := map[string]map[string]any{}
	all, ok := value.(map[string]any)
	if value != nil && !ok {
		t.refuse(providersKey, "it is not an object")
	}
	for _, id := range slices.Sorted(mapKeys(all)) {
		key := printable(providersKey + "." + id)
		p, ok := all[id].(map[string]any)
		name := strings.ToLower(id)
		switch api, given := p["api"]; {
		case !ok:
			t.refuse(key, "it is not an object")
			continue
		case !providerName.MatchString(name) || taken[name] != nil:
			t.refuse(key, "its name is not 1 to 64 of a-z, 0-9, - and _, or is there twice")
			continue
		case given && api != APICompletions:
			t.refuse(key, "it speaks another API than "+APICompletions+", the one that this gateway speaks; many services offer that too")
			continue
		}
		clean := t.known(key, p, reflect.TypeFor[Provider]())
		if text, _ := clean["baseUrl"].(string); strings.Contains(text, "${") {
			t.refuse(key, "its address names an environment variable; write the value itself")
			continue
		}
		if text, _ := clean["apiKey"].(string); strings.Contains(text, "${") {
			t.refuse(key+".apiKey", "it names an environment variable: where the gateway has that, write the same again with coderclaw config set")
			delete(clean, "apiKey")
		}
		if models, ok := clean["models"].([]any); ok {
			clean["models"] = t.modelList(key+".models", models)
		}
		taken[name] = clean
	}
	return taken
}

// modelList returns the models of a list that can be taken.
func (t *Translation) modelList(path string, list []any) []any {
	out := []any{}
	for i, value := range list {
		key := fmt.Sprintf("%s[%d]", path, i)
		m, ok := value.(map[string]any)
		if !ok {
			t.refuse(key, "it is not an object")
			continue
		}
		api, given := m["api"]
		if given && api != APICompletions {
			t.refuse(key, "it speaks another API than "+APICompletions)
			continue
		}
		m = maps.Clone(m)
		delete(m, "api")
		out = append(out, t.known(key, m, reflect.TypeFor[Model]()))
	}
	return out
}

// known returns the members of an object that exist here; the others are noted.
func (t *Translation) known(path string, object map[string]any, as reflect.Type) map[string]any {
	out := map[string]any{}
	for _, key := range slices.Sorted(mapKeys(object)) {
		if _, ok := fieldOf(as, key); !ok {
			t.Unknown = append(t.Unknown, printable(path+"."+key))
			continue
		}
		out[key] = object[key]
	}
	return out
}

// choice returns the models of a choice whose providers are known.
func (t *Translation) choice(path string, value any, known map[string]bool) map[string]any {
	if name, ok := value.(string); ok {
		value = map[string]any{"primary": name}
	}
	object, ok := value.(map[string]any)
	if !ok {
		t.refuse(path, "it is neither a string nor an object")
		return nil
	}
	out := t.known(path, object, choiceType)
	fits := func(key string, value any) (string, bool) {
		name, _ := value.(string)
		provider, id, _ := strings.Cut(strings.TrimSpace(name), "/")
		provider = strings.ToLower(provider)
		if id == "" || !known[provider] {
			t.refuse(key, "it is not PROVIDER/MODEL with a provider that is taken over")
			return "", false
		}
		return provider + "/" + id, true
	}
	if primary, given := out["primary"]; given {
		if name, ok := fits(path+".primary", primary); ok {
			out["primary"] = name
		} else {
			delete(out, "primary")
		}
	}
	if list, ok := out["fallbacks"].([]any); ok {
		kept := []any{}
		for i, f := range list {
			if name, ok := fits(fmt.Sprintf("%s.fallbacks[%d]", path, i), f); ok {
				kept = append(kept, name)
			}
		}
		out["fallbacks"] = kept
		if len(kept) == 0 && len(list) > 0 {
			delete(out, "fallbacks")
		}
	}
	return out
}

// agents returns the agents of a list that can be taken. Where none is said to be the
// default, the original takes the first.
func (t *Translation) agents(value any, known map[string]bool) []any {
	list, ok := value.([]any)
	if value != nil && !ok {
		t.refuse(agentsKey, "it is not a list")
	}
	var out []any
	chosen := false
	for i, value := range list {
		key := fmt.Sprintf("%s[%d]", agentsKey, i)
		object, _ := value.(map[string]any)
		id, _ := object["id"].(string)
		if id = strings.ToLower(strings.TrimSpace(id)); !providerName.MatchString(id) {
			t.refuse(key, "its id is not 1 to 64 of a-z, 0-9, - and _")
			continue
		}
		a := t.known(key, object, reflect.TypeFor[Agent]())
		a["id"] = id
		if model, given := a["model"]; given {
			if a["model"] = t.choice(key+".model", model, known); len(a["model"].(map[string]any)) == 0 {
				delete(a, "model")
			}
		}
		if who, ok := a["identity"].(map[string]any); ok {
			a["identity"] = t.known(key+".identity", who, reflect.TypeFor[AgentIdentity]())
		}
		if isDefault, _ := a["default"].(bool); isDefault {
			if chosen {
				delete(a, "default") // the first one counts, there too
			}
			chosen = true
		}
		out = append(out, a)
	}
	if len(out) > 0 && !chosen {
		if first := out[0].(map[string]any); first["id"] != "main" {
			first["default"] = true
		}
	}
	return out
}
