package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
)

func TestScript(t *testing.T) {
	Contract(t, func(*testing.T) agent.Backend { return &Script{Interval: DefaultInterval} })
}

func TestScriptOrder(t *testing.T) {
	broken := errors.New("broken")
	s := &Script{
		Reply: func(turn agent.Turn) []string { return []string{"you said ", turn.Messages[0].Text} },
		Tools: []agent.ToolEvent{{Phase: "start", Name: "clock"}, {Phase: "result", Name: "clock"}},
		Err:   broken,
	}
	var got []string
	result, err := s.Run(t.Context(), ask("r1", "hi"), func(e agent.Event) {
		if e.Tool != nil {
			got = append(got, e.Tool.Phase)
			return
		}
		got = append(got, e.Text)
	})
	require.ErrorIs(t, err, broken)
	require.Equal(t, []string{"start", "result", "you said ", "hi"}, got)
	require.Equal(t, "you said hi", result.Text)
}

// post sends one chat completion request to a PipeModel and returns the status
// and the body; the error is that of reading it.
func post(ctx context.Context, t *testing.T, m *Model, message string, extra map[string]any) (int, string, error) {
	t.Helper()
	request := map[string]any{"model": "x", "messages": []any{map[string]any{"role": "user", "content": message}}}
	for k, v := range extra {
		request[k] = v
	}
	raw, err := json.Marshal(request)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/chat/completions", bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer key")
	client := &http.Client{Transport: &http.Transport{DialContext: m.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestModelAnswers(t *testing.T) {
	stream := map[string]any{"stream": true, "stream_options": map[string]any{"include_usage": true}}
	cases := []struct {
		name    string
		opts    ModelOptions
		message string
		extra   map[string]any
		status  int
		took    time.Duration
		want    []string
		lacks   string
	}{
		{name: "whole", message: "hi", status: 200, want: []string{`"word0 word1 word2 word3 word4 word5 word6 word7"`, `"completion_tokens":8`}},
		{name: "streamed", message: "hi", extra: stream, status: 200, took: 8 * DefaultInterval,
			want: []string{`"content":"word0"`, `"content":" word7"`, `"finish_reason":"stop"`, `"total_tokens":18`, "data: [DONE]"}},
		{name: "streamed without usage", message: "hi", extra: map[string]any{"stream": true}, status: 200, took: 8 * DefaultInterval,
			want: []string{"data: [DONE]"}, lacks: "total_tokens"},
		{name: "SLOW is sixty words at 100 ms", message: "SLOW stream", extra: stream, status: 200, took: 6 * time.Second, want: []string{`" word59"`}, lacks: "word60"},
		{name: "FAIL401", message: "FAIL401 x", extra: stream, status: 401, want: []string{"mock invalid api key"}},
		{name: "own pace", opts: ModelOptions{Tokens: 50, Interval: 50 * time.Millisecond}, message: "hi", extra: stream, status: 200, took: 2500 * time.Millisecond, want: []string{`" word49"`}},
		{name: "own reply", opts: ModelOptions{Reply: func(s string) []string { return []string{"<", s, ">"} }, Interval: -1}, message: "hi", status: 200, want: []string{`\u003chi\u003e`}},
		{name: "wrong key", opts: ModelOptions{APIKey: "other"}, message: "hi", status: 401, want: []string{"mock invalid api key"}},
		{name: "refused member", opts: ModelOptions{RefuseFields: []string{"stream_options"}}, message: "hi", extra: stream, status: 400, want: []string{"stream_options"}},
		{name: "tool", opts: ModelOptions{Tool: "clock"}, message: "hi", extra: stream, status: 200, want: []string{`"name":"clock"`, `"finish_reason":"tool_calls"`}},
		{name: "comments", opts: ModelOptions{Comments: true, Interval: -1}, message: "hi", extra: stream, status: 200, want: []string{": keep-alive\n\nevent: message\ndata: {"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := PipeModel(t, c.opts)
				begin := time.Now()
				status, body, err := post(t.Context(), t, m, c.message, c.extra)
				require.NoError(t, err)
				require.Equal(t, c.status, status)
				require.Equal(t, c.took, time.Since(begin))
				for _, want := range c.want {
					require.Contains(t, body, want)
				}
				if c.lacks != "" {
					require.NotContains(t, body, c.lacks)
				}
			})
		})
	}
}

func TestModelDropsInMidStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := PipeModel(t, ModelOptions{})
		_, body, err := post(t.Context(), t, m, "DROP", map[string]any{"stream": true})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Contains(t, body, "word1")
		require.NotContains(t, body, "word2")
	})
}

func TestModelSeesClientLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := PipeModel(t, ModelOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, body, err := post(ctx, t, m, "HANG", map[string]any{"stream": true})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2, strings.Count(body, "word"))
		<-m.Idle()
		require.Zero(t, m.Active())
		require.Equal(t, 1, m.Abandoned())
		requests := m.Requests()
		require.Len(t, requests, 1)
		require.Equal(t, "HANG", requests[0].User)
		require.Equal(t, "Bearer key", requests[0].Authorization)
		require.True(t, requests[0].Stream)
	})
}

func TestModelListensOnLoopback(t *testing.T) {
	m := StartModel(t, ModelOptions{ID: "tiny"})
	resp, err := http.Get(m.URL + "/models")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"id":"tiny"`)
	require.True(t, strings.HasPrefix(m.URL, "http://127.0.0.1:"))
}
