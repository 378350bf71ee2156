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
	require.Equal(t, 6, configs)
	require.GreaterOrEqual(t, commands, 9)
	require.Contains(t, string(page), "cannot tell a tunnel from its own machine")
}

// requireCommand looks words up in the help of the command that they name.
func requireCommand(t *testing.T, words []string) {
	t.Helper()
	var names, flags []string
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--url", w == "--token", w == "--tls-fingerprint":
			flags = append(flags, w)
			i++ // its value
		case strings.HasPrefix(w, "--"):
			flags = append(flags, w)
		case strings.ToUpper(w) != w:
			names = append(names, w)
		}
	}
	var out, errs bytes.Buffer
	app := New(Config{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	code := app.Run(context.Background(), slices.Concat([]string{"coderclaw"}, names, []string{"--help"}))
	require.Equal(t, exitOK, code, "%v: %s", words, errs.String())
	require.Contains(t, out.String(), "coderclaw "+strings.Join(names, " "), "%v", words)
	for _, flag := range flags {
		require.Contains(t, out.String(), flag+" ", "%v", words)
	}
}
