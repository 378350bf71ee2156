package gateway

import (
	"io"
	"sync"
	"time"
)

// readers lends the scratch space into which messages are read before their size
// is known. Decoded values may alias a message, so each gets memory of its own,
// no larger than it is.
type readers struct{ pool sync.Pool }

const scratchBytes = 4 << 10

func (p *readers) read(r io.Reader) ([]byte, error) {
	scratch, ok := p.pool.Get().(*[scratchBytes]byte)
	if !ok {
		scratch = new([scratchBytes]byte)
	}
	defer p.pool.Put(scratch)
	n, err := io.ReadFull(r, scratch[:])
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		return append(make([]byte, 0, n), scratch[:n]...), nil
	case nil:
	default:
		return nil, err
	}
	message := append(make([]byte, 0, 4*scratchBytes), scratch[:]...)
	for {
		if len(message) == cap(message) {
			message = append(make([]byte, 0, 2*cap(message)), message...)
		}
		n, err := r.Read(message[len(message):cap(message)])
		message = message[:len(message)+n]
		if err == io.EOF {
			return message, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// garbage counts the messages that were not JSON.
type garbage struct {
	times []time.Time // nil until there is any
	next  int
}

// tooMany notes one more and reports whether there were garbageMax within
// garbageWindow.
func (g *garbage) tooMany(now time.Time) bool {
	if g.times == nil {
		g.times = make([]time.Time, garbageMax)
	}
	g.times[g.next] = now
	g.next = (g.next + 1) % len(g.times)
	oldest := g.times[g.next] // of the last garbageMax
	return !oldest.IsZero() && now.Sub(oldest) < garbageWindow
}
