package tailscale

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// CalledBy reports, as an error, that a loopback connection does not come from
// tailscaled: that the socket at its other end belongs to another user than tailscaled's
// own socket does. Both addresses are as the accepting side sees them. Only Linux tells;
// elsewhere it is always nil.
func (l *Local) CalledBy(remote, local netip.AddrPort) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	info, err := os.Stat(l.socket)
	if err != nil {
		return fmt.Errorf("ask tailscaled: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("ask tailscaled: nobody owns its socket")
	}
	uid, err := socketOwner(unmap(remote), unmap(local))
	if err == nil && uid != stat.Uid {
		err = fmt.Errorf("the connection comes from a program of user %d, and tailscaled is of user %d", uid, stat.Uid)
	}
	return err
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// socketOwner returns the user of this host's TCP socket that is bound to from and
// connected to to, as proc(5) has it.
func socketOwner(from, to netip.AddrPort) (uint32, error) {
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6 here
		}
		if err != nil {
			return 0, err
		}
		uid, found := scanSockets(bufio.NewScanner(f), from, to)
		if err := f.Close(); err != nil {
			return 0, err
		}
		if found {
			return uid, nil
		}
	}
	return 0, errors.New("no program of this host holds the other end of the connection")
}

// scanSockets looks for a line whose second and third fields are the addresses; the
// eighth is the user.
func scanSockets(lines *bufio.Scanner, from, to netip.AddrPort) (uint32, bool) {
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		a, ok := procAddr(fields[1])
		if !ok || a != from {
			continue
		}
		if b, ok := procAddr(fields[2]); !ok || b != to {
			continue
		}
		uid, err := strconv.ParseUint(fields[7], 10, 32)
		return uint32(uid), err == nil
	}
	return 0, false
}

// procAddr reads an address of /proc/net/tcp: words of four bytes in the machine's
// order, in hex, a colon and the port in hex.
func procAddr(text string) (netip.AddrPort, bool) {
	words, portText, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(words)
	port, portErr := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for word := range slices.Chunk(raw, 4) {
			slices.Reverse(word)
		}
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}
