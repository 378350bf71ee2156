package sessions

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// listPath stands for a path in sessions.list: clients know it from gateways
	// that keep a file for each agent.
	listPath = "(multiple)"
	// listRows is how many rows there is room for at first: rows are large, and moving
	// them costs more than making them.
	listRows = session.SessionsMax
	// titleCharsMax bounds a derived title.
	titleCharsMax = 60
	// titleBytesRead is how much of a message may become its title.
	titleBytesRead = 4096
	// titleMessages is how many messages are searched for one of the user's.
	titleMessages = 10
	// lastMessages is how many messages are searched for one to preview.
	lastMessages = 20
	// lastMessageCharsMax bounds the preview of the last message.
	lastMessageCharsMax = 2000
)

// filter says which sessions are visible to a list or a look-up.
type filter struct {
	global, unknown           bool
	agentID, spawnedBy, label string
}

// SessionsList lists sessions, the last changed first (sessions.list).
func (s *Service) SessionsList(_ context.Context, _ *wire.Peer, p protocol.SessionsListParams) (protocol.SessionsListResult, error) {
	now, model := time.Now(), s.agentModels()
	result := protocol.SessionsListResult{
		Ts:       now.UnixMilli(),
		Path:     listPath,
		Defaults: defaults(s.model("")),
		Sessions: []protocol.SessionRow{},
	}
	all, _, err := s.sessions.Newest(-1)
	if err != nil {
		return result, err
	}
	f := filter{
		global: p.IncludeGlobal.Or(false), unknown: p.IncludeUnknown.Or(false),
		agentID: p.AgentID.Or(""), spawnedBy: strings.TrimSpace(p.SpawnedBy.Or("")), label: strings.TrimSpace(p.Label.Or("")),
	}
	filtered := p.Search.Set || p.Label.Set || p.SpawnedBy.Set || p.AgentID.Set || p.ActiveMinutes.Set
	search := strings.ToLower(strings.TrimSpace(p.Search.Or("")))
	since := int64(0)
	if minutes, ok := p.ActiveMinutes.Get(); ok {
		since = now.UnixMilli() - min(minutes, now.Unix()/60)*time.Minute.Milliseconds()
	}
	if !filtered {
		result.Sessions = make([]protocol.SessionRow, 0, min(p.Limit.Or(listRows), int64(len(all))))
	}
	for _, e := range all {
		if limit, ok := p.Limit.Get(); ok && int64(len(result.Sessions)) == limit {
			break
		}
		if e.UpdatedAt < since {
			break // so are all that follow
		}
		if !s.visible(e, f) || isCronRun(e.Key) || !found(e, search) {
			continue
		}
		row := s.row(e, model(e.Key))
		if err := s.describe(&row, e, p.IncludeDerivedTitles.Or(false), p.IncludeLastMessage.Or(false)); err != nil {
			return result, err
		}
		result.Sessions = append(result.Sessions, row)
	}
	result.Count = int64(len(result.Sessions))
	return result, nil
}

// visible reports whether a session passes the filter. The two sessions that are
// no agent's pass neither an agent's filter nor that of a parent.
func (s *Service) visible(e *session.Entry, f filter) bool {
	k := kind(e)
	shared := e.Key == string(protocol.SessionKindGlobal) || e.Key == string(protocol.SessionKindUnknown)
	switch {
	case k == protocol.SessionKindGlobal && !f.global, k == protocol.SessionKindUnknown && !f.unknown:
		return false
	case shared && (f.agentID != "" || f.spawnedBy != ""):
		return false
	case f.spawnedBy != "" && e.SpawnedBy != f.spawnedBy, f.label != "" && e.Label != f.label:
		return false
	case f.agentID == "":
		return true
	}
	key, err := s.sessions.Canonical(e.Key)
	return err == nil && key.AgentID == session.NormalizeAgentID(f.agentID)
}

// kind tells what kind of conversation a session is, from its key and chat type.
func kind(e *session.Entry) protocol.SessionKind {
	switch {
	case e.Key == string(protocol.SessionKindGlobal):
		return protocol.SessionKindGlobal
	case e.Key == string(protocol.SessionKindUnknown):
		return protocol.SessionKindUnknown
	case e.ChatType == "group", e.ChatType == "channel",
		strings.Contains(e.Key, ":group:"), strings.Contains(e.Key, ":channel:"):
		return protocol.SessionKindGroup
	}
	return protocol.SessionKindDirect
}

// isCronRun reports whether the session is one run of a cron job
// (agent:<id>:cron:<job>:run:<run>); lists show the job's session only.
func isCronRun(key string) bool {
	_, rest, ok := strings.Cut(key, ":cron:")
	return ok && strings.Contains(rest, ":run:")
}

// found reports whether one of the session's names contains the search text,
// which is lower-case; an empty one is in all of them.
func found(e *session.Entry, search string) bool {
	if search == "" || strings.Contains(e.Key, search) || strings.Contains(e.SessionID, search) { // these are lower-case
		return true
	}
	return slices.ContainsFunc([]string{displayName(e), e.Label, e.Subject}, func(name string) bool {
		return name != "" && strings.Contains(strings.ToLower(name), search)
	})
}

// displayName is a session's name for people, empty when it has none.
func displayName(e *session.Entry) string {
	switch {
	case e.DisplayName != "":
		return e.DisplayName
	case e.Label != "":
		return e.Label
	case e.Origin != nil:
		return e.Origin.Label
	}
	return ""
}

// describe fills what is read from the transcript.
func (s *Service) describe(row *protocol.SessionRow, e *session.Entry, title, last bool) error {
	if title {
		text, err := s.title(e)
		if err != nil {
			return err
		}
		row.DerivedTitle = some(text)
	}
	if last {
		messages, err := s.sessions.History(e.Key, lastMessages)
		if err != nil {
			return err
		}
		for _, m := range slices.Backward(messages) {
			text := strings.TrimSpace(m.Text)
			if (m.Role == "user" || m.Role == "assistant") && text != "" && !silent(m) {
				row.LastMessagePreview = wire.Some(cut(text, lastMessageCharsMax))
				break
			}
		}
	}
	return nil
}

// title derives a session's title: its name or subject, the beginning of the
// first message of a user, or else its id and day.
func (s *Service) title(e *session.Entry) (string, error) {
	for _, name := range []string{e.DisplayName, e.Subject} {
		if name = strings.TrimSpace(name); name != "" {
			return name, nil
		}
	}
	messages, err := s.sessions.Head(e.Key, titleMessages)
	if err != nil {
		return "", err
	}
	for _, m := range messages {
		start := strings.ToValidUTF8(m.Text[:min(len(m.Text), titleBytesRead)], "")
		if text := strings.Join(strings.Fields(start), " "); m.Role == "user" && text != "" {
			return cutTitle(text), nil
		}
	}
	id, _, _ := strings.Cut(e.SessionID, "-")
	return id + " (" + time.UnixMilli(e.UpdatedAt).UTC().Format(time.DateOnly) + ")", nil
}

// cutTitle shortens a title to titleCharsMax, at a word's end if one is near.
func cutTitle(text string) string {
	runes := []rune(text)
	if len(runes) <= titleCharsMax {
		return text
	}
	short := string(runes[:titleCharsMax-1])
	if i := strings.LastIndex(short, " "); i >= 0 && utf8.RuneCountInString(short[:i]) > titleCharsMax*6/10 {
		short = short[:i]
	}
	return short + "…"
}

// cut shortens a text to so many characters, three dots included. It does not
// copy the text: a message may have 25 MiB.
func cut(text string, charsMax int) string {
	n, end := 0, 0
	for i := range text {
		if n == charsMax-3 {
			end = i
		}
		if n++; n > charsMax {
			return text[:end] + "..."
		}
	}
	return text
}

// silent reports whether the message is an agent's way of saying nothing.
func silent(m session.Message) bool { return m.Role == "assistant" && turn.IsSilent(m.Text) }
