package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) historyCommand() *cli.Command {
	return &cli.Command{
		Name:     "history",
		Category: categoryTalk,
		Usage:    "print a conversation, oldest message first",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "session-key", Usage: "session `KEY` (default: the main session)"},
			&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, Usage: "print the last `N` messages, at most 1000", Value: 50},
		},
		Action: a.runHistory,
	}
}

func (a *App) runHistory(c *cli.Context) error {
	limit := c.Int64("limit")
	if limit < 1 || limit > 1000 {
		return usagef("--limit wants a number from 1 to 1000")
	}
	return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
		key := c.String("session-key")
		if key == "" {
			key = mainSession(conn.Hello())
		}
		h, raw, err := fetch(ctx, conn, protocol.MethodChatHistory, protocol.ChatHistoryParams{SessionKey: key, Limit: wire.Some(limit)})
		if err != nil {
			return err
		}
		if a.out.json {
			return a.out.rawJSON(raw)
		}
		if len(h.Messages) == 0 {
			a.out.note("nothing was said in %s yet", key)
		}
		for i, m := range h.Messages {
			if i > 0 {
				a.out.printf("\n")
			}
			a.printMessage(m)
		}
		return nil
	})
}

func (a *App) printMessage(m protocol.ChatMessage) {
	head := string(m.Role)
	if ts := m.Timestamp.Or(0); ts > 0 {
		head += "  " + time.UnixMilli(ts).Format(time.DateTime)
	}
	if m.Role == protocol.ChatRoleAssistant {
		if model := m.Model.Or(""); model != "" {
			head += "  " + m.Provider.Or("") + "/" + model
		}
	}
	if m.CoderclawAbort.Set {
		head += "  (aborted)"
	}
	a.out.printf("%s\n", a.out.style(bold, clean(head)))
	var parts []string
	for _, c := range m.Content {
		parts = append(parts, contentText(c))
	}
	if text := m.ErrorMessage.Or(""); text != "" {
		parts = append(parts, "error: "+text)
	}
	a.out.printf("%s\n", strings.TrimRight(safe(strings.Join(parts, "\n")), "\n"))
}

// contentText shows one block of a message; what is no text is named.
func contentText(c protocol.ChatContent) string {
	switch c.Type {
	case protocol.ChatContentTypeText:
		return c.Text.Or("")
	case protocol.ChatContentTypeImage:
		return fmt.Sprintf("[image %s, %s]", c.MimeType.Or("of unknown type"), count(c.Bytes.Or(0), "byte", "bytes"))
	}
	return "[" + string(c.Type) + "]"
}
