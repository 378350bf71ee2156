// Package tailscale asks the tailscaled of this host, over its socket, which tailnet
// addresses and which MagicDNS name are this host's, and who has another address.
//
// It speaks the two requests of tailscaled's LocalAPI that answer this, GET
// /localapi/v0/status and GET /localapi/v0/whois?addr=, and none that changes
// anything. The module tailscale.com does the same with 125 packages. Whatever goes
// wrong, a missing socket included, is an error, never a guess: callers treat it as
// "not known". On macOS the App Store's tailscaled has no socket, and so is not found.
package tailscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// askWithin bounds a request, which tailscaled answers within a millisecond; a
	// connect waits for it.
	askWithin = time.Second
	// bodyBytesMax bounds an answer; the largest known are of some 10 KiB.
	bodyBytesMax = 1 << 20
	// keepFor is how long an answer, or that there was none, is remembered.
	keepFor = 5 * time.Second
	// whoisMax bounds the answers about other addresses that are remembered.
	whoisMax = 256

	// apiHost is the Host that tailscaled asks for, against rebinding.
	apiHost = "local-tailscaled.sock"

	stateRunning = "Running"
)

// ErrUnknown says that no node of the tailnet has an address.
var ErrUnknown = errors.New("tailscaled knows no such address")

// DefaultSocket is where tailscaled listens when nobody has configured it.
func DefaultSocket() string {
	if runtime.GOOS == "darwin" {
		return "/var/run/tailscaled.socket"
	}
	return "/var/run/tailscale/tailscaled.sock"
}

// Self is this host on its tailnet.
type Self struct {
	// Addrs are its tailnet addresses.
	Addrs []netip.Addr
	// Name is its MagicDNS name in lower case without a final dot, such as
	// desk.tail1234.ts.net; empty when MagicDNS is off.
	Name string
}

// Has reports whether an address is this host's.
func (s Self) Has(addr netip.Addr) bool {
	for _, a := range s.Addrs {
		if a == addr.Unmap().WithZone("") {
			return true
		}
	}
	return false
}

// Local is the tailscaled of this host. It is safe for concurrent use, and asks
// the same thing at most once in a few seconds.
type Local struct {
	socket string
	http   *http.Client

	asking sync.Mutex // held while tailscaled is asked about self: one asks for all
	mu     sync.Mutex // guards the fields below
	self   kept[Self]
	whois  map[netip.Addr]kept[string]
}

// kept is an answer and when it was given.
type kept[T any] struct {
	at    time.Time
	value T
	err   error
}

func (k kept[T]) fresh(now time.Time) bool { return !k.at.IsZero() && now.Sub(k.at) < keepFor }

// New returns the tailscaled behind a socket; the empty path is DefaultSocket. It
// asks nothing yet.
func New(socket string) *Local {
	if socket == "" {
		socket = DefaultSocket()
	}
	l := &Local{socket: socket, whois: map[netip.Addr]kept[string]{}}
	l.http = &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, // a question in some seconds needs no open connection
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if err := trusted(l.socket); err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, "unix", l.socket)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l
}

// Socket is the path of the socket.
func (l *Local) Socket() string { return l.socket }

// trusted refuses a socket that another user than root or this one has made: whoever
// listens on it decides who is local.
func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is no socket", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", path)
	}
	return nil
}

// Self returns what this host is on its tailnet. It is an error when tailscaled does
// not run or is not connected.
func (l *Local) Self(ctx context.Context) (Self, error) {
	l.asking.Lock()
	defer l.asking.Unlock()
	l.mu.Lock()
	known := l.self
	l.mu.Unlock()
	if !known.fresh(time.Now()) {
		// The answer is for others too, so that who asks first does not cut it short.
		self, err := l.askSelf(context.WithoutCancel(ctx))
		known = kept[Self]{time.Now(), self, err}
		l.mu.Lock()
		l.self = known
		l.mu.Unlock()
	}
	return known.value, known.err
}

// Login returns the login name of the person who owns the node with a tailnet
// address. It is ErrUnknown when there is none, and for nodes with tags, which belong
// to nobody.
func (l *Local) Login(ctx context.Context, addr netip.Addr) (string, error) {
	addr = addr.Unmap().WithZone("")
	l.mu.Lock()
	known, ok := l.whois[addr]
	l.mu.Unlock()
	if ok && known.fresh(time.Now()) {
		return known.value, known.err
	}
	login, err := l.askLogin(context.WithoutCancel(ctx), addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.whois) >= whoisMax {
		clear(l.whois)
	}
	l.whois[addr] = kept[string]{time.Now(), login, err}
	return login, err
}

// askSelf reads the members of ipnstate.Status that tell.
func (l *Local) askSelf(ctx context.Context) (self Self, err error) {
	var status struct {
		BackendState string
		Self         *struct {
			DNSName      string
			TailscaleIPs []netip.Addr
		}
		CurrentTailnet *struct{ MagicDNSEnabled bool }
	}
	if err := l.get(ctx, "status?peers=false", &status); err != nil {
		return self, err
	}
	if status.BackendState != stateRunning || status.Self == nil {
		return self, fmt.Errorf("tailscaled is not connected: its state is %.40q", status.BackendState)
	}
	for _, a := range status.Self.TailscaleIPs {
		if a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() {
			self.Addrs = append(self.Addrs, a.Unmap().WithZone(""))
		}
	}
	if t := status.CurrentTailnet; t != nil && !t.MagicDNSEnabled {
		return self, nil // who answers for the name is not the tailnet's to say
	}
	self.Name = strings.ToLower(strings.TrimSuffix(status.Self.DNSName, "."))
	return self, nil
}

// askLogin reads the members of apitype.WhoIsResponse that tell.
func (l *Local) askLogin(ctx context.Context, addr netip.Addr) (string, error) {
	var who struct {
		Node        *struct{ Tags []string }
		UserProfile *struct{ LoginName string }
	}
	if err := l.get(ctx, "whois?addr="+url.QueryEscape(addr.String()), &who); err != nil {
		return "", err
	}
	if who.Node == nil || who.UserProfile == nil || who.UserProfile.LoginName == "" || len(who.Node.Tags) > 0 {
		return "", ErrUnknown
	}
	return who.UserProfile.LoginName, nil
}

func (l *Local) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+apiHost+"/localapi/v0/"+path, nil)
	if err != nil {
		return err
	}
	res, err := l.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask tailscaled: %w", err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return ErrUnknown
	default:
		return fmt.Errorf("ask tailscaled: it answers HTTP %d", res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, bodyBytesMax+1))
	if err != nil {
		return fmt.Errorf("ask tailscaled: %w", err)
	}
	if len(raw) > bodyBytesMax {
		return errors.New("ask tailscaled: its answer is too long")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("ask tailscaled: its answer is not what it should be: %w", err)
	}
	return nil
}
