package settings

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often files are looked at where the system does not tell of
// changes, and how often a watch that began without its folder tries again.
const pollEvery = 2 * time.Second

// Watch calls changed whenever one of the files that files returns may have
// changed and has then been left alone for the time that debounce returns. It
// watches folders, since editors replace a file instead of writing it, and looks
// at the files themselves every two seconds besides: network folders and bind
// mounts do not tell. changed is called once at the beginning, since a file may
// have changed after it was read and before the watch stood, and always from
// Watch's goroutine. Watch returns nil when ctx ends.
func Watch(ctx context.Context, files func() []string, debounce func() time.Duration, changed func()) error {
	w := &watch{files: files, debounce: debounce, stamps: map[string]stamp{}}
	if notify, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = notify.Close() }()
		w.notify = notify
	}
	w.aim()
	w.moved() // what is there now is known
	changed()
	return w.run(ctx, changed)
}

type watch struct {
	notify   *fsnotify.Watcher // nil where the system has none left
	files    func() []string
	debounce func() time.Duration
	stamps   map[string]stamp
	// names are the files as events name them, links resolved too. The folder may be
	// a busy one, so an event must cost no system call.
	names map[string]bool
}

// stamp is what a file looked like.
type stamp struct {
	exists bool
	size   int64
	mod    time.Time
}

// aim watches the folders of the files.
func (w *watch) aim() {
	if w.notify == nil {
		return
	}
	var dirs []string
	w.names = map[string]bool{}
	for _, file := range w.files() {
		if real, err := filepath.EvalSymlinks(file); err == nil {
			dirs = append(dirs, filepath.Dir(real))
			w.names[real] = true
		}
		dirs = append(dirs, filepath.Dir(file))
		w.names[file] = true
	}
	for _, old := range w.notify.WatchList() {
		if !slices.Contains(dirs, old) {
			_ = w.notify.Remove(old)
		}
	}
	for _, dir := range dirs {
		_ = w.notify.Add(dir) // one that is not there yet is found by the look every two seconds
	}
}

// moved reports whether a file looks otherwise than before, and notes how it looks.
func (w *watch) moved() bool {
	found := false
	now := map[string]stamp{}
	for _, file := range w.files() {
		var s stamp
		if info, err := os.Stat(file); err == nil {
			s = stamp{true, info.Size(), info.ModTime()}
		}
		now[file] = s
		if old, known := w.stamps[file]; !known || old != s {
			found = true
		}
	}
	found = found || len(now) != len(w.stamps)
	w.stamps = now
	return found
}

func (w *watch) run(ctx context.Context, changed func()) error {
	var events chan fsnotify.Event
	var failures chan error
	if w.notify != nil {
		events, failures = w.notify.Events, w.notify.Errors
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return errors.New("the watch of the config folder ended")
			}
			if !e.Has(fsnotify.Chmod) && w.names[e.Name] {
				quiet.Reset(w.debounce())
			}
		case <-failures:
			quiet.Reset(w.debounce()) // events were lost
		case <-poll.C:
			if w.moved() {
				quiet.Reset(w.debounce())
			}
		case <-quiet.C:
			w.moved()
			changed()
			w.aim() // the files may be others now
		}
	}
}
