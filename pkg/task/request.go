package task

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// keyBytesMax is the longest idempotency key, in bytes.
const keyBytesMax = 256

// A turn's life is its timeout and a grace, within these bounds (the original's
// rule for chat.send).
const (
	timeoutDefault = 10 * time.Minute
	expiryGrace    = time.Minute
	expiryMin      = 2 * time.Minute
	expiryMax      = 24 * time.Hour
)

// busyRetryAfterMs is what a client refused for a full queue is told to wait.
const busyRetryAfterMs = 2000

// storeTimeout bounds one write of a transcript.
const storeTimeout = 30 * time.Second

// Namespace keeps the idempotency keys of different methods apart.
type Namespace string

// The namespaces of the methods that start turns.
const (
	NamespaceChat  Namespace = "chat"
	NamespaceAgent Namespace = "agent"
)

// Request asks for one turn.
type Request struct {
	// Principal owns the key: see wire.Peer.
	Principal string
	Namespace Namespace
	// Key is the client's idempotency key, 1 to 256 bytes. It is the run id on
	// the wire.
	Key string
	// ParamsHash tells whether a second request with the key asks the same.
	ParamsHash [sha256.Size]byte
	// SessionKey is the canonical key; RawSessionKey is what the client sent.
	SessionKey    string
	RawSessionKey string
	AgentID       string
	// Message is the user's text, cleaned; it may be empty when there are Images.
	Message string
	Images  []session.Image
	// Thinking is the level for this turn; empty means the session's.
	Thinking string
	// System is added to the system prompt.
	System string
	// Timeout is how long the turn may take; 0 means the default of 10 minutes.
	Timeout time.Duration
	// ToolConnID is the connection that wants the turn's tool events, or empty.
	ToolConnID string
	// Touch changes the session's entry together with the user's message; it may
	// be nil.
	Touch func(*session.Entry)
}

// expiry is how long after its acceptance the turn is cut off.
func (q *Request) expiry() time.Duration {
	timeout := min(orDefault(q.Timeout, timeoutDefault), expiryMax)
	return min(max(timeout+expiryGrace, expiryMin), expiryMax)
}

// Start accepts a turn: it checks the key, takes a place in the session's line
// and stores the user's message. The caller acknowledges the request and then
// calls Release on the run, without which nothing happens.
//
// replayed reports that the key was known and the run is the earlier one; it
// must not be released. A refusal is a *wire.Error.
func (r *Runs) Start(ctx context.Context, req Request) (run *Run, replayed bool, err error) {
	if req.Key == "" || len(req.Key) > keyBytesMax {
		return nil, false, refusal(protocol.DetailIdempotencyKeyTooLong,
			"idempotencyKey must be 1 to %d bytes long", keyBytesMax)
	}
	cmd, isCommand := parseCommand(req)
	if isCommand && cmd.startsTurn() {
		req.Message = cmd.args
	}
	run, replayed, err = r.reserve(req)
	if err != nil {
		return nil, false, err
	}
	if replayed {
		select {
		case <-run.accepted:
			return run, true, run.acceptErr
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	if isCommand && !cmd.startsTurn() {
		run.isCommand, run.command = true, cmd
	}
	if err := r.accept(ctx, run, isCommand && cmd.startsTurn()); err != nil {
		r.withdraw(run, err)
		return nil, false, err
	}
	close(run.accepted)
	r.log.Info("run accepted", "runId", run.ID(), "namespace", run.key.namespace, "sessionKey", run.req.SessionKey)
	go run.loop()
	return run, false, nil
}

// reserve finds the run that has the key already, or makes one and gives it a
// place in its session's line.
func (r *Runs) reserve(req Request) (run *Run, replayed bool, err error) {
	key := recordKey{req.Principal, req.Namespace, req.Key}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.dedupe.pruneLocked(now)
	if known, ok := r.dedupe.lookupLocked(key); ok {
		if known.paramsHash != req.ParamsHash {
			return nil, false, refusal(protocol.DetailIdempotencyConflict,
				"idempotencyKey was used before with other params")
		}
		if !known.settled {
			r.watchToolsLocked(req.SessionKey, req.ToolConnID)
		}
		return known, true, nil
	}
	if other, ok := r.dedupe.byID[req.Key]; ok && !other.settled {
		return nil, false, refusal(protocol.DetailRunConflict,
			"a run with this idempotencyKey is in flight for another request")
	}
	if r.closed {
		return nil, false, unavailable(protocol.DetailShuttingDown, "gateway is shutting down")
	}
	if r.total >= r.runsMax {
		return nil, false, unavailable(protocol.DetailTooManyRequests,
			"too many agent runs (%d); try again in a moment", r.runsMax)
	}
	if len(r.active[req.SessionKey]) >= r.sessionMax {
		return nil, false, unavailable(protocol.DetailTooManyRequests,
			"too many messages wait in this session (%d); try again in a moment", r.sessionMax)
	}
	run = newRun(r, req, key)
	r.wg.Add(1)
	r.total++
	r.dedupe.addLocked(run)
	r.active[req.SessionKey] = append(r.active[req.SessionKey], run)
	r.watchToolsLocked(req.SessionKey, req.ToolConnID)
	if a, ok := r.arrivals[req.Key]; ok {
		close(a.arrived)
		delete(r.arrivals, req.Key)
	}
	return run, false, nil
}

// watchToolsLocked lets a connection see the tool events of every run that the
// session has in flight: who joins a conversation sees what it is doing.
func (r *Runs) watchToolsLocked(sessionKey, connID string) {
	if connID == "" {
		return
	}
	for _, run := range r.active[sessionKey] {
		if !slices.Contains(run.toolConns, connID) {
			run.toolConns = append(run.toolConns, connID)
		}
	}
}

// accept stores the user's message. A turn takes its place in line first, so
// that the order of replies is the order of acceptance.
func (r *Runs) accept(ctx context.Context, run *Run, reset bool) error {
	if reset {
		if _, err := r.resetSession(ctx, run.req.SessionKey, run); err != nil {
			return err
		}
	}
	if !run.isCommand {
		r.joinLane(run)
	}
	// The caller may go away; what it asked for is being accepted nevertheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	entry, _, err := r.sessions.Append(ctx, run.req.SessionKey, run.req.Touch, session.Message{
		Role:           "user",
		Text:           run.req.Message,
		Images:         run.req.Images,
		Timestamp:      run.acceptedAt.UnixMilli(),
		RunID:          run.key.key,
		IdempotencyKey: run.key.key,
	})
	if err != nil {
		return err
	}
	run.sessionID = entry.SessionID
	return nil
}

// withdraw takes back a reservation whose message could not be stored.
// Duplicates that wait for the acceptance get the same error.
func (r *Runs) withdraw(run *Run, err error) {
	r.mu.Lock()
	run.settled = true
	r.dedupe.forgetLocked(run)
	r.mu.Unlock()
	run.acceptErr = err
	close(run.accepted)
	run.leave()
	run.cancel(nil)
	close(run.terminal)
	close(run.done)
	r.wg.Done()
}

// refusal is INVALID_REQUEST with a finer code.
func refusal(detail, format string, args ...any) *wire.Error {
	return wire.Errorf(protocol.ErrorInvalidRequest, format, args...).WithDetails(Details(detail))
}

// unavailable is UNAVAILABLE with a finer code and the advice to come again.
func unavailable(detail, format string, args ...any) *wire.Error {
	e := wire.Errorf(protocol.ErrorUnavailable, format, args...).WithDetails(Details(detail))
	retryable, after := true, int64(busyRetryAfterMs)
	e.Retryable, e.RetryAfterMs = &retryable, &after
	return e
}

// Details is the JSON of error.details for a finer code.
func Details(code string) []byte {
	return protocol.ErrorDetails{
		Code:                wire.Some(code),
		RecommendedNextStep: wire.Some(protocol.DetailNextStep(code)),
	}.AppendJSON(nil)
}
