package backup

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// fakeKeeper answers what it was given.
type fakeKeeper struct {
	report store.Report
	err    error
}

func (k fakeKeeper) Create(_ context.Context, reason string) (store.Copy, store.Report, error) {
	return store.Copy{Path: "/state/backups/" + reason, Bytes: 3, At: time.UnixMilli(7)}, k.report, k.err
}
func (k fakeKeeper) Check(context.Context) (store.Report, error) { return k.report, k.err }

func TestCreateNamesTheCopy(t *testing.T) {
	r, err := New(fakeKeeper{report: store.Report{Version: 1, Tables: []store.Count{{Rows: 2}, {Rows: 3}}}}).BackupCreate(t.Context(), nil, protocol.BackupCreateParams{})
	require.NoError(t, err)
	require.Equal(t, protocol.BackupCreateResult{
		Path: "/state/backups/request", Bytes: 3, CreatedAtMs: 7,
		Check: protocol.BackupCheckResult{Sound: true, SchemaVersion: 1, Rows: 5, Faults: []string{}, BadRows: []string{}},
	}, r)
}

func TestWhatKeepsACopyFromBeingMadeIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		told bool
	}{
		"a full disk":        {store.ErrNoRoom, true},
		"a damaged database": {&store.UnsoundError{}, true},
		"no child process":   {store.ErrNotChecked, true},
		"something else":     {errors.New("secret path"), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(fakeKeeper{err: c.err}).BackupCreate(t.Context(), nil, protocol.BackupCreateParams{})
			var told *wire.Error
			require.Equal(t, c.told, errors.As(err, &told))
			require.Error(t, err)
			_, err = New(fakeKeeper{err: c.err}).BackupCheck(t.Context(), nil, protocol.BackupCheckParams{})
			require.Equal(t, c.told, errors.As(err, &told))
		})
	}
}

func TestCheckTellsFaultsAsAResult(t *testing.T) {
	r, err := New(fakeKeeper{report: store.Report{FaultCount: 30, Faults: []string{"page 2"}, BadRowCount: 1, BadRows: []string{"row"}}}).BackupCheck(t.Context(), nil, protocol.BackupCheckParams{})
	require.NoError(t, err)
	require.False(t, r.Sound)
	require.Equal(t, int64(30), r.FaultCount)
	require.Equal(t, []string{"row"}, r.BadRows)
}
