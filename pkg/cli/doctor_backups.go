package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

// backupAgeNoted is the age from which the newest copy of the database is too old: a
// gateway that runs takes one a day.
const backupAgeNoted = 3 * 24 * time.Hour

// checkBackups looks whether there is something to go back to, and whether the gateway
// had to.
func (d *doctor) checkBackups(context.Context) []finding {
	const check = "backups"
	if kept, _ := filepath.Glob(filepath.Join(d.dir, store.FileName+".corrupt*")); len(kept) > 0 {
		return one(check, levelWarn, "look whether something is missed, and then: rm "+named(kept),
			"%s kept in %s: the gateway went back to an earlier state", count(int64(len(kept)), "damaged database is", "damaged databases are"), d.dir)
	}
	if _, err := os.Stat(filepath.Join(d.dir, store.FileName)); errors.Is(err, fs.ErrNotExist) {
		return one(check, levelOK, "", "there is nothing to back up yet")
	}
	copies, err := store.Copies(d.dir)
	if err != nil {
		return one(check, levelFail, "", "%v", err)
	}
	if len(copies) == 0 {
		return one(check, levelOK, "", "there is none yet: a gateway takes one each day that it runs")
	}
	newest := copies[len(copies)-1].At
	text := count(int64(len(copies)), "copy", "copies") + " of the database is from " + newest.Local().Format(time.DateTime)
	if d.now.Sub(newest) > backupAgeNoted {
		return one(check, levelWarn, "coderclaw backup", "the newest of %s; a gateway takes one each day that it runs", text)
	}
	return one(check, levelOK, "", "the newest of %s", text)
}
