package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/settings"
)

// secretFileBytesMax bounds what --password-file reads.
const secretFileBytesMax = 4096

// secrets are what a command proves that it may connect with, and where they were
// found. One is set, or both where it is not known what the gateway takes.
type secrets struct {
	token, tokenFrom       string
	password, passwordFrom string
}

func (s secrets) any() bool { return s.token != "" || s.password != "" }

// from names the places.
func (s secrets) from() string {
	if s.tokenFrom != "" && s.passwordFrom != "" {
		return s.tokenFrom + " and " + s.passwordFrom
	}
	return s.tokenFrom + s.passwordFrom
}

// flagSecrets returns the secret that the command line gives. There may be one.
func (a *App) flagSecrets(c *cli.Context) (secrets, error) {
	token, byToken := globalString(c, flagToken)
	password, byPassword := globalString(c, flagPassword)
	path, byFile := globalString(c, flagPassFile)
	switch {
	case byToken && (byPassword || byFile):
		return secrets{}, usagef("a gateway takes a token or a password: give --token or --password-file, not both")
	case byPassword && byFile:
		return secrets{}, usagef("give --password or --password-file, not both")
	case byToken:
		return secrets{token: token, tokenFrom: "--token"}, nil
	case byPassword:
		return secrets{password: password, passwordFrom: "--password"}, nil
	case byFile:
		text, err := a.readSecret(path)
		return secrets{password: text, passwordFrom: path}, err
	}
	return secrets{}, nil
}

// readSecret reads a secret from a file, or from standard input, without the line
// end after it.
func (a *App) readSecret(path string) (string, error) {
	in := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, secretFileBytesMax+3))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if err := settings.CheckToken(settings.NewSecret(text)); err != nil {
		return "", fmt.Errorf("the secret in %s %w", path, err)
	}
	return text, nil
}

// envSecrets returns the secrets of the environment: the one that mode takes, or what
// there is when mode is not known.
func envSecrets(getenv func(string) string, mode string) (s secrets) {
	if text := strings.TrimSpace(getenv(envToken)); text != "" && mode != settings.AuthPassword {
		s.token, s.tokenFrom = text, envToken
	}
	if text := getenv(envPassword); text != "" && mode != settings.AuthToken {
		s.password, s.passwordFrom = text, envPassword
	}
	return s
}

// storedSecrets returns the secret of this machine's own gateway: the config's, else
// that of the token file. There is none in mode trusted-proxy, nor before the first
// start.
func storedSecrets(auth settings.Auth, configPath, stateDir string) (secrets, error) {
	switch {
	case auth.Mode == settings.AuthPassword:
		return secrets{password: auth.Password.Reveal(), passwordFrom: configPath}, nil
	case auth.Mode == settings.AuthTrustedProxy:
		return secrets{}, nil
	case auth.Token.IsSet():
		return secrets{token: auth.Token.Reveal(), tokenFrom: configPath}, nil
	}
	token, err := settings.ReadToken(stateDir, slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) {
		return secrets{}, nil
	}
	return secrets{token: token.Reveal(), tokenFrom: filepath.Join(stateDir, settings.TokenFileName)}, err
}
