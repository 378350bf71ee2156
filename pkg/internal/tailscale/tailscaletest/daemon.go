// Package tailscaletest is a counterpart of tailscaled for tests: it listens on a
// socket and answers the two requests of the LocalAPI that package tailscale makes
// with the members, the status codes and the checks of tailscaled 1.9x, as its source
// and documentation have them. It is no tailnet: it knows the nodes it is told.
package tailscaletest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Node is a machine of the tailnet.
type Node struct {
	Addrs []netip.Addr
	// DNSName has its final dot, as tailscaled writes it.
	DNSName string
	// Login is its owner's; Tags stand instead of an owner.
	Login string
	Tags  []string
}

// Daemon answers on Socket. Its methods may be called at any time.
type Daemon struct {
	Socket string

	server *http.Server
	ended  chan error

	mu    sync.Mutex // guards the fields below
	state string
	magic bool
	self  Node
	peers []Node
	asked int
}

// Start listens in a new folder below dir; end it with Close.
func Start(dir string, self Node, peers ...Node) (*Daemon, error) {
	dir, err := os.MkdirTemp(dir, "ts") // the path of a socket has to be short
	if err != nil {
		return nil, err
	}
	d := &Daemon{Socket: filepath.Join(dir, "d.sock"), ended: make(chan error, 1), state: "Running", magic: true, self: self, peers: peers}
	ln, err := net.Listen("unix", d.Socket)
	if err != nil {
		return nil, err
	}
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second}
	go func() { d.ended <- d.server.Serve(ln) }()
	return d, nil
}

// Close ends it and removes the socket.
func (d *Daemon) Close() {
	_ = d.server.Close()
	<-d.ended
}

// SetState changes the backend's state, such as Running, Stopped or NeedsLogin.
func (d *Daemon) SetState(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = state
}

// SetMagicDNS says whether the tailnet answers for names.
func (d *Daemon) SetMagicDNS(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.magic = on
}

// Asked returns how many requests came.
func (d *Daemon) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *Daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	switch {
	case r.Host != "" && r.Host != "local-tailscaled.sock", r.Header.Get("Origin") != "", r.Header.Get("Referer") != "":
		http.Error(w, "invalid localapi request", http.StatusForbidden)
	case r.URL.Path == "/localapi/v0/status":
		answer(w, d.status())
	case r.URL.Path == "/localapi/v0/whois":
		d.whois(w, r.FormValue("addr"))
	default:
		http.Error(w, "404 not found", http.StatusNotFound)
	}
}

// status is ipnstate.Status, without what only a connected peer has.
func (d *Daemon) status() map[string]any {
	return map[string]any{
		"Version": "1.98.0-t0000000-g0000000", "TUN": true, "BackendState": d.state, "HaveNodeKey": true, "AuthURL": "",
		"TailscaleIPs": d.self.Addrs, "Self": peerStatus(d.self, 1), "Health": []string{}, "MagicDNSSuffix": "tail1234.ts.net",
		"CurrentTailnet": map[string]any{"Name": "example.com", "MagicDNSSuffix": "tail1234.ts.net", "MagicDNSEnabled": d.magic},
		"CertDomains":    []string{strings.TrimSuffix(d.self.DNSName, ".")}, "Peer": nil, "User": nil, "ClientVersion": nil,
	}
}

func peerStatus(n Node, id int) map[string]any {
	return map[string]any{
		"ID": fmt.Sprintf("n%dCNTRL", id), "PublicKey": "nodekey:0000", "HostName": "host", "DNSName": n.DNSName, "OS": "linux", "UserID": 10 + id,
		"TailscaleIPs": n.Addrs, "AllowedIPs": prefixes(n), "Addrs": nil, "CurAddr": "", "Relay": "", "RxBytes": 0, "TxBytes": 0,
		"Created": "2025-01-01T00:00:00Z", "LastSeen": "0001-01-01T00:00:00Z", "Online": true, "Active": false, "InNetworkMap": true,
	}
}

func prefixes(n Node) (out []netip.Prefix) {
	for _, a := range n.Addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// whois is apitype.WhoIsResponse.
func (d *Daemon) whois(w http.ResponseWriter, text string) {
	addr, err := netip.ParseAddr(text)
	if withPort, portErr := netip.ParseAddrPort(text); portErr == nil {
		addr, err = withPort.Addr(), nil
	}
	if err != nil {
		http.Error(w, "invalid 'addr' parameter", http.StatusBadRequest)
		return
	}
	for i, n := range append([]Node{d.self}, d.peers...) {
		for _, a := range n.Addrs {
			if a != addr {
				continue
			}
			node := map[string]any{
				"ID": 100 + i, "StableID": fmt.Sprintf("n%dCNTRL", i+1), "Name": n.DNSName, "User": 10 + i, "Addresses": prefixes(n),
				"AllowedIPs": prefixes(n), "Hostinfo": map[string]any{"OS": "linux", "Hostname": "host"}, "ComputedName": "host",
			}
			login := n.Login
			if n.Tags != nil {
				node["Tags"], login = n.Tags, "tagged-devices"
			}
			answer(w, map[string]any{
				"Node": node, "CapMap": nil,
				"UserProfile": map[string]any{"ID": 10 + i, "LoginName": login, "DisplayName": "Somebody", "ProfilePicURL": ""},
			})
			return
		}
	}
	http.Error(w, "no match for IP:port", http.StatusNotFound)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
