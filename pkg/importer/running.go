package importer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// RunningError says that the other gateway works on the source.
type RunningError struct{ PID int }

func (e *RunningError) Error() string {
	return fmt.Sprintf("the other gateway runs on this state directory (process %d)", e.PID)
}

// lockBytesMax bounds a lock file of the original.
const lockBytesMax = 4 << 10

// Running returns a *RunningError when the gateway of the state directory from runs on
// this machine, as far as its lock file in tempDir tells: that names its config and
// its process. The error is nil when there is no such file.
func Running(from, tempDir string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return nil // the import itself says what is wrong with it
	}
	for _, product := range []string{"openclaw", "coderclaw"} {
		folder := filepath.Join(tempDir, product+"-"+strconv.Itoa(os.Getuid()))
		entries, _ := os.ReadDir(folder) // not there: nothing runs
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "gateway.") || !strings.HasSuffix(e.Name(), ".lock") {
				continue
			}
			if pid, ok := lockedBy(filepath.Join(folder, e.Name()), from); ok {
				return &RunningError{pid}
			}
		}
	}
	return nil
}

// lockedBy returns the living process that a lock file names, if the file is for a
// config of the folder from.
func lockedBy(name, from string) (pid int, ok bool) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > lockBytesMax {
		return 0, false
	}
	raw, err := os.ReadFile(name)
	var lock struct {
		PID        int    `json:"pid"`
		ConfigPath string `json:"configPath"`
		StartTime  int64  `json:"startTime"`
	}
	if err != nil || json.Unmarshal(raw, &lock) != nil || lock.PID <= 0 {
		return 0, false
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(lock.ConfigPath))
	if err != nil || folder != from || !slices.Contains(sourceConfigs, filepath.Base(lock.ConfigPath)) {
		return 0, false
	}
	if err := syscall.Kill(lock.PID, 0); err != nil && err != syscall.EPERM {
		return 0, false
	}
	if started := startTime(lock.PID); lock.StartTime != 0 && started != 0 && started != lock.StartTime {
		return 0, false // another process has its number
	}
	return lock.PID, true
}

// startTime is when a process began, in the kernel's ticks; 0 when that is not known.
func startTime(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw[max(0, strings.LastIndexByte(string(raw), ')')):]), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[19], 10, 64)
	return n
}
