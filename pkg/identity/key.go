package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"

	"filippo.io/edwards25519"
)

var (
	errKeyEncoding   = errors.New("public key is not 32 bytes of base64url or a PEM of an Ed25519 key")
	errKeyCanonical  = errors.New("public key is not a canonical point encoding")
	errKeySmallOrder = errors.New("public key is a point of small order")
	errKeyMixedOrder = errors.New("public key is a point of mixed order")
)

// parsePublicKey reads a device's key in base64url or base64, padded or not, or
// PEM, and refuses keys that prove nothing: for a point of small order there are
// signatures that fit every message (crypto/ed25519 accepts them), and a second
// encoding of a point would be a second name for one device.
func parsePublicKey(text string) (ed25519.PublicKey, error) {
	raw, err := keyBytes(text)
	if err != nil {
		return nil, err
	}
	if err := checkPoint(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

func keyBytes(text string) ([]byte, error) {
	if strings.Contains(text, "-----BEGIN") {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, errKeyEncoding
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errKeyEncoding
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, errKeyEncoding
		}
		return key, nil
	}
	raw, err := decodeBase64(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errKeyEncoding
	}
	return raw, nil
}

// decodeBase64 takes either alphabet, with or without padding.
func decodeBase64(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// checkPoint refuses what is not a point of the large prime group that every key
// comes from, in its one encoding. A point of small order is in no such group; one
// of mixed order, a key with a small point added, would verify the same signatures in
// one library and not in another, and so be another device for each of them.
func checkPoint(raw []byte) error {
	point, err := new(edwards25519.Point).SetBytes(raw)
	if err != nil {
		return errKeyEncoding
	}
	if !bytes.Equal(point.Bytes(), raw) {
		return errKeyCanonical
	}
	identity := edwards25519.NewIdentityPoint()
	if new(edwards25519.Point).MultByCofactor(point).Equal(identity) == 1 {
		return errKeySmallOrder
	}
	// The group's order is 0 as a scalar, so that one less is multiplied and the last
	// step added.
	one, _ := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	less := edwards25519.NewScalar().Negate(one)
	multiple := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(less, point, edwards25519.NewScalar())
	if multiple.Add(multiple, point).Equal(identity) != 1 {
		return errKeyMixedOrder
	}
	return nil
}

// deviceID is the name that follows from a key: nobody can claim another's.
func deviceID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// encodeKey is the one form in which a key is stored.
func encodeKey(key ed25519.PublicKey) string { return base64.RawURLEncoding.EncodeToString(key) }

// signedText is what a device signs: fields of connect in a fixed order, joined
// with bars. The second form ends in the challenge; the first has none. Scopes
// come in the order sent and the token verbatim.
func signedText(c *claim, nonce string) string {
	token, _ := c.auth.Token.Get()
	fields := []string{
		"v1", c.device.ID, string(c.client.ID), string(c.client.Mode), c.role,
		strings.Join(c.asked, ","), strconv.FormatInt(c.device.SignedAt, 10), token,
	}
	if nonce != "" {
		fields[0] = "v2"
		fields = append(fields, nonce)
	}
	return strings.Join(fields, "|")
}

// signedKind is what newer clients sign instead: the second form and, after it, the
// platform and family of the machine, which decide what a node may offer. Clients
// of the original put both into plain form first; others sign them as sent. A bar
// inside either would let one text mean two machines.
func signedKind(c *claim, nonce string) []string {
	platform, family := c.client.Platform, c.client.DeviceFamily.V
	if nonce == "" || strings.Contains(platform+family, "|") {
		return nil
	}
	text := "v3" + strings.TrimPrefix(signedText(c, nonce), "v2")
	forms := []string{text + "|" + plain(platform) + "|" + plain(family)}
	if verbatim := text + "|" + platform + "|" + family; verbatim != forms[0] {
		forms = append(forms, verbatim)
	}
	return forms
}

// signatureOK reports whether the device signed text. crypto/ed25519 refuses a
// scalar that is not reduced, so a signature has one form only.
func signatureOK(key ed25519.PublicKey, text, signature string) bool {
	raw, err := decodeBase64(signature)
	return err == nil && len(raw) == ed25519.SignatureSize && ed25519.Verify(key, []byte(text), raw)
}
