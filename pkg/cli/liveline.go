package cli

import (
	"fmt"
	"sync"
)

// liveLine is the last line of a terminal, which is written anew again and again. What
// is printed while it is there goes through over, so that it never stands in a line
// with something else. Without a terminal it prints nothing. Its methods are safe for
// concurrent use.
type liveLine struct {
	p *printer

	mu   sync.Mutex
	text string // guarded by mu; empty when there is none
}

// liveLineRunes bounds the line, so that it does not wrap on a usual terminal.
const liveLineRunes = 79

const clearLine = "\r\x1b[K"

// set shows text in the line; empty takes the line away.
func (l *liveLine) set(text string) {
	if !l.p.errIsTTY || l.p.json {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text = shorten(clean(text), liveLineRunes)
	if text == l.text {
		return
	}
	l.text = text
	l.drawLocked()
}

func (l *liveLine) drawLocked() {
	fmt.Fprint(l.p.err, clearLine)
	if l.text != "" {
		fmt.Fprint(l.p.err, l.p.errStyle(dim, l.text))
	}
}

// over runs print with the line out of its way.
func (l *liveLine) over(print func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		print()
		return
	}
	fmt.Fprint(l.p.err, clearLine)
	print()
	l.drawLocked()
}
