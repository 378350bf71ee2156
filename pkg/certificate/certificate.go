// Package certificate keeps the certificate that the gateway shows to TLS clients:
// files that the owner names, read anew when they change, or one of its own, made
// once and renewed in time.
//
// Clients pin the own certificate, because no authority vouches for it. So a renewal
// keeps the key, and a pin of the key (Pin, KeyFingerprint) survives it; the next
// certificate lies ready, and can be looked at, 30 days before it is shown. Only
// `coderclaw tls renew --new-key` breaks pins.
//
// The package decides nothing about peers and sends nothing. A file that has gone bad
// never takes the place of a certificate that works: the error is logged and the old one
// stays.
//
// A Keeper is safe for concurrent use. Keeper.mu is held while files are read, but no
// handshake waits for it.
package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coderclaw/gateway/pkg/settings"
)

// The life of the own certificate.
const (
	// validFor is the longest that browsers accept.
	validFor = 397 * 24 * time.Hour
	// nextAhead and switchAhead are how long before its end a certificate gets a
	// successor, and is replaced by it.
	nextAhead   = 60 * 24 * time.Hour
	switchAhead = 30 * 24 * time.Hour
	// backdated lets clients whose clocks are slow accept a new certificate.
	backdated = time.Hour

	renewEvery   = time.Hour           // while nobody connects
	expirySoon   = 14 * 24 * time.Hour // from when on a file's end is warned of
	warnEvery    = 24 * time.Hour
	fileBytesMax = 1 << 20
)

// Names of the own certificate's files, below the state directory. Each holds the key
// and a certificate, so that one rename replaces both.
const (
	DirName  = "tls"
	FileName = "gateway.pem"
	NextName = "next.pem"
)

// Config says which certificate to keep.
type Config struct {
	// Dir is where the own certificate lives: <stateDir>/tls.
	Dir string
	// CertPath and KeyPath name given files; both empty is the own certificate.
	CertPath, KeyPath string
	// Names are the host names and IP addresses that an own certificate is made for.
	// Asked are those of them that the settings name: a given one should be for these.
	Names, Asked []string
	// Log may be nil.
	Log *slog.Logger
}

// For returns the Config of the gateway with these settings on a state directory. It
// asks the system for its host name and addresses.
func For(stateDir string, g settings.Gateway, log *slog.Logger) Config {
	host, _ := os.Hostname()
	var addrs []netip.Addr
	if g.Bind == settings.BindLAN {
		addrs = outward()
	}
	return Config{
		Dir: filepath.Join(stateDir, DirName), CertPath: g.TLS.CertPath, KeyPath: g.TLS.KeyPath,
		Names: Names(g, host, addrs), Asked: g.AllowedHosts, Log: log,
	}
}

// Names returns what an own certificate is made for: the names of this machine, the
// address it listens on (lan stands for all of addrs), and the allowed hosts.
func Names(g settings.Gateway, host string, addrs []netip.Addr) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host = strings.ToLower(strings.TrimSuffix(host, ".")); isName(host) {
		names = append(names, host)
		if !strings.Contains(host, ".") {
			names = append(names, host+".local")
		}
	}
	if addr, err := netip.ParseAddr(g.Bind); err == nil && !addr.IsUnspecified() {
		names = append(names, addr.Unmap().WithZone("").String())
	}
	for _, addr := range addrs {
		names = append(names, addr.String())
	}
	names = append(names, g.AllowedHosts...)
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// isName reports whether a certificate can hold text as a host name.
func isName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// outward returns this machine's addresses that others may reach.
func outward() (out []netip.Addr) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, addr.Unmap())
			}
		}
	}
	return out
}

// Own reports whether the certificate is one that the gateway makes itself.
func (c Config) Own() bool { return c.CertPath == "" && c.KeyPath == "" }

// files returns the paths of the certificate and of its key.
func (c Config) files() (cert, key string) {
	if c.Own() {
		path := filepath.Join(c.Dir, FileName)
		return path, path
	}
	return c.CertPath, c.KeyPath
}

// Path returns the file that the certificate is in.
func (c Config) Path() string {
	cert, _ := c.files()
	return cert
}

func (c Config) next() string { return filepath.Join(c.Dir, NextName) }

// Keeper shows a certificate to clients and keeps it fresh.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // guards the fields below
	seen   stamp
	warned time.Time
}

// stamp tells whether files have changed: they are others, or were written to. The time
// alone would miss a file that is replaced within a tick of the kernel's clock. The zero
// stamp is that of files that cannot be read.
type stamp struct {
	cert, key fs.FileInfo
}

func (s stamp) same(other stamp) bool {
	return sameFile(s.cert, other.cert) && sameFile(s.key, other.key)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// New reads the certificate, and makes or renews the own one if need be.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, log: cfg.Log}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Own() {
		if err := k.makeOwn(); err != nil {
			return nil, fmt.Errorf("own tls certificate: %w", err)
		}
		if err := k.renewOwn(); err != nil {
			return nil, fmt.Errorf("renew own tls certificate: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.reloadLocked(); err != nil {
		return nil, err
	}
	k.warnLocked()
	return k, nil
}

// ServerConfig returns what the gateway listens with: TLS 1.2 or newer, HTTP/1.1 only
// (a WebSocket upgrade has no other form here), and no session tickets: each
// connection shows the certificate that is current.
func (k *Keeper) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
		GetCertificate:         k.getCertificate,
	}
}

// Certificate returns the certificate that is shown now.
func (k *Keeper) Certificate() *x509.Certificate { return k.current.Load().Leaf }

// getCertificate is called by every handshake. It looks whether the files have changed,
// which costs little beside the handshake, so that a change needs no waiting for; but it
// does not wait for another one that looks.
func (k *Keeper) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k.mu.TryLock() {
		k.lookLocked()
		k.mu.Unlock()
	}
	return k.current.Load(), nil
}

// Run renews the own certificate in time, and reads changed files, until ctx ends. It
// returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if k.cfg.Own() {
			if err := k.renewOwn(); err != nil {
				k.log.Error("tls certificate not renewed", "dir", k.cfg.Dir, "err", err)
			}
		}
		k.mu.Lock()
		k.lookLocked()
		k.warnLocked()
		k.mu.Unlock()
	}
}

// lookLocked reads the files again if they have changed since they were read.
func (k *Keeper) lookLocked() {
	now, err := k.stamp()
	switch {
	case k.seen.same(now): // now is zero when there was an error
		return
	case err != nil:
		k.seen = stamp{}
		k.log.Error("tls certificate not readable; the old one stays", "err", err)
		return
	}
	if err := k.reloadLocked(); err != nil {
		k.log.Error("tls certificate not reloaded; the old one stays", "err", err)
		return
	}
	k.log.Info("tls certificate reloaded", "fingerprint", Fingerprint(k.Certificate()).String(), "notAfter", k.Certificate().NotAfter)
}

// reloadLocked reads the files. What it has seen is noted first: a file that changes
// meanwhile is read again, one that stays bad is not complained of at each handshake.
func (k *Keeper) reloadLocked() (err error) {
	if k.seen, err = k.stamp(); err != nil {
		return err
	}
	certPath, keyPath := k.cfg.files()
	fresh, err := load(certPath, keyPath)
	if err != nil {
		return err
	}
	if old := k.current.Load(); old != nil && expired(fresh.Leaf) && !expired(old.Leaf) {
		return fmt.Errorf("%s has expired on %s", certPath, fresh.Leaf.NotAfter.Format(time.DateOnly))
	}
	k.current.Store(fresh)
	return nil
}

func expired(c *x509.Certificate) bool { return time.Now().After(c.NotAfter) }

func (k *Keeper) stamp() (stamp, error) {
	certPath, keyPath := k.cfg.files()
	cert, err := os.Stat(certPath)
	if err != nil {
		return stamp{}, fmt.Errorf("tls certificate: %w", err)
	}
	key, err := os.Stat(keyPath)
	if err != nil {
		return stamp{}, fmt.Errorf("tls key: %w", err)
	}
	return stamp{cert, key}, nil
}

// warnLocked tells, once a day, of a given certificate that ends soon.
func (k *Keeper) warnLocked() {
	leaf := k.Certificate()
	if k.cfg.Own() || time.Until(leaf.NotAfter) > expirySoon || time.Since(k.warned) < warnEvery {
		return
	}
	k.warned = time.Now()
	k.log.Warn("tls certificate ends soon or has ended; renew the file, it is read without a restart", "file", k.cfg.CertPath, "notAfter", leaf.NotAfter)
}

// load reads a certificate and its key and sees that they belong together.
func load(certPath, keyPath string) (*tls.Certificate, error) {
	cert, err := readFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("tls certificate: %w", err)
	}
	key := cert
	if keyPath != certPath {
		if key, err = readFile(keyPath); err != nil {
			return nil, fmt.Errorf("tls key: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls certificate %s and key %s: %w", certPath, keyPath, err)
	}
	return &pair, nil
}

// readFile reads a regular file of at most fileBytesMax.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > fileBytesMax:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, fileBytesMax)
	}
	return os.ReadFile(path)
}

// ErrNone says that there is no certificate yet.
var ErrNone = errors.New("there is no certificate yet")

// Read returns the certificate that the gateway of cfg shows, as the files have it. It
// is ErrNone before the first start with an own certificate.
func Read(cfg Config) (*x509.Certificate, error) {
	path, key := cfg.files()
	pair, err := load(path, key)
	if errors.Is(err, fs.ErrNotExist) && cfg.Own() {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

// ReadNext returns the own certificate that will take the current one's place, nil when
// there is none.
func ReadNext(cfg Config) *x509.Certificate {
	pair, err := load(cfg.next(), cfg.next())
	if err != nil || !cfg.Own() {
		return nil
	}
	return pair.Leaf
}

// SwitchAt is when the own certificate is replaced.
func SwitchAt(c *x509.Certificate) time.Time { return c.NotAfter.Add(-switchAhead) }

// Hosts returns the names and addresses that a certificate is for.
func Hosts(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
