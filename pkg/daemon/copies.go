package daemon

import "github.com/coderclaw/gateway/pkg/store"

// keeper returns what takes copies of the database, one for the whole gateway.
func (d *Daemon) keeper() *store.Keeper {
	if d.copies == nil {
		d.copies = &store.Keeper{DB: d.db, Verify: d.cfg.Verify, Log: d.log}
	}
	return d.copies
}
