package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a restore may put into a state directory: no more than backup packs.
func TestWhatMayBeInABackup(t *testing.T) {
	for name, want := range map[string]bool{
		"gateway.db": true, "coderclaw.json": true, "gateway.token": true, "identity/device.json": true, "tls/gateway.pem": true,
		"workspace/SOUL.md": true, "workspace/.git/HEAD": true, "workspace-ops/memory/x.md": true, "parts/models.json5": true, "models.json": true,
		"workspace": false, "workspace-ops.removed-20260301T080000Z/x": false, "gateway.lock": false, "identity/other.json": false, "tls/x.json": false,
		"logs/gateway.json": false, "backups/x.json": false, "restore.commit/x.json": false, "config-last-good.json": false, "config-probation.json": false,
		".restore-1/x.json": false, "parts/run.sh": false, "coderclaw.json.bak": false,
	} {
		require.Equal(t, want, belongs(name), name)
	}
}
