package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const callHelp = `Prints the result as JSON. A method that answers twice is waited for until its last
answer; the first one goes to standard error. Methods of this version are listed by
"coderclaw schema list --methods"; others are sent as they are.

coderclaw call sessions.list --params '{"limit":5}'
echo '{"sessionKey":"main"}' | coderclaw call chat.history --params -`

func (a *App) callCommand() *cli.Command {
	return &cli.Command{
		Name:        "call",
		Category:    categoryTools,
		Usage:       "call any method of the protocol",
		UsageText:   "coderclaw call METHOD [--params JSON]",
		ArgsUsage:   "METHOD",
		Description: callHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "params", Aliases: []string{"p"}, Usage: "params as `JSON`; - reads them from standard input (default: {})"},
			&cli.BoolFlag{Name: "expect-final", DisableDefaultText: true, Hidden: true, Usage: "wait for the last answer; always so"},
		},
		BashComplete: func(*cli.Context) {
			for _, m := range protocol.Methods() {
				a.out.printf("%s\n", m.Name)
			}
		},
		Action: a.runCall,
	}
}

func (a *App) runCall(c *cli.Context) error {
	method := c.Args().First()
	if method == "" || c.NArg() > 1 {
		return usagef("call takes one METHOD, got %d; see: coderclaw call --help", c.NArg())
	}
	params, err := a.callParams(c)
	if err != nil {
		return err
	}
	limit, err := timeout(c, callTimeout(method))
	if err != nil {
		return err
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	conn, _, err := a.dial(ctx, c, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	result, err := conn.Call(ctx, method, params, nil)
	if err != nil {
		return hintUnknown(err, method)
	}
	return a.out.rawJSON(result)
}

// callParams returns --params, checked to be JSON so that a quoting mistake is
// told here and not by the gateway.
func (a *App) callParams(c *cli.Context) ([]byte, error) {
	text := c.String("params")
	if !c.IsSet("params") {
		return []byte("{}"), nil
	}
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(a.Stdin, 26<<20))
		if err != nil {
			return nil, fmt.Errorf("read params: %w", err)
		}
		text = string(data)
	}
	if !json.Valid([]byte(text)) {
		return nil, usagef("--params is not JSON: want for example --params '{\"limit\":5}'")
	}
	return []byte(text), nil
}

// callTimeout is how long a call waits unless told: a run of an agent ends when it
// ends.
func callTimeout(method string) time.Duration {
	for _, m := range protocol.Methods() {
		if m.Name == method && m.Staged {
			return 0
		}
	}
	return askTimeout
}

// hintUnknown adds the nearest method's name to the refusal of an unknown one.
func hintUnknown(err error, method string) error {
	var werr *wire.Error
	if !errors.As(err, &werr) || detailCode(werr) != protocol.DetailUnknownMethod && !strings.HasPrefix(werr.Message, "unknown method") {
		return err
	}
	var names []string
	for _, m := range protocol.Methods() {
		names = append(names, m.Name)
	}
	if near := nearest(names, method); near != "" {
		return withHint(err, "did you mean %s?", near)
	}
	return withHint(err, "methods are listed by: coderclaw schema list --methods")
}
