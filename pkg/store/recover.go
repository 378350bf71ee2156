package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// DamagedError says that the database is damaged and that nothing here mends it.
// The file is as it was.
type DamagedError struct {
	// Path is the database file.
	Path string
	// Report is what the check found.
	Report Report
	// Tried says why each way to mend it came to nothing.
	Tried []string
}

// Error tells what is lost and what to do.
func (e *DamagedError) Error() string {
	text := fmt.Sprintf("%s is damaged (%s)", e.Path, e.Report.Summary())
	for _, t := range e.Tried {
		text += "; " + t
	}
	return text + fmt.Sprintf(". It was left as it is. Restore a backup with: coderclaw restore FILE. "+
		"Or begin anew, without the paired devices, sessions, transcripts and runs it holds, with: mv '%s' '%s.corrupt'", e.Path, e.Path)
}

// openChecked opens the database. One that was not closed in order is checked first,
// and so is one that bbolt refuses; a damaged one is mended if that can be done
// without guessing.
func (d *DB) openChecked(verify Verify) error {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return d.openNew()
	}
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if verify == nil {
		return d.openBolt()
	}
	if last := d.lock.before.Closed; last != nil && *last == closedAs(info) {
		err := d.openBolt()
		if err == nil || !damageLike(err) {
			return err
		}
		d.log.Warn("database cannot be opened although it was closed in order; checking it", "path", d.path, "err", err)
	} else {
		d.log.Warn("database was not closed in order, or has changed since; checking it before it is opened", "path", d.path, "bytes", info.Size())
	}
	if err := d.mend(verify); err != nil {
		return err
	}
	return d.openBolt()
}

// openNew makes a new database. Where there was one before, who begins anew is told
// what is gone.
func (d *DB) openNew() error {
	if d.lock.before.PID != 0 {
		d.log.Warn("the database that was here is gone; beginning with an empty one, without paired devices, sessions, transcripts and runs", "path", d.path)
	}
	return d.openBolt()
}

// damageLike reports whether bbolt refused a file for what is in it.
func damageLike(err error) bool {
	var path *fs.PathError
	return !errors.As(err, &path) && !errors.Is(err, errBoltTimeout)
}

// mend checks the database and leaves a sound one at its path, or returns a
// *DamagedError and leaves everything as it was.
func (d *DB) mend(verify Verify) error {
	ctx := context.Background()
	found, err := verify(ctx, d.path)
	if err != nil {
		// Nothing speaks against the file, and a gateway that cannot start a child
		// after its program was replaced should still start.
		d.log.Error("database opened unchecked", "path", d.path, "err", err)
		return nil
	}
	if found.Clean() {
		d.log.Info("database is whole", "path", d.path, "checkMs", found.Ms, "rows", found.Rows())
		return nil
	}
	candidate := d.path + ".candidate"
	defer os.Remove(candidate)
	r, err := tryRevert(ctx, verify, d.path, candidate)
	switch {
	case err == nil && r.Clean():
		return d.replaceDamaged(candidate, found, "database was damaged; went back by one transaction: what was acknowledged in the last moment before the crash is lost")
	case found.Sound():
		// Rows that were bad before the last transaction too are no trace of the
		// crash; their owners leave them out.
		d.log.Warn("database is whole, but some rows do not decode and are left out", "path", d.path, "rows", found.BadRowCount, "first", found.Summary())
		return nil
	case err == nil && r.Sound():
		return d.replaceDamaged(candidate, found, "database was damaged; went back by one transaction: what was acknowledged in the last moment before the crash is lost")
	}
	tried := []string{"going back by one transaction does not mend it (" + whyNot(r, err) + ")"}
	taken, err := d.tryBackups(ctx, verify, candidate)
	if err != nil {
		return &DamagedError{Path: d.path, Report: found, Tried: append(tried, err.Error())}
	}
	return d.replaceDamaged(candidate, found, "database was damaged; went back to the last good backup: everything since then is lost (pairings, messages, runs)", "backup", taken.Path, "backupTime", taken.At.Format(time.RFC3339))
}

func whyNot(r Report, err error) string {
	if err != nil {
		return err.Error()
	}
	return r.Summary()
}

// tryRevert makes candidate the database as it was before its last transaction, and
// checks it.
func tryRevert(ctx context.Context, verify Verify, path, candidate string) (Report, error) {
	if err := copyFile(path, candidate); err != nil {
		return Report{}, err
	}
	if err := revertMeta(candidate); err != nil {
		return Report{}, err
	}
	return verify(ctx, candidate)
}

// tryBackups makes candidate a copy of the newest backup that is sound.
func (d *DB) tryBackups(ctx context.Context, verify Verify, candidate string) (Copy, error) {
	copies, err := listCopies(filepath.Join(filepath.Dir(d.path), BackupsDir))
	if err != nil {
		return Copy{}, err
	}
	for i := len(copies) - 1; i >= 0; i-- {
		c := copies[i]
		if err := copyFile(c.Path, candidate); err != nil {
			return Copy{}, err
		}
		r, err := verify(ctx, candidate)
		if err != nil {
			return Copy{}, err
		}
		if r.Sound() {
			return c, nil
		}
		d.log.Warn("backup is damaged too", "backup", c.Path, "found", r.Summary())
	}
	if len(copies) == 0 {
		return Copy{}, fmt.Errorf("there is no backup in %s", filepath.Join(filepath.Dir(d.path), BackupsDir))
	}
	return Copy{}, fmt.Errorf("none of its %d backups is whole", len(copies))
}

// replaceDamaged keeps the damaged file under another name and puts candidate in its
// place. There is no moment without a database: the next start would make an empty one.
func (d *DB) replaceDamaged(candidate string, found Report, message string, attrs ...any) error {
	kept := fmt.Sprintf("%s.corrupt-%s", d.path, time.Now().UTC().Format(copyTimeLayout))
	if err := os.Link(d.path, kept); err != nil {
		if err := copyFile(d.path, kept); err != nil { // no hard links here
			return fmt.Errorf("keep the damaged database: %w", err)
		}
	}
	if err := errors.Join(os.Rename(candidate, d.path), syncDir(filepath.Dir(d.path))); err != nil {
		return fmt.Errorf("replace the damaged database: %w", err)
	}
	d.log.Error(message, append([]any{"path", d.path, "found", found.Summary(), "damaged", kept}, attrs...)...)
	return nil
}

// copyFile copies a file, private and on disk, over whatever has the name.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return replaceFile(to, func(out *os.File) error {
		_, err := out.ReadFrom(in)
		return err
	})
}
