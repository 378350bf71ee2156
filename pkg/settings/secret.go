package settings

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that does not print: fmt with any verb, slog and JSON all
// show "[redacted]". Only Reveal gives the text. The empty Secret means unset.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text. Call it where the secret is compared or sent, never to
// log it.
func (s Secret) Reveal() string { return s.text }

// IsSet reports whether there is a secret at all.
func (s Secret) IsSet() bool { return s.text != "" }

// String returns the placeholder.
func (s Secret) String() string { return redacted }

// GoString returns the placeholder, for %#v.
func (s Secret) GoString() string { return redacted }

// Format writes the placeholder whatever the verb, so that %x and %d do not reach
// the text by reflection either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue gives slog the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText gives encoders of text and JSON the placeholder, or nothing when
// there is no secret.
func (s Secret) MarshalText() ([]byte, error) {
	if !s.IsSet() {
		return []byte{}, nil
	}
	return []byte(redacted), nil
}
