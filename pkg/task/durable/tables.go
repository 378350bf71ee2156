package durable

import "github.com/coderclaw/gateway/pkg/store"

// Tables lists this package's buckets, for the check of a database file.
func Tables() []store.Table {
	return []store.Table{
		tasks.Table(), events.Table(), eventLog.Table(), openTasks.Table(), endedTasks.Table(), bodies.Table(), blobs.Table(),
		blobRefs.Table(), keys.Table(), children.Table(), dependents.Table(), sessionTasks.Table(), totals.Table(),
	}
}
