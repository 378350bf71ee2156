package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// configState is the config as a desk sees it. raw is nil when there is no file,
// or none that can be shown; placeholders stand in it for secrets where a gateway
// was asked.
type configState struct {
	path     string
	exists   bool
	raw      []byte
	hash     string
	config   []byte
	issues   []string
	warnings []string
}

// configDesk is where the config is read and written: through the running gateway,
// or on the file while none runs.
type configDesk interface {
	way() (via, where string)
	read(ctx context.Context) (configState, error)
	// write replaces the text if it is still the version hash. A text with faults is
	// a *faultsError.
	write(ctx context.Context, hash string, text []byte) error
	close() error
}

// faultsError lists the faults of a text that was not written.
type faultsError struct {
	err    error // what the desk said
	faults []string
}

func (e *faultsError) Error() string { return "not saved, the text has faults:\n" + bullets(e.faults) }
func (e *faultsError) Unwrap() error { return e.err }

func (a *App) openConfigDesk(c *cli.Context, limit time.Duration) (configDesk, error) {
	stateDir, _ := settings.Paths(a.getenv(c))
	if _, elsewhere := globalString(c, flagURL); !elsewhere {
		if _, running := runningPort(stateDir); !running {
			return a.openConfigFile(c), nil
		}
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	conn, t, err := a.dial(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	return &gatewayConfig{conn: conn, url: t.url, limit: limit, dial: func(ctx context.Context) (*client.Conn, error) {
		conn, _, err := a.dial(ctx, c, nil)
		return conn, err
	}}, nil
}

// gatewayConfig asks a gateway. It connects anew when the connection is gone, since
// a person may take long over a text.
type gatewayConfig struct {
	conn  *client.Conn
	url   string
	limit time.Duration
	dial  func(context.Context) (*client.Conn, error)
}

func (d *gatewayConfig) way() (string, string) { return viaGateway, d.url }

// close drops the connection. A gateway that restarts may have been faster.
func (d *gatewayConfig) close() error {
	var closed *client.CloseError
	if err := d.conn.Close(); !errors.As(err, &closed) {
		return err
	}
	return nil
}

func (d *gatewayConfig) read(ctx context.Context) (configState, error) {
	ctx, cancel := within(ctx, d.limit)
	defer cancel()
	s, err := protocol.Client{Caller: d.conn}.ConfigGet(ctx, protocol.ConfigGetParams{})
	if err != nil {
		return configState{}, err
	}
	now := configState{path: s.Path, exists: s.Exists, hash: s.Hash.Or(""), config: s.Config, issues: issueLines(s.Issues), warnings: issueLines(s.Warnings)}
	if s.Raw.Valid {
		now.raw = []byte(s.Raw.V)
	}
	return now, nil
}

func (d *gatewayConfig) write(ctx context.Context, hash string, text []byte) error {
	ctx, cancel := within(ctx, d.limit)
	defer cancel()
	params := protocol.ConfigSetParams{Raw: string(text)}
	if hash != "" {
		params.BaseHash = wire.Some(hash)
	}
	_, err := protocol.Client{Caller: d.conn}.ConfigSet(ctx, params)
	if client.Lost(err) {
		fresh, dialErr := d.dial(ctx)
		if dialErr != nil {
			return dialErr
		}
		d.conn = fresh
		_, err = protocol.Client{Caller: d.conn}.ConfigSet(ctx, params)
	}
	return withFaults(err)
}

// withFaults unpacks what a gateway tells of a faulty text.
func withFaults(err error) error {
	var refused *wire.Error
	if !errors.As(err, &refused) {
		return err
	}
	if detailCode(refused) == protocol.DetailConfigSyntax {
		return &faultsError{err, []string{refused.Message}}
	}
	if d, decodeErr := protocol.DecodeErrorDetailsOpen(refused.Details); decodeErr == nil && len(d.Issues) > 0 {
		return &faultsError{err, issueLines(d.Issues)}
	}
	return err
}

func issueLines(list []protocol.ConfigIssue) []string {
	var lines []string
	for _, i := range list {
		lines = append(lines, settings.Issue{Path: i.Path, Message: i.Message, File: i.File.Or(""), Line: int(i.Line.Or(0))}.String())
	}
	return lines
}

// fileConfig works on the file itself.
type fileConfig struct {
	store    *settings.Store
	stateDir string
	path     string
}

func (a *App) openConfigFile(c *cli.Context) *fileConfig {
	getenv := a.getenv(c)
	stateDir, path := settings.Paths(getenv)
	// Without the variables of the gateway's own environment, which may be others
	// than this command's.
	return &fileConfig{settings.NewStore(settings.Source{Path: path, Getenv: getenv, EnvOptional: true}), stateDir, path}
}

func (d *fileConfig) way() (string, string) { return viaState, d.path }
func (d *fileConfig) close() error          { return nil }

func (d *fileConfig) read(context.Context) (configState, error) {
	doc, err := d.store.Read()
	if err != nil {
		return configState{}, err
	}
	now := configState{path: d.path, exists: doc.Exists, hash: doc.Hash, raw: doc.Raw, config: doc.View().Config}
	for _, w := range doc.Warnings {
		now.warnings = append(now.warnings, w.String())
	}
	for _, i := range doc.Issues {
		now.issues = append(now.issues, i.String())
	}
	return now, nil
}

func (d *fileConfig) write(_ context.Context, hash string, text []byte) error {
	w, err := d.store.Replace(hash, text)
	if err != nil {
		return fileFaults(err)
	}
	return d.record("config.set", "", w)
}

// record notes a change in the history.
func (d *fileConfig) record(action, note string, w settings.Written) error {
	e := settings.JournalEntry{Action: action, By: "local", Client: "cli", Note: note, Hash: w.After.Hash, Before: w.Before.Hash}
	e.Keys = settings.ChangedKeys(w.Before, w.After)
	return settings.AppendJournal(d.stateDir, e)
}

func fileFaults(err error) error {
	var syntax *settings.SyntaxError
	var invalid *settings.InvalidError
	switch {
	case errors.As(err, &syntax):
		return &faultsError{err, []string{syntax.Error()}}
	case errors.As(err, &invalid):
		var lines []string
		for _, i := range invalid.Issues {
			lines = append(lines, i.String())
		}
		return &faultsError{err, lines}
	case errors.Is(err, settings.ErrChanged):
		return withHint(err, "somebody else changed the file meanwhile: do it again")
	}
	return err
}

// editFile makes a file for an editor that only its owner can read.
func editFile(stateDir string, text []byte) (string, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(stateDir, "coderclaw-edit-*.json5")
	if err != nil {
		return "", fmt.Errorf("make a file to edit: %w", err)
	}
	_, err = f.Write(text)
	return filepath.Clean(f.Name()), errors.Join(err, f.Close())
}
