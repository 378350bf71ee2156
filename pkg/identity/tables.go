package identity

import "github.com/coderclaw/gateway/pkg/store"

// Tables lists this package's buckets, for the check of a database file.
func Tables() []store.Table {
	return []store.Table{devices.Table(), nodes.Table(), pendingNodes.Table(), pending.Table()}
}
