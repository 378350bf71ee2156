package settings

import (
	"context"
	"maps"
	"os"
	"syscall"
	"time"
)

// lookEvery is how often Watch looks at its files.
const lookEvery = 250 * time.Millisecond

// Watch calls changed when one of the files that files returns looks otherwise than
// before and has then been left alone for the time that debounce returns, and once
// at the beginning, since a file may have changed after it was read. It looks
// instead of waiting for the kernel's word: the state directory is written to with
// every message, editors replace a file instead of writing it, and network folders
// and bind mounts tell nothing. changed is called from Watch's goroutine. Watch
// returns nil when ctx ends.
func Watch(ctx context.Context, files func() []string, debounce func() time.Duration, changed func()) error {
	told := lookAt(files())
	changed()
	last, since := told, time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := lookAt(files())
		if !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if !maps.Equal(now, told) && time.Since(since) >= debounce() {
			told = now
			changed() // and the files may be others now, which is a change once more
		}
	}
}

// stamp is what a file looks like; the zero stamp is no file.
type stamp struct {
	inode uint64
	size  int64
	mod   time.Time
}

func lookAt(files []string) map[string]stamp {
	out := make(map[string]stamp, len(files))
	for _, file := range files {
		var s stamp
		if info, err := os.Stat(file); err == nil {
			s.size, s.mod = info.Size(), info.ModTime()
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				s.inode = stat.Ino
			}
		}
		out[file] = s
	}
	return out
}
