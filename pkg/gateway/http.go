package gateway

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// isUpgrade reports whether the request asks for a WebSocket. Whether it does so
// correctly is for the library to say.
func isUpgrade(h http.Header) bool {
	for _, v := range h.Values("Upgrade") {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}

// serveHTTP answers what is not a WebSocket. Every route checks Host first: a
// page that has its own name resolve to this machine must learn nothing.
func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.config.Guard.HostAllowed(r.Host) {
		g.floods.warn("http host refused")
		http.Error(w, "host not allowed (add it to gateway.allowedHosts)", http.StatusForbidden)
		return
	}
	route := map[string]http.HandlerFunc{
		"/health":  g.serveHealth,
		"/ready":   g.serveReady,
		"/metrics": g.serveMetrics,
	}[r.URL.Path]
	switch {
	case route == nil:
		answer(w, http.StatusNotFound, "text/plain; charset=utf-8", "Not Found")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, "text/plain; charset=utf-8", "Method Not Allowed")
	default:
		w.Header().Set("Cache-Control", "no-store")
		route(w, r)
	}
}

// serveHealth tells that the process answers. It tells nothing else: it needs no
// secret.
func (g *Gateway) serveHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "application/json; charset=utf-8", `{"ok":true}`)
}

// serveReady tells whether new connections are served.
func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	if g.state.Load() != stateServing {
		answer(w, http.StatusServiceUnavailable, "application/json; charset=utf-8", `{"ready":false}`)
		return
	}
	answer(w, http.StatusOK, "application/json; charset=utf-8", `{"ready":true}`)
}

// serveMetrics answers whoever holds the secret, and programs on this machine
// that are no browser's page. A guessed secret counts like one in connect.
func (g *Gateway) serveMetrics(w http.ResponseWriter, r *http.Request) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	addr, ok := g.config.Guard.ClientAddr(remote, r.Header)
	if err != nil || !ok {
		answer(w, http.StatusForbidden, "text/plain; charset=utf-8", "Forbidden\n")
		return
	}
	if ok, retryAfter := g.bearer(r, addr); ok || retryAfter <= 0 && g.ownProgram(r, remote) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		g.writeMetrics(w)
	} else if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		answer(w, http.StatusTooManyRequests, "application/json; charset=utf-8",
			`{"error":{"message":"Too many failed authentication attempts. Please try again later.","type":"rate_limited"}}`)
	} else {
		w.Header().Set("WWW-Authenticate", "Bearer")
		answer(w, http.StatusUnauthorized, "application/json; charset=utf-8",
			`{"error":{"message":"Unauthorized","type":"unauthorized"}}`)
	}
}

// bearer judges the secret of the Authorization header, if there is one.
func (g *Gateway) bearer(r *http.Request, addr netip.Addr) (ok bool, retryAfter time.Duration) {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false, 0
	}
	return g.config.Guard.BearerCheck(r.Context(), addr, strings.TrimSpace(secret))
}

// ownProgram reports whether a request comes from a program on this machine that is
// no browser's page.
func (g *Gateway) ownProgram(r *http.Request, remote netip.AddrPort) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return g.config.Guard.Local(remote, r.Host, r.Header) &&
		len(r.Header.Values("Origin")) == 0 && (site == "" || site == "none")
}

func answer(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
