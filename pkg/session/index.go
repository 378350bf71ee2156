package session

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/coderclaw/gateway/pkg/store"
)

// index holds every entry in memory, in the order of List, so that a look at the
// newest sessions costs the same whether there are ten of them or SessionsMax. It is
// read from disk at the first look and follows the commits from then on.
//
// mu guards the fields below it. The entries are never changed, only replaced: who
// gets one may read it for as long as he likes and must not write to it.
type index struct {
	mu     sync.Mutex
	loaded bool
	byKey  map[string]*Entry
	order  []*Entry // the last changed first, then by key
}

// newer orders entries as List returns them.
func newer(a, b *Entry) int {
	if c := cmp.Compare(b.UpdatedAt, a.UpdatedAt); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}

// put takes e in place of the entry of the same key.
func (x *index) put(e *Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.loaded {
		return // the first look reads it from disk
	}
	x.removeLocked(e.Key)
	x.byKey[e.Key] = e
	at, _ := slices.BinarySearchFunc(x.order, e, newer)
	x.order = slices.Insert(x.order, at, e)
}

// drop forgets the entry of key.
func (x *index) drop(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(key)
}

func (x *index) removeLocked(key string) {
	old := x.byKey[key]
	if old == nil {
		return
	}
	delete(x.byKey, key)
	if at, ok := slices.BinarySearchFunc(x.order, old, newer); ok {
		x.order = slices.Delete(x.order, at, at+1)
	}
}

// newest returns up to n entries (all of them when n is negative) and how many there
// are in all. A first call reads them from the store under mu: a commit that ends
// meanwhile waits to be put, so that none is missed and none is overtaken.
func (s *Sessions) newest(n int) ([]*Entry, int, error) {
	x := &s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.loaded {
		if err := s.loadIndexLocked(); err != nil {
			return nil, 0, err
		}
	}
	total := len(x.order)
	if n < 0 || n > total {
		n = total
	}
	return slices.Clone(x.order[:n]), total, nil
}

// loadIndexLocked fills the index. An entry that cannot be read is logged and left
// out, so that one damaged row does not hide the others.
func (s *Sessions) loadIndexLocked() error {
	var order []*Entry
	err := s.db.View(func(tx *store.Tx) error {
		order = nil
		for row, err := range entries.All(tx) {
			if err != nil && row.Key == "" {
				return err
			}
			if err != nil {
				s.log.Warn("session entry unreadable", "sessionKey", row.Key, "err", err)
				continue
			}
			order = append(order, &row.Value.Entry)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(order, newer)
	byKey := make(map[string]*Entry, len(order))
	for _, e := range order {
		byKey[e.Key] = e
	}
	s.index.order, s.index.byKey, s.index.loaded = order, byKey, true
	return nil
}

// List returns all sessions, the last changed first.
func (s *Sessions) List() ([]Entry, error) {
	shared, _, err := s.newest(-1)
	list := make([]Entry, len(shared))
	for i, e := range shared {
		list[i] = *e
	}
	return list, err
}

// Newest returns the n sessions that changed last (all of them when n is negative),
// and how many there are in all. The entries are shared: they must not be written to.
func (s *Sessions) Newest(n int) (list []*Entry, total int, err error) { return s.newest(n) }
