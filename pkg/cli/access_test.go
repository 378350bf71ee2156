package cli_test

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coderclaw/gateway/pkg/internal/tailscale/tailscaletest"
)

// startProxy runs a reverse proxy that the gateway does not know in front of it, at
// $PROXIED. What comes through it says so and is not local.
func startProxy(ts *testscript.TestScript, _ bool, _ []string) {
	to, err := url.Parse(strings.Replace(ts.Getenv("URL"), "ws://", "http://", 1))
	ts.Check(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: httputil.NewSingleHostReverseProxy(to)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	ts.Defer(func() { _ = server.Close(); <-ended })
	ts.Setenv("PROXIED", "ws://"+ln.Addr().String())
}

// startTailscaled runs a counterpart of tailscaled, at $TAILSCALED.
func startTailscaled(ts *testscript.TestScript, _ bool, _ []string) {
	d, err := tailscaletest.Start("", tailscaletest.Node{Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}, DNSName: "desk.tail1234.ts.net.", Login: "me@example.com"})
	ts.Check(err)
	ts.Defer(func() { d.Close(); _ = os.RemoveAll(filepath.Dir(d.Socket)) })
	ts.Setenv("TAILSCALED", d.Socket)
}

// capture sets a variable to what the group of a regular expression finds in the
// standard output of the last command.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}
