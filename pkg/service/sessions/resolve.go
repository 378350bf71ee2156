package sessions

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// SessionsResolve finds the one session that a key, a session id or a label means
// (sessions.resolve).
func (s *Service) SessionsResolve(_ context.Context, _ *wire.Peer, p protocol.SessionsResolveParams) (protocol.SessionsResolveResult, error) {
	key, id, label := strings.TrimSpace(p.Key.Or("")), strings.TrimSpace(p.SessionID.Or("")), strings.TrimSpace(p.Label.Or(""))
	given := 0
	for _, text := range []string{key, id, label} {
		if text != "" {
			given++
		}
	}
	f := filter{
		global: p.IncludeGlobal.Or(false), unknown: p.IncludeUnknown.Or(false),
		agentID: p.AgentID.Or(""), spawnedBy: strings.TrimSpace(p.SpawnedBy.Or("")),
	}
	switch {
	case given > 1:
		return protocol.SessionsResolveResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "Provide either key, sessionId, or label (not multiple)")
	case key != "":
		list, err := s.byKey(key)
		return one(list, err, "No session found: "+key, "")
	case id != "":
		list, err := s.byID(id, f)
		return one(list, err, "No session found: "+id, "Multiple sessions found for sessionId: "+id)
	case label != "":
		list, err := s.sessions.FindByLabel(label)
		return one(s.filtered(list, f), err, "No session found with label: "+label, "Multiple sessions found with label: "+label)
	}
	return protocol.SessionsResolveResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "Either key, sessionId, or label is required")
}

// one is the answer for what was found: exactly one session is needed.
func one(list []session.Entry, err error, none, many string) (protocol.SessionsResolveResult, error) {
	switch {
	case err != nil:
		return protocol.SessionsResolveResult{}, err
	case len(list) == 0:
		return protocol.SessionsResolveResult{}, detailed(wire.Errorf(protocol.ErrorInvalidRequest, "%s", none), protocol.DetailSessionNotFound)
	case len(list) > 1:
		keys := make([]string, 0, len(list))
		for _, e := range list {
			keys = append(keys, e.Key)
		}
		return protocol.SessionsResolveResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "%s (%s)", many, strings.Join(keys, ", "))
	}
	return protocol.SessionsResolveResult{Ok: true, Key: list[0].Key}, nil
}

// byKey finds the session of a key in any spelling.
func (s *Service) byKey(key string) ([]session.Entry, error) {
	k, err := s.sessions.Canonical(key)
	if err != nil {
		return nil, nil // no session can have such a key
	}
	e, ok, err := s.sessions.Get(k.Full)
	if err != nil || !ok {
		return nil, err
	}
	return []session.Entry{e}, nil
}

// byID finds the sessions that have the id, or the very key, that was given.
func (s *Service) byID(id string, f filter) ([]session.Entry, error) {
	list, err := s.byKey(id)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e session.Entry) bool { return e.Key != id })
	e, ok, err := s.sessions.FindByID(id)
	if err != nil {
		return nil, err
	}
	if ok {
		list = append(list, e)
	}
	return s.filtered(list, f), nil
}

// filtered returns what the filter lets through, the last changed first.
func (s *Service) filtered(list []session.Entry, f filter) []session.Entry {
	list = slices.DeleteFunc(list, func(e session.Entry) bool { return !s.visible(&e, f) })
	slices.SortStableFunc(list, func(a, b session.Entry) int { return cmp.Compare(b.UpdatedAt, a.UpdatedAt) })
	return list
}
