package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// relay stands between a client and a gateway and passes on what both say. It adds
// nothing to the requests: the gateway sees the client's headers, Host and Origin
// included.
type relay struct {
	upstream *url.URL
	// client opens the connections to the gateway; nil means http.DefaultClient.
	client *http.Client
	// open is called for each connection; its listener hears all that is said.
	open func(r *http.Request) listener
}

// listener hears one connection. Its methods are called one at a time.
type listener interface {
	// said hears a message before it is passed on, and returns what is passed on
	// in its place.
	said(byClient bool, message []byte) [][]byte
	// closed hears how the connection ends, and returns how it is passed on.
	closed(end closing) closing
}

// By whom a connection was closed.
const (
	byClient  = "client"
	byGateway = "gateway"
)

// newRelay makes a relay to a ws:// or wss:// URL.
func newRelay(upstream string, open func(*http.Request) listener) (*relay, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, fmt.Errorf("%q is no ws:// or wss:// URL", upstream)
	}
	return &relay{upstream: u, open: open}, nil
}

// ServeHTTP relays one connection until it ends. Requests that are no WebSockets
// go to the gateway too, so that a page that it serves finds its way back here.
func (y *relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		y.page(w, r)
		return
	}
	target := *y.upstream
	target.Path, target.RawQuery = r.URL.Path, r.URL.RawQuery
	gateway, resp, err := websocket.Dial(r.Context(), target.String(), &websocket.DialOptions{
		HTTPClient: y.client, HTTPHeader: passedOn(r.Header), Host: r.Host,
	})
	if err != nil {
		status := http.StatusBadGateway
		if resp != nil && resp.StatusCode >= http.StatusBadRequest {
			status = resp.StatusCode
		}
		http.Error(w, err.Error(), status)
		return
	}
	client, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		_ = gateway.CloseNow()
		return
	}
	client.SetReadLimit(-1)
	gateway.SetReadLimit(-1)
	c := &relayed{client: client, gateway: gateway, listener: y.open(r)}
	c.run(r.Context())
}

func (y *relay) page(w http.ResponseWriter, r *http.Request) {
	target := *y.upstream
	target.Scheme = strings.Replace(target.Scheme, "ws", "http", 1)
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&target)
		p.Out.Host = p.In.Host
	}}
	if y.client != nil {
		proxy.Transport = y.client.Transport
	}
	proxy.ServeHTTP(w, r)
}

// passedOn returns the client's headers without those that belong to the one hop.
func passedOn(header http.Header) http.Header {
	out := header.Clone()
	for name := range out {
		if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
			out.Del(name)
		}
	}
	return out
}

// relayed is one connection of a relay.
type relayed struct {
	client, gateway *websocket.Conn

	// mu orders the calls of listener; ended is set by the first side that closes.
	mu       sync.Mutex
	listener listener
	ended    bool
}

// run passes on until one side closes, then closes the other alike.
func (c *relayed) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { c.pass(ctx, true, c.client, c.gateway); stop() })
	both.Go(func() { c.pass(ctx, false, c.gateway, c.client); stop() })
	both.Wait()
	_ = c.client.CloseNow()
	_ = c.gateway.CloseNow()
}

// pass hands on what one side says until it closes.
func (c *relayed) pass(ctx context.Context, fromClient bool, from, to *websocket.Conn) {
	for {
		kind, message, err := from.Read(ctx)
		if err != nil {
			c.end(ctx, fromClient, err, to)
			return
		}
		for _, m := range c.said(fromClient, message) {
			if err := to.Write(ctx, kind, m); err != nil {
				return
			}
		}
	}
}

func (c *relayed) said(fromClient bool, message []byte) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listener.said(fromClient, message)
}

// end closes the other side as this one was closed, unless that came first.
func (c *relayed) end(ctx context.Context, fromClient bool, err error, to *websocket.Conn) {
	if ctx.Err() != nil {
		return
	}
	how := closing{Code: int(websocket.StatusAbnormalClosure), By: byGateway}
	if fromClient {
		how.By = byClient
	}
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		how.Code, how.Reason = int(closed.Code), closed.Reason
	}
	c.mu.Lock()
	first := !c.ended
	c.ended = true
	if first {
		how = c.listener.closed(how)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	switch code := websocket.StatusCode(how.Code); code {
	case websocket.StatusAbnormalClosure, websocket.StatusTLSHandshake:
		_ = to.CloseNow()
	case websocket.StatusNoStatusRcvd:
		_ = to.Close(websocket.StatusNormalClosure, "")
	default:
		_ = to.Close(code, how.Reason)
	}
}
