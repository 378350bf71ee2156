package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// compactBytesMin is the file size below which compacting is not worth it.
	compactBytesMin = 64 << 20
	// compactTxBytes bounds one transaction of a compaction.
	compactTxBytes = 8 << 20
)

// Backup writes a consistent copy of the database to path while the gateway
// runs: mode 0600, replacing what was there only when the copy is complete and
// on disk. Writers go on meanwhile; the pages they free are reused afterwards.
func (d *DB) Backup(path string) error {
	err := replaceFile(path, func(tmp *os.File) error {
		return d.bolt.View(func(tx *bolt.Tx) error {
			_, err := tx.WriteTo(tmp)
			return err
		})
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	return nil
}

// replaceFile makes path a file that fill has written, all or nothing.
func replaceFile(path string, fill func(*os.File) error) (err error) {
	tmp, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := tmp.Chmod(0o600); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// compact rewrites a file of at least bytesMin that is more than half free pages:
// bbolt reuses freed pages but never gives them back. It runs before the writer
// starts; the old file stays in place until the new one is complete.
func (d *DB) compact(bytesMin int64) error {
	used, total, err := d.usage()
	if err != nil || total < bytesMin || used*2 > total {
		return err
	}
	tmp := d.path + ".compact"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("compact %s: %w", d.path, err)
	}
	if err := compactInto(tmp, d.bolt); err != nil {
		os.Remove(tmp)
		// The old file is whole: a disk without room for the copy must not keep
		// the gateway from starting.
		d.log.Warn("database not compacted", "path", d.path, "err", err)
		return nil
	}
	if err := d.bolt.Close(); err != nil {
		return fmt.Errorf("compact %s: %w", d.path, err)
	}
	if err := errors.Join(os.Rename(tmp, d.path), syncDir(filepath.Dir(d.path))); err != nil {
		return fmt.Errorf("compact %s: %w", d.path, err)
	}
	d.log.Info("database compacted", "path", d.path, "bytesBefore", total)
	return d.openBolt()
}

// usage returns the bytes of pages in use and of all pages ever allocated.
func (d *DB) usage() (used, total int64, err error) {
	tx, err := d.bolt.Begin(true) // bbolt counts free pages when a writer ends
	if err != nil {
		return 0, 0, err
	}
	total = tx.Size()
	if err := tx.Rollback(); err != nil {
		return 0, 0, err
	}
	page := int64(d.bolt.Info().PageSize)
	free := int64(d.bolt.Stats().FreePageN+d.bolt.Stats().PendingPageN) * page
	return total - free, total, nil
}

// compactInto copies the live data of src into a new file at path and syncs it.
func compactInto(path string, src *bolt.DB) error {
	dst, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, Timeout: boltLockTimeout})
	if err != nil {
		return err
	}
	return errors.Join(bolt.Compact(dst, src, compactTxBytes), dst.Sync(), dst.Close())
}
