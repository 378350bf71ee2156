package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	defaultOllamaURL = "http://127.0.0.1:11434"

	// lookupTimeout bounds one look-up: a first answer is delayed by no more.
	lookupTimeout = 300 * time.Millisecond
	// lookupFresh is how long a finding is taken for current, good or bad.
	lookupFresh = 30 * time.Second

	lookupBytesMax  = 256 << 10
	modelsListedMax = 10
	modelNameMax    = 100
)

// ollama looks for a local Ollama. turn is a lock of one place that a caller can
// stop waiting for; it guards last and until.
type ollama struct {
	url    string
	client *http.Client

	turn  chan struct{}
	last  finding
	until time.Time
}

// finding is what a look-up found out.
type finding struct {
	answers bool
	models  []string
}

// newOllama asks without a proxy and keeps no connection open.
func newOllama(url string, dial func(context.Context, string, string) (net.Conn, error)) *ollama {
	if url == "" {
		url = defaultOllamaURL
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: lookupTimeout}).DialContext
	}
	return &ollama{
		url:  strings.TrimRight(url, "/"),
		turn: make(chan struct{}, 1),
		client: &http.Client{
			Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") },
		},
	}
}

// lookUp returns the last finding, renewed if it is old.
func (o *ollama) lookUp(ctx context.Context) finding {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return finding{}
	}
	if time.Now().Before(o.until) {
		return o.last
	}
	found := o.ask(ctx)
	if ctx.Err() == nil {
		o.last, o.until = found, time.Now().Add(lookupFresh)
	}
	return found
}

// ask lists Ollama's models (GET /api/tags, which other servers do not have).
func (o *ollama) ask(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+"/api/tags", nil)
	if err != nil {
		return finding{}
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return finding{}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, lookupBytesMax))
	if err != nil || resp.StatusCode != http.StatusOK {
		return finding{}
	}
	var tags struct {
		Models *[]struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	if json.Unmarshal(body, &tags) != nil || tags.Models == nil {
		return finding{}
	}
	found := finding{answers: true}
	for _, m := range *tags.Models {
		if plausible(m.Name) && len(found.models) < modelsListedMax {
			found.models = append(found.models, m.Name)
		}
	}
	return found
}

// plausible reports whether name can stand in a shell command as it is. What
// listens on that port is not known to be Ollama.
func plausible(name string) bool {
	if name == "" || len(name) > modelNameMax {
		return false
	}
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-", r) {
			return false
		}
	}
	return true
}

// preferred returns the first model that seems to chat. An embedding model does
// not.
func (f finding) preferred() string {
	for _, name := range f.models {
		if !strings.Contains(strings.ToLower(name), "embed") {
			return name
		}
	}
	return f.models[0]
}
