package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// floodInterval is the least time between two lines of one kind.
const floodInterval = time.Second

// floodLog writes warnings that strangers can cause at will, at most one line a
// second for each kind. A line tells how many happened since the last one; the
// rest is told by flush.
type floodLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	kinds map[string]*flood
}

type flood struct {
	last  time.Time
	count int // since the last line
}

func newFloodLog(log *slog.Logger) *floodLog {
	return &floodLog{log: log, kinds: map[string]*flood{}}
}

// warn logs kind, a constant text, with the attributes of this occurrence. Kinds
// are few: a kind must never hold anything a client chose.
func (f *floodLog) warn(kind string, attrs ...slog.Attr) {
	now := time.Now()
	f.mu.Lock()
	k := f.kinds[kind]
	if k == nil {
		k = &flood{}
		f.kinds[kind] = k
	}
	k.count++
	if now.Sub(k.last) < floodInterval {
		f.mu.Unlock()
		return
	}
	count := k.count
	k.last, k.count = now, 0
	f.mu.Unlock()
	f.log.LogAttrs(context.Background(), slog.LevelWarn, kind, append(attrs, slog.Int("count", count))...)
}

// flush logs what was held back.
func (f *floodLog) flush() {
	held := map[string]int{}
	f.mu.Lock()
	for kind, k := range f.kinds {
		if k.count > 0 {
			held[kind] = k.count
			k.last, k.count = time.Now(), 0
		}
	}
	f.mu.Unlock()
	for kind, count := range held {
		f.log.Warn(kind, "count", count)
	}
}
