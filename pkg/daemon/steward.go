package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/service/config"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// steward keeps the running gateway and its config file in step: it takes up
// changes, refuses faulty ones, and knows the last good one.
type steward struct {
	d     *Daemon
	src   settings.Source
	store *settings.Store
	log   *slog.Logger // from begin on

	// jobs are put into effect one by one by run, behind the answers to requests.
	jobs chan func(context.Context)
	// restarting is closed when the gateway is to restart in place.
	restarting chan struct{}

	// writing is held from the look at the file, or the change of it, until that is
	// taken note of: what was read before a change must not undo it. It is taken before mu.
	writing sync.Mutex

	mu sync.Mutex // guards the fields below and the note of a probation; not held while a change is put into effect, except one of models and agents, which is memory and folders
	// base is what this life began with, doc what was last accepted, and good the last
	// accepted one that differs from base in nothing that takes a restart.
	base, doc, good *settings.Document
	// seen is the digest of the file as it was last looked at, faulty or not.
	seen string
	// faults are those of the file while the gateway runs with something else.
	faults []settings.Issue
	// waiting are the keys that wait for a restart by hand.
	waiting []string
	notes   []string
	due     time.Time // when the restart under way begins; zero without one
	timer   *time.Timer
	began   bool // restarting is closed
	asked   bool // somebody wants a restart, needed or not
	trial   bool
}

// openConfig reads the config. A faulty one is no reason to stay away when there
// has been a good one before.
func (d *Daemon) openConfig() error {
	flags := d.cfg.Flags
	if d.life != nil && d.life.port != 0 && flags.Port != nil && *flags.Port == 0 {
		port := d.life.port // the same as before, where the system chose it
		flags.Port = &port
	}
	src := settings.Source{Path: d.cfg.ConfigPath, Getenv: d.cfg.Getenv, Flags: flags}
	c := &steward{
		d: d, src: src, store: settings.NewStore(src), jobs: make(chan func(context.Context), 64), restarting: make(chan struct{}),
	}
	doc, err := settings.Read(src)
	if err == nil {
		c.seen = doc.Digest
		if err = doc.Err(); err != nil {
			c.faults = doc.Issues
		}
	} else {
		c.faults = []settings.Issue{{Message: err.Error()}}
	}
	if err != nil {
		if doc, _ = settings.ReadLastGood(d.cfg.StateDir, src); doc == nil || doc.Settings == nil {
			return err
		}
	}
	c.base, c.doc, c.good = doc, doc, doc
	d.settings, d.config = doc.Settings, c
	d.level.Set(d.logLevel(doc.Settings))
	return nil
}

// logLevel is what the settings say, unless the command line asked for another.
func (d *Daemon) logLevel(s *settings.Settings) slog.Level {
	if d.cfg.Level != slog.LevelInfo {
		return d.cfg.Level
	}
	return s.Logging.Slog(slog.LevelInfo)
}

// begin is called once the state directory is ours and there is a log. The error
// is errRolledBack when the last life crashed with this config.
func (c *steward) begin(log *slog.Logger) error {
	c.log = log
	d := c.d
	if d.life != nil {
		c.notes = d.life.notes
		for _, note := range c.notes {
			log.Error(note, "config", d.cfg.ConfigPath)
		}
		trial := settings.ReadProbation(d.cfg.StateDir)
		switch {
		case trial == nil || trial.Hash != c.doc.Hash || c.faults != nil:
			if trial != nil {
				_ = settings.EndProbation(d.cfg.StateDir) // the file is another one now
			}
		case d.life.trial == nil: // nobody in this process tries it: the process that did is gone
			d.life.trial = trial
			log.Error("the gateway did not last with the last config change", "keys", trial.Keys)
			if err := d.life.rollBack(d.cfg, errors.New("the gateway ended within 30 s of it")); err != nil {
				return err
			}
			return errRolledBack
		default:
			c.trial = true
		}
		d.life.trial = nil
		if c.trial {
			d.life.trial = trial
		}
	}
	if c.faults != nil {
		c.putAside(c.doc)
	}
	c.tellForeign(c.doc)
	for _, issue := range c.faults {
		log.Error("config refused; running with the last good one", "config", d.cfg.ConfigPath, "fault", issue.String())
	}
	return nil
}

// tellForeign logs the keys that are kept without effect, each time the config is
// taken up.
func (c *steward) tellForeign(doc *settings.Document) {
	for _, w := range doc.Warnings {
		c.log.Warn("config key without effect", "config", cmp.Or(w.File, doc.Path), "key", w.Path, "line", w.Line, "why", w.Message)
	}
}

// Settings returns the settings in force, except that keys which take a restart
// are as they will be after it.
func (c *steward) Settings() *settings.Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doc.Settings
}

// ready is called when the gateway serves. What it serves with is good, unless it
// is on trial.
func (c *steward) ready() {
	c.mu.Lock()
	doc, trial, faulty := c.doc, c.trial, c.faults != nil
	c.mu.Unlock()
	if !trial && !faulty {
		c.keep(doc)
	}
}

// keep stores the last good config.
func (c *steward) keep(doc *settings.Document) {
	if err := settings.SaveLastGood(c.d.cfg.StateDir, doc); err != nil {
		c.log.Error("the last good config is not kept", "err", err)
	}
}

// run watches the file and puts changes into effect until ctx ends.
func (c *steward) run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return settings.Watch(inner, c.files, c.debounce, c.look) })
	group.Go(func() error {
		trial := time.NewTimer(probation)
		defer trial.Stop()
		for {
			select {
			case <-inner.Done():
				return nil
			case job := <-c.jobs:
				job(inner)
			case <-trial.C:
				c.passTrial()
			}
		}
	})
	err := group.Wait()
	c.mu.Lock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	return err
}

func (c *steward) files() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := []string{c.src.Path}
	for _, f := range c.doc.Files {
		if f != c.src.Path && c.doc.Path == c.src.Path {
			files = append(files, f)
		}
	}
	return files
}

func (c *steward) debounce() time.Duration {
	return time.Duration(c.Settings().Gateway.Reload.DebounceMs) * time.Millisecond
}

// passTrial makes the config that took a restart the last good one.
func (c *steward) passTrial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.trial || c.began { // the note on disk is then about the next config
		return
	}
	c.trial = false
	if err := settings.EndProbation(c.d.cfg.StateDir); err != nil {
		c.log.Error("probation of the config does not end", "err", err)
	}
	c.keep(c.good)
	c.log.Info("config change has proved itself")
}

// look reads the file after somebody else may have changed it.
func (c *steward) look() {
	if apply := c.lookOnce(); apply != nil {
		apply()
	}
}

// lookOnce returns what puts the change of the file into effect, nil when there is
// nothing to do.
func (c *steward) lookOnce() func() {
	c.writing.Lock()
	defer c.writing.Unlock()
	doc, err := c.store.Read()
	if err != nil {
		doc = &settings.Document{Path: c.src.Path, Exists: true, Digest: err.Error(), Issues: []settings.Issue{{Message: err.Error()}}}
	}
	c.mu.Lock()
	if !doc.Exists && c.doc.Exists {
		// A folder that is not mounted for a moment must not make everything default.
		doc = &settings.Document{Path: c.src.Path, Digest: "gone", Issues: []settings.Issue{{Message: "the file is gone; the gateway goes on with what it held, but would start without it"}}}
	}
	same := doc.Digest == c.seen
	before := c.doc
	c.seen = doc.Digest
	if !same && doc.Settings == nil {
		c.faults = doc.Issues
	}
	c.mu.Unlock()
	if same {
		return nil
	}
	if doc.Settings == nil {
		c.putAside(before)
		c.log.Error("config change refused; the gateway goes on as it was", "config", c.src.Path, "faults", doc.Err().Error())
		c.d.audit.Note(audit.Record{Action: audit.ActionConfigWrite, Decision: audit.Refused, Actor: "file", Reason: fmt.Sprintf("edit: %d faults", len(doc.Issues))})
		c.d.health.Want()
		return nil
	}
	if c.Settings().Gateway.Reload.Mode == settings.ReloadOff && doc.Settings.Gateway.Reload.Mode == settings.ReloadOff {
		c.log.Info("config changed; gateway.reload.mode is off, so the next start takes it up")
		return nil
	}
	if before.Hash != doc.Hash {
		c.putAside(before)
	}
	outcome := c.changed(settings.Written{Before: before, After: doc}, config.Origin{Action: "edit", By: "file"})
	c.d.audit.Note(audit.Record{Action: audit.ActionConfigWrite, Decision: audit.Allowed, Actor: "file", Reason: "edit: " + strings.Join(settings.ChangedKeys(before, doc), ", ")})
	return outcome.Apply
}

// putAside makes a text that somebody else has overwritten a version to go back to.
func (c *steward) putAside(before *settings.Document) {
	if !before.Exists {
		return
	}
	if list, err := settings.Backups(c.src.Path); err == nil && len(list) > 0 {
		raw, err := settings.ReadBackup(list[0])
		if kept := settings.Compile(c.src, raw); err == nil && kept.Settings != nil && len(settings.Diff(kept.Settings, before.Settings)) == 0 {
			return // the last version says the same
		}
	}
	if err := c.store.KeepBackup(before.Raw); err != nil {
		c.log.Warn("the config before the change is not kept", "err", err)
	}
}

// Write meets config.Steward.
func (c *steward) Write(from config.Origin, write func() (settings.Written, error)) (settings.Written, config.Outcome, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	w, err := write()
	if err != nil || w.Before.Hash == w.After.Hash && !from.Restart {
		return w, config.Outcome{Mode: config.ModeNone}, err
	}
	return w, c.changed(w, from), nil
}

// changed takes note of a change and says what will come of it. The caller holds
// writing.
func (c *steward) changed(w settings.Written, from config.Origin) config.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := w.After
	changes := settings.Diff(c.doc.Settings, after.Settings)
	waiting := keysOf(settings.Diff(c.base.Settings, after.Settings), settings.ClassRestart)
	hot := keysOf(changes, settings.ClassHot)
	c.asked = c.asked || from.Restart
	mode := after.Settings.Gateway.Reload.Mode
	if mode == settings.ReloadRestart && len(hot) > 0 {
		waiting, hot = append(waiting, hot...), nil
	}
	before := c.doc
	c.doc, c.seen, c.faults, c.notes, c.waiting = after, after.Digest, nil, nil, nil
	if len(waiting) == 0 {
		c.good = after
	}
	out := config.Outcome{Mode: config.ModeNone, Apply: func() {}}
	if len(hot) > 0 {
		out.Mode = config.ModeHot
	}
	c.stopTimerLocked()
	switch {
	case len(waiting) == 0 && !c.asked:
		c.due = time.Time{}
	case mode == settings.ReloadHot || mode == settings.ReloadOff || c.d.life == nil:
		c.waiting, c.due, c.asked = waiting, time.Time{}, false
		if len(waiting) > 0 {
			out.Mode = config.ModeManual
		}
	case len(waiting) == 0 && !from.Restart: // the one that was asked for before comes in its own time
		out.Mode, out.Coalesced, out.Delay = config.ModeRestart, true, max(time.Until(c.due), 0)
	default:
		out.Mode = config.ModeRestart
		out.Coalesced = !c.due.IsZero()
		out.Delay, out.Cooldown = from.Delay, 0
		if rest := restartCooldown - time.Since(c.d.life.restarted); !c.d.life.restarted.IsZero() && rest > out.Delay {
			out.Delay, out.Cooldown = rest, rest-out.Delay
		}
		c.due = time.Now().Add(out.Delay)
	}
	if slices.ContainsFunc(hot, ofModels) {
		// Before the answer, so that whoever asked for the change meets it.
		c.d.takeUpModels(after.Settings)
	}
	due, keys := c.due, settings.ChangedKeys(before, after)
	out.Apply = func() {
		c.jobs <- func(ctx context.Context) { c.apply(ctx, after, hot, waiting, due, from, w.Before.Hash, keys) }
	}
	return out
}

func (c *steward) stopTimerLocked() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// apply puts a change into effect.
func (c *steward) apply(ctx context.Context, doc *settings.Document, hot, waiting []string, due time.Time, from config.Origin, before string, keys []string) {
	journal(c.d.cfg.StateDir, c.log, settings.JournalEntry{Action: from.Action, By: from.By, Client: from.Client, Note: from.Note, Hash: doc.Hash, Before: before, Keys: keys})
	c.d.level.Set(c.d.logLevel(doc.Settings))
	// With another mode the secret comes with the restart.
	secret := slices.Contains(hot, "gateway.auth.token") || slices.Contains(hot, "gateway.auth.password")
	if secret && !slices.Contains(waiting, "gateway.auth.mode") {
		// Whoever asked is among those it closes, and gets its answer first.
		c.d.gateway.Dismiss(func(p *wire.Peer) bool { return p.BySecret && p.ConnID == from.ConnID },
			protocol.CloseGatewaySecretChangedCode, protocol.CloseGatewaySecretChanged)
		if err := c.d.rotateSecret(ctx); err != nil {
			c.log.Error("the new secret is not in force", "err", err)
		}
	}
	c.d.applyHot(hot, doc.Settings)
	c.log.Info("config changed", "action", from.Action, "by", from.By, "keys", keys, "restartFor", waiting)
	c.tellForeign(doc)
	if len(waiting) == 0 {
		c.keep(doc)
	}
	c.d.health.Want()
	if due.IsZero() {
		if len(waiting) > 0 {
			c.log.Warn("config keys wait for a restart by hand", "keys", waiting)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doc == doc && !c.began {
		c.stopTimerLocked()
		c.timer = time.AfterFunc(time.Until(due), func() { c.restart(doc, waiting) })
	}
}

// restart ends this life for the next one.
func (c *steward) restart(doc *settings.Document, keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began || c.doc != doc {
		return
	}
	if len(keys) == 0 {
		c.log.Info("restarting in place, as asked")
	} else if err := settings.BeginProbation(c.d.cfg.StateDir, c.good, doc, keys); err != nil {
		// Without the note nobody could go back: better to stay.
		c.log.Error("no restart: the config before the change cannot be noted", "err", err)
		c.waiting, c.due = keys, time.Time{}
		return
	}
	if len(keys) > 0 {
		c.log.Info("restarting in place for a config change", "keys", keys)
	}
	c.began = true
	close(c.restarting)
}

// restarts reports whether this life ended for the next one.
func (c *steward) restarts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.began
}

func (c *steward) onTrial() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trial
}

// degraded words why the gateway does not run as the file says.
func (c *steward) degraded() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.notes)
	for _, issue := range c.faults {
		out = append(out, "config refused: "+issue.String())
	}
	return out
}

// Warnings meets config.Steward.
func (c *steward) Warnings() []settings.Issue {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []settings.Issue
	for _, note := range c.notes {
		out = append(out, settings.Issue{Message: note})
	}
	if c.faults != nil {
		out = append(out, settings.Issue{Message: "the gateway runs with the last good config, because the file has faults"})
	}
	for _, key := range c.waiting {
		out = append(out, settings.Issue{Path: key, Message: "takes effect with the next restart of the gateway"})
	}
	return out
}

// keysOf names the changed keys of a class; all when class is empty.
func keysOf(changes []settings.Change, class settings.Class) []string {
	var keys []string
	for _, c := range changes {
		if class == "" || c.Class == class {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// configService makes the service that answers config.*.
func (d *Daemon) configService() (*config.Service, error) {
	return config.New(config.Config{
		Store: d.config.store, Steward: d.config, Audit: d.audit, Log: d.log, Path: d.cfg.ConfigPath, Journal: settings.JournalPath(d.cfg.StateDir), PID: os.Getpid(), Version: d.cfg.Version,
	})
}
