package wire

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAfterReply(t *testing.T) {
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }

	ctx, done := WithAfterReply(t.Context())
	AfterReply(ctx, note("first"))
	AfterReply(ctx, note("second"))
	require.Empty(t, got, "before the reply")
	done()
	require.Equal(t, []string{"first", "second"}, got)
	done()
	AfterReply(ctx, note("late"))
	require.Equal(t, []string{"first", "second", "late"}, got, "after the reply it runs at once, and nothing runs twice")

	AfterReply(context.Background(), note("no request"))
	require.Equal(t, "no request", got[len(got)-1])
}
