// Command conformance grades gateways and clients of the protocol.
package main

import (
	"context"
	"os"

	"github.com/coderclaw/gateway/pkg/cli"
)

// version is set by the linker: -ldflags '-X main.version=1.2.3'.
var version string

func main() {
	app := cli.NewConformance(cli.Config{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version})
	os.Exit(app.Run(context.Background(), os.Args))
}
