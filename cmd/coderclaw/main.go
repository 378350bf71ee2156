// Command coderclaw runs the gateway and talks to it.
package main

import (
	"context"
	"os"

	"github.com/coderclaw/gateway/pkg/cli"
	"github.com/coderclaw/gateway/pkg/daemon"
)

// version is set by the linker: -ldflags '-X main.version=1.2.3'.
var version string

func main() {
	app := cli.New(cli.Config{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version, Gateway: run})
	os.Exit(app.Run(context.Background(), os.Args))
}

func run(ctx context.Context, o cli.GatewayOptions) error {
	return daemon.Serve(ctx, daemon.Config(o))
}
