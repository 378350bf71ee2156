package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// suggestion words the command that a mistyped name may have meant, or is empty.
func suggestion(commands []*cli.Command, name string) string {
	names := make([]string, 0, len(commands))
	for _, c := range commands {
		names = append(names, c.Name)
	}
	if near := nearest(names, name); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// nearest returns the name that is at most two keystrokes away from the typed one,
// or "".
func nearest(names []string, typed string) string {
	best, found := 3, ""
	for _, name := range names {
		if d := distance(name, typed); d < best && d < len(name) {
			best, found = d, name
		}
	}
	return found
}

// distance is the number of insertions, deletions and replacements between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := above
			if a[i] != b[j] {
				change++
			}
			above = row[j+1]
			row[j+1] = min(change, row[j]+1, above+1)
		}
	}
	return row[len(b)]
}
