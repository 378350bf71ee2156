package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) modelsCommand() *cli.Command {
	return &cli.Command{
		Name:     "models",
		Category: categoryTalk,
		Usage:    "list the models that can answer",
		Description: "Models are named PROVIDER/MODEL, here and wherever one can be chosen:\n\n" +
			"   coderclaw config set agents.defaults.model ollama/llama3.2\n" +
			"   coderclaw agents set main --model ollama/llama3.2\n" +
			"   coderclaw tasks submit --model ollama/llama3.2 \"Summarise my inbox\"",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("models takes no arguments; see: coderclaw models --help")
			}
			return a.ask(c, a.listModels)
		},
	}
}

func (a *App) listModels(ctx context.Context, conn *client.Conn) error {
	list, raw, err := fetch(ctx, conn, protocol.MethodModelsList, protocol.ModelsListParams{})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	sessions, _, err := fetch(ctx, conn, protocol.MethodSessionsList, protocol.SessionsListParams{Limit: wire.Some[int64](1)})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(list.Models))
	for _, m := range list.Models {
		name := m.Provider + "/" + m.ID
		if m.Provider == sessions.Defaults.ModelProvider.V && m.ID == sessions.Defaults.Model.V {
			name += " (default)"
		}
		window := ""
		if n, ok := m.ContextWindow.Get(); ok {
			window = strconv.FormatInt(n, 10)
		}
		thinks := ""
		if m.Reasoning.V {
			thinks = "yes"
		}
		rows = append(rows, []string{name, m.Name, window, strings.Join(m.Input, ", "), thinks})
	}
	return a.out.table([]string{"MODEL", "NAME", "WINDOW", "TAKES", "THINKS"}, rows)
}
