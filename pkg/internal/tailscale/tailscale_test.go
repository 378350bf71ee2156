package tailscale_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/internal/tailscale"
	"github.com/coderclaw/gateway/pkg/internal/tailscale/tailscaletest"
)

var (
	desk = tailscaletest.Node{
		Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("fd7a:115c:a1e0::1")}, DNSName: "Desk.tail1234.ts.net.", Login: "me@example.com",
	}
	phone = tailscaletest.Node{Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2")}, DNSName: "phone.tail1234.ts.net.", Login: "me@example.com"}
	robot = tailscaletest.Node{Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.3")}, DNSName: "robot.tail1234.ts.net.", Tags: []string{"tag:ci"}}
)

func start(t *testing.T) *tailscaletest.Daemon {
	t.Helper()
	d, err := tailscaletest.Start("", desk, phone, robot)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close(); _ = os.RemoveAll(filepath.Dir(d.Socket)) })
	return d
}

func TestSelf(t *testing.T) {
	d := start(t)
	l := tailscale.New(d.Socket)
	for range 3 {
		self, err := l.Self(t.Context())
		require.NoError(t, err)
		require.Equal(t, tailscale.Self{Addrs: desk.Addrs, Name: "desk.tail1234.ts.net"}, self)
		require.True(t, self.Has(netip.MustParseAddr("::ffff:100.64.0.1")))
		require.False(t, self.Has(phone.Addrs[0]))
		require.False(t, self.Has(netip.Addr{}))
	}
	require.Equal(t, 1, d.Asked(), "an answer is kept for some seconds")

	d.SetMagicDNS(false)
	self, err := tailscale.New(d.Socket).Self(t.Context())
	require.NoError(t, err)
	require.Equal(t, tailscale.Self{Addrs: desk.Addrs}, self)
	for _, state := range []string{"Stopped", "NeedsLogin", "NoState", ""} {
		d.SetState(state)
		_, err = tailscale.New(d.Socket).Self(t.Context())
		require.ErrorContains(t, err, "not connected")
	}
}

func TestLogin(t *testing.T) {
	d := start(t)
	l := tailscale.New(d.Socket)
	for range 2 {
		login, err := l.Login(t.Context(), phone.Addrs[0])
		require.NoError(t, err)
		require.Equal(t, "me@example.com", login)
	}
	require.Equal(t, 1, d.Asked())
	for _, addr := range []string{"100.64.0.3", "100.64.0.9", "192.0.2.1"} {
		_, err := l.Login(t.Context(), netip.MustParseAddr(addr))
		require.ErrorIs(t, err, tailscale.ErrUnknown, addr)
	}
}

// Whatever is wrong with it, tailscaled is then not known, and is not asked again at
// once.
func TestWhatIsNoTailscaled(t *testing.T) {
	dir, err := os.MkdirTemp("", "ts")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	serve := func(name string, h http.HandlerFunc) (string, *atomic.Int64) {
		path, asked := filepath.Join(dir, name), new(atomic.Int64)
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); h(w, r) })}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close(); <-ended })
		return path, asked
	}
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "not what it should be"},
		"null":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("null")) }, "not connected"},
		"no self":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"BackendState":"Running"}`)) }, "not connected"},
		"denied":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "access denied", http.StatusForbidden) }, "HTTP 403"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "HTTP 302"},
		"long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"x":"` + strings.Repeat("x", 2<<20) + `"}`))
		}, "too long"},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "ask tailscaled"},
	} {
		path, asked := serve(strings.ReplaceAll(name, " ", "-"), c.answer)
		l := tailscale.New(path)
		for range 2 {
			_, err := l.Self(t.Context())
			require.ErrorContains(t, err, c.want, name)
		}
		require.EqualValues(t, 1, asked.Load(), name)
	}
	for path, want := range map[string]string{file: "no socket", filepath.Join(dir, "none"): "no such file"} {
		_, err := tailscale.New(path).Self(t.Context())
		require.ErrorContains(t, err, want)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	d := start(t)
	_, err = tailscale.New(d.Socket).Self(cancelled)
	require.NoError(t, err, "who asks first does not cut the answer short for others")
	require.NotEmpty(t, tailscale.New("").Socket())
}
