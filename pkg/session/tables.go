package session

import "github.com/coderclaw/gateway/pkg/store"

// Tables lists this package's buckets, for the check of a database file.
func Tables() []store.Table {
	return []store.Table{
		messages.Table(), notesBucket.Table(), archives.Table(), entries.Table(), ids.Table(), labels.Table(), usageRows.Table(), usageDays.Table(),
	}
}
