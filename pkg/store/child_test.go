package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	childEnv    = "STORE_TEST_CHILD"
	childDirEnv = "STORE_TEST_DIR"
)

// runChild is the life of a child process.
func runChild(role string) int {
	roles := map[string]func(dir string) error{"commit": childCommit, "hold": childHold, "full": childFull}
	if err := roles[role](os.Getenv(childDirEnv)); err != nil {
		fmt.Println("child:", err)
		return 1
	}
	return 0
}

// child starts this test binary in a role. Its input is held open until the test
// ends or it is killed.
func child(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role, childDirEnv+"="+dir)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// childCommit writes numbers from eight goroutines and prints each one after
// Update has returned, until it is killed.
func childCommit(dir string) error {
	d, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				var n uint64
				err := d.Update(context.Background(), func(tx *Tx) (err error) {
					if n, err = numbers.NextSequence(tx); err != nil {
						return err
					}
					return numbers.Put(tx, SeqKey("n", n), int(n))
				})
				mu.Lock()
				fmt.Println(n, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	for round := range 4 {
		cmd, out := child(t, "commit", dir)
		var seen []uint64
		for range 40 + 13*round {
			require.True(t, out.Scan(), "the child ended by itself")
			text, ok := strings.CutSuffix(out.Text(), " <nil>")
			require.True(t, ok, out.Text())
			n, err := strconv.ParseUint(text, 10, 64)
			require.NoError(t, err)
			seen = append(seen, n)
		}
		require.NoError(t, cmd.Process.Kill())
		for out.Scan() { // what it had told before it died
			if text, ok := strings.CutSuffix(out.Text(), " <nil>"); ok {
				n, err := strconv.ParseUint(text, 10, 64)
				require.NoError(t, err)
				seen = append(seen, n)
			}
		}
		require.Error(t, cmd.Wait())

		d, err := Open(Options{Dir: dir})
		require.NoError(t, err)
		require.NoError(t, d.View(func(tx *Tx) error {
			for _, n := range seen {
				v, ok, err := numbers.Get(tx, SeqKey("n", n))
				require.NoError(t, err)
				require.True(t, ok, "round %d lost the acknowledged write %d", round, n)
				require.Equal(t, int(n), v)
			}
			return nil
		}))
		require.NoError(t, d.bolt.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		}))
		require.NoError(t, d.Close())
		acked += len(seen)
	}
	t.Logf("%d acknowledged writes survived 4 kills", acked)
}

// childHold opens the store and waits.
func childHold(dir string) error {
	d, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	if err := d.Announce(18790); err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return d.Close()
}

func TestSecondGatewayIsToldTheOwner(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, "hold", dir)
	require.True(t, out.Scan())
	require.Equal(t, "ready", out.Text())

	began := time.Now()
	_, err := Open(Options{Dir: dir})
	require.Less(t, time.Since(began), 2*time.Second)
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, dir, locked.Dir)
	require.Equal(t, cmd.Process.Pid, locked.Owner.PID)
	require.Equal(t, 18790, locked.Owner.Port)
	require.WithinDuration(t, began, locked.Owner.StartedAt, time.Minute)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d, port 18790", cmd.Process.Pid))

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	open(t, dir) // a dead owner's lock file is in nobody's way
}

func TestLockSurvivesTheUnlinkOfTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		require.NoError(t, os.Remove(d.Path()))
		_, err := Open(Options{Dir: dir})
		var locked *LockedError
		require.ErrorAs(t, err, &locked)
		require.Equal(t, os.Getpid(), locked.Owner.PID)
		require.Equal(t, 18789, locked.Owner.Port)
	})
}

// A restart starts the new gateway while the old one is still closing.
func TestOpenWaitsForAnOwnerThatIsLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		go func() {
			time.Sleep(lockWait / 2)
			d.Close()
		}()
		open(t, dir)
	})
}

// childFull runs the store into a limit of the file size, as a full disk would,
// and expects: all callers told, the store usable and honest about it, and well
// again when there is room.
func childFull(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	d, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := d.Update(ctx, func(tx *Tx) error { return numbers.Put(tx, "before", 1) }); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	roomy := limit.Cur
	limit.Cur = uint64(d.Stats().FileBytes)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := fillUp(ctx, d); err != nil {
		return err
	}
	limit.Cur = roomy
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := d.Update(ctx, func(tx *Tx) error { return numbers.Put(tx, "after", 2) }); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	return errors.Join(d.Check(), d.Close())
}

// fillUp commits large values until that fails, then expects the same failure for
// two callers of one transaction.
func fillUp(ctx context.Context, d *DB) error {
	texts := NewBucket[string]("storetest.texts")
	big := strings.Repeat("x", 4<<20)
	put := func(key string) error {
		return d.Update(ctx, func(tx *Tx) error { return texts.Put(tx, key, big) })
	}
	var full error
	for i := 0; full == nil && i < 64; i++ {
		full = put(fmt.Sprintf("fill%d", i))
	}
	if full == nil {
		return errors.New("64 values of 4 MiB fitted into the limit")
	}
	if !errors.Is(full, ErrFull) || errors.Is(full, ErrFailed) {
		return fmt.Errorf("it is not told to be full: %w", full)
	}
	fmt.Println("full:", full)
	if d.Check() == nil {
		return errors.New("check finds nothing wrong with a full disk")
	}
	entered, gate := make(chan struct{}), make(chan struct{})
	errs := make(chan error, 3)
	go func() {
		errs <- d.Update(ctx, func(tx *Tx) error {
			close(entered)
			<-gate
			return nil
		})
	}()
	<-entered
	for i := range 2 {
		j := &job{fn: func(tx *Tx) error { return texts.Put(tx, fmt.Sprintf("late%d", i), big) }, done: make(chan struct{})}
		if err := d.enqueue(ctx, j); err != nil {
			return err
		}
		go func() {
			<-j.done
			errs <- j.err
		}()
	}
	close(gate)
	failed := 0
	for range 3 {
		if <-errs != nil {
			failed++
		}
	}
	if failed != 2 {
		return fmt.Errorf("%d callers were told of the full disk, want 2", failed)
	}
	return d.View(func(tx *Tx) error {
		if has, err := texts.Has(tx, "late0"); has || err != nil {
			return fmt.Errorf("a failed commit left a value: %w", err)
		}
		_, _, err := numbers.Get(tx, "before")
		return err
	})
}

func TestFullDiskIsToldToEveryCaller(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, "full", dir)
	var text []string
	for out.Scan() {
		text = append(text, out.Text())
	}
	require.NoError(t, cmd.Wait(), strings.Join(text, "\n"))
	require.Contains(t, strings.Join(text, "\n"), "file too large")
	require.Equal(t, 2, number(t, open(t, dir), "after"))
}
