package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
)

// rotateWithin is how long auth rotate waits for the gateway to take the new secret,
// which it does within a second.
const rotateWithin = 10 * time.Second

const authRotateHelp = `Makes a new random secret and puts it where the old one is: gateway.token in the state
directory, or the config file, whose other lines stay as they are. A gateway that runs takes it
within a second, without a restart: the old secret is refused at once, and connections that came
in with it are closed. Paired devices keep their own tokens and stay connected.

A secret that a flag or the environment gives can only be changed there. A password is yours to
choose: put the new one into a file of your own and name it.

   coderclaw auth rotate --secret-file new-password`

// rotation is what auth rotate did; its JSON is what --json prints.
type rotation struct {
	Where string `json:"where"`
	// Before and After are fingerprints.
	Before string `json:"before,omitempty"`
	After  string `json:"after"`
	// Gateway is "took it", "does not run" or "unknown".
	Gateway string `json:"gateway"`
}

func (a *App) authRotateCommand() *cli.Command {
	return &cli.Command{
		Name: "rotate", Usage: "replace the gateway's secret; what came in with the old one is closed",
		UsageText: "coderclaw auth rotate [--secret-file FILE]", Description: authRotateHelp, Action: a.runAuthRotate,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "secret-file", Usage: "take the new secret from `FILE` instead of a random one; - is standard input"},
		},
	}
}

func (a *App) runAuthRotate(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	for _, name := range []string{flagURL, flagToken, flagPassword, flagPassFile} {
		if _, ok := globalString(c, name); ok {
			return usagef("auth rotate replaces the secret of the gateway on this machine: leave out --%s", name)
		}
	}
	place, err := a.secretPlace(c)
	if err != nil {
		return err
	}
	next := settings.NewToken()
	if path := c.String("secret-file"); path != "" {
		text, err := a.readSecret(path)
		if err != nil {
			return err
		}
		next = settings.NewSecret(text)
	} else if place.mode == settings.AuthPassword {
		return withHint(errors.New("a password is yours to choose"), "put the new one into a file and name it: coderclaw auth rotate --secret-file FILE")
	}
	limit, err := timeout(c, rotateWithin)
	if err != nil {
		return err
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	done, err := a.rotate(ctx, c, place, next)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(done)
	}
	return a.printRotation(done)
}

// secretPlace is where the secret of this machine's gateway is kept.
type secretPlace struct {
	mode, stateDir, where string
	// key is the path in the config file; empty for the token file.
	key string
	// now is the secret that is there; it may be unset.
	now settings.Secret
}

// secretPlace finds out where the secret comes from, and refuses what a command
// cannot change.
func (a *App) secretPlace(c *cli.Context) (p secretPlace, err error) {
	getenv := a.getenv(c)
	stateDir, configPath := settings.Paths(getenv)
	conf, err := settings.Load(settings.Source{Path: configPath, Getenv: getenv})
	if err != nil {
		return p, err
	}
	auth := conf.Gateway.Auth
	p = secretPlace{mode: auth.Mode, stateDir: stateDir, where: configPath}
	variable := envToken
	switch {
	case auth.Mode == settings.AuthTrustedProxy:
		return p, withHint(errors.New("in mode trusted-proxy there is no shared secret"), "a proxy says who connects: see gateway.auth.trustedProxy in %s", configPath)
	case auth.Mode == settings.AuthPassword:
		variable, p.key, p.now = envPassword, "gateway.auth.password", auth.Password
	case auth.Token.IsSet():
		p.key, p.now = "gateway.auth.token", auth.Token
	default:
		p.where = filepath.Join(stateDir, settings.TokenFileName)
		p.now, err = settings.ReadToken(stateDir, slog.New(slog.DiscardHandler))
		if _, running := runningPort(stateDir); running && errors.Is(err, fs.ErrNotExist) {
			return p, withHint(errors.New("the gateway that runs was given its secret on its command line or by a variable of its own"), "change it there and restart the gateway; see: coderclaw auth explain")
		}
		if errors.Is(err, fs.ErrNotExist) {
			return p, withHint(fmt.Errorf("there is no secret in %s yet", stateDir), "the gateway makes one at its first start: coderclaw gateway")
		}
		return p, err
	}
	if getenv(variable) != "" {
		return p, withHint(fmt.Errorf("the secret comes from %s", variable), "change it where that is set (a shell profile, a service unit, a secret store) and restart the gateway; or unset %s to have the config or gateway.token count", variable)
	}
	return p, nil
}

// rotate replaces the secret and waits until a gateway that runs has taken it. It
// knows that from a connection by the old secret, which is closed then: trying the
// new one instead would count as guessing.
func (a *App) rotate(ctx context.Context, c *cli.Context, p secretPlace, next settings.Secret) (done rotation, err error) {
	done = rotation{Where: p.where, Before: fingerprint(p.now.Reveal()), After: fingerprint(next.Reveal()), Gateway: "does not run"}
	if next == p.now {
		return done, withHint(errors.New("the new secret is the old one"), "leave out --secret-file to have a random one made")
	}
	var witness *client.Conn
	if _, running := runningPort(p.stateDir); running {
		done.Gateway = "unknown"
		witness, err = a.bySecret(ctx, c, p)
		var refused *client.RefusedError
		switch {
		case errors.As(err, &refused) && refused.Err.Code == protocol.ErrorInvalidRequest:
			return done, withHint(fmt.Errorf("the gateway that runs does not take the secret in %s: %s", p.where, refused.Err.Message),
				"it was started with --token, --password-file or a variable of its own: change the secret there and restart it; see: coderclaw auth explain")
		case err == nil:
			defer witness.Close()
		}
	}
	if p.key == "" {
		err = settings.WriteToken(p.stateDir, next)
	} else {
		err = settings.ReplaceSecret(p.where, p.key, next)
	}
	if errors.Is(err, settings.ErrNotLiteral) {
		return done, withHint(err, "change it where it is written, and the gateway takes it")
	}
	if err != nil || witness == nil {
		return done, err
	}
	select {
	case <-witness.Done():
		var closed *client.CloseError
		if errors.As(witness.Err(), &closed) && closed.Reason == protocol.CloseGatewaySecretChanged {
			done.Gateway = "took it"
		}
	case <-ctx.Done():
	}
	return done, nil
}

// bySecret connects with the secret of p alone: no device, no scopes.
func (a *App) bySecret(ctx context.Context, c *cli.Context, p secretPlace) (*client.Conn, error) {
	t, err := a.target(c)
	if err != nil {
		return nil, err
	}
	o, err := a.options(c, t)
	if err != nil {
		return nil, err
	}
	o.Identity, o.Tokens, o.Scopes, o.Token, o.Password = nil, nil, nil, "", ""
	if p.mode == settings.AuthPassword {
		o.Password = p.now.Reveal()
	} else {
		o.Token = p.now.Reveal()
	}
	return client.Dial(ctx, o)
}

func (a *App) printRotation(done rotation) error {
	a.out.printf("the secret in %s is a new one (SHA-256 begins %s)\n", clean(done.Where), done.After)
	switch done.Gateway {
	case "took it":
		a.out.printf("the gateway has taken it; connections that came in with the old one are closed\n")
	case "unknown":
		a.out.note("the gateway that runs did not say that it has taken it; look with: coderclaw auth explain")
	}
	return nil
}
