package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
)

// redactor takes the secrets out of what is recorded. What is secret the schema
// says: members with x-secret; where the schema knows nothing of a frame, members
// of the same names. A secret that has been seen once is taken out wherever it
// stands, in texts too. The same secret gets the same word, so that a recording
// still tells who used which.
//
// A redactor serves all connections of a recording, one call at a time.
type redactor struct {
	known *vocabulary
	// words maps each secret to what stands for it.
	words map[string]string
	count int
}

// What stands for a signature, by whether it matches what it signs.
const (
	redactedSignature = "<signature>"
	wrongSignature    = "<wrong signature>"
)

// wordBytesMin is the length from which on a secret is looked for inside of texts.
// Shorter ones might be parts of words.
const wordBytesMin = 8

// redactedPrefix begins every other word that stands for a secret.
const redactedPrefix = "<secret "

// newRedactor makes a redactor that knows the gateway's own secrets, as far as they
// are not empty.
func newRedactor(token, password string) *redactor {
	r := &redactor{known: words(), words: map[string]string{}}
	r.know(token, redactedToken)
	r.know(password, redactedPassword)
	return r
}

// know makes word stand for a secret, unless another does already.
func (r *redactor) know(secret, word string) {
	if _, ok := r.words[secret]; !ok && secret != "" {
		r.words[secret] = word
	}
}

// word returns what stands for a secret.
func (r *redactor) word(secret string) string {
	if _, ok := r.words[secret]; !ok {
		r.count++
		r.know(secret, fmt.Sprintf("%s%d>", redactedPrefix, r.count))
	}
	return r.words[secret]
}

// frame returns a frame without secrets. method is the one that a response answers;
// a request and an event say themselves what they are.
func (r *redactor) frame(f frame, method string) json.RawMessage {
	v, err := parse(f.raw)
	if err != nil || f.Type == notAFrame {
		return r.text(string(f.raw))
	}
	m, ok := v.(map[string]any)
	if !ok {
		return r.text(string(f.raw))
	}
	place := map[string]place{}
	switch f.Type {
	case "req":
		place["params"] = placeOf(r.known.methods[f.Method].params)
	case "res":
		answered := r.known.methods[method]
		place["payload"] = append(placeOf(answered.ack), placeOf(answered.result)...)
	case "event":
		place["payload"] = placeOf(r.known.events[f.Event].payload)
	}
	for key, value := range m {
		m[key] = r.value(place[key], value)
	}
	return encode(r.everywhere(m))
}

// text returns a message that is no frame, as the recordings hold it.
func (r *redactor) text(message string) json.RawMessage {
	return encode(map[string]any{"raw": r.everywhere(message)})
}

// value takes out the secrets of a value at its place in the schema.
func (r *redactor) value(at place, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			child, permitted := at.member(key)
			secret := at.secret(key) || (at.silent() || !permitted) && r.known.secrets[key]
			if text, ok := member.(string); ok && secret && text != "" {
				v[key] = r.word(text)
				continue
			}
			v[key] = r.value(child, member)
		}
	case []any:
		for i := range v {
			v[i] = r.value(at.element(), v[i])
		}
	}
	return v
}

// everywhere replaces the secrets that are known by now in all strings, keys too.
func (r *redactor) everywhere(v any) any {
	switch v := v.(type) {
	case string:
		for secret, word := range r.words {
			if len(secret) >= wordBytesMin {
				v = strings.ReplaceAll(v, secret, word)
			}
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			out[r.everywhere(key).(string)] = r.everywhere(member)
		}
		return out
	case []any:
		for i := range v {
			v[i] = r.everywhere(v[i])
		}
	}
	return v
}
