package breaks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func root(t *testing.T) string {
	dir, err := filepath.Abs("../../..")
	require.NoError(t, err)
	return dir
}

// TestUpToDate checks that every break still finds what it breaks.
func TestUpToDate(t *testing.T) {
	names := map[string]bool{}
	for _, b := range All {
		require.False(t, names[b.Name], b.Name)
		names[b.Name] = true
		text, err := b.Broken(root(t))
		require.NoError(t, err, b.Name)
		require.NotEmpty(t, text)
		require.NotEqual(t, b.Old, b.New, b.Name)
	}
}

// TestBreaks makes the mistakes. It takes a build each, so it runs with SOAK=short (the
// quick ones) or SOAK=long (all of them), as make soak sets it.
func TestBreaks(t *testing.T) {
	soak := os.Getenv("SOAK")
	if soak == "" {
		t.Skip("make soak runs it")
	}
	for _, b := range All {
		if soak == "short" && !b.Quick {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			caught, output, err := b.Caught(root(t), t.TempDir())
			require.NoError(t, err, output)
			require.True(t, caught, "%s passes: %s", b.Test, output)
			t.Logf("caught by %s in %s", b.Test, filepath.Join(b.Module, b.Package))
		})
	}
}

// TestHarmless changes nothing that matters and expects the test to pass: a proof that
// fails whatever happens would prove nothing.
func TestHarmless(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("make soak runs it")
	}
	for _, b := range []Break{
		{Kind: Schema, File: "schema/chat.json", Old: "Which conversation, and how far back.", New: "Which conversation and how far back.", Package: "./gen/protocol", Test: "TestLabelledCases"},
		{Kind: Generator, File: "tools/protogen/internal/render/gocodec.go", Old: "reads one %s strictly.", New: "reads a %s strictly.", Module: "tools/oracle", Package: ".", Test: "TestReflection"},
		{File: "pkg/gateway/request.go", Old: "// outcomeOK is", New: "// This is", Package: "./pkg/gateway", Test: "TestRefusedRequests"},
	} {
		caught, output, err := b.Caught(root(t), t.TempDir())
		require.NoError(t, err, output)
		require.False(t, caught, output)
	}
}
