package sessions

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// search returns the hits as "key seq", page after page, and how many pages there were.
func (r *room) search(t *testing.T, p protocol.SessionsSearchParams) (hits []string, pages int) {
	t.Helper()
	for pages = 1; ; pages++ {
		require.LessOrEqual(t, pages, 50, "a search ends")
		result, err := r.SessionsSearch(t.Context(), &wire.Peer{}, p)
		require.NoError(t, err)
		for _, h := range result.Hits {
			hits = append(hits, strings.TrimPrefix(h.Key, "agent:main:")+fmt.Sprint(" ", h.Seq))
		}
		if !result.Cursor.Set {
			return hits, pages
		}
		p.Cursor = result.Cursor
	}
}

func TestSearchFindsWords(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "a", "Paint the GARDEN house", "blue it is")
	r.talk(t, "b", "the house\n  garden", "Straße, ÄRGER and a+b")
	r.talk(t, "agent:other:c", "house", "NO_REPLY")
	_, _, err := r.sessions.Append(t.Context(), "a", nil, session.Message{Type: session.TypeCompaction, Role: "system", Text: "about the house"})
	require.NoError(t, err)
	for query, want := range map[string][]string{
		"garden house":     {"a 1", "b 1"},
		`"garden house"`:   {"a 1"},
		`"house garden"`:   {"b 1"},
		"ärger":            {"b 2"},
		"a+b":              {"b 2"},
		"no_reply":         nil,
		"house ":           {"a 1", "agent:other:c 1", "b 1"},
		`"blue" it`:        {"a 2"},
		`blue "it was"`:    nil,
		`"unclosed blue`:   nil,
		`blue ""`:          {"a 2"},
		"HOUSE the gArden": {"a 1", "b 1"},
	} {
		got, _ := r.search(t, protocol.SessionsSearchParams{Query: query})
		require.ElementsMatch(t, want, got, query)
	}
	got, _ := r.search(t, protocol.SessionsSearchParams{Query: "house", Key: wire.Some("B")})
	require.Equal(t, []string{"b 1"}, got)
	got, _ = r.search(t, protocol.SessionsSearchParams{Query: "house", AgentID: wire.Some("other")})
	require.Equal(t, []string{"agent:other:c 1"}, got)
	got, _ = r.search(t, protocol.SessionsSearchParams{Query: "i", Role: wire.Some(protocol.SessionsSearchParamsRoleAssistant), Key: wire.Some("a")})
	require.Equal(t, []string{"a 2"}, got)
}

// Pages of any size give the same hits, in the same order, whatever comes meanwhile.
func TestSearchPages(t *testing.T) {
	r := newRoom(t)
	for i := range 7 {
		for range 3 {
			r.talk(t, fmt.Sprint("s", i), "needle", "hay")
		}
	}
	whole, pages := r.search(t, protocol.SessionsSearchParams{Query: "needle", Limit: wire.Some(int64(100))})
	require.Len(t, whole, 21)
	require.Equal(t, 1, pages)
	for _, limit := range []int64{1, 2, 3, 5, 20, 21} {
		got, _ := r.search(t, protocol.SessionsSearchParams{Query: "needle", Limit: wire.Some(limit)})
		require.Equal(t, whole, got, "limit %d", limit)
	}
	// The session that the first page ended in gets a message and moves to the front.
	p := protocol.SessionsSearchParams{Query: "needle", Limit: wire.Some(int64(5))}
	first, err := r.SessionsSearch(t.Context(), &wire.Peer{}, p)
	require.NoError(t, err)
	require.Len(t, first.Hits, 5)
	_, err = r.sessions.Patch(t.Context(), first.Hits[4].Key, nil)
	require.NoError(t, err)
	p.Cursor, p.Limit = first.Cursor, wire.Some(int64(1)) // and the next page ends in it again
	rest, _ := r.search(t, p)
	require.Equal(t, whole[5:], rest)
}

// A call looks at a bounded number of messages and says where to go on.
func TestSearchIsBounded(t *testing.T) {
	r := newRoom(t)
	hay := make([]session.Message, searchMessagesMax+10)
	for i := range hay {
		hay[i] = session.Message{Role: "user", Text: "hay"}
	}
	hay[3].Text = "needle"
	_, _, err := r.sessions.Append(t.Context(), "a", nil, hay...)
	require.NoError(t, err)
	p := protocol.SessionsSearchParams{Query: "needle"}
	result, err := r.SessionsSearch(t.Context(), &wire.Peer{}, p)
	require.NoError(t, err)
	require.Empty(t, result.Hits)
	require.Equal(t, int64(searchMessagesMax), result.Scanned)
	p.Cursor = result.Cursor
	result, err = r.SessionsSearch(t.Context(), &wire.Peer{}, p)
	require.NoError(t, err)
	require.Len(t, result.Hits, 1)
	require.Equal(t, int64(10), result.Scanned)
	require.False(t, result.Cursor.Set)

	run := searchRun{limit: 9}
	run.look(&session.Entry{}, session.Message{Images: []session.Image{{Data: make([]byte, searchBytesMax)}}})
	require.True(t, run.full(), "images count")
}

func TestSearchRefuses(t *testing.T) {
	r := newRoom(t)
	for query, why := range map[string]string{
		`""`:                         "query holds no word: give at least one",
		strings.Repeat("w ", 17):     "query holds 17 words, allowed are 16: leave some out",
		"x" + strings.Repeat(" ", 5): "",
	} {
		_, err := r.SessionsSearch(t.Context(), &wire.Peer{}, protocol.SessionsSearchParams{Query: query})
		if why == "" {
			require.NoError(t, err)
			continue
		}
		refused(t, err, why)
	}
	for _, cursor := range []string{"?", "e30", "bm9uZQ"} {
		_, err := r.SessionsSearch(t.Context(), &wire.Peer{}, protocol.SessionsSearchParams{Query: "x", Cursor: wire.Some(cursor)})
		refused(t, err, "cursor is not one of an earlier answer: begin without it")
	}
}

func TestSnippet(t *testing.T) {
	require.Equal(t, "a needle in hay", snippet("a needle\n\t in \x1bhay ", 2))
	long := strings.Repeat("hay ", 100) + "needle" + strings.Repeat(" häy", 100)
	got := snippet(long, 400)
	require.Contains(t, got, "needle")
	require.True(t, strings.HasPrefix(got, "…hay") || strings.HasPrefix(got, "… hay"), got)
	require.True(t, strings.HasSuffix(got, "…"))
	require.LessOrEqual(t, utf8.RuneCountInString(got), snippetCharsMax)
	require.True(t, utf8.ValidString(got))
}

func FuzzIndexFold(f *testing.F) {
	f.Add("a Needle", "needle")
	f.Add("x", "xx")
	f.Fuzz(func(t *testing.T, text, word string) {
		if word = strings.ToLower(word); word == "" || !isASCII(word) || !isASCII(text) {
			return
		}
		require.Equal(t, strings.Index(strings.ToLower(text), word), indexFold(text, word))
	})
}
