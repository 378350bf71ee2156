package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// fingerprintDigits is how much of a secret's SHA-256 is shown: enough to tell
	// two secrets apart.
	fingerprintDigits = 8
	// fingerprintMin is the length in bytes below which a secret has no fingerprint:
	// one that a person made up could be found from it by guessing.
	fingerprintMin = 16

	envToken    = "CODERCLAW_GATEWAY_TOKEN"
	envPassword = "CODERCLAW_GATEWAY_PASSWORD"
)

const authHelp = `Tells where each secret comes from and which one is sent (fingerprints only), which device
this is and what it holds, what it needs, and what the gateway answers to a connect. The last
line is the one thing to do.

Without a running gateway it tells what the state directory knows.`

// authFacts is what auth explain found out; its JSON is what --json prints.
type authFacts struct {
	StateDir    string `json:"stateDir"`
	ConfigPath  string `json:"configPath"`
	ConfigError string `json:"configError,omitempty"`
	URL         string `json:"url"`
	// Local says that the gateway of this state directory is meant.
	Local bool `json:"local"`
	// Certificate says what a wss:// gateway's certificate is held to.
	Certificate *pinFact     `json:"certificate,omitempty"`
	Running     bool         `json:"running"`
	PID         int          `json:"pid,omitempty"`
	Port        int          `json:"port,omitempty"`
	SinceMs     int64        `json:"sinceMs,omitempty"`
	Mode        string       `json:"mode,omitempty"`
	Secrets     []secretFact `json:"secrets"`
	Device      deviceFact   `json:"device"`
	Tokens      []tokenFact  `json:"deviceTokens"`
	Scopes      scopeFacts   `json:"scopes"`
	Connect     connectFact  `json:"connect"`
	Remedy      remedy       `json:"remedy"`
}

// secretFact is one place that a shared secret comes from.
type secretFact struct {
	From        string `json:"from"`
	Fingerprint string `json:"fingerprint"`
	// Sent says that this command sends it, Gateway that the gateway of this state
	// directory takes it unless its own command line or environment names another.
	Sent    bool `json:"sent"`
	Gateway bool `json:"gateway"`
	text    string
}

type deviceFact struct {
	ID      string `json:"id,omitempty"`
	KeyFile string `json:"keyFile"`
	Made    bool   `json:"made"`
	// Paired and Requests are what the state directory says while no gateway runs.
	Paired   *bool    `json:"paired,omitempty"`
	Requests []string `json:"requests,omitempty"`
}

type tokenFact struct {
	Role        string   `json:"role"`
	Gateway     string   `json:"gateway,omitempty"`
	Scopes      []string `json:"scopes"`
	Fingerprint string   `json:"fingerprint"`
	UpdatedAtMs int64    `json:"updatedAtMs"`
	Sent        bool     `json:"sent"`
}

type scopeFacts struct {
	Needed  []string `json:"needed"`
	Held    []string `json:"held"`
	Missing []string `json:"missing"`
	// From says who told what is held.
	From string `json:"from,omitempty"`
}

type connectFact struct {
	Tried bool `json:"tried"`
	OK    bool `json:"ok"`
	// Answer is the refusal's message, or why no connection came about.
	Answer    string          `json:"answer,omitempty"`
	Code      string          `json:"code,omitempty"`
	Details   json.RawMessage `json:"details,omitempty"`
	Explained *wire.ErrorInfo `json:"explained,omitempty"`
	requestID string
	hint      string
}

// remedy is the one thing to do: why, and a command or an instruction.
type remedy struct {
	Why string `json:"why"`
	Fix string `json:"fix,omitempty"`
}

func (a *App) authCommand() *cli.Command {
	return &cli.Command{
		Name: "auth", Category: categorySecurity,
		Usage: "find out why a gateway lets this command in, or not, and replace its secret",
		Subcommands: []*cli.Command{a.authRotateCommand(), {
			Name: "explain", Usage: "tell which secret and device each side uses, and the one thing to mend",
			UsageText: "coderclaw auth explain [--url URL]", Description: authHelp, Action: a.runAuthExplain,
		}},
	}
}

func (a *App) runAuthExplain(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	limit, err := timeout(c, askTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	facts, err := a.authFacts(ctx, c)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(facts)
	}
	return a.printAuth(facts)
}

func (a *App) authFacts(ctx context.Context, c *cli.Context) (*authFacts, error) {
	f := &authFacts{Secrets: []secretFact{}, Tokens: []tokenFact{}}
	t, err := a.target(c)
	var usage *usageError
	if errors.As(err, &usage) {
		return nil, err
	}
	f.URL, f.StateDir, f.Local, f.Certificate = t.url, t.stateDir, t.local, t.pinFact()
	_, f.ConfigPath = settings.Paths(a.getenv(c))
	o, held := lockOwner(t.stateDir)
	if f.Running = held && o.Port > 0; f.Running {
		f.PID, f.Port, f.SinceMs = o.PID, o.Port, o.StartedAt.UnixMilli()
	}
	a.secretFacts(c, f, t)
	if err := f.deviceFacts(ctx, t); err != nil {
		return nil, err
	}
	// Without a gateway there is nobody to ask, and no reason to show a secret to
	// whatever else may listen on its port.
	_, named := globalString(c, flagURL)
	if f.Running || named || !t.local || a.getenv(c)("CODERCLAW_GATEWAY_PORT") != "" {
		a.tryConnect(ctx, c, f, t)
	}
	f.Scopes.Missing = missing(f.Scopes.Held, f.Scopes.Needed)
	f.Remedy = f.remedy()
	return f, nil
}

// secretFacts lists every place that a shared secret comes from, in the order in
// which they win: flags, environment, config, state directory.
func (a *App) secretFacts(c *cli.Context, f *authFacts, t target) {
	getenv := a.getenv(c)
	add := func(from, text string, sent, gateways bool) {
		if text != "" {
			f.Secrets = append(f.Secrets, secretFact{
				From: from, Fingerprint: fingerprint(text), text: text, Sent: sent,
				Gateway: gateways && !slices.ContainsFunc(f.Secrets, func(s secretFact) bool { return s.Gateway }),
			})
		}
	}
	token := func(from, text string, gateways bool) {
		add(from, text, t.token != "" && from == t.tokenFrom, gateways)
	}
	password := func(from, text string, gateways bool) {
		label := from
		if from == f.ConfigPath {
			label += " (password)"
		}
		add(label, text, t.password != "" && from == t.passwordFrom, gateways)
	}
	if s := t.secrets; t.tokenFrom == "--token" {
		token(s.tokenFrom, s.token, false)
	} else if s.passwordFrom != envPassword && s.passwordFrom != f.ConfigPath {
		password(s.passwordFrom, s.password, false)
	}
	token(envToken, strings.TrimSpace(getenv(envToken)), false)
	if !t.local {
		password(envPassword, getenv(envPassword), false)
		if t.tokenFrom != "--token" && t.tokenFrom != envToken {
			token(t.tokenFrom, t.token, false) // gateway.remote.token
		}
		return
	}
	conf, err := settings.Load(settings.Source{Path: f.ConfigPath, Getenv: without(getenv, envToken)})
	if err != nil {
		f.ConfigError = err.Error()
		conf = settings.Default()
	}
	auth := conf.Gateway.Auth
	f.Mode = auth.Mode
	if getenv(envPassword) != "" {
		password(envPassword, getenv(envPassword), auth.Mode == settings.AuthPassword)
	} else {
		password(f.ConfigPath, auth.Password.Reveal(), auth.Mode == settings.AuthPassword)
	}
	token(f.ConfigPath, auth.Token.Reveal(), auth.Mode == settings.AuthToken)
	if stored, err := settings.ReadToken(t.stateDir, slog.New(slog.DiscardHandler)); err == nil {
		token(filepath.Join(t.stateDir, settings.TokenFileName), stored.Reveal(), f.ConfigError == "" && auth.Mode == settings.AuthToken)
	}
}

func without(getenv func(string) string, name string) func(string) string {
	return func(asked string) string {
		if asked == name {
			return ""
		}
		return getenv(asked)
	}
}

func fingerprint(text string) string {
	if len(text) < fingerprintMin {
		return fmt.Sprintf("not shown: shorter than %d characters", fingerprintMin)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:fingerprintDigits]
}

// deviceFacts tells what this device is and holds, without making one.
func (f *authFacts) deviceFacts(ctx context.Context, t target) error {
	f.Scopes = scopeFacts{Needed: cliScopes(), Held: []string{}}
	f.Device.KeyFile = filepath.Join(t.stateDir, "identity", "device.json")
	if _, err := os.Stat(f.Device.KeyFile); err != nil {
		return nil
	}
	id, err := client.LoadIdentity(t.stateDir)
	if err != nil {
		return err
	}
	f.Device.ID, f.Device.Made = id.DeviceID, true
	stored, err := client.OpenTokens(t.stateDir, id.DeviceID).List()
	if err != nil {
		return err
	}
	origin := ""
	if addr, err := client.ParseAddress(t.url); err == nil {
		origin = addr.Origin()
	}
	for _, s := range stored {
		fact := tokenFact{Role: s.Role, Gateway: s.Origin, Scopes: append([]string{}, s.Scopes...), Fingerprint: fingerprint(s.Token), UpdatedAtMs: s.UpdatedAtMs}
		if s.Role == protocol.RoleOperator && (s.Origin == origin || s.Origin == "" && t.local) {
			fact.Sent = !t.secrets.any()
			f.Scopes.Held, f.Scopes.From = fact.Scopes, "the stored device token"
		}
		f.Tokens = append(f.Tokens, fact)
	}
	if f.Local && !f.Running {
		f.offlineFacts(ctx, t)
	}
	return nil
}

// offlineFacts asks the state directory what a gateway would know of the device. A
// directory that cannot be opened tells nothing.
func (f *authFacts) offlineFacts(ctx context.Context, t target) {
	d, err := openStateDesk(t.stateDir)
	if err != nil {
		return
	}
	defer d.close()
	list, err := d.list(ctx)
	if err != nil {
		return
	}
	paired := false
	for _, p := range list.Paired {
		if p.DeviceID == f.Device.ID {
			paired = slices.Contains(p.Roles, protocol.RoleOperator)
			f.Scopes.Held, f.Scopes.From = p.Scopes, "the state directory"
		}
	}
	f.Device.Paired = &paired
	for _, p := range list.Pending {
		if p.DeviceID == f.Device.ID {
			f.Device.Requests = append(f.Device.Requests, p.RequestID)
		}
	}
}

// tryConnect connects as every command does, but forgets no stored token when it is
// refused: looking must not change what is looked at.
func (a *App) tryConnect(ctx context.Context, c *cli.Context, f *authFacts, t target) {
	f.Connect.Tried = true
	o, err := a.options(c, t)
	if err != nil {
		f.Connect.Answer = err.Error()
		return
	}
	f.Device.ID, f.Device.Made = o.Identity.DeviceID, true
	if addr, err := client.ParseAddress(t.url); err == nil && !t.secrets.any() {
		o.Token, _ = o.Tokens.Get(addr.Origin(), o.Role, addr.Loopback)
	}
	conn, err := client.Dial(ctx, o)
	if err == nil {
		f.Connect.OK, f.Connect.Answer = true, "accepted as "+o.Role
		f.Scopes.Held, f.Scopes.From = o.Scopes, "the gateway's answer"
		if auth, ok := conn.Hello().Auth.Get(); ok {
			f.Scopes.Held = auth.Scopes
		}
		_ = conn.Close()
		return
	}
	said := describe(t.wrap(err))
	f.Connect.Answer, f.Connect.hint = said.Message, said.Hint
	var werr *wire.Error
	if !errors.As(err, &werr) {
		return
	}
	f.Connect.Answer, f.Connect.Code, f.Connect.Details = werr.Message, werr.Code, werr.Details
	f.Connect.requestID = requestID(werr)
	if code := detailCode(werr); code != "" {
		f.Connect.Code = code
	}
	if info, ok := catalogued(werr); ok {
		f.Connect.Explained = &info
	}
}

func missing(held, needed []string) []string {
	out := []string{}
	for _, scope := range needed {
		if !protocol.ScopeAllows(held, scope) {
			out = append(out, scope)
		}
	}
	return out
}

// remedy picks the one thing to do.
func (f *authFacts) remedy() remedy {
	switch {
	case f.Connect.OK:
		return remedy{Why: "nothing needs mending: the gateway lets this command in"}
	case f.Local && !f.Connect.Tried && f.ConfigError != "":
		return remedy{"no gateway runs, and none will start with this config", "coderclaw doctor --state-dir " + quoted(f.StateDir)}
	case !f.Connect.Tried:
		return remedy{"no gateway runs on this state directory", "coderclaw gateway --state-dir " + quoted(f.StateDir)}
	case f.Connect.Code == protocol.DetailPairingRequired && f.Connect.requestID != "":
		why := "the device, or what it asks for, waits to be approved"
		if !f.Local {
			why += "; run this on the gateway's machine"
		}
		return remedy{why, "coderclaw devices approve " + f.Connect.requestID}
	case f.secretRefused():
		return f.secretRemedy()
	case f.Connect.Explained != nil:
		return remedy{f.Connect.Explained.Meaning, commandIn(f.Connect.Explained.Fix)}
	}
	return remedy{f.Connect.Answer, f.Connect.hint}
}

func (f *authFacts) secretRefused() bool {
	return slices.Contains([]string{
		protocol.DetailAuthRequired, protocol.DetailAuthTokenMissing, protocol.DetailAuthTokenMismatch, protocol.DetailAuthDeviceTokenMismatch,
		protocol.DetailAuthPasswordMissing, protocol.DetailAuthPasswordMismatch,
	}, f.Connect.Code)
}

// secretRemedy is for a secret that is missing or wrong.
func (f *authFacts) secretRemedy() remedy {
	var sent, right *secretFact
	for i := range f.Secrets {
		if f.Secrets[i].Sent {
			sent = &f.Secrets[i]
		}
		if f.Secrets[i].Gateway {
			right = &f.Secrets[i]
		}
	}
	switch {
	case sent != nil && right != nil && sent.text == right.text:
		return remedy{"the gateway was started with another secret than its directory holds now: its command line or environment named one, or the file has changed since",
			fmt.Sprintf("kill -INT %d && coderclaw gateway --state-dir %s", f.PID, quoted(f.StateDir))}
	case sent != nil && right != nil && (sent.From == envToken || sent.From == envPassword):
		return remedy{"the secret in " + sent.From + " is not the one in " + right.From, "unset " + sent.From}
	case sent != nil && right != nil:
		return remedy{"the secret from " + sent.From + " is not the one in " + right.From, "coderclaw --state-dir " + quoted(f.StateDir) + " status"}
	}
	why := "the gateway does not know what was sent"
	if sent == nil {
		why = "no secret was found here to send"
	}
	if f.Connect.Code == protocol.DetailAuthPasswordMissing || f.Connect.Code == protocol.DetailAuthPasswordMismatch {
		return remedy{why + "; it takes a password, which its owner knows", "coderclaw --url " + quoted(f.URL) + " --password-file FILE status"}
	}
	return remedy{why + "; its own is in gateway.token in its state directory, or in its config", "coderclaw --url " + quoted(f.URL) + " --token SECRET status"}
}

// commandIn returns the command that a text of the catalogue names between
// backticks, or the text.
func commandIn(fix string) string {
	if _, rest, ok := strings.Cut(fix, "`"); ok {
		if command, _, ok := strings.Cut(rest, "`"); ok {
			return command
		}
	}
	return fix
}

// quoted makes text one word of a shell.
func quoted(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:+@%,=", r))
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func (a *App) printAuth(f *authFacts) error {
	gateway := "does not run on this state directory"
	if f.Running {
		gateway = fmt.Sprintf("runs on port %d (pid %d), started %s", f.Port, f.PID, ago(f.SinceMs))
	}
	if !f.Local {
		gateway = "another one than this state directory's"
	}
	device := "none yet; the first connect makes one"
	if f.Device.Made {
		device = f.Device.ID
	}
	paired := ""
	if f.Device.Paired != nil {
		paired = map[bool]string{true: "yes", false: "no"}[*f.Device.Paired]
	}
	if err := a.out.facts(
		[2]string{"gateway", gateway}, [2]string{"url", f.URL}, [2]string{"certificate", f.Certificate.line()}, [2]string{"state", f.StateDir}, [2]string{"config", f.ConfigPath},
		[2]string{"config is wrong", f.ConfigError}, [2]string{"mode", f.Mode}, [2]string{"device", device}, [2]string{"key", f.Device.KeyFile},
		[2]string{"paired", paired}, [2]string{"waiting requests", strings.Join(f.Device.Requests, ", ")},
		[2]string{"scopes needed", strings.Join(f.Scopes.Needed, ", ")}, [2]string{"scopes held", heldLine(f.Scopes)},
		[2]string{"scopes missing", strings.Join(f.Scopes.Missing, ", ")},
	); err != nil {
		return err
	}
	if err := a.printSecrets(f); err != nil {
		return err
	}
	a.out.printf("\n")
	answer := f.Connect.Answer
	switch {
	case !f.Connect.Tried:
		answer = "not tried: no gateway runs"
	case f.Connect.Code != "":
		answer = fmt.Sprintf("refused: %s (%s)", answer, f.Connect.Code)
	}
	pairs := [][2]string{{"connect", answer}}
	if e := f.Connect.Explained; e != nil {
		pairs = append(pairs, [2]string{"means", e.Meaning}, [2]string{"cause", e.Cause})
	}
	pairs = append(pairs, [2]string{"so", f.Remedy.Why}, [2]string{"fix", f.Remedy.Fix})
	return a.out.facts(pairs...)
}

func heldLine(s scopeFacts) string {
	if s.From == "" {
		return "none known"
	}
	return scopesLine(s.Held) + ", says " + s.From
}

func (a *App) printSecrets(f *authFacts) error {
	var rows [][]string
	for _, s := range f.Secrets {
		var use []string
		if s.Sent {
			use = append(use, "sent")
		}
		if s.Gateway {
			use = append(use, "the gateway's")
		}
		rows = append(rows, []string{s.From, s.Fingerprint, strings.Join(use, ", ")})
	}
	for _, t := range f.Tokens {
		from := "device token, " + t.Role
		if t.Gateway != "" {
			from += " at " + t.Gateway
		}
		use := "stored " + ago(t.UpdatedAtMs)
		if t.Sent {
			use = "sent, " + use
		}
		rows = append(rows, []string{from, t.Fingerprint, use})
	}
	if rows == nil {
		a.out.printf("\nno secret was found\n")
		return nil
	}
	a.out.printf("\n")
	return a.out.table([]string{"SECRET", "SHA-256 BEGINS", "USE"}, rows)
}
