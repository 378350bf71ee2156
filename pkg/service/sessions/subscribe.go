package sessions

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// watchedMax bounds the sessions whose messages one connection is told of.
	watchedMax = 64
	// tellMessages is how many messages are read at once for a subscriber.
	tellMessages = 64
)

// subscribers are the connections that are told of sessions. What is to be told is
// not kept here but read from the store when its turn comes, so a burst costs no
// memory and no message is lost: a subscriber's place in the transcript is all that
// is remembered.
//
// mu guards the fields below it and is held for memory only: the store's writer waits
// for it in noted.
type subscribers struct {
	wake chan struct{} // holds a token when there is something to tell

	mu      sync.Mutex
	changes map[string]struct{}                     // connections that are told of every change
	places  map[string]map[string]*session.Position // by session key, then connection
	changed []session.Change                        // to be told, one for each session
	at      map[string]int                          // where in changed a session is
	dirty   map[string]struct{}                     // sessions whose subscribers may have something to read
}

func newSubscribers() *subscribers {
	return &subscribers{
		wake: make(chan struct{}, 1), changes: map[string]struct{}{},
		places: map[string]map[string]*session.Position{}, dirty: map[string]struct{}{}, at: map[string]int{},
	}
}

func (s *subscribers) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it is on its way
	}
}

// noted takes a change in. Changes of one session that were not told yet become one.
func (s *subscribers) noted(c session.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.changes) > 0 {
		if i, ok := s.at[c.Key]; ok {
			s.changed[i].Kind = together(s.changed[i].Kind, c.Kind)
		} else {
			s.at[c.Key] = len(s.changed)
			s.changed = append(s.changed, c)
		}
		s.signal()
	}
	if len(s.places[c.Key]) > 0 {
		s.dirty[c.Key] = struct{}{}
		s.signal()
	}
}

// together is what to say of two changes: what says more, else the later one.
func together(first, second session.ChangeKind) session.ChangeKind {
	small := second == session.ChangeUpdated || second == session.ChangeMessage
	if small && first != session.ChangeUpdated && first != session.ChangeDeleted {
		return first
	}
	return second
}

// Noted is told of every change to the sessions, when it is on disk. It does not block.
func (s *Service) Noted(c session.Change) { s.subscribers.noted(c) }

// SessionsSubscribe has the connection told of every change (sessions.subscribe).
func (s *Service) SessionsSubscribe(ctx context.Context, peer *wire.Peer, _ protocol.SessionsSubscribeParams) (protocol.SessionsSubscribeResult, error) {
	s.subscribers.mu.Lock()
	defer s.subscribers.mu.Unlock()
	if ctx.Err() == nil { // else the connection is gone, and so may be PeerDisconnected
		s.subscribers.changes[peer.ConnID] = struct{}{}
	}
	return protocol.SessionsSubscribeResult{Subscribed: true}, nil
}

// SessionsUnsubscribe ends that (sessions.unsubscribe).
func (s *Service) SessionsUnsubscribe(_ context.Context, peer *wire.Peer, _ protocol.SessionsSubscribeParams) (protocol.SessionsSubscribeResult, error) {
	s.subscribers.mu.Lock()
	defer s.subscribers.mu.Unlock()
	delete(s.subscribers.changes, peer.ConnID)
	return protocol.SessionsSubscribeResult{Subscribed: false}, nil
}

// SessionsMessagesSubscribe has the connection told of a session's messages
// (sessions.messages.subscribe). A second subscription takes the place of the first.
// The first message follows the answer.
func (s *Service) SessionsMessagesSubscribe(ctx context.Context, peer *wire.Peer, p protocol.SessionsMessagesSubscribeParams) (protocol.SessionsMessagesSubscribeResult, error) {
	k, err := s.key(protocol.MethodSessionsMessagesSubscribe.Name, p.Key)
	if err != nil {
		return protocol.SessionsMessagesSubscribeResult{}, err
	}
	place, err := s.sessions.End(k.Full)
	if err != nil {
		return protocol.SessionsMessagesSubscribeResult{}, err
	}
	if after, ok := p.AfterSeq.Get(); ok {
		if uint64(after) > place.Seq {
			after = 0 // it is the number of an earlier transcript
		}
		place.Seq = uint64(after)
		// One that is not the session's any more begins with the first message: After.
		place.SessionID = p.SessionID.Or(place.SessionID)
	}
	if !s.subscribers.mayWatch(peer.ConnID, k.Full) {
		return protocol.SessionsMessagesSubscribeResult{}, detailed(wire.Errorf(protocol.ErrorInvalidRequest,
			"a connection can be told of the messages of %d sessions: end one by sessions.messages.unsubscribe", watchedMax), protocol.DetailLimitExceeded)
	}
	wire.AfterReply(ctx, func() { s.subscribers.watch(ctx, peer.ConnID, k.Full, place) })
	return protocol.SessionsMessagesSubscribeResult{Subscribed: true, Key: k.Full}, nil
}

// SessionsMessagesUnsubscribe ends that (sessions.messages.unsubscribe).
func (s *Service) SessionsMessagesUnsubscribe(_ context.Context, peer *wire.Peer, p protocol.SessionsMessagesUnsubscribeParams) (protocol.SessionsMessagesSubscribeResult, error) {
	k, err := s.key(protocol.MethodSessionsMessagesUnsubscribe.Name, p.Key)
	if err != nil {
		return protocol.SessionsMessagesSubscribeResult{}, err
	}
	s.subscribers.mu.Lock()
	defer s.subscribers.mu.Unlock()
	s.subscribers.forgetLocked(k.Full, peer.ConnID)
	return protocol.SessionsMessagesSubscribeResult{Key: k.Full}, nil
}

// PeerDisconnected forgets what a connection wanted to be told.
func (s *Service) PeerDisconnected(peer *wire.Peer) {
	s.subscribers.mu.Lock()
	defer s.subscribers.mu.Unlock()
	delete(s.subscribers.changes, peer.ConnID)
	for key := range s.subscribers.places {
		s.subscribers.forgetLocked(key, peer.ConnID)
	}
}

func (s *subscribers) forgetLocked(key, connID string) {
	delete(s.places[key], connID)
	if len(s.places[key]) == 0 {
		delete(s.places, key)
	}
}

// mayWatch reports whether a connection may be told of one more session.
func (s *subscribers) mayWatch(connID, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for other, conns := range s.places {
		if _, ok := conns[connID]; ok && other != key {
			n++
		}
	}
	return n < watchedMax
}

// watch begins to tell a connection of a session's messages behind a place.
func (s *subscribers) watch(ctx context.Context, connID, key string, place session.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return // gone, and so may be PeerDisconnected
	}
	if s.places[key] == nil {
		s.places[key] = map[string]*session.Position{}
	}
	s.places[key][connID] = &place
	s.dirty[key] = struct{}{} // something may have come since the place was read
	s.signal()
}

// Run tells the subscribers until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.subscribers.wake:
		}
		s.subscribers.mu.Lock()
		changed, dirty := s.subscribers.changed, s.subscribers.dirty
		conns := slices.Sorted(maps.Keys(s.subscribers.changes))
		s.subscribers.changed, s.subscribers.dirty = nil, map[string]struct{}{}
		clear(s.subscribers.at)
		s.subscribers.mu.Unlock()
		for _, c := range changed {
			s.tellChange(c, conns)
		}
		for _, key := range slices.Sorted(maps.Keys(dirty)) {
			s.tellMessages(ctx, key)
		}
	}
}

// tellChange sends sessions.changed.
func (s *Service) tellChange(c session.Change, conns []string) {
	if len(conns) == 0 {
		return
	}
	event := protocol.SessionsChangedEvent{Key: c.Key, Reason: protocol.SessionChangeReason(c.Kind), Ts: time.Now().UnixMilli()}
	e, ok, err := s.sessions.Get(c.Key)
	if err != nil {
		s.log.Warn("changed session unreadable", "sessionKey", c.Key, "err", err)
	}
	if ok {
		event.Session = wire.Some(s.row(&e, s.model(agentOf(e.Key))))
	}
	wire.EmitTo(s.emitter, protocol.EventSessionsChanged, conns, event)
}

// tellMessages brings the subscribers of one session up to its end.
func (s *Service) tellMessages(ctx context.Context, key string) {
	s.subscribers.mu.Lock()
	places := map[string]session.Position{}
	for conn, place := range s.subscribers.places[key] {
		places[conn] = *place
	}
	s.subscribers.mu.Unlock()
	for _, conn := range slices.Sorted(maps.Keys(places)) {
		place := places[conn]
		for ctx.Err() == nil {
			list, next, err := s.sessions.After(key, place, tellMessages)
			if err != nil {
				s.log.Warn("messages for a subscriber unreadable", "sessionKey", key, "err", err)
				break
			}
			if !s.subscribers.moved(conn, key, place, next) {
				break // it has gone, or subscribed anew
			}
			for _, m := range list {
				s.tellMessage(conn, key, next.SessionID, m)
			}
			place = next
			if len(list) == 0 {
				break
			}
		}
	}
}

// moved notes how far a subscriber has been told. It reports false when the
// subscriber is not at the place that was read from any more.
func (s *subscribers) moved(connID, key string, from, to session.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.places[key][connID]
	if place == nil || *place != from {
		return false
	}
	*place = to
	return true
}

// tellMessage sends sessions.message. An agent's silence is not told, as in history.
func (s *Service) tellMessage(conn, key, sessionID string, m session.Message) {
	if silent(m) {
		return
	}
	wire.EmitTo(s.emitter, protocol.EventSessionsMessage, []string{conn}, protocol.SessionsMessageEvent{
		Key: key, SessionID: sessionID, MessageID: m.ID, Seq: int64(m.Seq), Message: s.show(m),
	})
}
