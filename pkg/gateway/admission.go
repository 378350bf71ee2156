package gateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// admission counts the connections that have not authenticated, by address and
// in all, and refuses further ones at accept, before a goroutine or a buffer is
// spent on them. Plain HTTP connections count until they are closed.
//
// mu guards held.
type admission struct {
	perAddress, max int
	refused         func(addr netip.Addr) // called without the lock

	mu    sync.Mutex
	held  map[netip.Addr]int
	total int
}

func newAdmission(l Limits, refused func(netip.Addr)) *admission {
	return &admission{
		perAddress: l.HandshakesPerAddress, max: l.HandshakesTotal, refused: refused,
		held: map[netip.Addr]int{},
	}
}

// listen returns l without the connections that are too many.
func (a *admission) listen(l net.Listener) net.Listener {
	return admittingListener{Listener: l, admission: a}
}

type admittingListener struct {
	net.Listener
	admission *admission
}

// Accept returns the next connection that has a place.
func (l admittingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := addressKey(conn.RemoteAddr())
		if l.admission.enter(addr) {
			return &admitted{Conn: conn, leave: func() { l.admission.leave(addr) }}, nil
		}
		_ = conn.Close()
		l.admission.refused(addr)
	}
}

func (a *admission) enter(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= a.max || a.held[addr] >= a.perAddress {
		return false
	}
	a.total++
	a.held[addr]++
	return true
}

func (a *admission) leave(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.held[addr]--; a.held[addr] == 0 {
		delete(a.held, addr)
	}
}

// admitted is a connection that holds a place until it authenticates or closes.
type admitted struct {
	net.Conn
	left  atomic.Bool
	leave func()
}

// authenticated gives the place back.
func (c *admitted) authenticated() {
	if c.left.CompareAndSwap(false, true) {
		c.leave()
	}
}

// Close gives the place back and closes the connection.
func (c *admitted) Close() error {
	c.authenticated()
	return c.Conn.Close()
}

// addressKey is the address that limits are counted by: v4 in its plain form,
// v6 by its /64, because a host picks freely within one.
func addressKey(a net.Addr) netip.Addr {
	addr := addrPort(a).Addr()
	if addr.Is6() && !addr.IsLoopback() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Masked().Addr()
		}
	}
	return addr
}

// addrPort returns the address of a socket, unmapped; zero when it has none.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
