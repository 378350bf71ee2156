package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// attempt is what the handshake knows of the upgrade request. It is dropped when
// the handshake ends.
type attempt struct {
	since         time.Time // when the time for the handshake began
	nonce         string
	remote, local netip.AddrPort
	host          string
	header        http.Header
	tls           bool
}

// handshake sends the challenge and takes messages until one is a connect that
// is granted. Each one that is not ends the connection, so the first message
// decides. It runs on the reader alone: what the client sends behind its connect
// waits. It reports whether the connection may go on.
func (c *conn) handshake(a *attempt) bool {
	// One deadline for all of it, whatever the client sends meanwhile.
	deadline := time.AfterFunc(time.Until(a.since.Add(c.g.limits.HandshakeTimeout)), func() { c.refuse("timeout", endHandshakeTimeout) })
	defer deadline.Stop()
	challenge := protocol.ConnectChallengeEvent{Nonce: a.nonce, Ts: time.Now().UnixMilli()}
	c.out.push(eventFrame(protocol.EventFrame{
		Event:   protocol.EventConnectChallenge.Name,
		Payload: challenge.AppendJSON(nil),
	}))
	message, err := c.read()
	if err != nil {
		return false
	}
	id, params, ok := c.connectRequest(message)
	if !ok {
		return false
	}
	grant, err := c.g.config.Guard.Connect(c.ctx, identity.Attempt{
		Params: params, Nonce: a.nonce, RemoteAddr: a.remote, LocalAddr: a.local,
		Host: a.host, Header: a.header, TLS: a.tls,
	})
	if err != nil {
		c.refuseConnect(id, err)
		return false
	}
	return c.welcome(id, params, grant, deadline)
}

// connectRequest judges the first message (protocol, section 3.3) and returns
// the params of the connect it holds.
func (c *conn) connectRequest(message []byte) (id wire.Raw, params protocol.ConnectParams, ok bool) {
	frame, err := protocol.DecodeRequestFrame(message)
	if syntax := (*wire.SyntaxError)(nil); errors.As(err, &syntax) {
		c.refuse("not json", endNotJSON)
		return nil, params, false
	}
	if err != nil || len(frame.ID) > requestIDBytes || len(frame.Method) > methodNameBytes {
		c.refuse("invalid frame", endInvalidFrame)
		return nil, params, false
	}
	id = rawID(frame.ID)
	if frame.Method != connectMethod {
		c.answerAndRefuse("not connect", id, refusal(protocol.DetailConnectRequired,
			"invalid handshake: first request must be "+connectMethod))
		return nil, params, false
	}
	if frame.Params == nil {
		frame.Params = wire.Raw("null") // "must be object", as for any other value
	}
	params, err = protocol.DecodeConnectParams(frame.Params)
	if err != nil {
		c.answerAndRefuse("invalid params", id, invalidParams(connectMethod, err))
		return nil, params, false
	}
	return id, params, true
}

// connectMethod is the one method that the gateway implements itself.
const connectMethod = "connect"

// refuse ends the handshake without a response.
func (c *conn) refuse(reason string, e ending) {
	c.g.metrics.refused.add(reason)
	c.g.floods.warn("handshake refused", c.attrs(slog.String("reason", reason))...)
	c.closeWith(e)
}

// answerAndRefuse ends the handshake with a response and a close frame that tells
// the same.
func (c *conn) answerAndRefuse(reason string, id wire.Raw, e *wire.Error) {
	c.out.push(refusalFrame(id, e))
	c.refuse(reason, ending{protocol.CloseHandshakeRefusedCode, e.Message})
}

// refuseConnect tells the client what the guard said.
func (c *conn) refuseConnect(id wire.Raw, err error) {
	var no *identity.Refusal
	if !errors.As(err, &no) {
		e := c.g.unexpected(connectMethod, c.id, err)
		c.out.push(refusalFrame(id, e))
		c.refuse("internal", ending{endInternal.code, e.Message})
		return
	}
	c.out.push(refusalFrame(id, no.Err))
	c.g.metrics.refused.add("guard")
	c.g.floods.warn("connect refused", c.attrs(slog.String("message", clip(no.Err.Message, closeReasonBytes)))...)
	c.closeWith(ending{no.CloseCode, no.CloseReason})
}

// welcome makes the connection a peer: it joins its audience class, finds itself
// in the snapshot, and gets hello-ok in front of every event since it joined.
func (c *conn) welcome(id wire.Raw, params protocol.ConnectParams, grant identity.Grant, deadline *time.Timer) bool {
	peer := newPeer(c.id, params, grant)
	c.out.hold()
	if !deadline.Stop() {
		return false // the connection is being closed
	}
	// Read before the first event can be held back, so that no event behind hello-ok
	// has an older version than hello-ok; the state may be newer than its version says.
	version := protocol.StateVersion{Presence: c.g.config.Versions.Presence(), Health: c.g.config.Versions.Health()}
	if !c.g.hub.join(c, peer, c.g.limits.Connections) {
		c.out.release(refusalFrame(id, unavailable(protocol.ErrorDetails{
			Code: wire.Some(protocol.DetailTooManyConnections),
		}, endTooMany.reason)))
		c.refuse("limit", endTooMany)
		return false
	}
	c.g.config.Observer.PeerConnected(peer)
	if !c.stillHolds(grant) {
		return false
	}
	hello := c.g.hello(peer, grant, version, c.out.limit)
	c.transport.limit.Store(c.g.limits.FrameBytes)
	if c.place != nil {
		c.place.authenticated()
	}
	if !c.out.release(resultFrame(id, hello.AppendJSON(nil))) {
		return false
	}
	c.g.config.Log.Info("client connected", "connId", c.id, "client", peer.Client.ID, "mode", peer.Client.Mode,
		"version", clip(peer.Client.Version, 64), "role", peer.Role, "scopes", len(peer.Scopes), "local", peer.Local)
	c.g.config.Observer.PeerReady(peer)
	return true
}

// stillHolds reports whether the peer, which can be severed from now on, was not
// granted what has been taken back meanwhile. If it was, the connection ends without
// a response: events are held back for it by now, and would follow one.
func (c *conn) stillHolds(grant identity.Grant) bool {
	holds, err := c.g.config.Guard.Holds(grant)
	switch {
	case err != nil:
		e := c.g.unexpected(connectMethod, c.id, err)
		c.refuse("internal", ending{endInternal.code, e.Message})
	case !holds:
		c.refuse("guard", endAuthorityChanged)
	}
	return holds && err == nil
}

// newPeer puts together what is known of the client.
func newPeer(connID string, params protocol.ConnectParams, grant identity.Grant) *wire.Peer {
	client := params.Client
	return &wire.Peer{
		ConnID: connID, Role: grant.Role, Scopes: grant.Scopes, Caps: params.Caps,
		Client: wire.ClientInfo{
			ID: string(client.ID), DisplayName: client.DisplayName.V, Version: client.Version,
			Platform: client.Platform, DeviceFamily: client.DeviceFamily.V,
			ModelIdentifier: client.ModelIdentifier.V, Mode: string(client.Mode), InstanceID: client.InstanceID.V,
		},
		DeviceID: grant.DeviceID, Principal: grant.Principal, BySecret: grant.BySecret, SecretGeneration: grant.SecretGeneration,
		RemoteIP: grant.ClientIP, Local: grant.Local, ConnectedAt: time.Now(),
	}
}

// Words of wire.EventInfo.Audience beside the operators' scopes.
const (
	audienceAll      = "all"
	audienceOperator = "operator." // prefix of the scopes
)

// mayReceive reports whether the audience contains the peer.
func mayReceive(p *wire.Peer, audience string) bool {
	switch {
	case audience == audienceAll:
		return true
	case p.Role == protocol.RoleOperator:
		return strings.HasPrefix(audience, audienceOperator) && protocol.ScopeAllows(p.Scopes, audience)
	default:
		return audience == p.Role
	}
}

// hello builds hello-ok. Without operator.read the snapshot tells neither who is
// there nor how things are nor where files lie.
func (g *Gateway) hello(p *wire.Peer, grant identity.Grant, version protocol.StateVersion, queueBytes int64) protocol.HelloOk {
	snapshot := g.config.Snapshot(p)
	snapshot.StateVersion = version
	if p.Role != protocol.RoleOperator || !protocol.ScopeAllows(p.Scopes, protocol.ScopeOperatorRead) {
		snapshot.Presence = nil
		snapshot.Health = nil
		snapshot.ConfigPath = wire.Opt[string]{}
		snapshot.StateDir = wire.Opt[string]{}
	}
	if snapshot.Presence == nil {
		snapshot.Presence = []protocol.PresenceEntry{}
	}
	if snapshot.Health == nil {
		snapshot.Health = wire.Raw("{}")
	}
	h := protocol.HelloOk{
		Protocol: protocol.Version,
		Server:   protocol.HelloServer{Version: g.config.Version, ConnID: p.ConnID},
		Features: protocol.HelloFeatures{Methods: g.listed(), Events: g.events},
		Snapshot: snapshot,
		Auth:     grant.Auth,
		Policy: protocol.HelloPolicy{
			MaxPayload:       g.limits.FrameBytes,
			MaxBufferedBytes: queueBytes,
			TickIntervalMs:   tickInterval.Milliseconds(),
		},
	}
	if g.config.Commit != "" {
		h.Server.Commit = wire.Some(g.config.Commit)
	}
	if g.config.Host != "" {
		h.Server.Host = wire.Some(g.config.Host)
	}
	return h
}

// logEnd tells how the connection ended.
func (c *conn) logEnd() {
	c.g.metrics.closes.add(strconv.Itoa(c.ending.code))
	if c.peer == nil {
		return
	}
	c.g.config.Log.LogAttrs(context.Background(), slog.LevelInfo, "client disconnected", c.attrs(
		slog.Int("code", c.ending.code), slog.String("reason", c.ending.reason),
		slog.Duration("after", time.Since(c.opened)))...)
}
