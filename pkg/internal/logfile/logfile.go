// Package logfile makes the gateway's logger: readable lines on a terminal, JSON
// lines otherwise, and the same records as JSON lines in <dir>/gateway.log, which
// rotates and which logs.tail serves.
//
// Callers must not log secrets. As a second line of defence every record passes
// redact.go first, which replaces the values of attributes whose names look
// secret, and credentials that stand inside texts.
//
// A line of the file carries, beside slog's own members, the members "0", "1" and
// "_meta" of the original's log, because the clients that show logs.tail read
// these (frames/realclient-cli-logs-22.jsonl).
package logfile

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/DeRuina/timberjack"
)

// FileName is the name of the log file in Config.Dir.
const FileName = "gateway.log"

const (
	fileMiBMax = 10
	backupsMax = 5
	dirMode    = 0o700
	fileMode   = 0o600
)

// Config says where records go.
type Config struct {
	// Dir is the directory of the log file, <stateDir>/logs; it is made if it is
	// missing. Empty means no file.
	Dir string
	// Stdout receives each record too; nil means nowhere.
	Stdout io.Writer
	// TTY says that Stdout is read by a person.
	TTY bool
	// Level is the least level to log; nil means slog.LevelInfo.
	Level slog.Leveler
}

// New opens the log. It returns the logger, what releases the file, and the
// file's path, which is empty without Config.Dir. The logger may be used from any
// goroutine, also after Close: the file is then opened for each record.
//
// The file holds at most 10 MiB; five older ones are kept beside it under the
// time of their rotation.
func New(cfg Config) (*slog.Logger, io.Closer, string, error) {
	return open(cfg, fileMiBMax)
}

func open(cfg Config, mib int) (*slog.Logger, io.Closer, string, error) {
	if cfg.Level == nil {
		cfg.Level = slog.LevelInfo
	}
	var handlers []slog.Handler
	if cfg.Stdout != nil {
		handlers = append(handlers, newStdout(cfg))
	}
	if cfg.Dir == "" {
		return slog.New(newRedactor(slog.NewMultiHandler(handlers...))), nopCloser{}, "", nil
	}
	path, err := prepare(cfg.Dir)
	if err != nil {
		return nil, nil, "", err
	}
	file := &timberjack.Logger{Filename: path, MaxSize: mib, MaxBackups: backupsMax, FileMode: fileMode}
	handlers = append(handlers, newLineHandler(file, cfg.Level, formatTail))
	return slog.New(newRedactor(slog.NewMultiHandler(handlers...))), file, path, nil
}

// prepare makes the directory and the file, so that a place where nothing can be
// written is told at the start and not in the middle of the night.
func prepare(dir string) (string, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", fmt.Errorf("make log directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, fileMode)
	if err != nil {
		return "", fmt.Errorf("open log file: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("close log file: %w", err)
	}
	return path, nil
}

func newStdout(cfg Config) slog.Handler {
	if cfg.TTY {
		return newLineHandler(cfg.Stdout, cfg.Level, formatTerminal)
	}
	return slog.NewJSONHandler(cfg.Stdout, &slog.HandlerOptions{Level: cfg.Level})
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
