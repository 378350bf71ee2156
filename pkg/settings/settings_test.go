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
	require.Equal(t, "builtin", s.Agent.Backend)
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
  agent: { backend: "openai", openai: { baseUrl: "http://127.0.0.1:11434/v1", apiKey: "k", model: "m", fallbacks: ["n"], contextTokens: 8192,
    cost: { input: 2.5, output: 10, cacheRead: 0.25, cacheWrite: 3 } } },
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
		Agent: Agent{Backend: "openai", OpenAI: OpenAI{
			BaseURL: "http://127.0.0.1:11434/v1", APIKey: NewSecret("k"), Model: "m", Fallbacks: []string{"n"}, ContextTokens: 8192,
			Cost: Cost{Input: 2.5, Output: 10, CacheRead: 0.25, CacheWrite: 3},
		}},
	}, s)
}

func TestLoadPrecedence(t *testing.T) {
	path := writeConfig(t, `{gateway: {port: 1000, auth: {token: "file"}}, agent: {openai: {model: "file", apiKey: "file"}}}`)
	environ := env("CODERCLAW_GATEWAY_PORT", "2000", "CODERCLAW_GATEWAY_TOKEN", "env", "OPENAI_MODEL", "env", "OPENAI_API_KEY", "env")
	port, token := 3000, "flag"

	s, err := Load(Source{Path: path, Getenv: noEnv})
	require.NoError(t, err)
	require.Equal(t, []any{1000, "file", "file", "file"},
		[]any{s.Gateway.Port, s.Gateway.Auth.Token.Reveal(), s.Agent.OpenAI.Model, s.Agent.OpenAI.APIKey.Reveal()})

	s, err = Load(Source{Path: path, Getenv: environ})
	require.NoError(t, err)
	require.Equal(t, []any{2000, "env", "env", "env"},
		[]any{s.Gateway.Port, s.Gateway.Auth.Token.Reveal(), s.Agent.OpenAI.Model, s.Agent.OpenAI.APIKey.Reveal()})

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

func TestLoadPicksTheBackend(t *testing.T) {
	cases := []struct {
		name, file, backend, baseURL string
		env                          []string
	}{
		{name: "nothing said", file: "{}", backend: "builtin"},
		{name: "base URL in the environment", file: "{}", env: []string{"OPENAI_BASE_URL", "http://h/v1"}, backend: "openai", baseURL: "http://h/v1"},
		{name: "file insists on builtin", file: `{agent:{backend:"builtin"}}`, env: []string{"OPENAI_BASE_URL", "http://h/v1"}, backend: "builtin", baseURL: "http://h/v1"},
		{name: "a key alone selects nothing", file: "{}", env: []string{"OPENAI_API_KEY", "k"}, backend: "builtin"},
		{name: "openai without base URL", file: `{agent:{backend:"openai"}}`, backend: "openai", baseURL: DefaultOpenAIBaseURL},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(Source{Path: writeConfig(t, c.file), Getenv: env(c.env...)})
			require.NoError(t, err)
			require.Equal(t, c.backend, s.Agent.Backend)
			require.Equal(t, c.baseURL, s.Agent.OpenAI.BaseURL)
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
		{"backend", `{agent:{backend:"claude"}}`, `agent.backend must be "builtin" or "openai"`},
		{"a nameless fallback", `{agent:{openai:{fallbacks:["a",""]}}}`, "agent.openai.fallbacks must be at most 8 names of models"},
		{"many fallbacks", `{agent:{openai:{fallbacks:["1","2","3","4","5","6","7","8","9"]}}}`, "agent.openai.fallbacks must be at most 8 names of models"},
		{"base URL scheme", `{agent:{openai:{baseUrl:"file:///x"}}}`, "agent.openai.baseUrl (or OPENAI_BASE_URL) must be an http or https URL"},
		{"base URL with password", `{agent:{openai:{baseUrl:"http://u:p@h/v1"}}}`, "without user name"},
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
	s.Agent.OpenAI.APIKey = NewSecret(text)
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
		"gateway.maxBufferedBytes", "agent", "agent.backend", "agent.openai", "agent.openai.baseUrl", "agent.openai.apiKey",
		"agent.openai.model", "agent.openai.fallbacks", "agent.openai.contextTokens", "gateway.reload", "gateway.reload.mode", "gateway.reload.debounceMs",
		"logging", "logging.level", "ui", "ui.seamColor", "meta", "meta.lastTouchedVersion", "meta.lastTouchedAt",
		"agent.openai.cost", "agent.openai.cost.input", "agent.openai.cost.output", "agent.openai.cost.cacheRead", "agent.openai.cost.cacheWrite",
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
