// Package settings reads coderclaw.json and says how the gateway shall run.
//
// The file is JSON5. A value comes from the first of these that has it: a command
// line flag, the environment, the file, the default. The struct tree below is the
// only list of keys: the reader walks it, Schema reflects it, and a key that is
// not in it is refused with its full path, because a misspelt security setting
// that is silently ignored is worse than a gateway that does not start.
//
// The package writes one file only, the generated token of a gateway that was
// given no secret (token.go): there is no way to run without one. It decides
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
	BackendBuiltin      = "builtin"
	BackendOpenAI       = "openai"
	BindLoopback        = "loopback"
	BindLAN             = "lan"
	configFileName      = "coderclaw.json"
	stateDirName        = ".coderclaw"
	generatedTokenBytes = 24
)

// Settings is the whole of coderclaw.json, resolved.
type Settings struct {
	Gateway Gateway `json:"gateway" jsonschema_description:"How the gateway listens and whom it lets in."`
	Agent   Agent   `json:"agent" jsonschema_description:"Which model answers."`
}

// Gateway is the part of the settings that the server itself obeys.
type Gateway struct {
	Port             int       `json:"port" jsonschema:"minimum=0,maximum=65535,default=18789" jsonschema_description:"TCP port of HTTP and WebSocket; 0 takes a free one."`
	Bind             string    `json:"bind" jsonschema:"default=loopback" jsonschema_description:"Where to listen: loopback (127.0.0.1 and ::1), lan (every interface), or one IP address. Anything beyond loopback needs gateway.tls.allowPlaintextLan."`
	Auth             Auth      `json:"auth" jsonschema_description:"How clients prove that they may connect."`
	AllowedHosts     []string  `json:"allowedHosts" jsonschema_description:"Host names, without port, by which clients may address this gateway besides IP addresses, localhost and the machine's own name."`
	ControlUI        ControlUI `json:"controlUi" jsonschema_description:"Browser access."`
	TLS              TLS       `json:"tls" jsonschema_description:"Encryption in transit."`
	MaxBufferedBytes int       `json:"maxBufferedBytes" jsonschema:"minimum=65536,maximum=52428800,default=16777216" jsonschema_description:"Bytes that may wait for one slow client before it is disconnected."`
}

// Auth is how clients authenticate. There is no mode without a secret: an unset
// Token makes the gateway generate one (see Token).
type Auth struct {
	Token                Secret `json:"token" jsonschema:"minLength=1" jsonschema_description:"The shared secret. When unset, one is generated into gateway.token in the state directory."`
	AllowLegacySignature bool   `json:"allowLegacySignature" jsonschema:"default=false" jsonschema_description:"Accept device signatures without the server's nonce from this host, if at most 120 s old. Costs: such a signature can be replayed within that time."`
}

// ControlUI is what browsers may do.
type ControlUI struct {
	AllowedOrigins []string `json:"allowedOrigins" jsonschema_description:"Origins (scheme://host or scheme://host:port) whose pages may connect, besides the gateway's own."`
}

// TLS is encryption in transit.
type TLS struct {
	AllowPlaintextLan bool `json:"allowPlaintextLan" jsonschema:"default=false" jsonschema_description:"Listen beyond loopback without encryption. Costs: whoever can watch the network reads the token and every message."`
}

// Agent is which model answers.
type Agent struct {
	Backend string `json:"backend" jsonschema:"enum=builtin,enum=openai" jsonschema_description:"builtin needs no model; openai is any server that speaks OpenAI's chat completions. When unset: openai if OPENAI_BASE_URL is in the environment, else builtin."`
	OpenAI  OpenAI `json:"openai" jsonschema_description:"The OpenAI-compatible server."`
}

// OpenAI is where an OpenAI-compatible server listens and what to ask of it.
type OpenAI struct {
	BaseURL       string `json:"baseUrl" jsonschema:"format=uri" jsonschema_description:"Base URL, such as http://127.0.0.1:11434/v1. OPENAI_BASE_URL overrides it."`
	APIKey        Secret `json:"apiKey" jsonschema_description:"API key. OPENAI_API_KEY overrides it."`
	Model         string `json:"model" jsonschema_description:"Model name. OPENAI_MODEL overrides it."`
	ContextTokens int64  `json:"contextTokens" jsonschema:"minimum=0,maximum=100000000" jsonschema_description:"Context window of the model in tokens; 0 leaves it to the backend."`
}

// Default returns the settings of an empty file.
func Default() *Settings {
	return &Settings{
		Gateway: Gateway{Port: DefaultPort, Bind: DefaultBind, MaxBufferedBytes: DefaultMaxBufferedBytes},
	}
}
