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

// BenchmarkList lists sessions, as health and sessions.list do.
func BenchmarkList(b *testing.B) {
	for _, count := range []int{100, SessionsMax} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
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
			for b.Loop() {
				list, err := s.List()
				require.NoError(b, err)
				require.Len(b, list, count)
			}
		})
	}
}
