package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
)

// secretLook is how often the files that may hold the secret are looked at: a new
// one is in force within a second, one that was renamed into place within half.
const secretLook = 400 * time.Millisecond

// watchSecret takes over a new secret when the token file or the config changes,
// until ctx ends. Of the config it knows what the steward has accepted, which tells of
// a new secret itself. It looks instead of waiting for the kernel's word, because the state
// directory is written to with every message and may lie on a network. A file that is
// written in place is taken when it has stayed the same between two looks; nobody
// means the half of a secret.
func (d *Daemon) watchSecret(ctx context.Context) error {
	if d.guard.AuthMode() == protocol.AuthModeTrustedProxy {
		return nil // there is none
	}
	files := []string{filepath.Join(d.cfg.StateDir, settings.TokenFileName), d.cfg.ConfigPath}
	taken := lookAt(files)
	last := taken
	if err := d.rotateSecret(ctx); err != nil { // it may have changed since the start
		d.log.Warn("the shared secret stays as it is", "err", err)
	}
	tick := time.NewTicker(secretLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := lookAt(files)
		if now != taken && (now == last || now.replaced(last)) {
			taken = now
			if err := d.rotateSecret(ctx); err != nil {
				d.log.Warn("the shared secret stays as it is", "err", err)
			}
		}
		last = now
	}
}

// looks is how the two files look. A renamed file is another one, which is whole
// at once.
type looks [2]struct {
	inode uint64
	at    time.Time
	size  int64
}

func lookAt(files []string) (out looks) {
	for i, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		out[i].at, out[i].size = info.ModTime(), info.Size()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			out[i].inode = stat.Ino
		}
	}
	return out
}

// replaced reports whether no file was written in place since then.
func (l looks) replaced(then looks) bool {
	for i := range l {
		if l[i] != then[i] && l[i].inode == then[i].inode {
			return false
		}
	}
	return true
}

// rotateSecret looks up the secret as at the start and puts it in force: on every
// door at once, and connections that proved another one are closed. It leaves things
// as they are when the secret is the same, when the token file is missing, which is
// how it looks while somebody moves it, and when what is configured is no secret.
func (d *Daemon) rotateSecret(ctx context.Context) error {
	auth := d.config.Settings().Gateway.Auth
	if protocol.AuthMode(auth.Mode) != d.guard.AuthMode() {
		return fmt.Errorf("gateway.auth.mode is now %q: restart the gateway to change it from %q", auth.Mode, d.guard.AuthMode())
	}
	secret := auth.Password
	if auth.Mode == settings.AuthToken {
		if secret = auth.Token; !secret.IsSet() {
			var err error
			if secret, err = settings.ReadToken(d.cfg.StateDir, d.log); errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	return d.guard.SetSecret(ctx, secret)
}
