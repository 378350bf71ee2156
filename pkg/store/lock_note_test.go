package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted is a Verify that finds nothing and counts its calls.
type counted struct{ calls int }

func (c *counted) verify(_ context.Context, path string) (Report, error) {
	c.calls++
	return CheckFile(path, nil)
}

func TestOnlyAnUncleanStopCostsACheck(t *testing.T) {
	for name, c := range map[string]struct {
		between func(t *testing.T, dir string)
		checks  int
	}{
		"closed in order": {func(*testing.T, string) {}, 0},
		"killed": {func(t *testing.T, dir string) {
			cmd, out := child(t, "hold", dir)
			require.True(t, out.Scan())
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		}, 1},
		"changed by somebody since": {func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			_, err = f.Write(make([]byte, 4096))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}, 1},
		"lock file lost": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, LockName))) }, 1},
		"files of it replaced under the lock": {func(t *testing.T, dir string) {
			l, err := LockDir(dir)
			require.NoError(t, err)
			require.NoError(t, l.Release())
		}, 1},
		"database deleted": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, FileName))) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := Open(Options{Dir: dir})
			require.NoError(t, err)
			require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "a", 1) }))
			require.NoError(t, d.Close())
			c.between(t, dir)
			var seen counted
			d, err = Open(Options{Dir: dir, Verify: seen.verify})
			require.NoError(t, err)
			require.NoError(t, d.Close())
			require.Equal(t, c.checks, seen.calls)
			d, err = Open(Options{Dir: dir, Verify: seen.verify})
			require.NoError(t, err)
			require.NoError(t, d.Close())
			require.Equal(t, c.checks, seen.calls, "the next start is a clean one")
		})
	}
}

// A check that cannot be run is no reason to stay away.
func TestCheckThatCannotRunIsTold(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, LockName)))
	var log strings.Builder
	d, err = Open(Options{Dir: dir, Verify: Child("/nonexistent/program"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Contains(t, log.String(), "opened unchecked")
}

func TestKeeperKeepsTheNewestVerifiedCopies(t *testing.T) {
	d := open(t, t.TempDir())
	var seen counted
	k := &Keeper{DB: d, Verify: seen.verify, Log: slog.New(slog.DiscardHandler), freeBytesMin: 1}
	require.NoError(t, os.MkdirAll(k.dir(), 0o700))
	for _, day := range []string{"01", "02", "03", "04", "05", "06", "07", "08"} {
		require.NoError(t, os.WriteFile(filepath.Join(k.dir(), "gateway-202601"+day+"T000000.000Z-daily.db"), nil, 0o600))
	}
	foreign := filepath.Join(k.dir(), "mine.db")
	require.NoError(t, os.WriteFile(foreign, nil, 0o600))
	c, r, err := k.Create(t.Context(), ReasonDaily)
	require.NoError(t, err)
	require.True(t, r.Clean())
	require.Equal(t, 1, seen.calls)
	require.Equal(t, c.Bytes, r.Bytes)
	info, err := os.Stat(c.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for range 2 {
		_, _, err = k.Create(t.Context(), ReasonRequest)
		require.NoError(t, err)
	}
	copies, err := k.List()
	require.NoError(t, err)
	require.Len(t, copies, dailyMax+requestMax)
	require.Contains(t, copies[0].Path, "20260103", "the oldest went")
	require.FileExists(t, foreign, "what is not ours stays")
	_, err = k.Check(t.Context())
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(k.dir(), checkingName))
}

func TestKeeperKeepsNoCopyThatFails(t *testing.T) {
	d := open(t, t.TempDir())
	bad := func(context.Context, string) (r Report, _ error) {
		r.fault("page 7 is torn")
		return r, nil
	}
	k := &Keeper{DB: d, Verify: bad, Log: slog.New(slog.DiscardHandler), freeBytesMin: 1}
	_, _, err := k.Create(t.Context(), ReasonDaily)
	var unsound *UnsoundError
	require.ErrorAs(t, err, &unsound)
	require.ErrorContains(t, err, "page 7 is torn")
	r, err := k.Check(t.Context())
	require.NoError(t, err)
	require.False(t, r.Sound())
	left, err := os.ReadDir(k.dir())
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestKeeperLeavesRoomOnTheDisk(t *testing.T) {
	d := open(t, t.TempDir())
	k := &Keeper{DB: d, Verify: Here(), Log: slog.New(slog.DiscardHandler), freeBytesMin: 1 << 62}
	_, _, err := k.Create(t.Context(), ReasonDaily)
	require.ErrorIs(t, err, ErrNoRoom)
}

// A migration without a way back does not begin.
func TestSnapshotThatIsDamagedStopsTheMigration(t *testing.T) {
	dir := t.TempDir()
	openAt(t, dir, put("one", "a", "1"))
	bad := func(_ context.Context, path string) (r Report, _ error) {
		if filepath.Base(path) == "gateway.db.before-v3" {
			r.fault("page 9 is torn")
		}
		return r, nil
	}
	steps := []migration{put("one", "a", "1"), put("two", "a", "2")}
	_, err := Open(Options{Dir: dir, Verify: bad, migrations: steps})
	require.ErrorContains(t, err, "page 9 is torn")
	d, err := Open(Options{Dir: dir, migrations: steps[:1]})
	require.NoError(t, err, "it is still at the old version")
	require.NoError(t, d.Close())
}

func TestDatabaseThatIsGoneIsTold(t *testing.T) {
	dir := t.TempDir()
	for _, told := range []bool{false, true} {
		var log strings.Builder
		d, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, d.Close())
		require.NoError(t, os.Remove(d.Path()))
		require.Equal(t, told, strings.Contains(log.String(), "the database that was here is gone"))
	}
}
