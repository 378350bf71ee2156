package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const (
	secretBytesMin   = 16       // a shorter secret can be guessed
	secretKindsMin   = 6        // so can one of fewer different characters
	diskBytesLow     = 1 << 30  // 1 GiB
	diskBytesTooLow  = 64 << 20 // the database grows in steps of this size
	skewNoted        = 30 * time.Second
	skewTooMuch      = 10 * time.Minute // signatures may be off by as much
	builtAfter       = 2025             // a clock in an earlier year is not set
	doctorFilesMax   = 10_000
	doctorNamedMax   = 3
	doctorDialWithin = 2 * time.Second
)

// level is how a check came out.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "fail"
)

// finding is what one check says.
type finding struct {
	Check string `json:"check"`
	Level level  `json:"level"`
	Found string `json:"found"`
	// Fix is what to do about it: a command where one does it.
	Fix string `json:"fix,omitempty"`
}

const doctorHelp = `Looks at the state directory, its files and secrets, the config, the port, the certificate, the
clock, the disk and the backups of this machine, and sends no secret. The gateway may run or not. Each line is
ok, warn or fail and says what to do; the exit code is 1 if anything fails.`

func (a *App) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Category: categorySecurity,
		Usage:       "look for what keeps a gateway from running, or from running safely",
		Description: doctorHelp,
		Action:      a.runDoctor,
	}
}

func (a *App) runDoctor(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if _, ok := globalString(c, flagURL); ok {
		return usagef("doctor looks at this machine: leave out --url, or run it where the gateway runs")
	}
	d := newDoctor(a.getenv(c))
	var found []finding
	for _, check := range []func(context.Context) []finding{
		d.checkDir, d.checkFiles, d.checkConfig, d.checkSecret, d.checkOwner, d.checkPort, d.checkBind, d.checkCertificate, d.checkProxies, d.checkTailscale, d.checkLegacy, d.checkClock, d.checkDisk, d.checkBackups,
	} {
		found = append(found, check(c.Context)...)
	}
	failed := false
	for _, f := range found {
		failed = failed || f.Level == levelFail
	}
	var err error
	if a.out.json {
		err = a.out.line(map[string]any{"ok": !failed, "stateDir": d.dir, "findings": found})
	} else {
		err = a.printFindings(found)
	}
	if err == nil && failed {
		return errTold
	}
	return err
}

func (a *App) printFindings(found []finding) error {
	colour := map[level]style{levelOK: green, levelWarn: bold, levelFail: red}
	for _, f := range found {
		a.out.printf("%s  %-8s  %s\n", a.out.style(colour[f.Level], fmt.Sprintf("%-4s", f.Level)), f.Check, clean(f.Found))
		if f.Fix != "" {
			a.out.printf("                fix: %s\n", clean(f.Fix))
		}
	}
	return nil
}

// doctor holds what the checks look at. Each check returns at least one finding.
type doctor struct {
	dir, configPath string
	getenv          func(string) string
	conf            *settings.Settings // the default when it cannot be read
	confErr         error
	lastGood        bool // conf is that of the last good file
	owner           store.Owner
	held            bool
	now             time.Time
}

func newDoctor(getenv func(string) string) *doctor {
	d := &doctor{getenv: getenv, now: time.Now()}
	d.dir, d.configPath = settings.Paths(getenv)
	if d.conf, d.confErr = settings.Load(settings.Source{Path: d.configPath, Getenv: getenv}); d.confErr != nil {
		d.conf = settings.Default()
		if last, err := settings.LoadOrLastGood(d.dir, settings.Source{Path: d.configPath, Getenv: getenv}); err == nil {
			d.conf, d.lastGood = last, true
		}
	}
	d.owner, d.held = lockOwner(d.dir)
	return d
}

func one(check string, l level, fix, format string, args ...any) []finding {
	return []finding{{Check: check, Level: l, Found: fmt.Sprintf(format, args...), Fix: fix}}
}

func (d *doctor) checkDir(context.Context) []finding {
	const check = "state"
	info, err := os.Stat(d.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(check, levelWarn, "coderclaw gateway makes it; or name another one with --state-dir", "there is no state directory %s yet", d.dir)
	case err != nil:
		return one(check, levelFail, "", "%v", err)
	case !info.IsDir():
		return one(check, levelFail, "move it away, or name another one with --state-dir", "%s is no directory", d.dir)
	case !mine(info):
		return one(check, levelFail, "choose one of your own with --state-dir", "%s belongs to another user", d.dir)
	case info.Mode()&fs.ModeSticky != 0:
		return one(check, levelFail, "choose one of your own with --state-dir", "%s is shared with other users", d.dir)
	case info.Mode().Perm()&0o077 != 0:
		return one(check, levelFail, "chmod 700 "+quoted(d.dir), "%s is open to other users (mode %04o)", d.dir, info.Mode().Perm())
	}
	return one(check, levelOK, "", "%s is yours alone", d.dir)
}

func mine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}

// checkFiles looks for files that others may read or that belong to somebody else.
// The agents' folders are left out: what lies there is the user's.
func (d *doctor) checkFiles(context.Context) []finding {
	const check = "files"
	var open, foreign []string
	n := 0
	err := filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		switch n++; {
		case path == d.dir:
			return err
		case n > doctorFilesMax:
			return filepath.SkipAll
		case err != nil:
			return nil // it went away meanwhile
		case entry.IsDir() && strings.HasPrefix(entry.Name(), "workspace"):
			return filepath.SkipDir
		}
		info, err := entry.Info()
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		if !mine(info) {
			foreign = append(foreign, path)
		}
		if info.Mode().Perm()&0o077 != 0 {
			open = append(open, path)
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(check, levelOK, "", "there are none yet")
	case err != nil:
		return one(check, levelFail, "", "%v", err)
	case foreign != nil:
		return one(check, levelFail, "chown "+strconv.Itoa(os.Geteuid())+" "+named(foreign), "%s to another user; was a gateway run with sudo?", count(int64(len(foreign)), "file belongs", "files belong"))
	case open != nil:
		return one(check, levelFail, "chmod go= "+named(open), "%s open to other users", count(int64(len(open)), "file is", "files are"))
	}
	return one(check, levelOK, "", "all are yours alone")
}

// named lists the first paths, each as a word of a shell.
func named(paths []string) string {
	words := make([]string, 0, doctorNamedMax)
	for _, p := range paths[:min(len(paths), doctorNamedMax)] {
		words = append(words, quoted(p))
	}
	text := strings.Join(words, " ")
	if more := len(paths) - len(words); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (d *doctor) checkConfig(context.Context) []finding {
	const check = "config"
	if d.lastGood {
		return one(check, levelFail, "coderclaw config edit, or go back: coderclaw config rollback 1", "%v; the gateway runs, or starts, with the last good one", d.confErr)
	}
	if d.confErr != nil {
		return one(check, levelFail, "mend what the text names in "+d.configPath, "%v", d.confErr)
	}
	info, err := os.Stat(d.configPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(check, levelOK, "", "no file, so everything is as by default (%s)", d.configPath)
	case err != nil:
		return one(check, levelFail, "", "%v", err)
	case info.Mode().Perm()&0o022 != 0:
		return one(check, levelFail, "chmod go-w "+quoted(d.configPath), "others may change %s", d.configPath)
	case info.Mode().Perm()&0o044 != 0 && d.fileHoldsSecret():
		return one(check, levelFail, "chmod 600 "+quoted(d.configPath), "others may read the secrets in %s", d.configPath)
	}
	return one(check, levelOK, "", "%s is valid", d.configPath)
}

// fileHoldsSecret reports whether the file itself names a secret.
func (d *doctor) fileHoldsSecret() bool {
	conf, err := settings.Load(settings.Source{Path: d.configPath, Getenv: func(string) string { return "" }})
	if err != nil {
		return false
	}
	return conf.Gateway.Auth.Token.IsSet() || conf.Gateway.Auth.Password.IsSet() || conf.Gateway.ProxySecret.Secret.IsSet() || conf.Models.HasKey()
}

func (d *doctor) checkSecret(context.Context) []finding {
	const check = "secret"
	auth, from := d.conf.Gateway.Auth, "the config or the environment"
	secret := auth.Token
	switch {
	case auth.Mode == settings.AuthTrustedProxy:
		return one(check, levelOK, "", "none: a proxy says who connects")
	case auth.Mode == settings.AuthPassword:
		secret = auth.Password
	case !secret.IsSet():
		from = filepath.Join(d.dir, settings.TokenFileName)
		// Reading mends the file's mode; checkFiles has told of it by now.
		token, err := settings.ReadToken(d.dir, slog.New(slog.DiscardHandler))
		if errors.Is(err, fs.ErrNotExist) {
			return one(check, levelOK, "", "none yet: the gateway makes a good one at its first start")
		}
		if err != nil {
			return one(check, levelFail, "rm "+quoted(from)+" and start the gateway again: it makes a new one", "%v", err)
		}
		secret = token
	}
	if weak := weakness(secret.Reveal()); weak != "" {
		l := levelWarn
		if d.conf.Gateway.Bind != settings.BindLoopback {
			l = levelFail
		}
		return one(check, l, "remove it to have a good one made, or set the output of: openssl rand -hex 24", "the secret from %s %s", from, weak)
	}
	return one(check, levelOK, "", "the secret from %s is long enough", from)
}

// weakness says why a secret can be guessed, or nothing.
func weakness(secret string) string {
	kinds := map[rune]bool{}
	for _, r := range secret {
		kinds[r] = true
	}
	switch {
	case len(secret) < secretBytesMin:
		return fmt.Sprintf("is shorter than %d characters", secretBytesMin)
	case len(kinds) < secretKindsMin:
		return "repeats a few characters"
	}
	return ""
}

func (d *doctor) checkOwner(context.Context) []finding {
	const check = "gateway"
	switch {
	case d.held && d.owner.Port > 0:
		return one(check, levelOK, "", "runs (pid %d, port %d), started %s", d.owner.PID, d.owner.Port, ago(d.owner.StartedAt.UnixMilli()))
	case d.held:
		return one(check, levelWarn, "look again in a moment: coderclaw doctor", "something holds the state directory (pid %d): a gateway that starts, or a command", d.owner.PID)
	}
	if _, err := os.Stat(filepath.Join(d.dir, store.FileName)); errors.Is(err, fs.ErrNotExist) {
		return one(check, levelOK, "coderclaw gateway", "has not run here yet")
	}
	return one(check, levelOK, "coderclaw gateway", "does not run; nobody holds its state")
}

// checkPort looks whether the port is free for the gateway, or answers as its own.
func (d *doctor) checkPort(ctx context.Context) []finding {
	const check = "port"
	if d.held && d.owner.Port > 0 {
		conn, err := (&net.Dialer{Timeout: doctorDialWithin}).DialContext(ctx, "tcp", d.hostPort())
		if err != nil {
			return one(check, levelFail, "kill -INT "+strconv.Itoa(d.owner.PID)+" and start it again: coderclaw gateway", "the gateway runs, but %s does not answer: %v", d.hostPort(), err)
		}
		_ = conn.Close()
		return one(check, levelOK, "", "%d is held by the gateway", d.owner.Port)
	}
	addrs, err := d.conf.Gateway.Addrs()
	if err != nil || d.conf.Gateway.Port == 0 {
		return one(check, levelOK, "", "not looked at: the gateway takes a free one, or listens nowhere as configured")
	}
	for _, addr := range addrs {
		network := "tcp4"
		if addr.Addr().Is6() {
			network = "tcp6"
		}
		l, err := new(net.ListenConfig).Listen(ctx, network, addr.String())
		switch {
		case err == nil:
			_ = l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			return one(check, levelFail, fmt.Sprintf("find it with: ss -ltnp 'sport = :%d' (or lsof -i :%d); or take another port with coderclaw gateway --port PORT", addr.Port(), addr.Port()),
				"%s is held by another program", addr)
		case errors.Is(err, syscall.EACCES):
			return one(check, levelFail, "set gateway.port to one above 1023", "%s needs privileges", addr)
		case addr.Addr().Is4():
			return one(check, levelFail, "set gateway.bind to an address of this machine", "cannot listen on %s: %v", addr, err)
		}
	}
	return one(check, levelOK, "", "%d is free", d.conf.Gateway.Port)
}

// hostPort is where the running gateway answers on this machine.
func (d *doctor) hostPort() string {
	host := "127.0.0.1"
	if addr, err := netip.ParseAddr(d.conf.Gateway.Bind); err == nil && !addr.IsUnspecified() {
		host = addr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(d.owner.Port))
}

func (d *doctor) checkBind(context.Context) []finding {
	const check = "bind"
	g := d.conf.Gateway
	addrs, err := g.Addrs()
	if err != nil {
		return one(check, levelFail, "set gateway.bind to \"loopback\" in "+d.configPath, "%v", err)
	}
	for _, addr := range addrs {
		if addr.Addr().IsLoopback() {
			continue
		}
		if g.TLS.AllowPlaintextLan && !g.TLS.Enabled {
			return one(check, levelWarn, "set gateway.tls.enabled to true; or gateway.bind to \"loopback\", and come in through a tunnel: ssh -L 18789:127.0.0.1:"+strconv.Itoa(g.Port)+" HOST",
				"%s: whoever can watch the network may read the secret and every message (gateway.tls.allowPlaintextLan)", addr.Addr())
		}
		return one(check, levelOK, "", "%s: other machines reach it", addr.Addr())
	}
	return one(check, levelOK, "", "%s: only this machine reaches it", g.Bind)
}

// checkClock compares the clock with the files that were written here and with the
// gateway that runs. Two processes differ when one lives in another container or
// behind a suspended virtual machine.
func (d *doctor) checkClock(ctx context.Context) []finding {
	const check = "clock"
	const fix = "set the clock: timedatectl set-ntp true"
	if d.now.Year() < builtAfter {
		return one(check, levelFail, fix, "it says %s", d.now.Format(time.DateOnly))
	}
	ahead, where := time.Duration(math.MinInt64), ""
	for _, name := range []string{store.FileName, store.LockName, settings.TokenFileName, "identity/device.json", "logs"} {
		path := filepath.Join(d.dir, name)
		if info, err := os.Stat(path); err == nil && info.ModTime().Sub(d.now) > ahead {
			ahead, where = info.ModTime().Sub(d.now), path
		}
	}
	if ahead > skewNoted {
		return one(check, skewLevel(ahead), fix, "%s was written %s in the future: the clock was or is wrong", where, span(ahead))
	}
	if d.held && d.owner.Port > 0 {
		if skew, ok := d.gatewaySkew(ctx); ok && skew.Abs() > skewNoted {
			return one(check, skewLevel(skew.Abs()), fix, "the gateway's clock differs by %s", span(skew.Abs()))
		}
	}
	return one(check, levelOK, "", "agrees with the files here: %s", d.now.Format(time.RFC3339))
}

func skewLevel(skew time.Duration) level {
	if skew > skewTooMuch {
		return levelFail
	}
	return levelWarn
}

// gatewaySkew returns how far the clock of the running gateway is ahead of this one's, to
// the second.
func (d *doctor) gatewaySkew(ctx context.Context) (time.Duration, bool) {
	ctx, cancel := context.WithTimeout(ctx, doctorDialWithin)
	defer cancel()
	scheme := "http://"
	if d.conf.Gateway.TLS.Enabled {
		scheme = "https://"
	}
	addr, err := client.ParseAddress(scheme + d.hostPort())
	if err != nil {
		return 0, false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, scheme+d.hostPort()+"/", nil)
	if err != nil {
		return 0, false
	}
	res, err := addr.HTTPClient(ownPins(d.dir, d.conf)).Do(req)
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	date, err := http.ParseTime(res.Header.Get("Date"))
	return time.Until(date), err == nil
}

func (d *doctor) checkDisk(context.Context) []finding {
	const check = "disk"
	dir := d.dir
	var stat syscall.Statfs_t
	for ; syscall.Statfs(dir, &stat) != nil; dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return one(check, levelWarn, "", "the free space of %s is unknown", d.dir)
		}
	}
	free := uint64(stat.Bavail) * uint64(stat.Bsize)
	text := fmt.Sprintf("%.1f GiB are free for %s", float64(free)/(1<<30), d.dir)
	switch {
	case free < diskBytesTooLow:
		return one(check, levelFail, "make room: nothing can be stored", "%s", text)
	case free < diskBytesLow:
		return one(check, levelWarn, "make room before it runs out", "%s", text)
	}
	return one(check, levelOK, "", "%s", text)
}
