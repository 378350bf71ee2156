package sessions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The bounds of one sessions.search. What they cut off is found by its cursor.
const (
	searchHitsDefault  = 20
	searchWordsMax     = 16
	searchMessagesMax  = 5000
	searchBytesMax     = 16 << 20
	snippetCharsMax    = 160
	snippetCharsBefore = 50
)

// searchCursor is where a search goes on: in a transcript before a message (0: the
// transcript is done), then with the sessions that come after that place in the list.
// A session that changes meanwhile moves to the front of the list and is not searched
// twice.
type searchCursor struct {
	UpdatedAt int64  `json:"u"`
	Key       string `json:"k"`
	SessionID string `json:"i"`
	Before    uint64 `json:"b"`
}

// matcher returns where a text first has what is looked for, or -1.
type matcher func(text string) int

// searchRun is one call of sessions.search under way.
type searchRun struct {
	words  []matcher
	role   string
	limit  int
	result protocol.SessionsSearchResult
	bytes  int
}

// SessionsSearch finds messages by their words (sessions.search).
func (s *Service) SessionsSearch(ctx context.Context, _ *wire.Peer, p protocol.SessionsSearchParams) (protocol.SessionsSearchResult, error) {
	run := &searchRun{role: string(p.Role.V), limit: int(p.Limit.Or(searchHitsDefault))}
	run.result = protocol.SessionsSearchResult{Ts: time.Now().UnixMilli(), Hits: []protocol.SessionSearchHit{}}
	var err error
	if run.words, err = searchWords(p.Query); err != nil {
		return run.result, err
	}
	at, err := decodeCursor(p.Cursor)
	if err != nil {
		return run.result, err
	}
	list, err := s.searched(p, at)
	if err != nil {
		return run.result, err
	}
	for i, e := range list {
		if err := ctx.Err(); err != nil {
			return run.result, err
		}
		before := uint64(0)
		if at != nil && i == 0 && e.Key == at.Key && e.SessionID == at.SessionID {
			before = at.Before
		}
		last, err := s.searchSession(run, e, before)
		if err != nil {
			return run.result, err
		}
		if last > 0 || run.full() && i < len(list)-1 {
			place := searchCursor{UpdatedAt: e.UpdatedAt, Key: e.Key, SessionID: e.SessionID, Before: last}
			if at != nil && i == 0 && e.Key == at.Key {
				place.UpdatedAt = at.UpdatedAt // its old place in the list
			}
			run.result.Cursor = wire.Some(place.encode())
			break
		}
	}
	return run.result, nil
}

// searched lists the sessions that are still to be looked into: first the one the
// cursor stands in, unless it is done.
func (s *Service) searched(p protocol.SessionsSearchParams, at *searchCursor) ([]*session.Entry, error) {
	f := filter{global: true, unknown: true, agentID: p.AgentID.Or("")}
	only := ""
	if raw, ok := p.Key.Get(); ok {
		k, err := s.key(protocol.MethodSessionsSearch.Name, raw)
		if err != nil {
			return nil, err
		}
		only = k.Full
	}
	all, _, err := s.sessions.Newest(-1)
	if err != nil {
		return nil, err
	}
	var current, rest []*session.Entry
	for _, e := range all {
		if only != "" && e.Key != only || !s.visible(e, f) {
			continue
		}
		switch {
		case at == nil:
		case e.Key == at.Key:
			if at.Before > 0 && e.SessionID == at.SessionID {
				current = append(current, e)
			}
			continue
		case e.UpdatedAt > at.UpdatedAt, e.UpdatedAt == at.UpdatedAt && e.Key < at.Key:
			continue
		}
		rest = append(rest, e)
	}
	return append(current, rest...), nil
}

// searchSession looks into one transcript. It returns the number of the message it
// ended at when there may be more before that, else 0.
func (s *Service) searchSession(run *searchRun, e *session.Entry, before uint64) (last uint64, err error) {
	_, err = s.sessions.Backward(e.Key, before, func(m session.Message) bool {
		if run.full() {
			return false
		}
		last = m.Seq
		run.look(e, m)
		return true
	})
	if !run.full() || last == 1 {
		last = 0
	}
	return last, err
}

// full reports whether the call has found or looked at as much as it may.
func (r *searchRun) full() bool {
	return len(r.result.Hits) >= r.limit || r.result.Scanned >= searchMessagesMax || r.bytes >= searchBytesMax
}

// look takes a message into the result if it has all the words.
func (r *searchRun) look(e *session.Entry, m session.Message) {
	r.result.Scanned++
	r.bytes += len(m.Text)
	for _, i := range m.Images {
		r.bytes += len(i.Data)
	}
	if m.Type != "" || m.Text == "" || r.role != "" && m.Role != r.role || silent(m) {
		return
	}
	first := -1
	for _, find := range r.words {
		at := find(m.Text)
		if at < 0 {
			return
		}
		if first < 0 {
			first = at
		}
	}
	r.result.Hits = append(r.result.Hits, protocol.SessionSearchHit{
		Key: e.Key, SessionID: e.SessionID, Label: some(e.Label), MessageID: m.ID, Seq: int64(m.Seq),
		Role: m.Role, Timestamp: m.Timestamp, Snippet: snippet(m.Text, first),
	})
}

// searchWords reads a query: words, and phrases in double quotes.
func searchWords(query string) ([]matcher, error) {
	var words []matcher
	for i, part := range strings.Split(query, `"`) {
		fields := strings.Fields(part)
		if i%2 == 1 && len(fields) > 0 {
			for j := range fields {
				fields[j] = regexp.QuoteMeta(fields[j])
			}
			words = append(words, pattern(strings.Join(fields, `\s+`)))
			continue
		}
		for _, word := range fields {
			if plain := strings.ToLower(word); isASCII(plain) {
				words = append(words, func(text string) int { return indexFold(text, plain) })
			} else {
				words = append(words, pattern(regexp.QuoteMeta(word)))
			}
		}
	}
	switch {
	case len(words) == 0:
		return nil, invalid("query holds no word: give at least one")
	case len(words) > searchWordsMax:
		return nil, wire.Errorf(protocol.ErrorInvalidRequest, "query holds %d words, allowed are %d: leave some out", len(words), searchWordsMax)
	}
	return words, nil
}

// pattern matches an expression whatever the case.
func pattern(expr string) matcher {
	re := regexp.MustCompile(`(?i)` + expr)
	return func(text string) int {
		at := re.FindStringIndex(text)
		if at == nil {
			return -1
		}
		return at[0]
	}
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// indexFold is strings.Index for a word of lower-case ASCII letters, whatever the case
// of the text. An expression takes twenty times as long.
func indexFold(text, word string) int {
	for i := 0; i+len(word) <= len(text); i++ {
		n := 0
		for n < len(word) && lower(text[i+n]) == word[n] {
			n++
		}
		if n == len(word) {
			return i
		}
	}
	return -1
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// snippet is the text around a byte offset, on one line.
func snippet(text string, at int) string {
	start := at
	for n := 0; start > 0 && n < snippetCharsBefore; n++ {
		_, size := utf8.DecodeLastRuneInString(text[:start])
		start -= size
	}
	if start > 0 { // begin with a whole word, if one begins soon
		if i := strings.IndexFunc(text[start:at], unicode.IsSpace); i >= 0 {
			start += i
		}
	}
	var b strings.Builder
	if start > 0 {
		b.WriteRune('…')
	}
	n, blank := utf8.RuneCountInString(b.String()), true
	for _, r := range text[start:] {
		if n >= snippetCharsMax-1 {
			return strings.TrimRight(b.String(), " ") + "…"
		}
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			if blank {
				continue
			}
			r = ' '
		}
		blank = r == ' '
		b.WriteRune(r)
		n++
	}
	return strings.TrimRight(b.String(), " ")
}

func (c searchCursor) encode() string {
	raw, _ := json.Marshal(c) // cannot fail: strings and numbers
	return base64.RawURLEncoding.EncodeToString(raw)
}

func decodeCursor(p wire.Opt[string]) (*searchCursor, error) {
	text, ok := p.Get()
	if !ok {
		return nil, nil
	}
	var c searchCursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &c) != nil || c.Key == "" {
		return nil, invalid("cursor is not one of an earlier answer: begin without it")
	}
	return &c, nil
}
