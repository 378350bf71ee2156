package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTranslate(t *testing.T) {
	for name, c := range map[string]struct {
		raw            string
		taken, unknown []string
		refused        []string
	}{
		"what is the same here": {
			raw: `{gateway: {port: 1234, bind: "lan", tls: {allowPlaintextLan: true}}}`,
			// bind leans on allowPlaintextLan, which comes later.
			taken: []string{"gateway.bind", "gateway.port", "gateway.tls.allowPlaintextLan"},
		},
		"an address to bind": {
			raw:   `{gateway: {bind: "custom", customBindHost: "127.0.0.1"}}`,
			taken: []string{"gateway.bind"},
		},
		"custom without an address":    {raw: `{gateway: {bind: "custom"}}`, refused: []string{"gateway.bind"}},
		"a bind that we do not have":   {raw: `{gateway: {bind: "tailnet"}}`, refused: []string{"gateway.bind"}},
		"no authentication":            {raw: `{gateway: {auth: {mode: "none"}}}`, refused: []string{"gateway.auth.mode"}},
		"a password before its mode":   {raw: `{gateway: {auth: {mode: "password", password: "correct horse battery"}}}`, taken: []string{"gateway.auth.mode", "gateway.auth.password"}},
		"a variable is not a value":    {raw: `{gateway: {auth: {token: "${TOKEN}"}}}`, refused: []string{"gateway.auth.token"}},
		"a value of another type":      {raw: `{gateway: {port: "many"}}`, refused: []string{"gateway.port"}},
		"a value where a group stands": {raw: `{gateway: 7}`, refused: []string{"gateway"}},
		"unknown keys and groups":      {raw: `{retired: {x: {token: "a"}}, gateway: {retired: "local", gone: {mode: "hot"}}}`, unknown: []string{"retired", "gateway.retired", "gateway.gone"}},
		"kept without effect":          {raw: `{hooks: {enabled: true, token: "t"}, tools: {web: {fetch: true}, deny: ["x"]}}`, taken: []string{"hooks", "tools.web"}, unknown: []string{"tools.deny"}},
		"what restricts is not kept":   {raw: `{session: {sendPolicy: {default: "deny"}}}`, refused: []string{"session"}},
		"nothing":                      {raw: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Translate([]byte(c.raw))
			require.NoError(t, err)
			require.Equal(t, c.taken, got.Taken)
			require.ElementsMatch(t, c.unknown, got.Unknown)
			var refused []string
			for _, r := range got.Refused {
				require.NotEmpty(t, r.Reason)
				refused = append(refused, r.Key)
			}
			require.Equal(t, c.refused, refused)
			require.Equal(t, c.taken != nil, got.JSON != nil)
		})
	}
	t.Run("models and agents", func(t *testing.T) {
		got, err := Translate([]byte(`{
  models: {mode: "merge", bedrockDiscovery: {enabled: true}, providers: {
    Ollama: {baseUrl: "http://127.0.0.1:11434/v1", apiKey: "k", api: "openai-completions", authHeader: true, models: [
      {id: "a", name: "A", reasoning: false, input: ["text"], cost: {input: 1, output: 2, cacheRead: 0, cacheWrite: 0}, contextWindow: 8192, maxTokens: 1024, compat: {supportsStore: false}},
      {id: "b", name: "B", api: "ollama"} ]},
    another: {baseUrl: "http://x/v1", apiKey: "${X_KEY}", models: []},
    claude: {baseUrl: "https://c/v1", apiKey: "sk", api: "anthropic-messages", models: [{id: "c", name: "C"}]} } },
  agents: {
    defaults: {model: {primary: "ollama/a", fallbacks: ["claude/c", "openai/gpt", "bare"]}, workspace: "~/ws", maxConcurrent: 4, timeoutSeconds: 60, heartbeat: {every: "1h"}},
    list: [{id: "Ops", name: "Ops", model: "claude/c", tools: {profile: "full"}, identity: {name: "Otto", vibe: "x"}}, {id: "two", model: {primary: "another/z", fallbacks: []}}, {name: "nobody"}] } }`))
		require.NoError(t, err)
		require.Equal(t, []string{
			"agents.defaults.heartbeat", "agents.defaults.maxConcurrent", "agents.defaults.model.fallbacks", "agents.defaults.model.primary", "agents.defaults.timeoutSeconds", "agents.defaults.workspace",
			"agents.list", "models.bedrockDiscovery", "models.mode", "models.providers.another", "models.providers.ollama",
		}, got.Taken)
		require.ElementsMatch(t, []string{
			"models.providers.Ollama.authHeader", "models.providers.Ollama.models[0].compat", "agents.list[0].tools", "agents.list[0].identity.vibe",
		}, got.Unknown)
		require.Equal(t, []string{"agents.defaults.heartbeat", "models.bedrockDiscovery"}, got.Kept)
		var refused []string
		for _, r := range got.Refused {
			refused = append(refused, r.Key)
		}
		require.Equal(t, []string{
			"models.providers.Ollama.models[1]", "models.providers.another.apiKey", "models.providers.claude",
			"agents.defaults.model.fallbacks[0]", "agents.defaults.model.fallbacks[2]", "agents.list[0].model.primary", "agents.list[2]",
		}, refused)
		s, err := Load(Source{Path: writeConfig(t, string(got.JSON)), Getenv: noEnv})
		require.NoError(t, err)
		require.Equal(t, ModelChoice{Primary: "ollama/a", Fallbacks: []string{"openai/gpt"}}, s.Agents.Defaults.Model)
		require.Equal(t, Provider{BaseURL: "http://127.0.0.1:11434/v1", APIKey: NewSecret("k"), API: APICompletions, Models: []Model{{
			ID: "a", Name: "A", ContextWindow: 8192, MaxTokens: 1024, Input: []string{"text"}, Cost: Cost{Input: 1, Output: 2},
		}}}, s.Models.Providers["ollama"])
		require.Equal(t, []Agent{
			{ID: "ops", Default: true, Name: "Ops", Identity: AgentIdentity{Name: "Otto"}},
			{ID: "two", Model: ModelChoice{Primary: "another/z", Fallbacks: []string{}}},
		}, s.Agents.List)
	})
	t.Run("no model of what is taken", func(t *testing.T) {
		got, err := Translate([]byte(`{models: {providers: {a: {baseUrl: "http://a"}, b: {baseUrl: "http://b"}}}, agents: {defaults: {model: "claude/c"}}}`))
		require.NoError(t, err)
		require.Equal(t, []string{"agents.defaults.model.primary", "models.providers.a", "models.providers.b"}, got.Taken)
		require.Equal(t, modelKey, got.Refused[len(got.Refused)-1].Key)
		s, err := Load(Source{Path: writeConfig(t, string(got.JSON)), Getenv: noEnv})
		require.NoError(t, err)
		require.Equal(t, ModelBuiltin, s.Agents.Defaults.Model.Primary, "nothing goes to a service that nobody chose")
	})
	for name, raw := range map[string]string{"no JSON5": "{", "a list": "[]", "not UTF-8": "\xff"} {
		t.Run(name, func(t *testing.T) {
			_, err := Translate([]byte(raw))
			require.Error(t, err)
		})
	}
}
