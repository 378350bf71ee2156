// Package store keeps everything the gateway remembers in one bbolt file,
// <state dir>/gateway.db, and is the only package that imports bbolt.
//
// It knows bytes and JSON, no session, device or task: each bucket belongs to
// one other package, which declares it with NewBucket under its own name. It
// refuses a state directory that another process holds (LockedError), a file
// written by a newer build (NewerError) and everything after Close (ErrClosed).
//
// The rule that surprises: functions given to Update share transactions. One
// writer goroutine takes whatever is queued, runs it in one transaction and
// syncs once, so a function may run more than once (its neighbour may fail) and
// must have no effect outside of its Tx other than setting variables it sets
// anew on each run. Update returns when the data is on disk. Calling Update
// inside a function given to Update or View deadlocks.
//
// Locking: the lock file gateway.lock is flocked for as long as the DB is open
// and is never deleted, because unlinking a database defeats the lock that bbolt
// takes on the database file itself. DB is safe for concurrent use; a Tx belongs
// to the function it was given to and is dead when that returns.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// FileName is the database's name inside the state directory.
	FileName = "gateway.db"
	// LockName is the lock file's name inside the state directory.
	LockName = "gateway.lock"

	// mmapBytesInitial is mapped at open, so that a young database grows without
	// remapping, which would wait for all readers. It is address space, not memory.
	mmapBytesInitial = 64 << 20
	// boltLockTimeout bounds the wait for bbolt's own lock. It is only reached
	// when something that does not know the lock file holds the database.
	boltLockTimeout = 2 * time.Second
)

var (
	// ErrClosed says that the DB has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrFull says that the disk has no room. Nothing was written, and the next write
	// may go well.
	ErrFull = errors.New("no room on the disk, writes go on when there is some")
	// ErrFailed says that a commit failed in a way that leaves open what is on disk. No
	// further write is tried until the file is opened again.
	ErrFailed = errors.New("the store is out of order until the gateway restarts")
	// ErrReplaced says that the database file or its lock was deleted or replaced
	// while it was open: what is written from now on is lost at exit.
	ErrReplaced = errors.New("database file was deleted or replaced while the gateway had it open")
)

// Options say what to open.
type Options struct {
	// Dir is the state directory. It is created with mode 0700 if it is missing.
	Dir string
	// Port is written into the lock file for the message a second gateway shows;
	// 0 means not known yet (see Announce).
	Port int
	// Log receives warnings about the file; nil discards them.
	Log *slog.Logger
	// Verify checks a file that was not closed in order, before it is opened: see
	// Child. nil opens it unchecked.
	Verify Verify

	// migrations replaces the product's list in tests.
	migrations []migration
	// compactBytesMin replaces the product's threshold in tests.
	compactBytesMin int64
}

// DB is an open store.
type DB struct {
	path string
	log  *slog.Logger
	bolt *bolt.DB
	info fs.FileInfo // of the database file as it was opened
	lock *lockFile

	queue   chan *job
	drained chan struct{} // closed when the writer has ended

	// mu keeps Close from closing queue under a sender; it guards closed.
	mu     sync.RWMutex
	closed bool

	// lastCommit is the error of the most recent commit, nil inside when it went well.
	lastCommit atomic.Pointer[error]
	calls      atomic.Uint64
	commits    atomic.Uint64
}

// Open locks the state directory, opens or creates the database, brings its
// schema up to date and starts the writer, which Close ends. Another owner is
// told as a *LockedError within two seconds, a newer file as a *NewerError.
func Open(o Options) (_ *DB, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.migrations == nil {
		o.migrations = migrations()
	}
	if o.compactBytesMin == 0 {
		o.compactBytesMin = compactBytesMin
	}
	if err := prepareDir(o.Dir, o.Log); err != nil {
		return nil, err
	}
	d := &DB{
		path:    filepath.Join(o.Dir, FileName),
		log:     o.Log,
		queue:   make(chan *job, batchMax),
		drained: make(chan struct{}),
	}
	if d.lock, err = acquire(filepath.Join(o.Dir, LockName), o.Port); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.release()
		}
	}()
	if replacing(o.Dir) {
		if err := finishReplace(o.Dir); err != nil {
			return nil, err
		}
	}
	if err := clearStaging(o.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := d.openChecked(o.Verify); err != nil {
		return nil, err
	}
	if err := d.migrate(o.migrations, o.Verify); err != nil {
		return nil, err
	}
	if err := d.compact(o.compactBytesMin); err != nil {
		return nil, err
	}
	go d.write()
	return d, nil
}

// prepareDir makes the state directory. The mode of one that exists is the
// user's business (it may be shared on purpose), but others who may write into
// it could replace the database, so that is worth a warning.
func prepareDir(dir string, log *slog.Logger) error {
	if dir == "" {
		return errors.New("open store: no state directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := refuseNetwork(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		log.Warn("state directory can be written by other users", "path", dir, "mode", info.Mode().Perm().String())
	}
	return nil
}

// openBolt opens the database file. bbolt panics on some damaged files; that
// becomes an error here.
func (d *DB) openBolt() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open %s: the file is damaged (%v): restore a backup or move it away", d.path, r)
		}
	}()
	d.bolt, err = bolt.Open(d.path, 0o600, &bolt.Options{
		Timeout:         boltLockTimeout,
		FreelistType:    bolt.FreelistMapType,
		NoFreelistSync:  false,
		InitialMmapSize: mmapBytesInitial,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			if err != nil {
				return nil, err
			}
			if d.info, err = f.Stat(); err == nil && d.info.Mode().Perm()&0o077 != 0 {
				err = f.Chmod(0o600)
			}
			if err != nil {
				f.Close()
				return nil, err
			}
			return f, nil
		},
	})
	if errors.Is(err, errBoltTimeout) {
		return fmt.Errorf("open %s: another program reads it, such as coderclaw db check: try again when that is done: %w", d.path, err)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", d.path, err)
	}
	return nil
}

// Path returns the path of the database file.
func (d *DB) Path() string { return d.path }

// Announce writes the port the gateway listens on into the lock file, for the
// message that a second gateway shows.
func (d *DB) Announce(port int) error { return d.lock.write(port) }

// View runs fn in a read transaction that sees one consistent state. Keep fn
// short and away from networks: pages it can see are not reused meanwhile.
func (d *DB) View(fn func(*Tx) error) error {
	err := d.bolt.View(func(b *bolt.Tx) error {
		tx := &Tx{bolt: b}
		defer tx.end()
		return fn(tx)
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// Check reports a store that must not be trusted any more: ErrReplaced when the
// file on disk is not the one that is open, or the error of the last commit when
// that failed (a full disk; it is forgotten with the next commit that succeeds).
func (d *DB) Check() error {
	if err := d.commitFailure(); err != nil {
		return err
	}
	if err := sameFile(d.path, d.info); err != nil {
		return err
	}
	return d.lock.check()
}

// sameFile reports as ErrReplaced that path does not lead to the file info describes.
func sameFile(path string, info fs.FileInfo) error {
	now, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, ErrReplaced)
	case err != nil:
		return fmt.Errorf("check store: %w", err)
	case !os.SameFile(now, info):
		return fmt.Errorf("%s: %w", path, ErrReplaced)
	}
	return nil
}

// Stats counts what the store has done since it was opened.
type Stats struct {
	// Calls is the number of functions that went through Update.
	Calls uint64
	// Commits is the number of synced transactions they took.
	Commits uint64
	// FileBytes is the size of the database file.
	FileBytes int64
}

// Stats returns the counters.
func (d *DB) Stats() Stats {
	s := Stats{Calls: d.calls.Load(), Commits: d.commits.Load()}
	if info, err := os.Stat(d.path); err == nil {
		s.FileBytes = info.Size()
	}
	return s
}

// Close commits what is queued, ends the writer, waits for readers and releases
// the file and the lock. It may be called more than once.
func (d *DB) Close() error {
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	if !closed {
		d.beginClose()
	}
	<-d.drained
	return d.releaseClosed()
}

// beginClose refuses new work and lets the writer run dry.
func (d *DB) beginClose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	close(d.queue)
}

// releaseClosed releases a store that has worked, and notes that nothing was left
// undone, so that the next start can spare itself the check.
func (d *DB) releaseClosed() error {
	if d.bolt == nil || d.lock.released() {
		return d.release()
	}
	err := d.bolt.Close()
	if err == nil && d.commitFailure() == nil {
		var info fs.FileInfo
		// A file that was deleted or replaced meanwhile is not ours to vouch for.
		if info, err = os.Stat(d.path); err == nil && os.SameFile(info, d.info) {
			err = d.lock.close(closedAs(info))
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, d.release())
}

// release closes the file, then the lock. Both may be closed already.
func (d *DB) release() error {
	var err error
	if d.bolt != nil {
		err = d.bolt.Close()
	}
	return errors.Join(err, d.lock.release())
}
