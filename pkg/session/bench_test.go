package session

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkHistory reads the tail of a short and of a long transcript: the cost
// must not depend on the length.
func BenchmarkHistory(b *testing.B) {
	for _, length := range []int{200, 20_000} {
		b.Run(fmt.Sprint(length), func(b *testing.B) {
			s := fresh(b)
			msgs := make([]Message, length)
			for i := range msgs {
				msgs[i] = Message{Role: "user", Text: "a message of some forty characters or so"}
			}
			_, _, err := s.Append(b.Context(), "main", nil, msgs...)
			require.NoError(b, err)
			for b.Loop() {
				list, err := s.History("main", 50)
				require.NoError(b, err)
				require.Len(b, list, 50)
			}
		})
	}
}

// BenchmarkList looks at sessions as health does (newest), as sessions.list does
// (all), and by reading the entries from disk, as both did before the index.
func BenchmarkList(b *testing.B) {
	for _, count := range []int{100, SessionsMax} {
		s := fresh(b)
		var wg sync.WaitGroup
		for w := range 100 {
			wg.Go(func() {
				for i := w; i < count; i += 100 {
					if _, err := s.Patch(b.Context(), fmt.Sprint("s", i), func(e *Entry) error { e.Model = "mock-1"; return nil }); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		look := func(name string, want int, list func() int) {
			b.Run(fmt.Sprintf("%d/%s", count, name), func(b *testing.B) {
				for b.Loop() {
					require.Equal(b, want, list())
				}
			})
		}
		_, _, err := s.Newest(0) // the first look reads them
		require.NoError(b, err)
		look("newest", 5, func() int { list, _, _ := s.Newest(5); return len(list) })
		look("all", count, func() int { list, _, _ := s.Newest(-1); return len(list) })
		look("change", 1, func() int {
			e := Entry{Key: "agent:main:s7", UpdatedAt: s.index.byKey["agent:main:s7"].UpdatedAt + 1}
			s.index.put(&e)
			return 1
		})
		look("disk", count, func() int {
			fresh := &Sessions{db: s.db, log: s.log}
			list, _ := fresh.List()
			return len(list)
		})
	}
}
