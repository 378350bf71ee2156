package defences

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the column of tests in SECURITY.md")

// elsewhere are proofs that take pieces away by themselves, by entry.
var elsewhere = map[string][]string{
	"144": {"pkg/turn TestMutantsAreNoticed", "pkg/daemon TestKillNineDuringChatSends"},
}

// columns of a line of SECURITY.md that names tests: number, severity, attack, defence,
// tests, between two empty ones. Lines of what is not there yet have one less.
const columns = 7

// TestPage keeps SECURITY.md true: each entry has a defence that is taken away, each
// defence an entry, and the last column is what the lists say.
func TestPage(t *testing.T) {
	guards, tests := map[string]map[string][]string{}, index{} // guards: entry, folder, tests
	note := func(entry, dir, pattern string) {
		if guards[entry] == nil {
			guards[entry] = map[string][]string{}
		}
		short := strings.TrimPrefix(dir, "pkg/")
		for _, name := range tests.match(t, dir, pattern) {
			if !slices.Contains(guards[entry][short], name) {
				guards[entry][short] = append(guards[entry][short], name)
			}
		}
	}
	for _, l := range lists {
		for _, d := range l.defences {
			dir, pattern := l.test(d)
			note(d.entry(), dir, pattern)
		}
	}
	for entry, list := range elsewhere {
		for _, test := range list {
			dir, pattern, _ := strings.Cut(test, " ")
			note(entry, dir, pattern)
		}
	}

	path := filepath.Join(root(t), "SECURITY.md")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var page strings.Builder
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		entry := ""
		if len(cells) == columns {
			entry = strings.TrimSpace(cells[1])
		}
		if entry == "" || strings.Trim(entry, "0123456789") != "" {
			page.WriteString(line)
			continue
		}
		require.NotEmpty(t, guards[entry], "entry %s has no defence that is taken away", entry)
		require.Contains(t, []string{"critical", "high", "medium"}, strings.TrimSpace(cells[2]), entry)
		var words []string
		for _, dir := range slices.Sorted(maps.Keys(guards[entry])) {
			slices.Sort(guards[entry][dir])
			words = append(words, dir+": "+strings.Join(guards[entry][dir], ", "))
		}
		cells[5] = " " + strings.Join(words, "; ") + " "
		page.WriteString(strings.Join(cells, "|") + "\n")
		delete(guards, entry)
	}
	require.Empty(t, slices.Sorted(maps.Keys(guards)), "defences of entries that SECURITY.md does not tell")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(page.String()), 0o644))
		raw = []byte(page.String())
	}
	require.Equal(t, page.String(), string(raw), "rewrite the last column with -update")
}
