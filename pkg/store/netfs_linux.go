package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// refuseNetwork returns an error when dir lies on a network file system: their
// locks and memory maps do not keep two machines from writing one database.
func refuseNetwork(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if name := networkName(uint32(fs.Type)); name != "" {
		return fmt.Errorf("open store: %s is on %s: keep the state directory on a local disk (CODERCLAW_STATE_DIR)", dir, name)
	}
	return nil
}

// networkName names a network file system by the magic number of statfs(2), and
// is empty for others.
func networkName(magic uint32) string {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB"
	case unix.AFS_SUPER_MAGIC:
		return "AFS"
	}
	return ""
}
