// Package settings reads coderclaw.json and says how the gateway shall run.
//
// The file is JSON5, may include others ($include) and refer to the environment
// (${NAME}). A value comes from the first of these that has it: a command
// line flag, the environment, the file, the default. The struct tree below is the
// only list of keys: the reader walks it, Schema reflects it, and a key that is
// not in it is refused with its full path, because a misspelt security setting
// that is silently ignored is worse than a gateway that does not start.
//
// The tags of a field say what else there is to know of its key: reload, what it
// takes for a change to take effect (see Class; without the tag, what the group
// says), env, the variable that overrides it, example, and advanced.
//
// It writes the file and its backups (write.go), what is needed to come back from a
// bad one (lastgood.go, probation.go), and the generated token of a gateway that
// was given no secret (token.go): there is no way to run without one. It decides
// nothing about peers; that is package identity's. Values of the file never appear
// in an error text, since any of them may be a secret in the wrong place.
//
// A *Settings is not written after Load returns it and may be shared.
package settings

// The limits and defaults of the keys below. Sizes are in bytes.
const (
	DefaultPort             = 18789
	DefaultBind             = BindLoopback
	DefaultMaxBufferedBytes = 16 << 20
	DefaultOpenAIBaseURL    = "https://api.openai.com/v1"

	fileBytesMax        = 1 << 20
	fileDepthMax        = 32
	listEntriesMax      = 256
	bufferedBytesMin    = 64 << 10
	bufferedBytesMax    = 50 << 20
	contextTokensMax    = 100_000_000
	fallbacksMax        = 8
	BindLoopback        = "loopback"
	BindLAN             = "lan"
	configFileName      = "coderclaw.json"
	stateDirName        = ".coderclaw"
	generatedTokenBytes = 24

	DefaultProxySecretHeader = "X-Coderclaw-Proxy-Secret"
	proxySecretBytesMin      = 16

	AuthToken        = "token"
	AuthPassword     = "password"
	AuthTrustedProxy = "trusted-proxy"

	// The words of gateway.reload.mode.
	ReloadHybrid  = "hybrid"
	ReloadHot     = "hot"
	ReloadRestart = "restart"
	ReloadOff     = "off"

	DefaultDebounceMs = 300
	debounceMsLeast   = 50
	debounceMsMost    = 60_000

	DefaultAttemptsMax = 10
	DefaultWindowMs    = 60_000
	DefaultLockoutMs   = 300_000
	attemptsMost       = 1000
	rateLimitMsLeast   = 1000
	rateLimitMsMost    = 86_400_000
)

// Settings is the whole of coderclaw.json, resolved.
type Settings struct {
	Gateway Gateway `json:"gateway" reload:"restart" jsonschema_description:"How the gateway listens and whom it lets in."`
	Models  Models  `json:"models" reload:"hot" jsonschema_description:"Which models there are. A change holds for the next run; runs go on with what they began."`
	Agents  Agents  `json:"agents" reload:"hot" jsonschema_description:"Which agents there are, and which model answers for them. A change holds for the next run."`
	Tasks   Tasks   `json:"tasks" reload:"hot" advanced:"true" jsonschema_description:"What the task engine takes at a time and how long it remembers. Every answer of an agent is a task."`
	Logging Logging `json:"logging" reload:"hot" jsonschema_description:"What is logged."`
	UI      UI      `json:"ui" reload:"none" jsonschema_description:"How clients look."`
	Meta    Meta    `json:"meta" reload:"none" advanced:"true" jsonschema_description:"Notes of the programs that write this file."`
}

// Gateway is the part of the settings that the server itself obeys.
type Gateway struct {
	Mode             string      `json:"mode" reload:"none" jsonschema:"enum=local,enum=remote,default=local" jsonschema_description:"Which gateway the commands of this machine talk to: local is the one of this state directory, remote the one of gateway.remote.url. A gateway that runs here runs all the same."`
	Port             int         `json:"port" env:"CODERCLAW_GATEWAY_PORT" jsonschema:"minimum=0,maximum=65535,default=18789" jsonschema_description:"TCP port of HTTP and WebSocket; 0 takes a free one."`
	Bind             string      `json:"bind" jsonschema:"default=loopback" jsonschema_description:"Where to listen: loopback (127.0.0.1 and ::1), lan (every interface), or one IP address. Anything beyond loopback needs gateway.tls.enabled, a proxy elsewhere in gateway.trustedProxies, or gateway.tls.allowPlaintextLan."`
	Auth             Auth        `json:"auth" jsonschema_description:"How clients prove that they may connect."`
	TrustedProxies   []string    `json:"trustedProxies" reload:"hot" example:"[\"10.0.0.2\"]" jsonschema_description:"IP addresses and CIDR ranges of reverse proxies whose X-Forwarded-For is believed. What comes through one is never local; one that does not send the header is refused."`
	AllowedHosts     []string    `json:"allowedHosts" reload:"hot" example:"[\"gateway.example.com\"]" jsonschema_description:"Host names, without port, by which clients may address this gateway besides IP addresses, localhost and the machine's own name."`
	ControlUI        ControlUI   `json:"controlUi" reload:"hot" jsonschema_description:"Browser access."`
	ProxySecret      ProxySecret `json:"proxySecret" jsonschema_description:"What a proxy on this host sends to be told from every other program here. Without it, whatever runs on this host may speak for a loopback address in gateway.trustedProxies."`
	Tailscale        Tailscale   `json:"tailscale" jsonschema_description:"The tailscaled of this host, if there is one. It says which tailnet addresses and which MagicDNS name are this host: they count as local and as allowed names."`
	TLS              TLS         `json:"tls" jsonschema_description:"Encryption in transit."`
	Remote           Remote      `json:"remote" reload:"none" jsonschema_description:"What the commands of this machine know of a gateway on another one."`
	Reload           Reload      `json:"reload" reload:"hot" jsonschema_description:"What happens when this file changes while the gateway runs."`
	MaxBufferedBytes int         `json:"maxBufferedBytes" reload:"hot" jsonschema:"minimum=65536,maximum=52428800,default=16777216" jsonschema_description:"Bytes that may wait for one slow client before it is disconnected. A change holds for connections made afterwards."`
}

// Auth is how clients authenticate. There is no mode without a proof: in mode token
// an unset Token makes the gateway generate one (see Token).
type Auth struct {
	Mode                 string       `json:"mode" jsonschema:"enum=token,enum=password,enum=trusted-proxy" jsonschema_description:"What proves that a client may connect. When unset: password if one is set, else token. CODERCLAW_GATEWAY_TOKEN and CODERCLAW_GATEWAY_PASSWORD override the secrets below."`
	Token                Secret       `json:"token" reload:"hot" env:"CODERCLAW_GATEWAY_TOKEN" example:"${GATEWAY_TOKEN}" jsonschema:"minLength=1" jsonschema_description:"The shared secret. When unset, one is generated into gateway.token in the state directory."`
	Password             Secret       `json:"password" reload:"hot" env:"CODERCLAW_GATEWAY_PASSWORD" example:"${GATEWAY_PASSWORD}" jsonschema:"minLength=1" jsonschema_description:"The shared secret of mode password."`
	TrustedProxy         TrustedProxy `json:"trustedProxy" jsonschema_description:"Mode trusted-proxy: a reverse proxy in gateway.trustedProxies signs people in. Costs: every program that can send from such an address, this host's own programs included when it is a loopback address and gateway.proxySecret is not set, can name any user."`
	RateLimit            RateLimit    `json:"rateLimit" reload:"hot" jsonschema_description:"How many wrong secrets one address may send. A paired device that signs is counted apart from its address."`
	AllowTailscale       bool         `json:"allowTailscale" jsonschema:"default=false" jsonschema_description:"Let people in whom Tailscale Serve has signed in on this host, if tailscaled knows their address under the same login. Their devices still have to be approved. Costs: programs of tailscaled's user (root), and on other systems than Linux every program on this host, can send what Serve sends, and so name any user of the tailnet."`
	AllowLegacySignature bool         `json:"allowLegacySignature" jsonschema:"default=false" jsonschema_description:"Accept device signatures without the server's nonce from this host, if at most 120 s old, each once. Costs: who restarts the gateway within that time can replay one."`
}

// TrustedProxy is how a proxy tells whom it has signed in.
type TrustedProxy struct {
	UserHeader      string   `json:"userHeader" example:"X-Forwarded-User" jsonschema_description:"The header with the user's name, such as X-Forwarded-User. The proxy must remove it from what it receives."`
	RequiredHeaders []string `json:"requiredHeaders" example:"[\"X-Forwarded-Proto\"]" jsonschema_description:"Headers that must all be there and not empty."`
	AllowUsers      []string `json:"allowUsers" example:"[\"me@example.com\"]" jsonschema_description:"Users who may connect; empty lets everybody whom the proxy has signed in."`
}

// ProxySecret is how a proxy on this host proves that it is the one. A loopback address
// in gateway.trustedProxies is believed only with the header once a secret is set; what
// comes from there without it is an ordinary connection that is never local.
type ProxySecret struct {
	Header string `json:"header" jsonschema:"default=X-Coderclaw-Proxy-Secret" jsonschema_description:"The header that carries the secret. The proxy must overwrite what it receives under this name."`
	Secret Secret `json:"secret" env:"CODERCLAW_PROXY_SECRET" example:"${PROXY_SECRET}" jsonschema:"minLength=16" jsonschema_description:"The secret; another one than the gateway's. CODERCLAW_PROXY_SECRET overrides it."`
	File   string `json:"file" example:"/run/secrets/proxy" jsonschema_description:"A file that holds the secret instead."`
}

// RateLimit bounds the guessing of secrets.
type RateLimit struct {
	MaxAttempts int   `json:"maxAttempts" jsonschema:"minimum=1,maximum=1000,default=10" jsonschema_description:"Wrong secrets from one address within the window that begin a lockout."`
	WindowMs    int64 `json:"windowMs" jsonschema:"minimum=1000,maximum=86400000,default=60000" jsonschema_description:"The window in milliseconds."`
	LockoutMs   int64 `json:"lockoutMs" jsonschema:"minimum=1000,maximum=86400000,default=300000" jsonschema_description:"How long a lockout lasts in milliseconds. A few secrets are still weighed in it, so that the right one gets in."`
}

// ControlUI is what browsers may do.
type ControlUI struct {
	AllowedOrigins []string `json:"allowedOrigins" example:"[\"https://ui.example.com\"]" jsonschema_description:"Origins (scheme://host or scheme://host:port) whose pages may connect, besides the gateway's own."`
}

// Reload is what happens when the file changes.
type Reload struct {
	Mode       string `json:"mode" jsonschema:"enum=hybrid,enum=hot,enum=restart,enum=off,default=hybrid" jsonschema_description:"hybrid applies what it can and restarts in place for the rest; hot never restarts by itself and says what waits for a restart; restart restarts for every change that is not read anew anyway; off takes up nothing until the next start."`
	DebounceMs int64  `json:"debounceMs" jsonschema:"minimum=50,maximum=60000,default=300" jsonschema_description:"How long the file must stay as it is, in milliseconds, before it is read again."`
}

// Logging is what is logged.
type Logging struct {
	Level string `json:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error" jsonschema_description:"Least severe level that is logged: debug, info, warn or error. When unset: info; coderclaw gateway --verbose makes it debug."`
}

// UI is how clients look.
type UI struct {
	SeamColor string `json:"seamColor" example:"#336699" jsonschema_description:"Accent colour of the clients, as #RRGGBB. The gateway itself has no use for it."`
}

// Meta is what programs note in the file.
type Meta struct {
	LastTouchedVersion string `json:"lastTouchedVersion" example:"1.2.0" jsonschema_description:"Version of the program that last wrote this file."`
	LastTouchedAt      string `json:"lastTouchedAt" example:"2026-11-22T10:50:40.247Z" jsonschema_description:"When that was. The gateway has no use for it."`
}

// Tailscale is where tailscaled answers.
type Tailscale struct {
	Socket string `json:"socket" example:"/var/run/tailscale/tailscaled.sock" jsonschema_description:"Path of tailscaled's socket. When unset: where it is on this system (/var/run/tailscale/tailscaled.sock on Linux). A path that does not exist means that there is no tailnet."`
}

// TLS is encryption in transit.
type TLS struct {
	Enabled           bool   `json:"enabled" jsonschema:"default=false" jsonschema_description:"Speak TLS, and nothing else, on the gateway's port: https:// and wss://."`
	AutoGenerate      bool   `json:"autoGenerate" jsonschema:"default=true" jsonschema_description:"Without certPath and keyPath, make a certificate of the gateway's own (tls/gateway.pem in the state directory), which clients pin: coderclaw tls show."`
	CertPath          string `json:"certPath" jsonschema_description:"PEM file of the certificate, the ones it leans on behind it. It is read anew when it changes. ~ is the home directory; a relative path starts at the config file."`
	KeyPath           string `json:"keyPath" jsonschema_description:"PEM file of the certificate's private key."`
	AllowPlaintextLan bool   `json:"allowPlaintextLan" jsonschema:"default=false" jsonschema_description:"Listen beyond loopback without encryption. Costs: whoever can watch the network reads the token and every message."`
}

// Remote is what clients on this machine know of a gateway elsewhere.
type Remote struct {
	URL            string `json:"url" example:"wss://gateway.example.com:18789" jsonschema:"format=uri" jsonschema_description:"With gateway.mode remote: where that gateway listens (ws:// or wss://). --url overrides it."`
	Token          Secret `json:"token" example:"${REMOTE_TOKEN}" jsonschema:"minLength=1" jsonschema_description:"The shared secret of the gateway at gateway.remote.url, which alone is sent it. --token overrides it; CODERCLAW_GATEWAY_TOKEN is not sent there."`
	Password       Secret `json:"password" example:"${REMOTE_PASSWORD}" jsonschema:"minLength=1" jsonschema_description:"The password of that gateway, where it asks for one."`
	TLSFingerprint string `json:"tlsFingerprint" jsonschema_description:"SHA-256 of the certificate, or of its key, that a wss:// gateway on another machine must show: coderclaw tls show prints it there. CODERCLAW_GATEWAY_TLS_FINGERPRINT and --tls-fingerprint override it."`
}

// Default returns the settings of an empty file.
func Default() *Settings {
	return &Settings{
		Gateway: Gateway{
			Mode:        ModeLocal,
			ProxySecret: ProxySecret{Header: DefaultProxySecretHeader},
			Port:        DefaultPort, Bind: DefaultBind, MaxBufferedBytes: DefaultMaxBufferedBytes,
			Auth:   Auth{RateLimit: RateLimit{MaxAttempts: DefaultAttemptsMax, WindowMs: DefaultWindowMs, LockoutMs: DefaultLockoutMs}},
			Reload: Reload{Mode: ReloadHybrid, DebounceMs: DefaultDebounceMs},
			TLS:    TLS{AutoGenerate: true},
		},
		Models: Models{Mode: ModelsMerge},
		Agents: Agents{Defaults: AgentDefaults{MaxConcurrent: DefaultMaxConcurrent, TimeoutSeconds: DefaultTimeoutSeconds}},
		Tasks:  defaultTasks(),
	}
}
