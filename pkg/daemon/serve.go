package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coderclaw/gateway/pkg/settings"
)

const (
	// restartExpected is what clients are told about how long a restart takes.
	restartExpected = time.Second
	// probation is how long a gateway must last with a config that took a restart
	// before the config counts as good.
	probation = 30 * time.Second
	// restartCooldown is the least time between two restarts that a change asks for.
	restartCooldown = 30 * time.Second
)

// life is what a gateway that restarts in place leaves to the next one. It is used
// by one goroutine, except in Run.
type life struct {
	// announced is set once the gateway has told its person where it listens.
	announced bool
	// port keeps the port that the system chose for port 0.
	port int
	// restarted is when the last restart was.
	restarted time.Time
	// notes are what the next life has to tell: why a config was rolled back.
	notes []string
	// trial is the config that this process tries; nil without one.
	trial *settings.Probation
}

// first reports whether this is the first life that serves.
func (l *life) first() bool {
	if l == nil {
		return true
	}
	told := l.announced
	l.announced = true
	return !told
}

// errRolledBack ends a start that found a config which crashed the last one and has
// put the one before it back.
var errRolledBack = errors.New("config rolled back")

// Serve opens the gateway, runs it until ctx ends, and closes it. A changed config
// that needs it is taken up by a restart in place: the gateway drains and closes as
// at its end, and opens again in the same process. If it does not come up then, or
// fails within 30 seconds, the config before the change is put back.
func Serve(ctx context.Context, cfg Config) error {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	l := &life{}
	for {
		again, err := serveOnce(ctx, cfg, l)
		if !again || ctx.Err() != nil {
			return err
		}
		if err != nil {
			// What went wrong in the life that ended is in its log; a restart goes on.
			slog.New(slog.NewTextHandler(cfg.Stdout, nil)).Warn("restarted after an error", "err", err)
		}
	}
}

// serveOnce lives once and reports whether to go on with another life.
func serveOnce(ctx context.Context, cfg Config, l *life) (again bool, err error) {
	d, err := begin(cfg, l)
	switch {
	case errors.Is(err, errRolledBack):
		return true, nil
	case err != nil && l.trial != nil:
		return true, l.rollBack(cfg, fmt.Errorf("the gateway did not start with it: %w", err))
	case err != nil:
		return false, err
	}
	l.port, l.notes = d.port, nil
	err = errors.Join(d.Run(ctx), d.Close())
	switch {
	case ctx.Err() != nil:
	case d.config.restarts():
		l.restarted = time.Now()
		l.trial = settings.ReadProbation(cfg.StateDir)
		return true, err
	case err != nil && d.config.onTrial():
		l.trial = settings.ReadProbation(cfg.StateDir)
		if l.trial != nil {
			return true, l.rollBack(cfg, fmt.Errorf("the gateway failed with it: %w", err))
		}
	}
	return false, errors.Join(err, settings.EndProbation(cfg.StateDir))
}

// rollBack puts the config before the one on trial back. The error is one of the
// file system, or cause when there is nothing to go back to.
func (l *life) rollBack(cfg Config, cause error) error {
	trial := l.trial
	l.trial = nil
	done, err := trial.Restore(cfg.ConfigPath)
	err = errors.Join(err, settings.EndProbation(cfg.StateDir))
	if err == nil && !done {
		// Somebody has changed the file meanwhile: that is tried as it is.
		l.notes = append(l.notes, fmt.Sprintf("the last config change failed: %v", cause))
		return nil
	}
	l.notes = append(l.notes, fmt.Sprintf("the last config change was rolled back: %v", cause))
	journal(cfg.StateDir, slog.New(slog.DiscardHandler), settings.JournalEntry{Action: "rollback", By: "gateway", Hash: trial.Previous, Before: trial.Hash, Keys: trial.Keys, Note: cause.Error()})
	return err
}

// journal adds to the history of the config, which no change waits for.
func journal(stateDir string, log *slog.Logger, e settings.JournalEntry) {
	if err := settings.AppendJournal(stateDir, e); err != nil {
		log.Warn("config history is not written", "err", err)
	}
}
