package turn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// keyBytesMax is the longest idempotency key, in bytes.
const keyBytesMax = task.KeyBytesMax

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
type Namespace = task.Namespace

// The namespaces of the methods that start turns.
const (
	NamespaceChat  = task.NamespaceChat
	NamespaceAgent = task.NamespaceAgent
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
	// Thinking is the level for this turn; empty means the session's. Model is the
	// same of the model.
	Thinking string
	Model    string
	// System is added to the system prompt.
	System string
	// Timeout is how long the turn may take; 0 means that of Config.
	Timeout time.Duration
	// ToolConnID is the connection that wants the turn's tool events, or empty.
	ToolConnID string
	// Touch changes the session's entry together with the user's message; it may
	// be nil.
	Touch func(*session.Entry)

	command *command // when the message is one, to be performed instead of a turn
}

// expiry is how long after its acceptance the turn is cut off.
func (q *Request) expiry() time.Duration {
	timeout := min(orDefault(q.Timeout, timeoutDefault), expiryMax)
	return min(max(timeout+expiryGrace, expiryMin), expiryMax)
}

// inputBytes is what the request takes in memory and on disk.
func (q *Request) inputBytes() int64 {
	n := len(q.Message) + len(q.System)
	for _, img := range q.Images {
		n += len(img.Data)
	}
	return int64(n)
}

// Start accepts a turn: it checks the key, takes a place in the session's line
// and stores the user's message. The caller acknowledges the request and then
// calls Release on the run, without which nothing happens. A session that is being
// reset is waited for.
//
// replayed reports that the key was known and the run is the earlier one; it
// must not be released. A run that ended long ago, or in an earlier life, has no
// Text in its outcome unless its namespace is NamespaceAgent (nobody else asks for
// it; the transcript and the task have it). A refusal is a *wire.Error.
func (r *Runs) Start(ctx context.Context, req Request) (run *Run, replayed bool, err error) {
	if req.Key == "" || len(req.Key) > keyBytesMax {
		return nil, false, refusal(protocol.DetailIdempotencyKeyTooLong,
			"idempotencyKey must be 1 to %d bytes long", keyBytesMax)
	}
	cmd, isCommand := parseCommand(req)
	startsTurn := isCommand && cmd.startsTurn()
	switch {
	case startsTurn:
		req.Message = cmd.args
	case isCommand:
		req.command = &cmd
	}
	req.Timeout = orDefault(req.Timeout, r.timeout())
	run, replayed, err = r.reserve(ctx, req, startsTurn)
	if err != nil {
		return nil, false, err
	}
	if replayed {
		return run.awaitAcceptance(ctx)
	}
	if err := r.accept(ctx, run, startsTurn); err != nil || run.earlier != nil {
		r.withdraw(run, err)
		return run.earlier, err == nil, err
	}
	close(run.accepted)
	r.log.Info("run accepted", "runId", run.ID(), "taskId", run.taskID, "namespace", run.key.Namespace, "sessionKey", run.req.SessionKey)
	go run.loop()
	return run, false, nil
}

// awaitAcceptance waits until a run that another request has brought is accepted.
func (run *Run) awaitAcceptance(ctx context.Context) (*Run, bool, error) {
	select {
	case <-run.accepted:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	switch {
	case run.acceptErr != nil:
		return nil, false, run.acceptErr
	case run.earlier != nil:
		return run.earlier, true, nil
	}
	return run, true, nil
}

// reserve finds the run that has the key already, in memory or in the ledger, or
// makes one and gives it a place in its session, once nobody holds that. With hold
// the session is held for the new run.
func (r *Runs) reserve(ctx context.Context, req Request, hold bool) (run *Run, replayed bool, err error) {
	key := task.Key{Principal: req.Principal, Namespace: req.Namespace, Key: req.Key}
	for looks := 0; ; looks++ {
		if run, err := r.join(key, &req); run != nil || err != nil {
			return run, err == nil, err
		}
		// A run that is live on disk alone came or went between the two looks.
		run, live, err := r.recall(ctx, key, req.ParamsHash)
		switch {
		case run != nil || err != nil:
			return run, err == nil, err
		case live && looks < looksMax:
			continue
		case live:
			return nil, false, fmt.Errorf("run %s is recorded as live and is not", req.Key)
		}
		run, wait, err := r.enter(key, req, hold)
		switch {
		case run != nil || err != nil:
			return run, false, err
		case wait == nil:
			continue // the key has come meanwhile
		}
		looks = 0
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// looksMax is how often reserve looks again for a run that memory and ledger do not
// agree about; once is enough unless something is broken.
const looksMax = 3

// join returns the run that memory has under a key, or nil.
func (r *Runs) join(key task.Key, req *Request) (*Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[key]
	switch {
	case !ok:
		return nil, nil
	case known.paramsHash != req.ParamsHash:
		return nil, errConflict()
	case !known.settled:
		r.watchToolsLocked(req.SessionKey, req.ToolConnID)
	}
	return known, nil
}

// enter makes a run and gives it a place in its session. When the session is held,
// wait is closed as soon as it is worth trying again; when the key has come
// meanwhile, all three results are nil.
func (r *Runs) enter(key task.Key, req Request, hold bool) (run *Run, wait <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[key]; ok {
		return nil, nil, nil
	}
	if err := r.refuseLocked(&req); err != nil {
		return nil, nil, err
	}
	if held, ok := r.holds[req.SessionKey]; ok {
		return nil, held, nil
	}
	if hold {
		r.holds[req.SessionKey] = make(chan struct{})
	}
	run = newRun(r, req, key)
	r.enterLocked(run)
	r.watchToolsLocked(req.SessionKey, req.ToolConnID)
	return run, nil, nil
}

// refuseLocked returns why a new run cannot be taken now, or nil.
func (r *Runs) refuseLocked(req *Request) error {
	if other, ok := r.byID[req.Key]; ok && !other.settled {
		return errRunConflict()
	}
	switch {
	case r.closed:
		return unavailable(protocol.DetailShuttingDown, "gateway is shutting down")
	case r.total >= r.runsMax:
		return unavailable(protocol.DetailTooManyRequests,
			"too many agent runs (%d); try again in a moment", r.runsMax)
	case len(r.active[req.SessionKey]) >= r.sessionMax:
		return unavailable(protocol.DetailTooManyRequests,
			"too many messages wait in this session (%d); try again in a moment", r.sessionMax)
	case r.inputBytes > 0 && r.inputBytes+req.inputBytes() > r.inputMax:
		return unavailable(protocol.DetailTooManyRequests,
			"the messages that wait are too large together (%d MiB at most); try again in a moment", r.inputMax>>20)
	}
	return nil
}

// enterLocked gives a run its place in the registry.
func (r *Runs) enterLocked(run *Run) {
	r.wg.Add(1)
	r.total++
	r.inputBytes += run.inputBytes
	r.known[run.key] = run
	r.byID[run.key.Key] = run
	r.active[run.req.SessionKey] = append(r.active[run.req.SessionKey], run)
	if a, ok := r.arrivals[run.key.Key]; ok {
		close(a.arrived)
		delete(r.arrivals, run.key.Key)
	}
}

// forgetLocked drops a run from memory.
func (r *Runs) forgetLocked(run *Run) {
	if r.known[run.key] == run {
		delete(r.known, run.key)
	}
	if r.byID[run.key.Key] == run {
		delete(r.byID, run.key.Key)
	}
}

// recall returns the ended run that the engine has under a key, or nil. live reports
// that it has the key and the task has not ended. The error may be the refusal of
// other params.
func (r *Runs) recall(ctx context.Context, key task.Key, paramsHash [sha256.Size]byte) (run *Run, live bool, err error) {
	t, err := r.tasks.ByKey(context.WithoutCancel(ctx), key)
	switch {
	case errors.Is(err, task.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case !bytes.Equal(t.ParamsHash, paramsHash[:]):
		return nil, false, errConflict()
	case !t.Status.Terminal():
		return nil, true, nil
	}
	return endedRunOf(r, &t), false, nil
}

// errConflict refuses a key that came with other params before.
func errConflict() error {
	return refusal(protocol.DetailIdempotencyConflict, "idempotencyKey was used before with other params")
}

// errRunConflict refuses a key whose run is in flight for somebody else.
func errRunConflict() error {
	return refusal(protocol.DetailRunConflict, "a run with this idempotencyKey is in flight for another request")
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

// accept stores the user's message and the task, in one transaction. With reset,
// which goes with a hold on the session, the transcript begins anew in the same
// transaction. When the key turns out to be known, run.earlier says so and nothing has
// happened.
func (r *Runs) accept(ctx context.Context, run *Run, reset bool) error {
	// The caller may go away; what it asked for is being accepted nevertheless.
	ctx = context.WithoutCancel(ctx)
	if reset {
		defer r.unhold(run.req.SessionKey)
		var err error
		if run.earlier, _, err = r.recall(ctx, run.key, run.paramsHash); err != nil || run.earlier != nil {
			return err
		}
		if err := r.endOthers(ctx, run.req.SessionKey, run); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	// The key is ours since reserve; it may have come and gone before that.
	t, replayed, err := r.tasks.Submit(ctx, run.submission(), func(tx *store.Tx) error {
		if reset {
			if _, err := r.sessions.ResetTx(tx, run.req.SessionKey); err != nil {
				return err
			}
		}
		return run.ask(tx, run.key.Key)
	})
	switch {
	case errors.Is(err, task.ErrExists):
		return errConflict()
	case errors.Is(err, task.ErrConflict):
		return errRunConflict()
	case errors.Is(err, task.ErrFull):
		return unavailable(protocol.DetailTooManyRequests, "too many tasks are open; try again in a moment")
	case err != nil:
		return err
	case !replayed:
		run.taskID = t.ID
		return nil
	case !t.Status.Terminal():
		return fmt.Errorf("run %s is recorded as %s", run.ID(), t.Status)
	}
	run.earlier = endedRunOf(r, &t)
	return nil
}

// ask puts the run's question into the transcript.
func (run *Run) ask(tx *store.Tx, idempotencyKey string) error {
	entry, _, err := run.runs.sessions.AppendTx(tx, run.req.SessionKey, run.req.Touch, session.Message{
		Role:           "user",
		Text:           run.req.Message,
		Images:         run.req.Images,
		Timestamp:      run.acceptedAt.UnixMilli(),
		RunID:          run.ID(),
		IdempotencyKey: idempotencyKey,
	})
	run.sessionID = entry.SessionID
	return err
}

// withdraw takes back a reservation that came to nothing: the message could not be
// stored, or the key was known. Duplicates that wait for the acceptance get the
// same answer.
func (r *Runs) withdraw(run *Run, err error) {
	r.mu.Lock()
	run.settled = true
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
