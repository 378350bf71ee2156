package session

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	defaultAgentID = "main"
	defaultMainKey = "main"
	// keyGlobal and keyUnknown are the two keys that belong to no agent.
	keyGlobal  = "global"
	keyUnknown = "unknown"
	// KeyBytesMax bounds a session key.
	KeyBytesMax = 512
)

var (
	// ErrEmptyKey says that a session key is blank.
	ErrEmptyKey = errors.New("session key is empty")
	// ErrMalformedKey says that a session key begins like an agent's and lacks the
	// agent id or the rest, holds a NUL, or is over KeyBytesMax.
	ErrMalformedKey = errors.New("malformed session key")
)

// Key is a canonical session key.
type Key struct {
	// Full is the whole key, such as "agent:main:main", or "global" or "unknown".
	Full string
	// AgentID is the agent the session belongs to.
	AgentID string
	// Rest is what follows the agent id, such as "main".
	Rest string
}

// Canonical turns a key as clients send it into the one the store uses. "main"
// and the configured main key are names of the main session, also behind an
// agent's prefix; other bare keys belong to the default agent; everything is
// lower-cased. The rules are those of protocol 3's session keys. The error is
// ErrEmptyKey or wraps ErrMalformedKey.
func (s *Sessions) Canonical(raw string) (Key, error) {
	key := strings.ToLower(strings.TrimSpace(raw))
	switch {
	case key == "":
		return Key{}, ErrEmptyKey
	case len(key) > KeyBytesMax:
		return Key{}, fmt.Errorf("%w: %d bytes, allowed are %d", ErrMalformedKey, len(key), KeyBytesMax)
	case strings.ContainsRune(key, 0):
		return Key{}, fmt.Errorf("%w: it holds a NUL", ErrMalformedKey)
	case key == keyGlobal || key == keyUnknown:
		return Key{Full: key, AgentID: s.defaultAgent(), Rest: key}, nil
	}
	if !strings.HasPrefix(key, "agent:") {
		return s.key(s.defaultAgent(), key), nil
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(key, "agent:"), ":")
	if strings.TrimSpace(id) == "" || strings.Trim(rest, ": ") == "" {
		return Key{}, fmt.Errorf("%w: %q", ErrMalformedKey, key)
	}
	return s.key(id, rest), nil
}

// key builds an agent's key, the main key's alias resolved.
func (s *Sessions) key(agentID, rest string) Key {
	if rest == defaultMainKey {
		rest = s.mainKey
	}
	return Key{Full: agentKey(agentID, rest), AgentID: NormalizeAgentID(agentID), Rest: rest}
}

func agentKey(agentID, rest string) string { return "agent:" + agentID + ":" + rest }

// normalizeMainKey lower-cases the configured main key.
func normalizeMainKey(key string) string {
	if key = strings.ToLower(strings.TrimSpace(key)); key == "" {
		return defaultMainKey
	}
	return key
}

var (
	agentIDGood = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	// agentIDBad matches what may not stand in an agent id.
	agentIDBad = regexp.MustCompile(`[^a-z0-9_-]+`)
)

// NormalizeAgentID turns any name into an agent id: at most 64 of [a-z0-9_-],
// beginning with a letter or digit, "main" when nothing is left.
func NormalizeAgentID(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	if agentIDGood.MatchString(id) {
		return id
	}
	id = strings.TrimLeft(agentIDBad.ReplaceAllString(id, "-"), "-_")
	if len(id) > 64 {
		id = id[:64]
	}
	if id = strings.TrimRight(id, "-"); id == "" {
		return defaultAgentID
	}
	return id
}
