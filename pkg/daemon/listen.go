package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// listen opens every address of the settings on one port. Port 0 takes a free one
// for the first address and the same for the others. A machine without IPv6 serves
// 127.0.0.1 alone.
func (d *Daemon) listen() error {
	addrs, err := d.settings.Gateway.Addrs()
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if d.port != 0 {
			addr = netip.AddrPortFrom(addr.Addr(), uint16(d.port))
		}
		// Each family by name: a dual-stack socket on :: would collide with 0.0.0.0.
		network := "tcp4"
		if addr.Addr().Is6() {
			network = "tcp6"
		}
		l, err := net.Listen(network, addr.String())
		switch {
		case err == nil:
			d.listeners = append(d.listeners, l)
			d.port = l.Addr().(*net.TCPAddr).Port
		case errors.Is(err, syscall.EADDRINUSE):
			return fmt.Errorf("another gateway instance is already listening on ws://%s (stop it, or choose another port with --port)", addr)
		case addr.Addr().Is6() && len(d.listeners) > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
			d.log.Info("no IPv6 on this machine", "addr", addr.String())
		default:
			return fmt.Errorf("listen: %w", err)
		}
	}
	return nil
}

// outwardIP returns the first address of this machine that is not loopback, for
// people to read in the presence list; empty when there is none.
func outwardIP() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}
