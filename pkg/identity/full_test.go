package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

// fullEnv marks the child that TestAFullDiskLetsApprovedDevicesIn starts: a limit of
// the size of files binds a whole process.
const fullEnv = "IDENTITY_TEST_FULL"

// Where nothing can be stored, the owner has to be able to look at the gateway: an
// approved device is let in with the secret, without a new token. Nothing is approved
// that was not.
func TestAFullDiskLetsApprovedDevicesIn(t *testing.T) {
	if os.Getenv(fullEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		cmd.Env = append(os.Environ(), fullEnv+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	f := newFixture(t, nil)
	d, other := newFakeDevice(), newFakeDevice()
	before := f.grant(t, attempt(d.signs()))
	require.NotEmpty(t, before.Auth.V.DeviceToken)

	roomy := limitFiles(t, 1)
	during := f.grant(t, attempt(d.signs()))
	require.False(t, during.Auth.Set, "no token that is not on disk is given out")
	require.Equal(t, before.Scopes, during.Scopes)
	f.took()
	holds, err := f.Holds(during)
	require.NoError(t, err)
	require.True(t, holds)
	_, err = f.Connect(context.Background(), attempt(other.signs()))
	require.ErrorIs(t, err, store.ErrFull, "a new device is not let in")
	require.False(t, errors.As(err, new(*Refusal)))
	limitFiles(t, roomy)

	after := f.grant(t, attempt(other.signs()))
	require.NotEmpty(t, after.Auth.V.DeviceToken)
	_, err = f.Remove(t.Context(), as(after), d.id())
	require.NoError(t, err)
	holds, err = f.Holds(during)
	require.NoError(t, err)
	require.False(t, holds, "a removed device is severed all the same")
}

// limitFiles bounds the size of every file of this process and returns the bound
// before.
func limitFiles(t *testing.T, bytes uint64) (before uint64) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	before = limit.Cur
	limit.Cur = bytes
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit), fmt.Sprint(bytes))
	return before
}
