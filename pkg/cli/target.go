package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// target is the gateway that a command talks to.
type target struct {
	url string
	secrets
	stateDir string
	// local reports whether it is the gateway of this state directory.
	local bool
	// pins are the certificates that a wss:// gateway may show.
	pins client.Pins
}

// targetError says that no connection to the target came about.
type targetError struct {
	target
	err error
}

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

// target works out the URL and the secret: from flags, else the environment, else the
// config (gateway.remote in mode remote), else the state directory. The secret of the config or of the state directory goes
// only to the gateway that they belong to: with --url naming another place it must
// be given anew (security: a URL override inherits no credentials).
func (a *App) target(c *cli.Context) (t target, err error) {
	getenv := a.getenv(c)
	stateDir, configPath := settings.Paths(getenv)
	t = target{stateDir: stateDir}
	// A gateway whose file has faults runs with the last good one, and must be found.
	conf, confErr := settings.LoadOrLastGood(stateDir, settings.Source{Path: configPath, Getenv: getenv, EnvOptional: true})
	if confErr != nil {
		conf = settings.Default()
	}
	port := localPort(conf, getenv, stateDir)
	t.url = localURL(conf.Gateway, port)
	t.local = true
	remote := false
	if url, ok := globalString(c, flagURL); ok {
		addr, err := client.ParseAddress(url)
		if err != nil {
			return t, usagef("--url: %w", err)
		}
		t.url = addr.String()
		t.local = addr.Loopback && addr.Port() == strconv.Itoa(port)
	} else if remote = followsRemote(c, getenv, conf); remote {
		addr, err := client.ParseAddress(conf.Gateway.Remote.URL)
		if err != nil {
			return t, fmt.Errorf("gateway.remote.url in %s: %w", configPath, err)
		}
		t.url, t.local = addr.String(), false
	}
	if t.pins, err = pinsFor(c, getenv, t, conf, configPath); err != nil {
		return t, err
	}
	if t.secrets, err = a.flagSecrets(c); err != nil || t.secrets.any() {
		return t, err
	}
	if remote {
		t.secrets = remoteSecrets(conf.Gateway.Remote, configPath)
		return t, nil // the environment's is for a gateway that the person names, not the file
	}
	mode := ""
	if t.local && confErr == nil {
		mode = conf.Gateway.Auth.Mode
	}
	if t.secrets = envSecrets(getenv, mode); t.secrets.any() {
		return t, nil
	}
	if !t.local {
		return t, nil // a device token, if that gateway issued one
	}
	if confErr != nil {
		return t, confErr
	}
	t.secrets, err = storedSecrets(conf.Gateway.Auth, configPath, stateDir)
	return t, err
}

// localURL returns where the gateway of this machine answers: on loopback, unless it
// speaks TLS and listens on one other address only.
func localURL(g settings.Gateway, port int) string {
	if !g.TLS.Enabled {
		return "ws://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	host := "127.0.0.1"
	if addr, err := netip.ParseAddr(g.Bind); err == nil && !addr.IsUnspecified() {
		host = addr.Unmap().String()
	}
	return "wss://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// localPort returns the port of this state directory's gateway: what the
// environment says, else the port of the gateway that runs now, else the config's.
func localPort(conf *settings.Settings, getenv func(string) string, stateDir string) int {
	if getenv("CODERCLAW_GATEWAY_PORT") != "" {
		return conf.Gateway.Port
	}
	if port, ok := runningPort(stateDir); ok {
		return port
	}
	if conf.Gateway.Port == 0 {
		return settings.DefaultPort
	}
	return conf.Gateway.Port
}

// runningPort returns the port of the gateway that runs on a state directory.
func runningPort(stateDir string) (int, bool) {
	o, held := lockOwner(stateDir)
	return o.Port, held && o.Port > 0
}

// cliScopes are the scopes that every command asks for.
func cliScopes() []string {
	return []string{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing}
}

// options returns the connect options of the CLI for t. The scopes never vary
// with the command: a device that asks for another set has to be approved again.
func (a *App) options(c *cli.Context, t target) (client.Options, error) {
	id, err := client.LoadIdentity(t.stateDir)
	if err != nil {
		return client.Options{}, err
	}
	info := protocol.ConnectClient{
		ID:       protocol.GatewayClientIdCli,
		Mode:     protocol.GatewayClientModeCli,
		Version:  a.Version,
		Platform: runtime.GOOS,
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		info.DisplayName = wire.Some(host)
	}
	return client.Options{
		URL:            t.url,
		AllowPlaintext: globalBool(c, flagPlaintext),
		Pins:           t.pins,
		Token:          t.token,
		Password:       t.password,
		Identity:       id,
		Tokens:         client.OpenTokens(t.stateDir, id.DeviceID),
		Client:         info,
		Role:           protocol.RoleOperator,
		Scopes:         cliScopes(),
		UserAgent:      fmt.Sprintf("coderclaw/%s (%s)", a.Version, runtime.GOOS),
	}, nil
}

// dial connects a command to its gateway. change, which may be nil, adds to the
// options.
func (a *App) dial(ctx context.Context, c *cli.Context, change func(*client.Options)) (*client.Conn, target, error) {
	t, err := a.target(c)
	if err != nil {
		return nil, t, err
	}
	o, err := a.options(c, t)
	if err != nil {
		return nil, t, err
	}
	if change != nil {
		change(&o)
	}
	if err := a.introduce(ctx, o, t); err != nil {
		return nil, t, err
	}
	conn, err := client.Dial(ctx, o)
	return conn, t, t.wrap(err)
}

// wrap marks an error as one of connecting to t.
func (t target) wrap(err error) error {
	if err == nil {
		return nil
	}
	return &targetError{t, err}
}
