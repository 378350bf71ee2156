package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
)

func (a *App) versionCommand() *cli.Command {
	return &cli.Command{
		Name:     "version",
		Category: categoryTools,
		Usage:    "print the version of this command",
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if a.out.json {
				return a.out.line(map[string]any{"version": a.Version, "protocol": protocol.Version, "go": runtime.Version(), "platform": platform})
			}
			a.out.printf("coderclaw %s (protocol %d, %s, %s)\n", a.Version, protocol.Version, runtime.Version(), platform)
			return nil
		},
	}
}

// buildVersion is the version of a binary that was built without one: the module's,
// or the commit, as far as the toolchain recorded them.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "dev"
	}
	return fmt.Sprintf("dev-%s%s", revision, dirty)
}
