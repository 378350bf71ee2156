package certificate

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
)

// Pin is a SHA-256 in 64 lower-case hexadecimal digits: of a whole certificate, as
// `openssl x509 -fingerprint -sha256` and gateway.remote.tlsFingerprint of protocol 3's
// clients have it, or of its public key (SubjectPublicKeyInfo), which stays the same
// when the certificate is renewed. Both are accepted wherever a pin is.
type Pin string

// Fingerprint returns the pin of the certificate itself.
func Fingerprint(c *x509.Certificate) Pin { return pin(c.Raw) }

// KeyFingerprint returns the pin of the certificate's public key.
func KeyFingerprint(c *x509.Certificate) Pin { return pin(c.RawSubjectPublicKeyInfo) }

func pin(der []byte) Pin {
	sum := sha256.Sum256(der)
	return Pin(hex.EncodeToString(sum[:]))
}

// ParsePin reads a pin as people paste it: any case, with or without a leading
// "sha256:" or "SHA256 Fingerprint=", its digits in groups that colons, hyphens or
// blanks separate. Anything else is refused: a pin that was cut short must not match.
func ParsePin(text string) (Pin, error) {
	digits := strings.ToLower(strings.TrimSpace(text))
	for _, prefix := range []string{"sha256 fingerprint=", "sha256:", "sha-256:", "sha256="} {
		digits = strings.TrimPrefix(digits, prefix)
	}
	digits = strings.NewReplacer(":", "", " ", "", "-", "").Replace(digits)
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != sha256.Size {
		return "", errors.New("a certificate fingerprint has 64 hexadecimal digits (SHA-256): see `coderclaw tls show` on the gateway's machine")
	}
	return Pin(digits), nil
}

// String writes the pin in pairs of upper-case digits, as openssl and browsers do.
func (p Pin) String() string {
	var b strings.Builder
	for i := 0; i+2 <= len(p); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(string(p[i : i+2])))
	}
	return b.String()
}
