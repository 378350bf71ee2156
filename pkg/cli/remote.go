package cli

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/settings"
)

// homeCommands are about the files of this machine, or go through its own gateway while
// that runs: gateway.mode remote does not send them elsewhere, --url does.
var homeCommands = []string{"config", "devices", "audit", "backup", "restore", "db", "rotate", "import"}

// followsRemote reports whether a command goes to gateway.remote.url: the config says
// so, and nothing nearer names another gateway. CODERCLAW_GATEWAY_PORT names one here.
func followsRemote(c *cli.Context, getenv func(string) string, conf *settings.Settings) bool {
	if conf.Gateway.Mode != settings.ModeRemote || getenv("CODERCLAW_GATEWAY_PORT") != "" {
		return false
	}
	return !slices.ContainsFunc(c.Lineage(), func(level *cli.Context) bool {
		return level.Command != nil && slices.Contains(homeCommands, level.Command.Name)
	})
}

// remoteSecrets returns what the config has for the gateway of gateway.remote.url, which
// alone is sent it.
func remoteSecrets(r settings.Remote, configPath string) (s secrets) {
	if r.Token.IsSet() {
		s.token, s.tokenFrom = r.Token.Reveal(), "gateway.remote.token in "+configPath
	}
	if r.Password.IsSet() {
		s.password, s.passwordFrom = r.Password.Reveal(), "gateway.remote.password in "+configPath
	}
	return s
}
