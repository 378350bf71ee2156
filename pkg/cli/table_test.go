package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestATableFitsTheTerminal(t *testing.T) {
	head := []string{"SESSION", "ACTIVE", "TITLE"}
	rows := [][]string{
		{"agent:main:main", "just now", strings.Repeat("Ä", 90)},
		{"agent:main:whatsapp:group:12345@g.us", "2d ago", "short"},
	}
	print := func(width int) []string {
		var out bytes.Buffer
		p := &printer{out: &out, width: width}
		require.NoError(t, p.table(head, rows))
		return strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	}
	for _, line := range print(80) {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 80)
	}
	require.Contains(t, print(80)[1], "Ä…")
	require.Contains(t, print(80)[2], "agent:main:whatsapp:group:12345@g.us", "what is copied is whole")
	require.Contains(t, print(20)[1], strings.Repeat("Ä", lastColumnMin-1)+"…")
	head[2] = "WORKSPACE"
	require.Contains(t, print(80)[1], strings.Repeat("Ä", 90), "nor is a path cut")
	head[2] = "TITLE"
	require.Contains(t, print(0)[1], strings.Repeat("Ä", 90), "a pipe gets all of it")
}
