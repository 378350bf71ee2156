package store

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// What is told of a commit is told once, in order, when a reader can see it, and not
// for a function that failed, wherever it stood in a shared transaction.
func TestOnCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		var told []string
		write := func(key string, result error) func(*Tx) error {
			return func(tx *Tx) error {
				tx.OnCommit(func() {
					require.NoError(t, d.View(func(tx *Tx) error {
						has, err := numbers.Has(tx, key)
						require.True(t, has)
						return err
					}))
					told = append(told, key)
				})
				require.NoError(t, numbers.Put(tx, key, 1))
				return result
			}
		}
		refused := errors.New("refused")
		refuse := func(tx *Tx) error {
			tx.OnCommit(func() { told = append(told, "refused") })
			return refused // before it wrote
		}
		errs := queue(t, d, write("a", nil), write("b", refused), write("c", nil), refuse)
		require.Equal(t, []error{nil, refused, nil, refused}, errs)
		require.Equal(t, []string{"a", "c"}, told)
		require.NoError(t, d.Update(t.Context(), write("d", nil)))
		require.Equal(t, []string{"a", "c", "d"}, told, "before Update returns")
	})
}
