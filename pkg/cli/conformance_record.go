package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/conformance"
)

const recordHelp = `Stands between clients and a gateway and writes down what they say: one .jsonl file for each
connection and an INDEX.json, which conformance run --frames and serve --conversation read.

Secrets are taken out by the schema: members that it marks with x-secret (tokens, passwords,
signatures), in frames that it does not know members of the same names, and what was secret
once wherever it stands afterwards. Texts of messages, names and paths stay: read the files
before you give them away. The gateway's own secret is told apart when it is given, so that a
replay can use another gateway's; without it, signed-in recordings replay only as refusals.

The gateway sees the recorder's address instead of the client's. Ctrl-C ends the recording.

Example:
   conformance record ws://127.0.0.1:18789 --listen 127.0.0.1:9000 --out frames --token SECRET`

func (a *Conformance) recordCommand() *cli.Command {
	return &cli.Command{
		Name:        "record",
		Usage:       "write down what clients and a gateway say",
		UsageText:   "conformance record URL --out DIR [--listen ADDRESS] [--token SECRET]",
		Description: recordHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "`ADDRESS` to listen on"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` to write to; it must not hold a recording yet"},
			&cli.StringFlag{Name: "token", Usage: "the gateway's `SECRET` (default: CODERCLAW_GATEWAY_TOKEN)"},
			pinFlag(),
			&cli.StringFlag{Name: "password", Usage: "the gateway's `SECRET`, when it knows its clients by a password (default: CODERCLAW_GATEWAY_PASSWORD)"},
		},
		Action: a.runRecord,
	}
}

func (a *Conformance) runRecord(c *cli.Context) error {
	url, err := gatewayURL(c)
	if err != nil {
		return err
	}
	if c.String("out") == "" {
		return usagef("conformance record needs --out DIR; see: conformance record --help")
	}
	pinned, err := a.pinned(c, url)
	if err != nil {
		return err
	}
	recorder, err := conformance.NewRecorder(conformance.RecorderConfig{
		Upstream: url, HTTPClient: pinned, Dir: c.String("out"),
		Token: a.secret(c, "token", "CODERCLAW_GATEWAY_TOKEN"), Password: a.secret(c, "password", "CODERCLAW_GATEWAY_PASSWORD"),
		Written: func(name string, frames int) { a.out.note("%s: %s", name, count(int64(frames), "frame", "frames")) },
	})
	if err != nil {
		return err
	}
	listener, err := listen(c)
	if err != nil {
		return err
	}
	a.out.note("connect clients to ws://%s; Ctrl-C ends the recording", listener.Addr())
	return recorder.Run(c.Context, listener)
}
