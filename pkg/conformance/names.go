package conformance

import (
	"encoding/json"
	"regexp"
	"strings"
)

// names maps what the recorded gateway called things to what the live one calls
// them: requests, devices, tokens, sessions. A recorded client that repeats such a
// name means the live one.
type names map[string]string

// nameShape tells names from words: UUIDs, hashes, keys and tokens.
var nameShape = regexp.MustCompile(`^(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,128}|[A-Za-z0-9_-]{40,90})$`)

// isName reports whether a recorded word is a name, or stands for a secret.
func isName(recorded string) bool {
	return nameShape.MatchString(recorded) || strings.HasPrefix(recorded, redactedPrefix)
}

// learn takes the names from two values that say the same. What is known stays.
func (n names) learn(recorded, live any) {
	switch recorded := recorded.(type) {
	case string:
		text, ok := live.(string)
		if _, known := n[recorded]; !known && ok && text != recorded && isName(recorded) && nameShape.MatchString(text) {
			n[recorded] = text
		}
	case map[string]any:
		if live, ok := live.(map[string]any); ok {
			for key, value := range recorded {
				n.learn(value, live[key])
			}
		}
	case []any:
		if live, ok := live.([]any); ok && len(live) == len(recorded) {
			for i := range recorded {
				n.learn(recorded[i], live[i])
			}
		}
	}
}

// learnJSON is learn for values that have not been parsed. What does not parse
// teaches nothing.
func (n names) learnJSON(recorded, live json.RawMessage) {
	a, errA := parse(recorded)
	b, errB := parse(live)
	if errA == nil && errB == nil {
		n.learn(a, b)
	}
}

// put returns a message with the live names in it. One without names stays as it
// is, byte for byte.
func (n names) put(raw json.RawMessage) json.RawMessage {
	v, err := parse(raw)
	if err != nil || !n.mentioned(v) {
		return raw
	}
	return encode(n.replace(v))
}

func (n names) mentioned(v any) bool {
	switch v := v.(type) {
	case string:
		_, ok := n[v]
		return ok
	case map[string]any:
		for _, value := range v {
			if n.mentioned(value) {
				return true
			}
		}
	case []any:
		for _, value := range v {
			if n.mentioned(value) {
				return true
			}
		}
	}
	return false
}

func (n names) replace(v any) any {
	switch v := v.(type) {
	case string:
		if live, ok := n[v]; ok {
			return live
		}
	case map[string]any:
		for key, value := range v {
			v[key] = n.replace(value)
		}
	case []any:
		for i, value := range v {
			v[i] = n.replace(value)
		}
	}
	return v
}

// inText returns a text with the live names in it.
func (n names) inText(text string) string {
	for recorded, live := range n {
		text = strings.ReplaceAll(text, recorded, live)
	}
	return text
}
