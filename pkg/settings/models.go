package settings

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// The words and limits of models and agents.
const (
	// ProviderBuiltin is the provider that is always there: the fixed replies of a
	// gateway without a model. ProviderOpenAI is the one that the environment speaks of.
	ProviderBuiltin = "builtin"
	ProviderOpenAI  = "openai"
	// ModelBuiltin is the one model of ProviderBuiltin, as a reference.
	ModelBuiltin = ProviderBuiltin + "/builtin"

	// APICompletions is the one API that is spoken.
	APICompletions = "openai-completions"

	// ModelsMerge tells what services list beside what is configured; ModelsReplace
	// tells what is configured alone.
	ModelsMerge   = "merge"
	ModelsReplace = "replace"

	// InputText and InputImage are what a model may take.
	InputText  = "text"
	InputImage = "image"

	// DefaultMaxConcurrent and DefaultTimeoutSeconds hold where agents.defaults is silent.
	DefaultMaxConcurrent  = 256
	DefaultTimeoutSeconds = 600

	providersMax      = 64
	agentsMax         = 100
	maxConcurrentMost = 4096
	timeoutMost       = 86_400
	textBytesMax      = 256
)

// Models is which models there are.
type Models struct {
	Mode      string              `json:"mode" jsonschema:"enum=merge,enum=replace,default=merge" jsonschema_description:"merge: models.list tells the configured models and what the services list besides; replace: the configured ones alone. Which model may be asked does not depend on it."`
	Providers map[string]Provider `json:"providers" jsonschema_description:"Model services by a name of your own (a-z, 0-9, - and _), by which models are called: NAME/MODEL. The name builtin is the gateway's fixed replies. OPENAI_BASE_URL makes one named openai, or overrides its address; OPENAI_API_KEY overrides its key."`
}

// Provider is one model service.
type Provider struct {
	BaseURL string  `json:"baseUrl" example:"http://127.0.0.1:11434/v1" jsonschema:"format=uri" jsonschema_description:"Base URL of the API, such as http://127.0.0.1:11434/v1. The provider openai has https://api.openai.com/v1 when it is left out; the others need it."`
	APIKey  Secret  `json:"apiKey" example:"${MODEL_API_KEY}" jsonschema_description:"API key, sent as a bearer token. Services on this machine usually need none."`
	API     string  `json:"api" jsonschema:"enum=openai-completions,default=openai-completions" jsonschema_description:"What the service speaks. openai-completions (OpenAI's chat completions with streaming) is the one API that this gateway speaks; nearly every service offers it."`
	Models  []Model `json:"models" jsonschema_description:"What is known of the provider's models. Others of its models may be asked too; their window and their price are then unknown."`
}

// Model is what is known of a model.
type Model struct {
	ID            string   `json:"id" example:"llama3.2" jsonschema_description:"The model's name at the service."`
	Name          string   `json:"name" example:"Llama 3.2" jsonschema_description:"Its name for people. When unset: the id."`
	ContextWindow int64    `json:"contextWindow" example:"32768" jsonschema:"minimum=0,maximum=100000000" jsonschema_description:"Context window in tokens; a conversation is kept within it. 0 is not known."`
	MaxTokens     int64    `json:"maxTokens" example:"4096" jsonschema:"minimum=0,maximum=100000000" jsonschema_description:"Longest answer in tokens, sent with each request; 0 leaves it to the service."`
	Reasoning     bool     `json:"reasoning" jsonschema:"default=false" jsonschema_description:"Whether the model thinks before it answers; clients are told."`
	Input         []string `json:"input" example:"[\"text\", \"image\"]" jsonschema_description:"What the model takes: text, image. Where it is given without image, images are left out and the model is told so; when it is not given, everything is sent."`
	Cost          Cost     `json:"cost" jsonschema_description:"What the model costs, for usage.cost. Without it, its tokens are counted and their cost is flagged as missing."`
}

// Cost is the price of a model's tokens, in US dollars for a million of them.
type Cost struct {
	Input      float64 `json:"input" jsonschema:"minimum=0" jsonschema_description:"US dollars for a million prompt tokens."`
	Output     float64 `json:"output" jsonschema:"minimum=0" jsonschema_description:"US dollars for a million answer tokens."`
	CacheRead  float64 `json:"cacheRead" jsonschema:"minimum=0" jsonschema_description:"US dollars for a million prompt tokens read from a cache."`
	CacheWrite float64 `json:"cacheWrite" jsonschema:"minimum=0" jsonschema_description:"US dollars for a million prompt tokens written to a cache."`
}

// Agents is which agents there are, and what holds for all of them.
type Agents struct {
	Defaults AgentDefaults `json:"defaults" jsonschema_description:"What holds for every agent that says nothing else."`
	List     []Agent       `json:"list" jsonschema_description:"Agents that are declared here, besides those made by agents.create. What is given here cannot be changed by agents.update, nor the agent deleted by agents.delete: this file is where to do it. The agent main is always there."`
}

// AgentDefaults is what holds for every agent that says nothing else.
type AgentDefaults struct {
	Model          ModelChoice `json:"model" jsonschema_description:"Which model answers: its name, or {primary, fallbacks}. When unset: the first model of the only provider; without a provider the gateway's fixed replies."`
	Workspace      string      `json:"workspace" example:"~/assistant" jsonschema_description:"Folder of the agent main. When unset: workspace in the state directory. ~ is the home directory; a relative path starts at the state directory."`
	ContextTokens  int64       `json:"contextTokens" example:"32768" jsonschema:"minimum=0,maximum=100000000" jsonschema_description:"Most tokens of context that a run may take: the window of models without a contextWindow, and a bound on that of the others. 0 is no bound."`
	MaxConcurrent  int         `json:"maxConcurrent" jsonschema:"minimum=1,maximum=4096,default=256" jsonschema_description:"How many runs of all agents go on at a time; the others wait."`
	TimeoutSeconds int64       `json:"timeoutSeconds" jsonschema:"minimum=1,maximum=86400,default=600" jsonschema_description:"How long a run may take, in seconds, when its request does not say; a run gets a minute of grace, and two minutes at least."`
}

// Agent is an agent that the file declares.
type Agent struct {
	ID        string        `json:"id" example:"ops" jsonschema_description:"Its id: a-z, 0-9, - and _, at most 64 characters, beginning with a letter or a digit."`
	Default   bool          `json:"default" jsonschema:"default=false" jsonschema_description:"Whether it is the one that is meant when a request names none; main is, when no agent says so."`
	Name      string        `json:"name" example:"Operations" jsonschema_description:"Its name for people. When unset: the id."`
	Workspace string        `json:"workspace" example:"~/ops" jsonschema_description:"Its folder. When unset: workspace-ID in the state directory. ~ is the home directory; a relative path starts at the state directory."`
	Model     ModelChoice   `json:"model" jsonschema_description:"Which model answers for it: its name, or {primary, fallbacks}. What is left out is as in agents.defaults.model."`
	Identity  AgentIdentity `json:"identity" jsonschema_description:"How it presents itself; what is given here wins over its IDENTITY.md."`
}

// AgentIdentity is how an agent presents itself.
type AgentIdentity struct {
	Name   string `json:"name" example:"Otto" jsonschema_description:"The name that it goes by."`
	Theme  string `json:"theme" example:"calm and brief" jsonschema_description:"Its manner, in a few words."`
	Emoji  string `json:"emoji" example:"🛠" jsonschema_description:"Its emoji."`
	Avatar string `json:"avatar" example:"avatars/otto.png" jsonschema_description:"Its picture: a path below its folder, an http(s) or data URL, or a few characters."`
}

// ModelChoice is a model and those that follow when it fails. A file may write the
// first alone, as a string. A model is called PROVIDER/MODEL; a name without provider
// is a model of the provider that agents.defaults.model names.
type ModelChoice struct {
	Primary   string   `json:"primary" example:"openai/gpt-4o" jsonschema_description:"The model to ask, as PROVIDER/MODEL. Of agents.defaults, OPENAI_MODEL overrides it where there is a provider openai."`
	Fallbacks []string `json:"fallbacks" example:"[\"openai/gpt-4o-mini\"]" jsonschema_description:"Models to ask, in this order, when that one fails before it has said anything, as PROVIDER/MODEL; at most 8. An empty list of an agent is none."`
}

var choiceType = reflect.TypeFor[ModelChoice]()

// Find returns what is configured of a model.
func (p Provider) Find(id string) (Model, bool) {
	i := slices.IndexFunc(p.Models, func(m Model) bool { return m.ID == id })
	if i < 0 {
		return Model{}, false
	}
	return p.Models[i], true
}

// ProviderIDs lists the providers, sorted.
func (m Models) ProviderIDs() []string { return slices.Sorted(maps.Keys(m.Providers)) }

// Resolve writes the name of a model as PROVIDER/MODEL. A name without provider is a
// model of defaultProvider, unless one other provider alone has it among its models;
// what looks like a provider and is none may be a model's name with a slash in it. The
// error begins with a verb, for the name of the key to stand before it.
func (m Models) Resolve(name, defaultProvider string) (string, error) {
	name = strings.TrimSpace(name)
	provider, id, slash := strings.Cut(name, "/")
	provider = strings.ToLower(strings.TrimSpace(provider))
	if _, known := m.Providers[provider]; slash && known {
		return provider + "/" + strings.TrimSpace(id), nil
	}
	if provider == ProviderBuiltin {
		return ModelBuiltin, nil
	}
	var having []string
	for _, p := range m.ProviderIDs() {
		if _, ok := m.Providers[p].Find(name); ok {
			having = append(having, p)
		}
	}
	switch {
	case slices.Contains(having, defaultProvider):
		return defaultProvider + "/" + name, nil
	case len(having) == 1:
		return having[0] + "/" + name, nil
	case slash:
		return "", fmt.Errorf("names the provider %s, which models.providers does not have: add it there, or use one of %s", printable(provider), m.providerNames())
	case defaultProvider != "" && name != "":
		return defaultProvider + "/" + name, nil
	}
	return "", fmt.Errorf("must be PROVIDER/MODEL with one of the providers %s", m.providerNames())
}

func (m Models) providerNames() string {
	return strings.Join(append(m.ProviderIDs(), ProviderBuiltin), ", ")
}

// DefaultProvider is the provider of the model that answers by default.
func (s *Settings) DefaultProvider() string {
	provider, _, _ := strings.Cut(s.Agents.Defaults.Model.Primary, "/")
	return provider
}

// resolveModels takes in the environment and writes every model as PROVIDER/MODEL.
// OPENAI_API_KEY alone selects nothing: people have it exported for other programs, and
// would not expect their messages to leave the machine because of it.
func (s *Settings) resolveModels(getenv func(string) string) (problems []string) {
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }
	base, key, model := value("OPENAI_BASE_URL"), value("OPENAI_API_KEY"), value("OPENAI_MODEL")
	m, def := &s.Models, &s.Agents.Defaults.Model
	if m.Providers == nil {
		m.Providers = map[string]Provider{}
	}
	named := func(ref string) bool { return strings.HasPrefix(strings.ToLower(ref), ProviderOpenAI+"/") }
	p, ok := m.Providers[ProviderOpenAI]
	if ok || base != "" || slices.ContainsFunc(s.modelNames(), named) {
		if base != "" {
			p.BaseURL = base
		}
		if key != "" {
			p.APIKey = NewSecret(key)
		}
		if p.BaseURL == "" {
			p.BaseURL = DefaultOpenAIBaseURL
		}
		m.Providers[ProviderOpenAI] = p
		if provider, _, _ := strings.Cut(def.Primary, "/"); model != "" && provider != ProviderBuiltin {
			def.Primary = ProviderOpenAI + "/" + model
		}
	}
	for id, p := range m.Providers {
		if p.API == "" {
			p.API = APICompletions
			m.Providers[id] = p
		}
	}
	only := ""
	switch ids := m.ProviderIDs(); {
	case len(ids) == 1:
		only = ids[0]
	case base != "":
		only = ProviderOpenAI
	}
	switch {
	case def.Primary == "" && len(m.Providers) == 0:
		def.Primary = ModelBuiltin
	case def.Primary == "" && only == "":
		return append(problems, "agents.defaults.model must say which of the models answers, as PROVIDER/MODEL with one of the providers "+m.providerNames())
	case def.Primary == "":
		def.Primary = only + "/" // the first that the service lists
		if models := m.Providers[only].Models; len(models) > 0 {
			def.Primary += models[0].ID
		}
	}
	name := func(path string, ref *string, provider string) {
		full, err := m.Resolve(*ref, provider)
		if err != nil {
			problems = append(problems, path+" "+err.Error())
			return
		}
		*ref = full
	}
	name("agents.defaults.model.primary", &def.Primary, only)
	choose := func(path string, c *ModelChoice, first bool) {
		if first && c.Primary != "" {
			name(path+".primary", &c.Primary, s.DefaultProvider())
		}
		for i := range c.Fallbacks {
			name(fmt.Sprintf("%s.fallbacks[%d]", path, i), &c.Fallbacks[i], s.DefaultProvider())
		}
	}
	choose("agents.defaults.model", def, false)
	for i := range s.Agents.List {
		choose(fmt.Sprintf("agents.list[%d].model", i), &s.Agents.List[i].Model, true)
	}
	return problems
}

// modelNames lists the models that agents name, as they are written.
func (s *Settings) modelNames() []string {
	names := append([]string{s.Agents.Defaults.Model.Primary}, s.Agents.Defaults.Model.Fallbacks...)
	for _, a := range s.Agents.List {
		names = append(append(names, a.Model.Primary), a.Model.Fallbacks...)
	}
	return names
}

var (
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	inputKinds   = []string{InputText, InputImage}
)

// check applies the rules of providers and models.
func (m *Models) check() (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if m.Mode != ModelsMerge && m.Mode != ModelsReplace {
		bad("models.mode must be %q or %q", ModelsMerge, ModelsReplace)
	}
	if len(m.Providers) > providersMax {
		bad("models.providers must be at most %d providers", providersMax)
	}
	for _, id := range m.ProviderIDs() {
		p, path := m.Providers[id], "models.providers."+id
		switch {
		case !providerName.MatchString(id):
			bad("models.providers has the name %q: a name is 1 to 64 of a-z, 0-9, - and _, and begins with a letter or a digit", printable(id))
			continue
		case id == ProviderBuiltin:
			bad("%s is the name of the gateway's fixed replies: choose another", path)
		case p.BaseURL == "":
			bad("%s.baseUrl is missing: write the address of the service, such as http://127.0.0.1:11434/v1", path)
		case !isBaseURL(p.BaseURL) && id == ProviderOpenAI:
			bad("%s.baseUrl (or OPENAI_BASE_URL) must be an http or https URL without user name, query or fragment", path)
		case !isBaseURL(p.BaseURL):
			bad("%s.baseUrl must be an http or https URL without user name, query or fragment", path)
		}
		if p.API != APICompletions {
			bad("%s.api is one that this gateway does not speak: %s is the only one so far; many services offer it at another address", path, APICompletions)
		}
		problems = append(problems, checkModels(path, p.Models)...)
	}
	return problems
}

func checkModels(path string, models []Model) (problems []string) {
	seen := map[string]bool{}
	for i, m := range models {
		path := fmt.Sprintf("%s.models[%d]", path, i)
		bad := func(format string, args ...any) { problems = append(problems, path+fmt.Sprintf(format, args...)) }
		if m.ID == "" || len(m.ID) > textBytesMax || strings.TrimSpace(m.ID) != m.ID {
			bad(".id must be the model's name at the service, 1 to %d bytes without blanks around it", textBytesMax)
		}
		if seen[m.ID] {
			bad(".id names a model that stands in the list already")
		}
		seen[m.ID] = true
		if m.ContextWindow < 0 || m.ContextWindow > contextTokensMax {
			bad(".contextWindow must be between 0 and %d", contextTokensMax)
		}
		if m.MaxTokens < 0 || m.MaxTokens > contextTokensMax {
			bad(".maxTokens must be between 0 and %d", contextTokensMax)
		}
		for j, kind := range m.Input {
			if !slices.Contains(inputKinds, kind) {
				bad(".input[%d] must be one of %s", j, strings.Join(inputKinds, ", "))
			}
		}
		if c := m.Cost; min(c.Input, c.Output, c.CacheRead, c.CacheWrite) < 0 {
			bad(".cost must not hold a number below 0")
		}
	}
	return problems
}

// check applies the rules of agents.
func (a *Agents) check() (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	d := a.Defaults
	if d.ContextTokens < 0 || d.ContextTokens > contextTokensMax {
		bad("agents.defaults.contextTokens must be between 0 and %d", contextTokensMax)
	}
	if d.MaxConcurrent < 1 || d.MaxConcurrent > maxConcurrentMost {
		bad("agents.defaults.maxConcurrent must be between 1 and %d", maxConcurrentMost)
	}
	if d.TimeoutSeconds < 1 || d.TimeoutSeconds > timeoutMost {
		bad("agents.defaults.timeoutSeconds must be between 1 and %d", timeoutMost)
	}
	if len(d.Model.Fallbacks) > fallbacksMax {
		bad("agents.defaults.model.fallbacks must be at most %d models", fallbacksMax)
	}
	if len(a.List) > agentsMax {
		bad("agents.list must be at most %d agents", agentsMax)
	}
	seen, defaults := map[string]bool{}, 0
	for i, e := range a.List {
		path := fmt.Sprintf("agents.list[%d]", i)
		if !providerName.MatchString(e.ID) {
			bad("%s.id must be 1 to 64 of a-z, 0-9, - and _, and begin with a letter or a digit", path)
		}
		if seen[e.ID] {
			bad("%s.id names an agent that stands in the list already", path)
		}
		seen[e.ID] = true
		if e.Default {
			if defaults++; defaults > 1 {
				bad("%s.default is true of an earlier agent already", path)
			}
		}
		if len(e.Model.Fallbacks) > fallbacksMax {
			bad("%s.model.fallbacks must be at most %d models", path, fallbacksMax)
		}
		for _, f := range []struct{ key, text string }{
			{"name", e.Name}, {"identity.name", e.Identity.Name}, {"identity.theme", e.Identity.Theme}, {"identity.emoji", e.Identity.Emoji}, {"identity.avatar", e.Identity.Avatar},
		} {
			if len(f.text) > textBytesMax || strings.ContainsFunc(f.text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				bad("%s.%s must be one line of at most %d bytes", path, f.key, textBytesMax)
			}
		}
	}
	return problems
}

// DefaultAgentID is the agent that is meant when a request names none.
func (a Agents) DefaultAgentID() string {
	for _, e := range a.List {
		if e.Default {
			return e.ID
		}
	}
	return "main"
}
