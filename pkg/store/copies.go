package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// BackupsDir is the folder below the state directory that copies are kept in.
	BackupsDir = "backups"
	// ReasonDaily is the reason of the copies that Run makes, ReasonRequest of those
	// that somebody asked for.
	ReasonDaily   = "daily"
	ReasonRequest = "request"

	// dailyMax and requestMax are how many copies of each reason are kept, and
	// copiesBytesMax bounds the bytes of the daily ones, of which one is always kept.
	dailyMax       = 7
	requestMax     = 1
	copiesBytesMax = 4 << 30
	// freeBytesMin is what a copy must leave free on the disk: the database needs
	// room more than its copies do.
	freeBytesMin = 256 << 20

	dailyEvery = 24 * time.Hour
	// firstLook is how long after its start Run looks for a copy of today: a restart
	// has other things to do.
	firstLook = 5 * time.Minute
	lookEvery = time.Hour

	copyTimeLayout = "20060102T150405.000Z"
	// checkingName is the name of a copy that is not verified yet.
	checkingName = "checking.db"
)

// ErrNoRoom says that a copy would fill the disk.
var ErrNoRoom = errors.New("not enough room on the disk")

// UnsoundError says that a copy of the open database failed its check: the database
// itself is damaged, since the copy is faithful.
type UnsoundError struct{ Report Report }

// Error names the first faults.
func (e *UnsoundError) Error() string {
	return "the database is damaged (" + e.Report.Summary() + "): stop the gateway and start it again, it then mends the file or says what to restore"
}

// Copy is a verified copy of the database.
type Copy struct {
	Path   string
	Reason string
	// At is when it was taken.
	At    time.Time
	Bytes int64
}

// Keeper takes verified copies of an open database, each day and on request, and
// keeps the newest. It is safe for concurrent use: one copy is taken at a time.
type Keeper struct {
	DB *DB
	// Verify checks each copy; a copy that fails is not kept.
	Verify Verify
	Log    *slog.Logger

	mu sync.Mutex // held while a copy is taken

	freeBytesMin uint64 // replaces the constant in tests
}

func (k *Keeper) dir() string { return filepath.Join(filepath.Dir(k.DB.path), BackupsDir) }

// Create takes a copy and returns it once it is verified and on disk; older ones of
// its reason go. The error may wrap ErrNoRoom or be an *UnsoundError.
func (k *Keeper) Create(ctx context.Context, reason string) (Copy, Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	path, report, err := k.take(ctx)
	if err != nil {
		return Copy{}, report, err
	}
	now := time.Now().UTC()
	c := Copy{Path: filepath.Join(k.dir(), fmt.Sprintf("gateway-%s-%s.db", now.Format(copyTimeLayout), reason)), Reason: reason, At: now, Bytes: report.Bytes}
	if err := errors.Join(os.Rename(path, c.Path), syncDir(k.dir())); err != nil {
		return Copy{}, report, fmt.Errorf("back up: %w", err)
	}
	k.prune(reason)
	return c, report, nil
}

// Check takes a copy, checks it and keeps nothing. What it finds is in the report.
func (k *Keeper) Check(ctx context.Context) (Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	path, report, err := k.take(ctx)
	if path != "" {
		_ = os.Remove(path)
	}
	var unsound *UnsoundError
	if errors.As(err, &unsound) {
		err = nil
	}
	report.Path = k.DB.path
	return report, err
}

// take makes a copy that has no name of its own yet. One that is not sound is removed.
func (k *Keeper) take(ctx context.Context) (path string, r Report, err error) {
	if err := os.MkdirAll(k.dir(), 0o700); err != nil {
		return "", r, fmt.Errorf("back up: %w", err)
	}
	least := uint64(freeBytesMin)
	if k.freeBytesMin != 0 {
		least = k.freeBytesMin
	}
	if err := roomFor(k.dir(), k.DB.Stats().FileBytes, least); err != nil {
		return "", r, err
	}
	path = filepath.Join(k.dir(), checkingName)
	if err := k.DB.Backup(path); err != nil {
		return "", r, err
	}
	if r, err = k.Verify(ctx, path); err == nil && !r.Sound() {
		err = &UnsoundError{r}
	}
	if err != nil {
		_ = os.Remove(path)
		return "", r, err
	}
	return path, r, nil
}

// roomFor reports as ErrNoRoom that n more bytes would leave less than least.
func roomFor(dir string, n int64, least uint64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if free := uint64(stat.Bavail) * uint64(stat.Bsize); free < uint64(n)+least {
		return fmt.Errorf("%w: a copy of %d MiB would leave less than %d MiB free; make room and try again", ErrNoRoom, n>>20, least>>20)
	}
	return nil
}

// prune removes the oldest copies of a reason beyond their number or size.
func (k *Keeper) prune(reason string) {
	keep := dailyMax
	if reason == ReasonRequest {
		keep = requestMax
	}
	copies, err := listCopies(k.dir())
	if err != nil {
		k.Log.Warn("old backups cannot be listed", "dir", k.dir(), "err", err)
		return
	}
	kept, bytes := 0, int64(0)
	for _, c := range slices.Backward(copies) {
		if c.Reason != reason {
			continue
		}
		kept++
		bytes += c.Bytes
		if kept == 1 || kept <= keep && bytes <= copiesBytesMax {
			continue
		}
		if err := os.Remove(c.Path); err != nil {
			k.Log.Warn("old backup cannot be removed", "path", c.Path, "err", err)
		}
	}
}

// List returns the copies, the oldest first.
func (k *Keeper) List() ([]Copy, error) { return listCopies(k.dir()) }

// Copies returns the copies that are kept in a state directory, the oldest first.
func Copies(stateDir string) ([]Copy, error) { return listCopies(filepath.Join(stateDir, BackupsDir)) }

// Run takes a copy a day until ctx ends, and returns nil then. A copy that fails is
// logged and tried again within the hour.
func (k *Keeper) Run(ctx context.Context) error {
	for wait := firstLook; ; wait = lookEvery {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		due, err := k.due(time.Now())
		if err == nil && due {
			var c Copy
			if c, _, err = k.Create(ctx, ReasonDaily); err == nil {
				k.Log.Info("database backed up", "path", c.Path, "bytes", c.Bytes)
			}
		}
		if err != nil && ctx.Err() == nil {
			k.Log.Error("daily backup failed", "dir", k.dir(), "err", err)
		}
	}
}

// due reports whether the newest daily copy is a day old. One from the future was
// taken when the clock was wrong, and counts for nothing.
func (k *Keeper) due(now time.Time) (bool, error) {
	copies, err := k.List()
	for _, c := range slices.Backward(copies) {
		if c.Reason == ReasonDaily && !c.At.After(now) {
			return now.Sub(c.At) >= dailyEvery, nil
		}
	}
	return true, err
}

var copyName = regexp.MustCompile(`^gateway-(\d{8}T\d{6}\.\d{3}Z)-([a-z]+)\.db$`)

// listCopies returns the copies of a folder, the oldest first; none when there is no
// such folder.
func listCopies(dir string) ([]Copy, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var out []Copy
	for _, e := range entries {
		m := copyName.FindStringSubmatch(e.Name())
		info, err := e.Info()
		if m == nil || err != nil || !info.Mode().IsRegular() {
			continue
		}
		at, err := time.Parse(copyTimeLayout, m[1])
		if err != nil {
			continue
		}
		out = append(out, Copy{Path: filepath.Join(dir, e.Name()), Reason: m[2], At: at, Bytes: info.Size()})
	}
	slices.SortFunc(out, func(a, b Copy) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}
