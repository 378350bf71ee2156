package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// metaBucket belongs to this package. Its name has no dot, so that no owner's
// bucket can meet it.
var (
	metaBucket  = []byte("meta")
	metaVersion = []byte("schemaVersion")
)

// migration takes the file from one schema version to the next. It works on raw
// keys and values, never on the types of today, because those will change.
type migration struct {
	// name says what it does, for the log.
	name string
	// apply must be a pure function of the transaction.
	apply func(*bolt.Tx) error
}

// migrations lists the product's steps, oldest first. The schema version of a
// file is one more than the number of steps it has seen. Entries are appended,
// never edited: files in the field have seen them.
func migrations() []migration {
	return []migration{
		{name: "runs become tasks", apply: runsToTasks},
	}
}

// NewerError says that the database was written by a newer build.
type NewerError struct {
	// Path is the database file.
	Path string
	// Found is the file's schema version, Known the newest this build reads.
	Found, Known int
	// Snapshot is the copy from before the migration this build does not know, or
	// empty when there is none.
	Snapshot string
}

// Error tells how to go back.
func (e *NewerError) Error() string {
	text := fmt.Sprintf("%s has schema version %d, this build knows versions up to %d: run the newer coderclaw", e.Path, e.Found, e.Known)
	if e.Snapshot == "" {
		return text + fmt.Sprintf(" (there is no snapshot %s to go back to)", snapshotPath(e.Path, e.Known+1))
	}
	return text + fmt.Sprintf(", or go back to the data from before the upgrade with: mv '%s' '%s.v%d' && cp -p '%s' '%s'",
		e.Path, e.Path, e.Found, e.Snapshot, e.Path)
}

// snapshotPath names the copy that is made before the migration to version.
func snapshotPath(path string, version int) string {
	return fmt.Sprintf("%s.before-v%d", path, version)
}

// migrate brings the file to the newest version, one transaction and one snapshot
// per step, so that a crash leaves it at a version with its snapshot beside it. A
// snapshot that fails its check ends it: there would be no way back.
func (d *DB) migrate(steps []migration, verify Verify) error {
	known := len(steps) + 1
	version, err := d.version()
	if err != nil {
		return err
	}
	if version == 0 { // a new file
		return d.bolt.Update(func(tx *bolt.Tx) error { return putVersion(tx, known) })
	}
	if version > known {
		return d.newer(version, known)
	}
	for ; version < known; version++ {
		step := steps[version-1]
		snapshot := snapshotPath(d.path, version+1)
		if err := d.Backup(snapshot); err != nil {
			return fmt.Errorf("snapshot before migration %q: %w", step.name, err)
		}
		if verify != nil {
			r, err := verify(context.Background(), snapshot)
			if err != nil {
				d.log.Warn("snapshot before migration not checked", "snapshot", snapshot, "err", err)
			} else if !r.Sound() {
				return fmt.Errorf("snapshot before migration %q: %w", step.name, &UnsoundError{r})
			}
		}
		err := d.bolt.Update(func(tx *bolt.Tx) error {
			if err := step.apply(tx); err != nil {
				return err
			}
			return putVersion(tx, version+1)
		})
		if err != nil {
			return fmt.Errorf("migrate %s to version %d (%s): %w", d.path, version+1, step.name, err)
		}
		d.log.Info("database migrated", "version", version+1, "step", step.name, "snapshot", snapshot)
	}
	return nil
}

// newer builds the refusal of a file from a newer build.
func (d *DB) newer(found, known int) error {
	e := &NewerError{Path: d.path, Found: found, Known: known, Snapshot: snapshotPath(d.path, known+1)}
	if _, err := os.Stat(e.Snapshot); err != nil {
		e.Snapshot = ""
	}
	return e
}

// version reads the file's schema version: 0 for a file without any bucket. A
// file that has data but no version is not ours.
func (d *DB) version() (version int, err error) {
	err = d.bolt.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return fmt.Errorf("%s is a bbolt file, but not a gateway's: it has no schema version", d.path)
			}
			return nil
		}
		if err := json.Unmarshal(meta.Get(metaVersion), &version); err != nil || version < 1 {
			return fmt.Errorf("%s: schema version is unreadable: %q", d.path, meta.Get(metaVersion))
		}
		return nil
	})
	return version, err
}

// putVersion writes the schema version.
func putVersion(tx *bolt.Tx, version int) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	return meta.Put(metaVersion, fmt.Append(nil, version))
}

// SchemaVersion returns the newest schema version that this build reads.
func SchemaVersion() int { return len(migrations()) + 1 }
