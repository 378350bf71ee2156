package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/settings"
)

var docBlock = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// TestRemotePage holds docs/remote.md to the program: each config that it shows loads, and
// each command that it shows exists, with its flags.
func TestRemotePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "remote.md"))
	require.NoError(t, err)
	configs, commands := 0, 0
	for _, block := range docBlock.FindAllStringSubmatch(string(page), -1) {
		switch block[1] {
		case "json5":
			configs++
			path := filepath.Join(t.TempDir(), "coderclaw.json")
			require.NoError(t, os.WriteFile(path, []byte(block[2]), 0o600))
			conf, err := settings.Load(settings.Source{Path: path, Getenv: func(string) string { return "" }})
			require.NoError(t, err, block[2])
			if pin := conf.Gateway.Remote.TLSFingerprint; pin != "" {
				_, err := certificate.ParsePin(pin)
				require.NoError(t, err)
			}
		case "sh":
			for line := range strings.Lines(block[2]) {
				if words := strings.Fields(line); words[0] == "coderclaw" {
					commands++
					requireCommand(t, words[1:])
				}
			}
		}
	}
	require.Equal(t, 7, configs)
	require.GreaterOrEqual(t, commands, 9)
	require.Contains(t, string(page), "cannot tell a tunnel from its own machine")
}

// TestPages holds every page to the program: the commands in its blocks exist, with
// their flags.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	require.NoError(t, err)
	for _, path := range append(pages, filepath.Join("..", "..", "README.md")) {
		page, err := os.ReadFile(path)
		require.NoError(t, err)
		commands := 0
		for _, block := range regexp.MustCompile("(?ms)^```(?:sh)?\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
			for line := range strings.Lines(block[1]) {
				line, _, _ = strings.Cut(strings.TrimPrefix(line, "$ "), " #")
				if words := strings.Fields(strings.TrimPrefix(line, "bin/")); len(words) > 1 && words[0] == "coderclaw" {
					commands++
					requireCommand(t, words[1:])
				}
			}
		}
		require.NotZero(t, commands, path)
	}
}

var commandName = regexp.MustCompile(`^[a-z][a-z-]*$`)

// requireCommand looks words up in the help of the command that they name.
func requireCommand(t *testing.T, words []string) {
	t.Helper()
	n := slices.IndexFunc(words, func(w string) bool { return !commandName.MatchString(w) })
	if n < 0 {
		n = len(words)
	}
	var out, errs bytes.Buffer
	app := New(Config{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	code := app.Run(context.Background(), slices.Concat([]string{"coderclaw"}, words[:n], []string{"--help"}))
	require.Equal(t, exitOK, code, "%v: %s", words, errs.String())
	require.Contains(t, out.String(), "coderclaw "+strings.Join(words[:n], " "), "%v", words)
	for _, w := range words[n:] {
		if strings.HasPrefix(w, "--") {
			require.Contains(t, out.String(), w+" ", "%v", words)
		}
	}
}
