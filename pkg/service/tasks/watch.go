package tasks

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// watchesMax is how many watches a connection may have.
const watchesMax = 16

// watch carries the events of a stream to one connection.
type watch struct {
	id, connID string
	stream     task.Stream
	cursor     task.Cursor // of the last event that was told
}

// TasksWatch answers with the stored events after the cursor. When they all fit, the
// watch is live: events that come follow it.
func (s *Service) TasksWatch(ctx context.Context, peer *wire.Peer, params protocol.TasksWatchParams) (protocol.TasksWatchResult, error) {
	none := protocol.TasksWatchResult{}
	f, err := s.filter(params.TaskID, params.Status, params.SessionID, params.AgentID, params.ParentTaskID, params.RootID)
	if err != nil {
		return none, err
	}
	if f.ID != "" {
		t, err := s.resolve(ctx, f.ID)
		if err != nil {
			return none, refusal(err)
		}
		f.ID = t.ID
	}
	head := s.Engine.Head()
	from := head
	if cursor, ok := params.Cursor.Get(); ok {
		from = task.Cursor(cursor)
	}
	stream, err := s.Transport.Watch(context.WithoutCancel(ctx), f, from)
	if err != nil {
		return none, refusal(err)
	}
	events, live, err := stored(stream, int(params.Limit.Or(eventsDefault)))
	if err != nil || !live {
		stream.Close()
	}
	if err != nil {
		return none, refusal(err)
	}
	result := protocol.TasksWatchResult{Events: publicEvents(events), Cursor: int64(from), Live: live}
	if n := len(events); n > 0 {
		result.Cursor = int64(events[n-1].Cursor)
	}
	if !live {
		return result, nil
	}
	result.Cursor = max(result.Cursor, int64(head)) // what lies before is seen, also what the filter left out
	w := &watch{id: uuid.NewString(), connID: peer.ConnID, stream: stream, cursor: task.Cursor(result.Cursor)}
	if err := s.add(ctx, w); err != nil {
		stream.Close()
		return none, err
	}
	wire.AfterReply(ctx, func() {
		go func() {
			defer s.running.Done()
			s.follow(w)
		}()
	})
	result.WatchID = wire.Some(w.id)
	return result, nil
}

// stored returns at most limit events that are there already. live reports that
// there were no more.
func stored(stream task.Stream, limit int) (events []task.Event, live bool, err error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for len(events) < limit {
		e, err := stream.Next(ended)
		if errors.Is(err, context.Canceled) {
			return events, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		events = append(events, e)
	}
	return events, false, nil
}

// add notes a watch of a connection that is open, and counts its goroutine.
func (s *Service) add(ctx context.Context, w *watch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch of := s.watches[w.connID]; {
	case s.closed:
		return refusal(task.ErrUnavailable)
	case ctx.Err() != nil: // the connection ended: PeerDisconnected has been here
		return ctx.Err()
	case len(of) >= watchesMax:
		return detailed(protocol.DetailLimitExceeded, "a connection may have %d watches; end one with tasks.unwatch", watchesMax)
	case of == nil:
		s.watches[w.connID] = map[string]*watch{}
	}
	s.watches[w.connID][w.id] = w
	s.running.Add(1)
	return nil
}

// follow tells the connection what comes, until the watch ends.
func (s *Service) follow(w *watch) {
	defer s.end(w.connID, w.id)
	for {
		e, err := w.stream.Next(context.Background())
		if err != nil {
			s.tellEnd(w, err)
			return
		}
		w.cursor = e.Cursor
		s.tell(w, protocol.TaskWatchEvent{WatchID: w.id, Cursor: int64(e.Cursor), Event: wire.Some(publicEvent(e))})
	}
}

func (s *Service) tell(w *watch, e protocol.TaskWatchEvent) {
	wire.EmitTo(s.Emitter, protocol.EventTask, []string{w.connID}, e)
}

// tellEnd tells why a watch ended, unless its owner ended it.
func (s *Service) tellEnd(w *watch, err error) {
	s.mu.Lock()
	_, open := s.watches[w.connID][w.id]
	s.mu.Unlock()
	if !open {
		return
	}
	why := protocol.TaskWatchEndUnavailable
	switch {
	case errors.Is(err, task.ErrSlow):
		why = protocol.TaskWatchEndSlow
	case errors.Is(err, task.ErrGone):
		why = protocol.TaskWatchEndGone
	case !errors.Is(err, task.ErrUnavailable):
		s.Log.Error("watch of tasks ended", "connId", w.connID, "err", err)
	}
	s.tell(w, protocol.TaskWatchEvent{WatchID: w.id, Cursor: int64(w.cursor), Ended: wire.Some(why)})
}

// end forgets a watch and closes its stream.
func (s *Service) end(connID, id string) bool {
	s.mu.Lock()
	w, ok := s.watches[connID][id]
	if ok {
		delete(s.watches[connID], id)
		if len(s.watches[connID]) == 0 {
			delete(s.watches, connID)
		}
	}
	s.mu.Unlock()
	if ok {
		w.stream.Close()
	}
	return ok
}

// TasksUnwatch ends a watch of the caller's connection.
func (s *Service) TasksUnwatch(_ context.Context, peer *wire.Peer, params protocol.TasksUnwatchParams) (protocol.TasksUnwatchResult, error) {
	return protocol.TasksUnwatchResult{Ended: s.end(peer.ConnID, params.WatchID)}, nil
}

// PeerDisconnected ends the watches of a connection. The context of its requests
// must have ended before.
func (s *Service) PeerDisconnected(p *wire.Peer) {
	s.mu.Lock()
	gone := s.watches[p.ConnID]
	delete(s.watches, p.ConnID)
	s.mu.Unlock()
	for _, w := range gone {
		w.stream.Close()
	}
}

// Close ends all watches and returns when nothing is told any more.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	for _, of := range s.watches {
		for _, w := range of {
			w.stream.Close()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
}
