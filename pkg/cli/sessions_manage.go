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

// oneKey is the session key that a command is given as its only argument.
func oneKey(c *cli.Context) (string, error) {
	if c.NArg() != 1 || strings.TrimSpace(c.Args().First()) == "" {
		return "", usagef("sessions %s wants one KEY; see them with: coderclaw sessions", c.Command.Name)
	}
	return c.Args().First(), nil
}

// perform asks one method and prints its answer as JSON, or by show.
func perform[P, R any](a *App, c *cli.Context, m wire.Method[P, R], params P, show func(R) error) error {
	return a.connected(c, func(ctx context.Context, conn *client.Conn) error {
		result, raw, err := fetch(ctx, conn, m, params)
		if err != nil {
			return err
		}
		if a.out.json {
			return a.out.rawJSON(raw)
		}
		return show(result)
	})
}

func (a *App) runSessionsPreview(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("sessions preview wants at least one KEY; see them with: coderclaw sessions")
	}
	limit, chars := c.Int64("limit"), c.Int64("chars")
	if limit < 1 || limit > 50 {
		return usagef("--limit wants a number from 1 to 50")
	}
	if chars < 20 || chars > 2000 {
		return usagef("--chars wants a number from 20 to 2000")
	}
	params := protocol.SessionsPreviewParams{Keys: c.Args().Slice(), Limit: wire.Some(limit), MaxChars: wire.Some(chars)}
	return perform(a, c, protocol.MethodSessionsPreview, params, func(r protocol.SessionsPreviewResult) error {
		for i, p := range r.Previews {
			if i > 0 {
				a.out.printf("\n")
			}
			head := clean(p.Key)
			if p.Status != protocol.SessionPreviewStatusOk {
				head += "  (" + clean(string(p.Status)) + ")"
			}
			a.out.printf("%s\n", a.out.style(bold, head))
			for _, item := range p.Items {
				a.out.printf("  %-9s  %s\n", clean(item.Role), clean(item.Text))
			}
		}
		return nil
	})
}

// searchPages bounds the answers that one search command asks for: a search goes on
// behind a cursor until it has its hits or has looked at everything.
const searchPages = 1000

func (a *App) runSessionsSearch(c *cli.Context) error {
	query := strings.Join(c.Args().Slice(), " ")
	if strings.TrimSpace(query) == "" {
		return usagef(`sessions search wants at least one WORD, such as: coderclaw sessions search garden`)
	}
	limit := c.Int("limit")
	if limit < 1 {
		return usagef("--limit wants a number above 0")
	}
	params := protocol.SessionsSearchParams{Query: query, Key: optional(c.String("session-key")), AgentID: optional(c.String("agent"))}
	switch role := c.String("role"); role {
	case "":
	case "user", "assistant":
		params.Role = wire.Some(protocol.SessionsSearchParamsRole(role))
	default:
		return usagef("--role wants user or assistant, not %q", role)
	}
	return a.connected(c, func(ctx context.Context, conn *client.Conn) error {
		whole, err := searchAll(ctx, conn, params, limit)
		if err != nil {
			return err
		}
		if a.out.json {
			return a.out.rawJSON(whole.AppendJSON(nil))
		}
		if len(whole.Hits) == 0 {
			a.out.note("no message among %d has all of that", whole.Scanned)
			return nil
		}
		rows := make([][]string, 0, len(whole.Hits))
		for _, h := range whole.Hits {
			rows = append(rows, []string{h.Key, time.UnixMilli(h.Timestamp).Format("2006-01-02 15:04"), h.Role, h.Snippet})
		}
		return a.out.table([]string{"SESSION", "TIME", "ROLE", "MESSAGE"}, rows)
	})
}

// searchAll follows the cursor until there are limit hits or nothing is left.
func searchAll(ctx context.Context, to wire.Caller, params protocol.SessionsSearchParams, limit int) (whole protocol.SessionsSearchResult, err error) {
	whole.Hits = []protocol.SessionSearchHit{}
	for range searchPages {
		params.Limit = wire.Some(int64(min(limit-len(whole.Hits), 100)))
		page, _, err := fetch(ctx, to, protocol.MethodSessionsSearch, params)
		if err != nil {
			return whole, err
		}
		whole.Ts, whole.Cursor = page.Ts, page.Cursor
		whole.Scanned += page.Scanned
		whole.Hits = append(whole.Hits, page.Hits...)
		if !page.Cursor.Set || len(whole.Hits) >= limit {
			break
		}
		params.Cursor = page.Cursor
	}
	return whole, nil
}

func (a *App) runSessionsCreate(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("sessions create wants one KEY at most, got %d", c.NArg())
	}
	params := protocol.SessionsCreateParams{
		Key: optional(c.Args().First()), AgentID: optional(c.String("agent")), Label: optional(c.String("label")), Model: optional(c.String("model")),
	}
	return perform(a, c, protocol.MethodSessionsCreate, params, func(r protocol.SessionsCreateResult) error {
		a.out.printf("%s\n", clean(r.Key))
		a.out.note("talk in it with: coderclaw agent --session-key %s --message TEXT", clean(r.Key))
		return nil
	})
}

func (a *App) runSessionsCompact(c *cli.Context) error {
	key, err := oneKey(c)
	if err != nil {
		return err
	}
	if c.Int64("keep") < 1 {
		return usagef("--keep wants a number above 0")
	}
	params := protocol.SessionsCompactParams{Key: key, MaxLines: wire.Some(c.Int64("keep"))}
	return perform(a, c, protocol.MethodSessionsCompact, params, func(r protocol.SessionsCompactResult) error {
		switch {
		case r.Compacted:
			a.out.printf("%s keeps %s; as it was: %s\n", clean(r.Key), count(r.Kept.Or(0), "message", "messages"), clean(r.Archived.Or("")))
		case r.Reason.Set:
			return fmt.Errorf("nothing to compact in %s: %s", clean(r.Key), clean(r.Reason.V))
		default:
			a.out.printf("%s has only %s\n", clean(r.Key), count(r.Kept.Or(0), "message", "messages"))
		}
		return nil
	})
}

func (a *App) runSessionsReset(c *cli.Context) error {
	key, err := oneKey(c)
	if err != nil {
		return err
	}
	return perform(a, c, protocol.MethodSessionsReset, protocol.SessionsResetParams{Key: key}, func(r protocol.SessionsResetResult) error {
		a.out.printf("%s starts over\n", clean(r.Key))
		return nil
	})
}

func (a *App) runSessionsDelete(c *cli.Context) error {
	key, err := oneKey(c)
	if err != nil {
		return err
	}
	return perform(a, c, protocol.MethodSessionsDelete, protocol.SessionsDeleteParams{Key: key}, func(r protocol.SessionsDeleteResult) error {
		if !r.Deleted {
			return fmt.Errorf("there is no session %s", clean(r.Key))
		}
		a.out.printf("%s is deleted%s\n", clean(r.Key), archivedAs(r.Archived))
		return nil
	})
}

func archivedAs(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; as it was: " + clean(strings.Join(names, ", "))
}
