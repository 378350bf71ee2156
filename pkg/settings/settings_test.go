package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

func noEnv(string) string { return "" }

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), configFileName)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadDefaults(t *testing.T) {
	s, err := Load(Source{Path: filepath.Join(t.TempDir(), "absent.json"), Getenv: noEnv})
	require.NoError(t, err)
	require.Equal(t, 18789, s.Gateway.Port)
	require.Equal(t, "loopback", s.Gateway.Bind)
	require.Equal(t, 16<<20, s.Gateway.MaxBufferedBytes)
	require.Equal(t, ModelBuiltin, s.Agents.Defaults.Model.Primary)
	require.False(t, s.Gateway.Auth.Token.IsSet())
	require.False(t, s.Gateway.Auth.AllowLegacySignature)
	require.Equal(t, "token", s.Gateway.Auth.Mode)
	require.Equal(t, RateLimit{MaxAttempts: 10, WindowMs: 60_000, LockoutMs: 300_000}, s.Gateway.Auth.RateLimit)
	require.Empty(t, s.Gateway.ProxyPrefixes())

	blank, err := Load(Source{Path: writeConfig(t, " \n"), Getenv: noEnv})
	require.NoError(t, err)
	require.Equal(t, s, blank)
}

func TestLoadReadsEveryKey(t *testing.T) {
	path := writeConfig(t, `// JSON5
{
  gateway: {
    mode: "remote", port: 19000, bind: '192.0.2.7', 'allowedHosts': ["GW.Example.com.", "[::1]"],
    auth: { mode: "token", token: "s3cret", password: "pw", allowLegacySignature: true, allowTailscale: true, rateLimit: {maxAttempts: 3, windowMs: 2000, lockoutMs: 4000},
      trustedProxy: {userHeader: "X-User", requiredHeaders: ["X-Sig"], allowUsers: ["me@example.com"]} },
    trustedProxies: ["127.0.0.1", "10.1.2.3/8", "::ffff:192.0.2.9", "2001:db8::1/64"],
    controlUi: { allowedOrigins: ["HTTPS://UI.example.com:8443"] },
    proxySecret: { header: "X-Proof", secret: "0123456789abcdef", file: "" }, tailscale: { socket: "/run/tailscaled.sock" },
    tls: { enabled: true, autoGenerate: false, certPath: "cert.pem", keyPath: "/etc/key.pem", allowPlaintextLan: true },
    remote: { url: "wss://gw.example.com", token: "r3mote", password: "pw2", tlsFingerprint: "AB:CD" }, maxBufferedBytes: 52428800, reload: {mode: "hot", debounceMs: 50},
  },
  tasks: {perAgent: 1, openMax: 200, leaseSeconds: 5, retryBackoffMs: 100, retentionDays: 2, retentionCount: 300, retentionBytes: 1048576, keyRetentionHours: 48, watcherLagEvents: 400},
  logging: {level: "warn"}, ui: {seamColor: "#112233"}, meta: {lastTouchedVersion: "1", lastTouchedAt: "2026-11-22"},
  /* the model */
  models: { mode: "replace", providers: {
    local: { baseUrl: "http://127.0.0.1:11434/v1", apiKey: "k", api: "openai-completions", models: [
      { id: "m", name: "M", contextWindow: 8192, maxTokens: 512, reasoning: true, input: ["text", "image"], cost: { input: 2.5, output: 10, cacheRead: 0.25, cacheWrite: 3 } },
      { id: "org/n" } ] },
    "far-away": { baseUrl: "https://models.example.com/v1" } } },
  agents: { defaults: { model: { primary: "m", fallbacks: ["org/n", "far-away/x", "Local/y", "z"] }, workspace: "~/w", contextTokens: 4096, maxConcurrent: 3, timeoutSeconds: 30 },
    list: [ { id: "ops", default: true, name: "Ops", workspace: "ops", model: "far-away/org/x", identity: { name: "Otto", theme: "calm", emoji: "O", avatar: "o.png" } },
      { id: "other", model: { fallbacks: [] } } ] },
}`)
	s, err := Load(Source{Path: path, Getenv: noEnv})
	require.NoError(t, err)
	require.Equal(t, &Settings{
		Gateway: Gateway{
			Mode: "remote", Port: 19000, Bind: "192.0.2.7", AllowedHosts: []string{"gw.example.com", "::1"},
			Auth: Auth{
				Mode: "token", Token: NewSecret("s3cret"), Password: NewSecret("pw"), AllowLegacySignature: true, AllowTailscale: true,
				RateLimit:    RateLimit{MaxAttempts: 3, WindowMs: 2000, LockoutMs: 4000},
				TrustedProxy: TrustedProxy{UserHeader: "X-User", RequiredHeaders: []string{"X-Sig"}, AllowUsers: []string{"me@example.com"}},
			},
			TrustedProxies: []string{"127.0.0.1/32", "10.0.0.0/8", "192.0.2.9/32", "2001:db8::/64"},
			ControlUI:      ControlUI{AllowedOrigins: []string{"https://ui.example.com:8443"}},
			ProxySecret:    ProxySecret{Header: "X-Proof", Secret: NewSecret("0123456789abcdef")},
			Tailscale:      Tailscale{Socket: "/run/tailscaled.sock"},
			TLS:            TLS{Enabled: true, CertPath: filepath.Join(filepath.Dir(path), "cert.pem"), KeyPath: "/etc/key.pem", AllowPlaintextLan: true},
			Remote:         Remote{URL: "wss://gw.example.com", Token: NewSecret("r3mote"), Password: NewSecret("pw2"), TLSFingerprint: "AB:CD"}, MaxBufferedBytes: 52428800, Reload: Reload{Mode: "hot", DebounceMs: 50},
		},
		Tasks:   Tasks{PerAgent: 1, OpenMax: 200, LeaseSeconds: 5, RetryBackoffMs: 100, RetentionDays: 2, RetentionCount: 300, RetentionBytes: 1 << 20, KeyRetentionHours: 48, WatcherLagEvents: 400},
		Logging: Logging{Level: "warn"}, UI: UI{SeamColor: "#112233"}, Meta: Meta{LastTouchedVersion: "1", LastTouchedAt: "2026-11-22"},
		Models: Models{Mode: "replace", Providers: map[string]Provider{
			"local": {BaseURL: "http://127.0.0.1:11434/v1", APIKey: NewSecret("k"), API: APICompletions, Models: []Model{
				{ID: "m", Name: "M", ContextWindow: 8192, MaxTokens: 512, Reasoning: true, Input: []string{"text", "image"}, Cost: Cost{Input: 2.5, Output: 10, CacheRead: 0.25, CacheWrite: 3}},
				{ID: "org/n"},
			}},
			"far-away": {BaseURL: "https://models.example.com/v1", API: APICompletions},
		}},
		Agents: Agents{
			Defaults: AgentDefaults{
				Model:     ModelChoice{Primary: "local/m", Fallbacks: []string{"local/org/n", "far-away/x", "local/y", "local/z"}},
				Workspace: "~/w", ContextTokens: 4096, MaxConcurrent: 3, TimeoutSeconds: 30,
			},
			List: []Agent{
				{ID: "ops", Default: true, Name: "Ops", Workspace: "ops", Model: ModelChoice{Primary: "far-away/org/x"}, Identity: AgentIdentity{Name: "Otto", Theme: "calm", Emoji: "O", Avatar: "o.png"}},
				{ID: "other", Model: ModelChoice{Fallbacks: []string{}}},
			},
		},
	}, s)
}

func TestLoadPrecedence(t *testing.T) {
	path := writeConfig(t, `{gateway: {port: 1000, auth: {token: "file"}}, models: {providers: {openai: {apiKey: "file"}}}, agents: {defaults: {model: "file"}}}`)
	environ := env("CODERCLAW_GATEWAY_PORT", "2000", "CODERCLAW_GATEWAY_TOKEN", "env", "OPENAI_MODEL", "env", "OPENAI_API_KEY", "env")
	port, token := 3000, "flag"

	s, err := Load(Source{Path: path, Getenv: noEnv})
	require.NoError(t, err)
	require.Equal(t, []any{1000, "file", "openai/file", "file"},
		[]any{s.Gateway.Port, s.Gateway.Auth.Token.Reveal(), s.Agents.Defaults.Model.Primary, s.Models.Providers["openai"].APIKey.Reveal()})

	s, err = Load(Source{Path: path, Getenv: environ})
	require.NoError(t, err)
	require.Equal(t, []any{2000, "env", "openai/env", "env"},
		[]any{s.Gateway.Port, s.Gateway.Auth.Token.Reveal(), s.Agents.Defaults.Model.Primary, s.Models.Providers["openai"].APIKey.Reveal()})

	s, err = Load(Source{Path: path, Getenv: environ, Flags: Flags{Port: &port, Token: &token}})
	require.NoError(t, err)
	require.Equal(t, 3000, s.Gateway.Port)
	require.Equal(t, "flag", s.Gateway.Auth.Token.Reveal())
}

func TestLoadPicksTheAuthMode(t *testing.T) {
	token, password, mode := "t", "p", "password"
	cases := []struct {
		name, file string
		env        []string
		flags      Flags
		want, by   string
	}{
		{name: "nothing said", file: "{}", want: "token"},
		{name: "a password alone", file: `{gateway:{auth:{password:"file"}}}`, want: "password", by: "file"},
		{name: "both", file: `{gateway:{auth:{password:"file",token:"x"}}}`, want: "password", by: "file"},
		{name: "both and a mode", file: `{gateway:{auth:{password:"file",token:"x",mode:"token"}}}`, want: "token", by: "x"},
		{name: "password in the environment", file: `{gateway:{auth:{password:"file"}}}`, env: []string{"CODERCLAW_GATEWAY_PASSWORD", "env"}, want: "password", by: "env"},
		{name: "token in the environment", file: `{}`, env: []string{"CODERCLAW_GATEWAY_TOKEN", "env"}, want: "token", by: "env"},
		{name: "password flag", file: `{gateway:{auth:{token:"x"}}}`, env: []string{"CODERCLAW_GATEWAY_PASSWORD", "env"}, flags: Flags{Password: &password}, want: "password", by: "p"},
		{name: "token flag", file: `{gateway:{auth:{password:"file"}}}`, flags: Flags{Token: &token}, want: "token", by: "t"},
		{name: "mode flag", file: `{gateway:{auth:{mode:"token"}}}`, flags: Flags{Token: &token, Password: &password, AuthMode: &mode}, want: "password", by: "p"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(Source{Path: writeConfig(t, c.file), Getenv: env(c.env...), Flags: c.flags})
			require.NoError(t, err)
			require.Equal(t, c.want, s.Gateway.Auth.Mode)
			secret, err := SharedSecret(t.TempDir(), s.Gateway.Auth, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			if c.by == "" {
				require.Len(t, secret.Reveal(), 2*generatedTokenBytes)
				return
			}
			require.Equal(t, c.by, secret.Reveal())
		})
	}
	dir := t.TempDir()
	secret, err := SharedSecret(dir, Auth{Mode: AuthTrustedProxy}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.False(t, secret.IsSet())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "no token is generated for a mode without one")
}

// The environment speaks of the provider openai as it always has; what the file says
// more is the file's.
func TestLoadPicksTheModel(t *testing.T) {
	const local = `local:{baseUrl:"http://l/v1"}`
	cases := []struct {
		name, file string
		env        []string
		model      string
		urls       map[string]string
	}{
		{name: "nothing said", file: "{}", model: ModelBuiltin},
		{name: "base URL in the environment", file: "{}", env: []string{"OPENAI_BASE_URL", "http://h/v1"}, model: "openai/", urls: map[string]string{"openai": "http://h/v1"}},
		{name: "and a model", file: "{}", env: []string{"OPENAI_BASE_URL", "http://h/v1", "OPENAI_MODEL", "org/m"}, model: "openai/org/m", urls: map[string]string{"openai": "http://h/v1"}},
		{name: "the environment over the file", file: `{models:{providers:{openai:{baseUrl:"http://f/v1"}}},agents:{defaults:{model:"openai/f"}}}`, env: []string{"OPENAI_BASE_URL", "http://h/v1", "OPENAI_MODEL", "m"}, model: "openai/m", urls: map[string]string{"openai": "http://h/v1"}},
		{name: "file insists on builtin", file: `{agents:{defaults:{model:"builtin"}}}`, env: []string{"OPENAI_BASE_URL", "http://h/v1", "OPENAI_MODEL", "m"}, model: ModelBuiltin, urls: map[string]string{"openai": "http://h/v1"}},
		{name: "a key alone selects nothing", file: "{}", env: []string{"OPENAI_API_KEY", "k"}, model: ModelBuiltin},
		{name: "a model alone selects nothing", file: "{}", env: []string{"OPENAI_MODEL", "m"}, model: ModelBuiltin},
		{name: "a model of openai is enough", file: `{agents:{defaults:{model:"openai/m"}}}`, env: []string{"OPENAI_API_KEY", "k"}, model: "openai/m", urls: map[string]string{"openai": DefaultOpenAIBaseURL}},
		{name: "the only provider", file: `{models:{providers:{` + local + `}}}`, model: "local/", urls: map[string]string{"local": "http://l/v1"}},
		{name: "the only provider's first model", file: `{models:{providers:{local:{baseUrl:"http://l/v1",models:[{id:"a"},{id:"b"}]}}}}`, model: "local/a", urls: map[string]string{"local": "http://l/v1"}},
		{name: "two, and the environment", file: `{models:{providers:{` + local + `}}}`, env: []string{"OPENAI_BASE_URL", "http://h/v1"}, model: "openai/", urls: map[string]string{"local": "http://l/v1", "openai": "http://h/v1"}},
		{name: "the model of another provider stays", file: `{models:{providers:{` + local + `}},agents:{defaults:{model:"local/x"}}}`, env: []string{"OPENAI_BASE_URL", "http://h/v1"}, model: "local/x", urls: map[string]string{"local": "http://l/v1", "openai": "http://h/v1"}},
		{name: "a bare name that one provider has", file: `{models:{providers:{` + local + `,more:{baseUrl:"http://m/v1",models:[{id:"org/b"}]}}},agents:{defaults:{model:"org/b"}}}`, model: "more/org/b", urls: map[string]string{"local": "http://l/v1", "more": "http://m/v1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(Source{Path: writeConfig(t, c.file), Getenv: env(c.env...)})
			require.NoError(t, err)
			require.Equal(t, c.model, s.Agents.Defaults.Model.Primary)
			urls := map[string]string{}
			for id, p := range s.Models.Providers {
				urls[id] = p.BaseURL
			}
			if c.urls == nil {
				c.urls = map[string]string{}
			}
			require.Equal(t, c.urls, urls)
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	cases := []struct{ name, file, want string }{
		{"unknown key with a near one", `{gateway:{prot:1}}`, "unknown key gateway.prot (did you mean gateway.port?)"},
		{"unknown key one level off", `{gateway:{token:"x"}}`, "unknown key gateway.token (did you mean gateway.auth.token?)"},
		{"unknown key in another case", `{Gateway:{}}`, "unknown key Gateway (did you mean gateway?)"},
		{"unknown key far from all", `{gateway:{tls:{zebra:1}}}`, "unknown key gateway.tls.zebra"},
		{"all faults at once", "{x9:1,\n gateway:{port:'1'}}", "line 2: gateway.port must be a whole number, not a string; line 1: unknown key x9"},
		{"the line of a check", "{gateway:{\n bind:'x'}}", "line 2: gateway.bind must be"},
		{"fraction", `{gateway:{port:1.5}}`, "gateway.port must be a whole number, not a number"},
		{"infinity", `{gateway:{port:Infinity}}`, "gateway.port must be a whole number, not a number"},
		{"null", `{gateway:{auth:{token:null}}}`, "gateway.auth.token must be a string, not null"},
		{"list for object", `{gateway:[]}`, "gateway must be an object, not a list"},
		{"object for list", `{gateway:{allowedHosts:{}}}`, "gateway.allowedHosts must be a list of strings, not an object"},
		{"number in list", `{gateway:{allowedHosts:["a",1]}}`, "gateway.allowedHosts[1] must be a string, not a whole number"},
		{"word for boolean", `{gateway:{tls:{allowPlaintextLan:"yes"}}}`, "gateway.tls.allowPlaintextLan must be true or false, not a string"},
		{"top level", `[]`, "the file must be an object, not a list"},
		{"syntax", "{\n  gateway: {,}\n}", "not JSON5 at line 2, column 13"},
		{"invalid UTF-8", "{gateway:{bind:\"\xff\"}}", "not valid UTF-8"},
		{"too deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested deeper than 32 levels"},
		{"duplicate key", `{gateway:{port:1,/*:*/"port":2}}`, "gateway.port is given twice"},
		{"duplicate key behind an escape", `{gateway:{port:1,"p\u006frt":2}}`, "gateway.port is given twice"},
		{"duplicate object", `{gateway:{port:1},gateway:{}}`, "gateway is given twice"},
		{"port range", `{gateway:{port:65536}}`, "gateway.port must be between 0 and 65535"},
		{"buffer range", `{gateway:{maxBufferedBytes:52428801}}`, "gateway.maxBufferedBytes must be between 65536 and 52428800"},
		{"host with scheme", `{gateway:{allowedHosts:["https://x"]}}`, "gateway.allowedHosts[0] must be a plain host name"},
		{"host wildcard", `{gateway:{allowedHosts:["*"]}}`, "gateway.allowedHosts[0] must be a plain host name"},
		{"origin with path", `{gateway:{controlUi:{allowedOrigins:["https://x/"]}}}`, "gateway.controlUi.allowedOrigins[0] must be scheme://host"},
		{"origin wildcard", `{gateway:{controlUi:{allowedOrigins:["*"]}}}`, "gateway.controlUi.allowedOrigins[0] must be scheme://host"},
		{"origin null", `{gateway:{controlUi:{allowedOrigins:["null"]}}}`, "gateway.controlUi.allowedOrigins[0] must be scheme://host"},
		{"origin with user name", `{gateway:{controlUi:{allowedOrigins:["http://a@b"]}}}`, "gateway.controlUi.allowedOrigins[0] must be scheme://host"},
		{"the backend of earlier versions", `{agent:{backend:"openai"}}`, "line 1: unknown key agent.backend: a model service is an entry of models.providers"},
		{"each key of earlier versions", "{agent:{openai:{\nbaseUrl:'x',\napiKey:'x',\nmodel:'x',\nfallbacks:[],\ncontextTokens:1,\ncost:{input:1}}}}", "line 2: unknown key agent.openai.baseUrl: write models.providers.openai.baseUrl; " +
			"line 3: unknown key agent.openai.apiKey: write models.providers.openai.apiKey; line 4: unknown key agent.openai.model: write agents.defaults.model, such as \"openai/MODEL\"; " +
			"line 5: unknown key agent.openai.fallbacks: write agents.defaults.model.fallbacks, such as [\"openai/MODEL\"]; line 6: unknown key agent.openai.contextTokens: write models.providers.openai.models[].contextWindow, or agents.defaults.contextTokens for all models; " +
			"line 7: unknown key agent.openai.cost: write models.providers.openai.models[].cost"},
		{"an empty section of earlier versions", `{agent:{}}`, "unknown key agent: write models.providers"},
		{"another key of that section", `{agent:{zebra:1}}`, "unknown key agent.zebra: write models.providers"},
		{"unknown key of a provider", `{models:{providers:{x:{baseURL:"http://h"}}}}`, "unknown key models.providers.x.baseURL (did you mean models.providers.*.baseUrl?)"},
		{"provider without address", `{models:{providers:{x:{}}}}`, "models.providers.x.baseUrl is missing"},
		{"provider's name", `{models:{providers:{"X.1":{baseUrl:"http://h"}}}}`, `models.providers has the name "X.1"`},
		{"provider builtin", `{models:{providers:{builtin:{baseUrl:"http://h"}}}}`, "models.providers.builtin is the name of the gateway's fixed replies"},
		{"another api", "{models:{providers:{'a-b':{baseUrl:'http://h',\napi:'anthropic-messages'}}}}", "line 2: models.providers.a-b.api is one that this gateway does not speak: openai-completions is the only one so far"},
		{"base URL scheme", `{models:{providers:{openai:{baseUrl:"file:///x"}}}}`, "models.providers.openai.baseUrl (or OPENAI_BASE_URL) must be an http or https URL"},
		{"base URL with password", `{models:{providers:{x:{baseUrl:"http://u:p@h/v1"}}}}`, "models.providers.x.baseUrl must be an http or https URL without user name"},
		{"mode of models", `{models:{mode:"both"}}`, `models.mode must be "merge" or "replace"`},
		{"a nameless model", `{models:{providers:{x:{baseUrl:"http://h",models:[{}]}}}}`, "models.providers.x.models[0].id must be the model's name"},
		{"a model twice", `{models:{providers:{x:{baseUrl:"http://h",models:[{id:"a"},{id:"a"}]}}}}`, "models.providers.x.models[1].id names a model that stands in the list already"},
		{"a model's input", `{models:{providers:{x:{baseUrl:"http://h",models:[{id:"a",input:["text","smell"]}]}}}}`, "models.providers.x.models[0].input[1] must be one of text, image"},
		{"a model's price", `{models:{providers:{x:{baseUrl:"http://h",models:[{id:"a",cost:{input:-1}}]}}}}`, "models.providers.x.models[0].cost must not hold a number below 0"},
		{"two providers and no model", `{models:{providers:{x:{baseUrl:"http://h"},y:{baseUrl:"http://h"}}}}`, "agents.defaults.model must say which of the models answers, as PROVIDER/MODEL with one of the providers x, y, builtin"},
		{"no such provider", "{models:{providers:{x:{baseUrl:'http://h'}}},agents:{defaults:{model:{primary:'x/a',fallbacks:[\n'z/a']}}}}", "line 2: agents.defaults.model.fallbacks[0] names the provider z, which models.providers does not have"},
		{"a model without any provider", `{agents:{defaults:{model:"m"}}}`, "agents.defaults.model.primary must be PROVIDER/MODEL with one of the providers builtin"},
		{"a nameless fallback", `{models:{providers:{x:{baseUrl:"http://h"}}},agents:{defaults:{model:{fallbacks:[""]}}}}`, "agents.defaults.model.fallbacks[0] must be PROVIDER/MODEL"},
		{"many fallbacks", `{models:{providers:{x:{baseUrl:"http://h"}}},agents:{defaults:{model:{fallbacks:["1","2","3","4","5","6","7","8","9"]}}}}`, "agents.defaults.model.fallbacks must be at most 8 models"},
		{"number for a model", `{agents:{defaults:{model:1}}}`, "agents.defaults.model must be an object, not a whole number"},
		{"too few at a time", `{agents:{defaults:{maxConcurrent:0}}}`, "agents.defaults.maxConcurrent must be between 1 and 4096"},
		{"no time at all", `{agents:{defaults:{timeoutSeconds:0}}}`, "agents.defaults.timeoutSeconds must be between 1 and 86400"},
		{"agent's id", `{agents:{list:[{id:"A b"}]}}`, "agents.list[0].id must be 1 to 64 of a-z"},
		{"agent twice", `{agents:{list:[{id:"a"},{id:"a"}]}}`, "agents.list[1].id names an agent that stands in the list already"},
		{"two defaults", `{agents:{list:[{id:"a",default:true},{id:"b",default:true}]}}`, "agents.list[1].default is true of an earlier agent already"},
		{"agent's model", `{agents:{list:[{id:"a",model:"z/y"}]}}`, "agents.list[0].model.primary names the provider z"},
		{"agent's name", `{agents:{list:[{id:"a",identity:{name:"a\nb"}}]}}`, "agents.list[0].identity.name must be one line"},
		{"certificate without key", `{gateway:{tls:{certPath:"/c"}}}`, "gateway.tls.certPath and gateway.tls.keyPath belong together"},
		{"key without certificate", `{gateway:{tls:{keyPath:"/k"}}}`, "gateway.tls.certPath and gateway.tls.keyPath belong together"},
		{"no certificate at all", `{gateway:{tls:{enabled:true,autoGenerate:false}}}`, "gateway.tls.enabled needs a certificate"},
		{"empty token", `{gateway:{auth:{token:""}}}`, "gateway.auth.token is empty"},
		{"empty password", `{gateway:{auth:{password:""}}}`, "gateway.auth.password is empty"},
		{"undefined password", `{gateway:{auth:{password:"null"}}}`, "gateway.auth.password is a word that scripts write"},
		{"mode none", `{gateway:{auth:{mode:"none"}}}`, "there is no mode without a proof"},
		{"password mode without password", `{gateway:{auth:{mode:"password"}}}`, "set gateway.auth.password or CODERCLAW_GATEWAY_PASSWORD"},
		{"proxy mode without proxy", `{gateway:{auth:{mode:"trusted-proxy",trustedProxy:{userHeader:"x-user"}}}}`, "gateway.trustedProxies is empty"},
		{"proxy mode without header", `{gateway:{trustedProxies:["127.0.0.1"],auth:{mode:"trusted-proxy"}}}`, "userHeader is not set"},
		{"header with a space", `{gateway:{auth:{trustedProxy:{userHeader:"x user"}}}}`, "userHeader is not the name of a header"},
		{"required header", `{gateway:{auth:{trustedProxy:{requiredHeaders:["a","b:"]}}}}`, "requiredHeaders[1] is not the name"},
		{"empty user", `{gateway:{auth:{trustedProxy:{allowUsers:[""]}}}}`, "allowUsers[0] is empty"},
		{"proxy secret that is short", `{gateway:{proxySecret:{secret:"0123456789abcde"}}}`, "gateway.proxySecret.secret is shorter than 16 characters"},
		{"proxy secret that is a word", `{gateway:{proxySecret:{secret:"undefined"}}}`, "gateway.proxySecret.secret is a word"},
		{"proxy secret twice", `{gateway:{proxySecret:{secret:"0123456789abcdef",file:"/x"}}}`, "gateway.proxySecret.secret and gateway.proxySecret.file are both given"},
		{"proxy secret for everything", `{gateway:{auth:{token:"0123456789abcdef"},proxySecret:{secret:"0123456789abcdef"}}}`, "gateway.proxySecret.secret is the gateway's own secret"},
		{"proxy secret's header", `{gateway:{proxySecret:{header:"a b",secret:"0123456789abcdef"}}}`, "gateway.proxySecret.header is not the name of a header"},
		{"tailscale socket", `{gateway:{tailscale:{socket:"relative.sock"}}}`, "gateway.tailscale.socket must be an absolute path"},
		{"proxy name", `{gateway:{trustedProxies:["localhost"]}}`, "gateway.trustedProxies[0] must be an IP address or a CIDR range"},
		{"mode remote without a place", `{gateway:{mode:"remote"}}`, "gateway.remote.url is not set"},
		{"another mode", `{gateway:{mode:"far"}}`, "gateway.mode must be \"local\" or \"remote\""},
		{"remote URL with a password", `{gateway:{remote:{url:"wss://u:p@h"}}}`, "gateway.remote.url must be a ws:// or wss:// URL without user name"},
		{"remote URL scheme", `{gateway:{remote:{url:"ftp://h"}}}`, "gateway.remote.url must be a ws:// or wss:// URL"},
		{"empty remote token", `{gateway:{remote:{token:""}}}`, "gateway.remote.token is empty"},
		{"few open tasks", `{tasks:{openMax:99}}`, "tasks.openMax must be between 100 and 1000000"},
		{"a short lease", `{tasks:{leaseSeconds:4}}`, "tasks.leaseSeconds must be between 5 and 3600"},
		{"keys beyond their tasks", `{tasks:{retentionDays:1,keyRetentionHours:25}}`, "tasks.keyRetentionHours must not be longer than tasks.retentionDays, which is 24 hours"},
		{"proxy zone", `{gateway:{trustedProxies:["fe80::1%eth0"]}}`, "gateway.trustedProxies[0] must be an IP address"},
		{"unspecified proxy", `{gateway:{trustedProxies:["0.0.0.0"]}}`, "gateway.trustedProxies[0] must be an IP address"},
		{"every address is a proxy", `{gateway:{trustedProxies:["0.0.0.0/0"]}}`, "the range of all addresses"},
		{"every v6 address is a proxy", `{gateway:{trustedProxies:["::/0"]}}`, "the range of all addresses"},
		{"every mapped address is a proxy", `{gateway:{trustedProxies:["::ffff:0.0.0.0/96"]}}`, "the range of all addresses"},
		{"no attempt allowed", `{gateway:{auth:{rateLimit:{maxAttempts:0}}}}`, "maxAttempts must be between 1 and 1000"},
		{"endless lockout", `{gateway:{auth:{rateLimit:{lockoutMs:86400001}}}}`, "lockoutMs must be between 1000 and 86400000"},
		{"undefined token", `{gateway:{auth:{token:"undefined"}}}`, "gateway.auth.token is a word that scripts write"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(Source{Path: writeConfig(t, c.file), Getenv: noEnv})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "u:p@h", "values stay out of error texts")
		})
	}
}

func TestProxySecretComesFromOnePlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	load := func(env string) ProxySecret {
		conf := filepath.Join(t.TempDir(), "c.json")
		require.NoError(t, os.WriteFile(conf, []byte(`{gateway:{proxySecret:{file:"`+path+`"}}}`), 0o600))
		s, err := Load(Source{Path: conf, Getenv: func(name string) string { return map[string]string{"CODERCLAW_PROXY_SECRET": env}[name] }})
		require.NoError(t, err)
		require.True(t, s.Gateway.ProxySecret.IsSet())
		require.Equal(t, DefaultProxySecretHeader, s.Gateway.ProxySecret.Header)
		return s.Gateway.ProxySecret
	}
	_, err := load("").Resolve()
	require.ErrorContains(t, err, "gateway.proxySecret.file")
	for text, want := range map[string]string{"short\n": "is shorter than 16", "undefined\n": "is a word", "\n": "is empty", "0123456789abcdef\n": ""} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		secret, err := load("").Resolve()
		if want != "" {
			require.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "0123456789abcdef", secret.Reveal())
	}
	secret, err := load("from-the-environment").Resolve()
	require.NoError(t, err)
	require.Equal(t, "from-the-environment", secret.Reveal())
	secret, err = Default().Gateway.ProxySecret.Resolve()
	require.NoError(t, err)
	require.False(t, secret.IsSet())
	require.False(t, Default().Gateway.ProxySecret.IsSet())
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	_, err := Load(Source{Path: t.TempDir(), Getenv: noEnv})
	require.ErrorContains(t, err, "is not a regular file")
	_, err = Load(Source{Path: writeConfig(t, "//"+strings.Repeat("x", fileBytesMax)), Getenv: noEnv})
	require.ErrorContains(t, err, "larger than 1048576 bytes")
}

// A missing variable of a script became the secret "undefined" in the original.
func TestTokenWordsAreRefusedWhereverTheyComeFrom(t *testing.T) {
	for _, word := range []string{" ", "\t\n", "undefined", "NULL", " null ", "None", "nil", "NaN", "[object Object]", "tok\n", " tok", "a\x00b", strings.Repeat("x", 4097)} {
		_, err := Load(Source{Getenv: env("CODERCLAW_GATEWAY_TOKEN", word)})
		require.ErrorContains(t, err, "gateway.auth.token", "environment %q", word)
		_, err = Load(Source{Getenv: noEnv, Flags: Flags{Token: &word}})
		require.ErrorContains(t, err, "gateway.auth.token", "flag %q", word)
		_, err = Token(t.TempDir(), NewSecret(word), slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "gateway.auth.token", "Token %q", word)
	}
	empty := ""
	_, err := Load(Source{Getenv: noEnv, Flags: Flags{Token: &empty}})
	require.ErrorContains(t, err, "gateway.auth.token is empty", "--token with nothing")
	_, err = Load(Source{Getenv: env("CODERCLAW_GATEWAY_TOKEN", "")})
	require.NoError(t, err, "a variable that is set to nothing counts as unset")
}

func TestPaths(t *testing.T) {
	dir, file := Paths(env("HOME", "/home/u"))
	require.Equal(t, "/home/u/.coderclaw", dir)
	require.Equal(t, "/home/u/.coderclaw/coderclaw.json", file)
	dir, file = Paths(env("HOME", "/home/u", "CODERCLAW_STATE_DIR", "~/state"))
	require.Equal(t, "/home/u/state", dir)
	require.Equal(t, "/home/u/state/coderclaw.json", file)
	dir, file = Paths(env("HOME", "/home/u", "CODERCLAW_STATE_DIR", "rel", "CODERCLAW_CONFIG_PATH", "/etc/c.json"))
	require.True(t, filepath.IsAbs(dir))
	require.Equal(t, "/etc/c.json", file)
}

func TestAddrs(t *testing.T) {
	lan := TLS{AllowPlaintextLan: true}
	cases := []struct {
		bind string
		tls  TLS
		want []string
		err  string
	}{
		{bind: "loopback", want: []string{"127.0.0.1:80", "[::1]:80"}},
		{bind: "127.0.0.9", want: []string{"127.0.0.9:80"}},
		{bind: "::ffff:127.0.0.1", want: []string{"127.0.0.1:80"}},
		{bind: "lan", tls: lan, want: []string{"0.0.0.0:80", "[::]:80"}},
		{bind: "lan", tls: TLS{Enabled: true}, want: []string{"0.0.0.0:80", "[::]:80"}},
		{bind: "192.0.2.1", tls: lan, want: []string{"192.0.2.1:80"}},
		{bind: "lan", err: "set gateway.tls.enabled to true, or gateway.tls.allowPlaintextLan to accept that anybody who can watch the network reads the token"},
		{bind: "0.0.0.0", err: "gateway.tls.allowPlaintextLan"},
		{bind: "::", err: "gateway.tls.allowPlaintextLan"},
		{bind: "::ffff:192.0.2.1", err: "gateway.tls.allowPlaintextLan"},
		{bind: "localhost", err: `gateway.bind must be "loopback", "lan" or an IP address`},
		{bind: "", err: "gateway.bind must be"},
		{bind: "224.0.0.1", tls: lan, err: "gateway.bind must be"},
	}
	for _, proxies := range [][]string{nil, {"127.0.0.1", "::1"}} {
		_, err := Gateway{Bind: "lan", TrustedProxies: proxies}.Addrs()
		require.ErrorContains(t, err, "gateway.tls.allowPlaintextLan", "proxies %v encrypt nothing on the way here", proxies)
	}
	_, err := Gateway{Bind: "lan", TrustedProxies: []string{"192.0.2.7"}}.Addrs()
	require.NoError(t, err)
	for _, c := range cases {
		got, err := Gateway{Port: 80, Bind: c.bind, TLS: c.tls}.Addrs()
		if c.err != "" {
			require.ErrorContains(t, err, c.err, "bind %q", c.bind)
			continue
		}
		require.NoError(t, err, "bind %q", c.bind)
		texts := make([]string, len(got))
		for i, addr := range got {
			texts[i] = addr.String()
		}
		require.Equal(t, c.want, texts, "bind %q", c.bind)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2-hunter2"
	s := Default()
	s.Gateway.Auth.Token = NewSecret(text)
	s.Models.Providers = map[string]Provider{"openai": {APIKey: NewSecret(text)}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+"\n", s.Gateway.Auth.Token)
		fmt.Fprintf(&out, verb+"\n", &s.Gateway.Auth.Token)
		fmt.Fprintf(&out, verb+"\n", *s)
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", []Secret{s.Gateway.Auth.Token})
	}
	fmt.Fprintln(&out, s.Gateway.Auth.Token, fmt.Errorf("wrapped %v", s.Gateway.Auth.Token))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("m", "token", s.Gateway.Auth.Token, "all", s, "value", *s)
	}
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	out.Write(raw)
	key, err := json.Marshal(map[Secret]int{NewSecret(text): 1})
	require.NoError(t, err)
	out.Write(key)
	require.NotContains(t, out.String(), text)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", text))
	require.Contains(t, out.String(), "[redacted]")
	require.Equal(t, text, s.Gateway.Auth.Token.Reveal())
}

func TestSchema(t *testing.T) {
	var doc map[string]any
	require.NoError(t, json.Unmarshal(Schema(), &doc))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", doc["$schema"])
	var keys []string
	var walk func(path string, node map[string]any)
	walk = func(path string, node map[string]any) {
		require.NotContains(t, node, "required", "%s: no key is required", path)
		for suffix, member := range map[string]string{".*": "additionalProperties", "[]": "items"} {
			if inner, ok := node[member].(map[string]any); ok {
				walk(path+suffix, inner)
			}
		}
		require.NotContains(t, node, "anyOf", "%s: clients cannot make a form of it", path)
		props, ok := node["properties"].(map[string]any)
		if !ok {
			return
		}
		require.Equal(t, false, node["additionalProperties"], "%s is closed", path)
		for key, sub := range props {
			child := sub.(map[string]any)
			require.NotEmpty(t, child["description"], "%s has a description", join(path, key))
			keys = append(keys, join(path, key))
			walk(join(path, key), child)
		}
	}
	walk("", doc)
	require.ElementsMatch(t, []string{
		"gateway", "gateway.port", "gateway.bind", "gateway.auth", "gateway.auth.token", "gateway.auth.allowLegacySignature",
		"gateway.auth.mode", "gateway.auth.password", "gateway.auth.trustedProxy", "gateway.auth.trustedProxy.userHeader",
		"gateway.auth.trustedProxy.requiredHeaders", "gateway.auth.trustedProxy.allowUsers", "gateway.auth.rateLimit",
		"gateway.auth.rateLimit.maxAttempts", "gateway.auth.rateLimit.windowMs", "gateway.auth.rateLimit.lockoutMs", "gateway.trustedProxies",
		"gateway.proxySecret", "gateway.proxySecret.header", "gateway.proxySecret.secret", "gateway.proxySecret.file",
		"gateway.tailscale", "gateway.tailscale.socket", "gateway.auth.allowTailscale", "gateway.allowedHosts", "gateway.controlUi", "gateway.controlUi.allowedOrigins", "gateway.tls", "gateway.tls.allowPlaintextLan",
		"gateway.tls.enabled", "gateway.tls.autoGenerate", "gateway.tls.certPath", "gateway.tls.keyPath", "gateway.remote", "gateway.remote.tlsFingerprint", "gateway.remote.url", "gateway.remote.token", "gateway.remote.password", "gateway.mode",
		"tasks", "tasks.perAgent", "tasks.openMax", "tasks.leaseSeconds", "tasks.retryBackoffMs", "tasks.retentionDays", "tasks.retentionCount", "tasks.retentionBytes",
		"tasks.keyRetentionHours", "tasks.watcherLagEvents",
		"gateway.maxBufferedBytes", "models", "models.mode", "models.providers", "models.providers.*.baseUrl", "models.providers.*.apiKey", "models.providers.*.api",
		"models.providers.*.models", "models.providers.*.models[].id", "models.providers.*.models[].name", "models.providers.*.models[].contextWindow",
		"models.providers.*.models[].maxTokens", "models.providers.*.models[].reasoning", "models.providers.*.models[].input", "models.providers.*.models[].cost",
		"models.providers.*.models[].cost.input", "models.providers.*.models[].cost.output", "models.providers.*.models[].cost.cacheRead", "models.providers.*.models[].cost.cacheWrite",
		"agents", "agents.defaults", "agents.defaults.model", "agents.defaults.model.primary", "agents.defaults.model.fallbacks", "agents.defaults.workspace",
		"agents.defaults.contextTokens", "agents.defaults.maxConcurrent", "agents.defaults.timeoutSeconds", "agents.list", "agents.list[].id", "agents.list[].default",
		"agents.list[].name", "agents.list[].workspace", "agents.list[].model", "agents.list[].model.primary", "agents.list[].model.fallbacks", "agents.list[].identity",
		"agents.list[].identity.name", "agents.list[].identity.theme", "agents.list[].identity.emoji", "agents.list[].identity.avatar", "gateway.reload", "gateway.reload.mode", "gateway.reload.debounceMs",
		"logging", "logging.level", "ui", "ui.seamColor", "meta", "meta.lastTouchedVersion", "meta.lastTouchedAt",
	}, keys)
	token := doc["properties"].(map[string]any)["gateway"].(map[string]any)["properties"].(map[string]any)["auth"].(map[string]any)["properties"].(map[string]any)["token"].(map[string]any)
	require.Equal(t, "string", token["type"])
	require.Equal(t, true, token["writeOnly"])
}

// FuzzCompile: no text breaks the reader, and no view of it shows what stands under
// a secret's key or under one that nobody knows.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`{gateway:{port:1,auth:{token:"x"}}}`, `{/*/**/a:1,'a':[{b:1,b:2}]}`, `{a:"\`, `[[[`, `{"\u0061":+Infinity}`, "//", `{a:-}`, `{a:0x}`, `{gateway:{allowedHosts:[1,]}}`,
		`{$include:["x",2]}`, `{gateway:{bind:"${A}$${B}"},$include:"../x"}`,
	} {
		f.Add([]byte(seed), "hunter2-hunter2")
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte, secret string) {
		src := Source{Path: filepath.Join(dir, configFileName), Getenv: noEnv}
		d := Compile(src, raw)
		require.Equal(t, len(d.Issues) == 0, d.Settings != nil)
		d.View()
		if len(secret) < 6 || CheckToken(NewSecret(secret)) != nil || strings.ContainsAny(secret, "$\"\\<>&") || !utf8.ValidString(secret) || strings.Contains(Redacted, secret) {
			return
		}
		with, err := Set(raw, []string{"gateway", "auth", "token"}, []byte(json5.Quote(secret)))
		if err != nil || strings.Contains(string(raw), secret) {
			return
		}
		d = Compile(src, with)
		v := d.View()
		for _, text := range [][]byte{v.Raw, v.Parsed, v.Resolved, v.Config, []byte(fmt.Sprint(d.Err()))} {
			require.NotContains(t, string(text), secret)
		}
	})
}
