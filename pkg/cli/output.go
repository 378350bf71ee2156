package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// style is an SGR sequence.
type style string

const (
	red   style = "\x1b[31m"
	green style = "\x1b[32m"
	dim   style = "\x1b[2m"
	bold  style = "\x1b[1m"
	reset style = "\x1b[0m"
)

// printer writes results. It colours only what a terminal shows, and nothing at
// all when NO_COLOR is set.
type printer struct {
	out, err          io.Writer
	colour, errColour bool
	// width is how many columns the terminal has; 0 means that the output is not one.
	width              int
	outIsTTY, errIsTTY bool
	json               bool
	// live is the terminal's last line, when a command keeps one; else nil.
	live *liveLine
}

func newPrinter(out, errOut io.Writer, getenv func(string) string) *printer {
	p := &printer{out: out, err: errOut, outIsTTY: isTerminal(out), errIsTTY: isTerminal(errOut)}
	plain := getenv("NO_COLOR") != "" || getenv("TERM") == "dumb"
	p.colour = p.outIsTTY && !plain
	if f, ok := out.(*os.File); ok && p.outIsTTY {
		p.width, _, _ = term.GetSize(int(f.Fd())) // 0 when it does not tell
	}
	p.errColour = p.errIsTTY && !plain
	return p
}

// isTerminal reports whether v is a file that is a character device other than
// the null device. That is what decides about colours and prompts; nothing that
// matters more hangs on it.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

func (p *printer) style(s style, text string) string { return paint(p.colour, s, text) }

func (p *printer) errStyle(s style, text string) string { return paint(p.errColour, s, text) }

func paint(on bool, s style, text string) string {
	if !on {
		return text
	}
	return string(s) + text + string(reset)
}

// printf writes to standard output.
func (p *printer) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

// note writes one line to standard error.
func (p *printer) note(format string, args ...any) {
	print := func() { fmt.Fprintln(p.err, p.errStyle(dim, fmt.Sprintf(format, args...))) }
	if p.live != nil {
		p.live.over(print)
		return
	}
	print()
}

// rawJSON prints JSON indented.
func (p *printer) rawJSON(raw []byte) error {
	if len(raw) == 0 {
		raw = []byte("null")
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	b.WriteByte('\n')
	_, err := p.out.Write(b.Bytes())
	return err
}

// line prints v as one line of JSON.
func (p *printer) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(data, '\n'))
	return err
}

// table prints rows under a header, in columns. Cells hold no control characters
// afterwards, wherever their text came from. On a terminal a last column that is told
// elsewhere in full is cut to what is left of a line.
func (p *printer) table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, tableGap, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	cells := make([][]string, len(rows))
	for n, row := range rows {
		cells[n] = make([]string, len(row))
		for i, cell := range row {
			cells[n][i] = clean(cell)
			if cells[n][i] == "" {
				cells[n][i] = "-"
			}
		}
	}
	left := p.lastColumn(header, cells)
	for _, row := range cells {
		if last := len(row) - 1; left > 0 && last == len(header)-1 {
			row[last] = shorten(row[last], left)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

const (
	// tableGap is what stands between two columns.
	tableGap = 2
	// lastColumnMin is what the last column is never cut below: what is left of it then
	// would say nothing.
	lastColumnMin = 12
)

// mayBeCut reports whether a column of the title is a taste of something that another
// command shows whole. Paths, reasons and ids are not.
func mayBeCut(title string) bool {
	return title == "TITLE" || title == "LAST MESSAGE" || title == "MESSAGE" || title == "DESCRIPTION"
}

// lastColumn is how wide the last column may be on this terminal, 0 for any width.
func (p *printer) lastColumn(header []string, cells [][]string) int {
	if p.width == 0 || len(header) < 2 || !mayBeCut(header[len(header)-1]) {
		return 0
	}
	left := p.width
	for i, title := range header[:len(header)-1] {
		widest := utf8.RuneCountInString(title)
		for _, row := range cells {
			if i < len(row) {
				widest = max(widest, utf8.RuneCountInString(row[i]))
			}
		}
		left -= widest + tableGap
	}
	return max(left, lastColumnMin, utf8.RuneCountInString(header[len(header)-1]))
}

// facts prints "name  value" lines and leaves out empty values.
func (p *printer) facts(pairs ...[2]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		if pair[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pair[0], clean(pair[1]))
		}
	}
	return w.Flush()
}

// clean makes text of others safe for one line of a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// safe makes text of others safe for a terminal and keeps its lines: an escape
// sequence in a model's answer must not reach the terminal.
func safe(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unsafeRune(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

func unsafeRune(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// shorten cuts s to at most n runes.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// ago words the age of a Unix time in milliseconds; 0 is "never".
func ago(ms int64) string {
	if ms <= 0 {
		return "never"
	}
	return age(time.Since(time.UnixMilli(ms)))
}

func age(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// span words a duration without fractions: 45s, 12m, 3h 20m, 5d 2h.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// count words a number of things.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
