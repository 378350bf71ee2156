package cli_test

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
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

// capture sets a variable to what the group of a regular expression finds in the
// standard output of the last command.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}
