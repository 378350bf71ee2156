// Package daemon builds the gateway from its parts and runs it: the one place
// where ports meet the services that need them.
//
// It decides nothing: settings say how, identity who, services what. It refuses to
// start on a state directory or a port that another gateway holds.
//
// New opens the store, the log and the listeners, so that what can fail fails
// before anything is promised; Run serves until its context ends; Close releases
// what New opened.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/gateway"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/internal/logfile"
	"github.com/coderclaw/gateway/pkg/internal/tailscale"
	"github.com/coderclaw/gateway/pkg/service/health"
	"github.com/coderclaw/gateway/pkg/service/models"
	"github.com/coderclaw/gateway/pkg/service/presence"
	"github.com/coderclaw/gateway/pkg/service/sessions"
	"github.com/coderclaw/gateway/pkg/service/tasks"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// workspaceDir is the agent's folder below the state directory.
const workspaceDir = "workspace"

// Config says what to run and where.
type Config struct {
	// StateDir and ConfigPath are absolute; the config file need not exist.
	StateDir, ConfigPath string
	// Flags are the values that the command line gave.
	Flags settings.Flags
	// Getenv looks up the environment; nil means os.Getenv.
	Getenv func(string) string
	// Stdout takes the log, readable when Terminal is true, JSON lines otherwise.
	Stdout   io.Writer
	Terminal bool
	// Level is the least severe level that is logged.
	Level slog.Level
	// Version is the program's, such as "1.2.0" or "dev".
	Version string
	// Verify checks database files, in a child process: see store.Child. nil checks in
	// this one, which a damaged file may crash.
	Verify store.Verify
	// Ready, when set, is called once the gateway accepts connections.
	Ready func(url, tokenFile string)
}

// Daemon is a gateway with everything behind it. Run may be called once.
type Daemon struct {
	cfg       Config
	settings  *settings.Settings
	config    *steward
	life      *life // nil without a supervisor: see Serve
	level     slog.LevelVar
	log       *slog.Logger
	logPath   string
	startedAt time.Time
	listeners []net.Listener
	port      int
	tokenFile string

	db       *store.DB
	audit    *audit.Log
	sessions *session.Sessions
	guard    *identity.Guard
	agents   *agents.Registry
	tasks    *durable.Engine
	runs     *turn.Runs
	gateway  *gateway.Gateway
	health   *health.Service
	presence *presence.Service
	// taskWatches is the tasks service, whose watches end with their connections.
	taskWatches *tasks.Service
	talks       *sessions.Service

	copies      *store.Keeper
	certificate *certificate.Keeper // nil without TLS

	models    modelRoom
	builtin   agent.Backend
	catalogue *models.Service
	// agentFaults are the folders of declared agents that cannot be used.
	agentFaults atomic.Pointer[[]string]

	closers []func() error
}

// New opens what the gateway needs, in the order in which the next part leans on
// the last, and closes it again when a part fails. Such a gateway does not restart
// itself: see Serve.
func New(cfg Config) (*Daemon, error) { return begin(cfg, nil) }

func begin(cfg Config, l *life) (_ *Daemon, err error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Verify == nil {
		cfg.Verify = store.Here()
	}
	d := &Daemon{cfg: cfg, life: l, startedAt: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := store.FinishReplace(cfg.StateDir); err != nil {
		return nil, err
	}
	if err := d.openConfig(); err != nil {
		return nil, err
	}
	if err := d.openState(); err != nil {
		return nil, err
	}
	if err := d.config.begin(d.log); err != nil {
		return nil, err
	}
	if err := d.listen(); err != nil {
		return nil, err
	}
	if err := d.db.Announce(d.port); err != nil {
		return nil, err
	}
	return d, d.build()
}

// openState takes the state directory: its lock and database first, so that a
// second gateway touches nothing, then the log and the token.
func (d *Daemon) openState() (err error) {
	early := slog.New(slog.NewTextHandler(d.cfg.Stdout, nil)) // the log file is behind the lock
	if d.db, err = store.Open(store.Options{Dir: d.cfg.StateDir, Port: d.settings.Gateway.Port, Log: early, Verify: d.cfg.Verify}); err != nil {
		return err
	}
	d.closers = append(d.closers, d.db.Close)
	log, closer, path, err := logfile.New(logfile.Config{Dir: filepath.Join(d.cfg.StateDir, "logs"), Stdout: d.cfg.Stdout, TTY: d.cfg.Terminal, Level: &d.level})
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	d.closers = append(d.closers, closer.Close)
	d.log, d.logPath = log, path
	if d.sessions, err = session.New(session.Config{DB: d.db, Log: d.log}); err != nil {
		return err
	}
	return os.MkdirAll(d.workspace(), 0o700)
}

func (d *Daemon) workspace() string { return filepath.Join(d.cfg.StateDir, workspaceDir) }

// build makes the services and mounts them. Nothing runs yet.
func (d *Daemon) build() error {
	auth := d.settings.Gateway.Auth
	secret, err := settings.SharedSecret(d.cfg.StateDir, auth, d.log)
	if err != nil {
		return err
	}
	if auth.Mode == settings.AuthToken && !auth.Token.IsSet() {
		d.tokenFile = filepath.Join(d.cfg.StateDir, settings.TokenFileName)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if d.audit, err = audit.New(audit.Config{DB: d.db, Log: d.log}); err != nil {
		return err
	}
	proxySecret, err := d.settings.Gateway.ProxySecret.Resolve()
	if err != nil {
		return err
	}
	proxyProof := identity.ProxySecret{Secret: proxySecret}
	if proxySecret.IsSet() {
		if proxySecret == secret {
			return errors.New("gateway.proxySecret is the gateway's own secret: one that reads the proxy's headers could then connect; choose another")
		}
		proxyProof.Header = d.settings.Gateway.ProxySecret.Header
	}
	trust, entry := newAuthority(), entryOf(d.settings)
	d.guard, err = identity.New(identity.Config{
		DB: d.db, Log: d.log, Mode: protocol.AuthMode(auth.Mode), Token: secret, Password: secret, Hostname: host,
		TrustedProxies:       entry.TrustedProxies,
		TrustedProxy:         identity.TrustedProxy(auth.TrustedProxy),
		ProxySecret:          proxyProof,
		Limits:               entry.Limits,
		AllowedHosts:         entry.AllowedHosts,
		AllowedOrigins:       entry.AllowedOrigins,
		AllowLegacySignature: auth.AllowLegacySignature,
		AllowTailscale:       auth.AllowTailscale,
		Tailnet:              tailscale.New(d.settings.Gateway.Tailscale.Socket),
		Events:               trust,
		Audit:                d.audit,
	})
	if err != nil {
		return err
	}
	security, err := d.security()
	if err != nil {
		return err
	}
	versions := new(wire.StateVersions)
	d.gateway = gateway.New(gateway.Config{
		Log: d.log, Guard: d.guard, Observer: observer{d}, Snapshot: d.snapshot, Versions: versions,
		Version: d.cfg.Version, Host: host, TLS: security, Limits: gateway.Limits{QueueBytes: int64(d.settings.Gateway.MaxBufferedBytes)},
	})
	trust.hub = d.gateway
	if err := d.openAgents(); err != nil {
		return err
	}
	d.builtin = d.newBuiltin()
	if err := d.useModels(d.settings); err != nil {
		return err
	}
	d.declareAgents(d.settings.Agents)
	d.closers = append(d.closers, d.closeModels)
	if d.tasks, err = durable.New(durable.Config{DB: d.db, Log: d.log, Limits: taskLimits(d.settings)}); err != nil {
		return err
	}
	d.closers = append(d.closers, d.tasks.Close)
	d.runs, err = turn.New(turn.Config{
		DB: d.db, Tasks: d.tasks, Sessions: d.sessions, Backend: &d.models, Emitter: d.gateway, Log: d.log, Version: d.cfg.Version,
		Timeout: d.runTimeout, ResumeAfter: resumeAfter,
	})
	if err != nil {
		return err
	}
	return d.mount(versions, host, decider{d.guard, trust})
}

// Addrs returns the addresses that the gateway listens on.
func (d *Daemon) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range d.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// URL returns the WebSocket URL of the first address.
func (d *Daemon) URL() string {
	scheme := "ws://"
	if d.settings.Gateway.TLS.Enabled {
		scheme = "wss://"
	}
	return scheme + d.listeners[0].Addr().String()
}

// Run serves until ctx ends. Then it ends the running turns, or leaves them for the
// next start when they have said nothing, tells clients that the gateway stops,
// delivers what is queued to a deadline, and returns nil after a clean stop.
func (d *Daemon) Run(ctx context.Context) error {
	d.health.Refresh() // the first hello-ok carries a summary
	group, inner := errgroup.WithContext(context.WithoutCancel(ctx))
	serve, stop := context.WithCancelCause(inner)
	defer stop(nil)

	// The record outlives the connections, so that it tells of the last ones too.
	record, closeRecord := context.WithCancel(inner)
	group.Go(func() error { return d.audit.Run(record) })
	group.Go(func() error {
		defer closeRecord()
		return d.gateway.Run(serve, d.listeners...)
	})
	group.Go(func() error { return d.guard.Run(serve) })
	group.Go(func() error { return d.watchSecret(serve) })
	group.Go(func() error { return d.sessions.Run(serve) })
	group.Go(func() error { return d.talks.Run(serve) })
	group.Go(func() error { return d.tasks.Run(serve) })
	group.Go(func() error { return d.health.Run(serve) })
	group.Go(func() error { return d.health.RunHeartbeats(serve) })
	group.Go(func() error { return d.watchStore(serve) })
	group.Go(func() error { return d.keeper().Run(serve) })
	group.Go(func() error { return d.keepCertificate(serve) })
	group.Go(func() error { return d.config.run(serve) })
	group.Go(func() error {
		var cause error
		select {
		case <-ctx.Done():
			d.log.Info("stopping")
			cause = context.Cause(ctx)
		case <-d.config.restarting:
			cause = gateway.Restart{Expected: restartExpected}
		case <-serve.Done(): // a part failed: the others stop too
		}
		err := d.runs.Close()
		stop(cause)
		return err
	})

	d.log.Info("gateway ready", "url", d.URL(), "version", d.cfg.Version, "stateDir", d.cfg.StateDir, "startMs", time.Since(d.startedAt).Milliseconds())
	d.config.ready()
	if d.cfg.Ready != nil && d.life.first() {
		d.cfg.Ready(d.URL(), d.tokenFile)
	}
	// Last, so that the runs which an earlier life has left delay nobody.
	group.Go(func() error { return d.runs.Run(serve) })
	err := group.Wait()
	d.log.Info("stopped", "uptimeMs", time.Since(d.startedAt).Milliseconds())
	return err
}

// watchStore looks once a minute whether the database file is still the one that
// was opened: writes to a deleted file would be lost at exit.
func (d *Daemon) watchStore(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := d.db.Check(); err != nil {
				return err
			}
		}
	}
}

// Close releases what New opened, the last opened first. It must not be called
// while Run runs.
func (d *Daemon) Close() error {
	var errs []error
	for _, l := range d.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.listeners, d.closers = nil, nil
	return errors.Join(errs...)
}

// snapshot is the state that hello-ok carries; the gateway takes out what the
// peer may not see.
func (d *Daemon) snapshot(*wire.Peer) protocol.Snapshot {
	return protocol.Snapshot{
		Presence: d.presence.List(), Health: d.health.Encoded(), UptimeMs: time.Since(d.startedAt).Milliseconds(),
		ConfigPath: wire.Some(d.cfg.ConfigPath), StateDir: wire.Some(d.cfg.StateDir),
		SessionDefaults: wire.Some(d.sessionDefaults()), AuthMode: wire.Some(d.guard.AuthMode()),
	}
}

// observer tells the services who comes and goes.
type observer struct{ d *Daemon }

func (o observer) PeerConnected(p *wire.Peer) { o.d.presence.PeerConnected(p) }
func (o observer) PeerReady(p *wire.Peer)     { o.d.health.Want(); o.d.noteNode(p) }
func (o observer) PeerDisconnected(p *wire.Peer) {
	o.d.taskWatches.PeerDisconnected(p)
	o.d.presence.PeerDisconnected(p)
	o.d.talks.PeerDisconnected(p)
}
