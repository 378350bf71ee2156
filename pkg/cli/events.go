package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

// payloadRunesMax is how much of a payload a readable line shows.
const payloadRunesMax = 160

func (a *App) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:     "events",
		Category: categoryGateway,
		Usage:    "print the gateway's events as they come, until Ctrl-C",
		Description: `With --json each event is one line: {"event":...,"seq":...,"payload":...}. Lost events and
connections are noted on standard error.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "filter", Usage: "only events whose name matches `PATTERN`, such as chat or 'exec.*'; may be repeated"},
			&cli.IntFlag{Name: "count", DefaultText: "no end", Usage: "stop after `N` events"},
		},
		BashComplete: func(*cli.Context) {
			for _, e := range protocol.Events() {
				a.out.printf("%s\n", e.Name)
			}
		},
		Action: a.runEvents,
	}
}

func (a *App) runEvents(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	patterns := c.StringSlice("filter")
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return usagef("--filter %q is not a pattern", p)
		}
	}
	left := c.Int("count")
	enough := make(chan struct{})
	var once sync.Once
	print := func(e client.Event) {
		if !matches(patterns, e.Name) || c.IsSet("count") && left <= 0 {
			return
		}
		a.printEvent(e)
		if left--; c.IsSet("count") && left <= 0 {
			once.Do(func() { close(enough) })
		}
	}
	return a.untilInterrupt(c, func(o *client.Options) {
		o.Caps = []string{string(protocol.GatewayClientCapToolEvents)}
		o.OnEvent = print
		o.OnGap = func(g client.Gap) {
			a.out.note("%s lost", count(max(g.Received-g.Expected, int64(g.Dropped)), "event", "events"))
		}
	}, func(ctx context.Context, _ *client.Client) error {
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return len(patterns) == 0
}

func (a *App) printEvent(e client.Event) {
	payload := e.Payload
	if len(payload) == 0 {
		payload = []byte("null")
	}
	if a.out.json {
		line := struct {
			Event   string          `json:"event"`
			Seq     *int64          `json:"seq,omitempty"`
			Payload json.RawMessage `json:"payload"`
		}{Event: e.Name, Payload: payload}
		if e.Sequenced {
			line.Seq = &e.Seq
		}
		_ = a.out.line(line)
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, payload) != nil {
		return
	}
	now := a.out.style(dim, time.Now().Format("15:04:05.000"))
	a.out.printf("%s  %s  %s\n", now, a.out.style(bold, clean(e.Name)), shorten(clean(compact.String()), payloadRunesMax))
}
