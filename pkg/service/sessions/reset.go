package sessions

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// SessionsReset ends a session's runs and starts its transcript anew; the old one
// is archived (sessions.reset). A missing session is made.
func (s *Service) SessionsReset(ctx context.Context, _ *wire.Peer, p protocol.SessionsResetParams) (protocol.SessionsResetResult, error) {
	k, err := s.key(protocol.MethodSessionsReset.Name, p.Key)
	if err != nil {
		return protocol.SessionsResetResult{}, err
	}
	var e session.Entry
	err = s.runs.EndSession(ctx, k.Full, func() (err error) {
		e, err = s.sessions.Reset(ctx, k.Full)
		return err
	})
	if err != nil {
		return protocol.SessionsResetResult{}, refusal(err)
	}
	return protocol.SessionsResetResult{Ok: true, Key: e.Key, Entry: s.entry(&e)}, nil
}

// SessionsDelete ends a session's runs and removes it (sessions.delete). The
// transcript is archived, or left where it is when deleteTranscript is false. The
// default agent's main session stays: everything falls back to it.
func (s *Service) SessionsDelete(ctx context.Context, _ *wire.Peer, p protocol.SessionsDeleteParams) (protocol.SessionsDeleteResult, error) {
	k, err := s.key(protocol.MethodSessionsDelete.Name, p.Key)
	if err != nil {
		return protocol.SessionsDeleteResult{}, err
	}
	if k.Full == s.sessions.MainKey() {
		return protocol.SessionsDeleteResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "Cannot delete the main session (%s).", k.Full)
	}
	var deleted bool
	var archived []string
	err = s.runs.EndSession(ctx, k.Full, func() (err error) {
		deleted, archived, err = s.sessions.Delete(ctx, k.Full, p.DeleteTranscript.Or(true))
		return err
	})
	if err != nil {
		return protocol.SessionsDeleteResult{}, err
	}
	if archived == nil {
		archived = []string{}
	}
	return protocol.SessionsDeleteResult{Ok: true, Key: k.Full, Deleted: deleted, Archived: archived}, nil
}
