package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// RefusedError says that a gateway answered connect with a refusal. It wraps the
// *wire.Error.
type RefusedError struct {
	// URL is the gateway's.
	URL string
	// Err is the refusal.
	Err *wire.Error
	// TokenDropped reports that the refused credential was the stored device
	// token, which is now forgotten.
	TokenDropped bool
}

// Error names the gateway and the refusal.
func (e *RefusedError) Error() string { return fmt.Sprintf("connect to %s: %s", e.URL, e.Err.Message) }

// Unwrap returns the refusal.
func (e *RefusedError) Unwrap() error { return e.Err }

// Final reports whether the same connect would be refused again until somebody
// changes a credential, a version or a setting. A device that waits for its
// approval is not refused for good.
func (e *RefusedError) Final() bool { return e.Err.Code == protocol.ErrorInvalidRequest }

// refusedToken is what the refusal of a device token contains. Clients of
// protocol 3 agree on this text as the sign to forget the token (spec 21).
const refusedToken = "device token mismatch"

// Dial connects once. ctx bounds the handshake, which also has a limit of ten
// seconds; the connection outlives ctx and is ended by Close. A refusal is a
// *RefusedError, a close without an answer a *CloseError.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	addr, err := o.check()
	if err != nil {
		return nil, err
	}
	return dial(ctx, addr, &o, nil)
}

// dial connects; the callbacks of prev, if any, end before the new ones begin.
func dial(ctx context.Context, addr Address, o *Options, prev *Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	ws, err := open(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(frameBytesMax)
	h := handshake{ws: ws, addr: addr, o: o}
	hello, err := h.run(ctx)
	if err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	return newConn(ws, o, hello, prev), nil
}

// open makes the WebSocket, over TLS when the address says so.
func open(ctx context.Context, addr Address, o *Options) (*websocket.Conn, error) {
	ws, resp, err := websocket.Dial(ctx, addr.String(), &websocket.DialOptions{HTTPClient: o.HTTPClient, HTTPHeader: http.Header{}})
	switch {
	case err == nil:
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return nil, fmt.Errorf("connect to %s: %w", addr, ErrSpeaksPlain)
	case resp == nil || resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	case addr.plaintext() && asksForTLS(resp):
		return nil, fmt.Errorf("connect to %s: %w", addr, ErrSpeaksTLS)
	default:
		return nil, fmt.Errorf("connect to %s: it answers HTTP %s, not as a gateway", addr, resp.Status)
	}
	if resp.TLS != nil {
		if err := addr.verifier(o.Pins).remember(*resp.TLS); err != nil {
			_ = ws.CloseNow()
			return nil, err
		}
	}
	return ws, nil
}

// A URL may have the wrong scheme: ErrSpeaksTLS says that a ws:// URL names a port that
// speaks TLS, ErrSpeaksPlain that a wss:// URL names one that does not.
var (
	ErrSpeaksTLS   = errors.New("the gateway there speaks TLS: use wss://")
	ErrSpeaksPlain = errors.New("what listens there does not speak TLS: use ws://")
)

// asksForTLS reports whether a port that speaks TLS has answered a plain request.
func asksForTLS(resp *http.Response) bool {
	const answerBytesMax = 512
	if resp.StatusCode != http.StatusBadRequest || resp.Body == nil {
		return false
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	return strings.Contains(string(text), "wss://") || strings.Contains(string(text), "HTTPS server")
}

// handshake is the part of a connection before hello-ok (spec 3).
type handshake struct {
	ws   *websocket.Conn
	addr Address
	o    *Options
	// stored is the device token taken from the store, if that was sent.
	stored string
}

func (h *handshake) run(ctx context.Context) (protocol.HelloOk, error) {
	var none protocol.HelloOk
	challenge, err := h.challenge(ctx)
	if err != nil {
		return none, fmt.Errorf("connect to %s: %w", h.addr, err)
	}
	params, err := h.params(challenge)
	if err != nil {
		return none, err
	}
	const id = 0
	frame := appendRequest(nil, id, protocol.MethodConnect.Name, params.AppendJSON(nil))
	if err := h.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		return none, fmt.Errorf("connect to %s: %w", h.addr, closeError(err))
	}
	for {
		f, err := h.read(ctx)
		if err != nil {
			return none, fmt.Errorf("connect to %s: %w", h.addr, err)
		}
		if f.Type != frameResponse || f.ID != strconv.Itoa(id) {
			continue
		}
		if !f.OK {
			return none, h.refused(f.err())
		}
		hello, err := protocol.DecodeHelloOkOpen(f.Payload)
		if err != nil {
			return none, fmt.Errorf("connect to %s: read hello-ok: %w", h.addr, err)
		}
		h.keepToken(hello)
		return hello, nil
	}
}

// challenge reads until the nonce to sign. Every gateway of protocol 3 sends it
// unasked; there is no fallback to the signature without a nonce, which proves
// nothing about this connection.
func (h *handshake) challenge(ctx context.Context) (protocol.ConnectChallengeEvent, error) {
	for {
		f, err := h.read(ctx)
		if err != nil {
			return protocol.ConnectChallengeEvent{}, err
		}
		if f.Type == frameEvent && f.Event == protocol.EventConnectChallenge.Name {
			c, err := protocol.DecodeConnectChallengeEventOpen(f.Payload)
			if err != nil {
				err = fmt.Errorf("read challenge: %w", err)
			}
			return c, err
		}
	}
}

func (h *handshake) read(ctx context.Context) (inbound, error) {
	_, data, err := h.ws.Read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return inbound{}, fmt.Errorf("no answer in the handshake: %w", ctx.Err())
		}
		return inbound{}, closeError(err)
	}
	var f inbound
	if err := json.Unmarshal(data, &f); err != nil {
		return inbound{}, fmt.Errorf("read frame: %w", err)
	}
	return f, nil
}

func (h *handshake) params(challenge protocol.ConnectChallengeEvent) (protocol.ConnectParams, error) {
	o := h.o
	p := protocol.ConnectParams{
		MinProtocol: protocol.Version,
		MaxProtocol: protocol.Version,
		Client:      o.Client,
		Caps:        o.Caps,
		Role:        wire.Some(o.Role),
		Scopes:      o.Scopes,
	}
	if p.Caps == nil {
		p.Caps = []string{}
	}
	if p.Scopes == nil {
		p.Scopes = []string{}
	}
	if o.UserAgent != "" {
		p.UserAgent = wire.Some(o.UserAgent)
	}
	if o.Locale != "" {
		p.Locale = wire.Some(o.Locale)
	}
	token, err := h.token()
	if err != nil {
		return p, err
	}
	var auth protocol.ConnectAuth
	if token != "" {
		auth.Token = wire.Some(token)
	}
	if o.Password != "" {
		auth.Password = wire.Some(o.Password)
	}
	if token != "" || o.Password != "" {
		p.Auth = wire.Some(auth)
	}
	if o.Identity == nil {
		return p, nil
	}
	// The gateway's clock, not ours: a signature then never expires because
	// this machine's clock is wrong, and the nonce alone makes it fresh.
	signedAt := challenge.Ts
	if signedAt <= 0 {
		signedAt = time.Now().UnixMilli()
	}
	p.Device = wire.Some(protocol.ConnectDevice{
		ID:        o.Identity.DeviceID,
		PublicKey: o.Identity.PublicKey(),
		Signature: o.Identity.Sign(signedText(o, token, signedAt, challenge.Nonce)),
		SignedAt:  signedAt,
		Nonce:     wire.Some(challenge.Nonce),
	})
	return p, nil
}

// signedText is what a device signs: version 2, with the nonce (spec 5).
func signedText(o *Options, token string, signedAt int64, nonce string) string {
	return strings.Join([]string{
		"v2", o.Identity.DeviceID, string(o.Client.ID), string(o.Client.Mode), o.Role,
		strings.Join(o.Scopes, ","), strconv.FormatInt(signedAt, 10), token, nonce,
	}, "|")
}

// token returns the shared token, else the one that this gateway issued unless a
// password proves more.
func (h *handshake) token() (string, error) {
	o := h.o
	if o.Token != "" || o.Password != "" || o.Tokens == nil || o.Identity == nil {
		return o.Token, nil
	}
	token, err := o.Tokens.Get(h.addr.Origin(), o.Role, h.addr.Loopback)
	if h.stored = token; token == "" {
		token = o.issued
	}
	return token, err
}

// keepToken stores the token that the gateway has issued. Where it cannot be stored, as
// on a full disk, the connection is as good as any other: the proof that was given once
// can be given again.
func (h *handshake) keepToken(hello protocol.HelloOk) {
	auth, ok := hello.Auth.Get()
	if !ok || h.o.Tokens == nil || h.o.Identity == nil {
		return
	}
	if err := h.o.Tokens.Put(h.addr.Origin(), auth.Role, auth.DeviceToken, auth.Scopes); err != nil {
		h.o.Log.Warn("device token not kept", "err", err)
	}
}

// refused forgets the stored token if that is what the gateway did not accept.
// A wrong shared secret is answered with the same words, and costs no token.
func (h *handshake) refused(err *wire.Error) error {
	r := &RefusedError{URL: h.addr.String(), Err: err}
	if h.stored != "" && strings.Contains(err.Message, refusedToken) {
		if dropErr := h.o.Tokens.Drop(h.o.Role, h.stored); dropErr != nil {
			return errors.Join(r, dropErr)
		}
		r.TokenDropped = true
	}
	return r
}

// closeError turns an error of the socket into a *CloseError.
func closeError(err error) *CloseError {
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		return &CloseError{Code: int(ce.Code), Reason: ce.Reason}
	}
	return &CloseError{Code: codeAbnormal, Err: err}
}
