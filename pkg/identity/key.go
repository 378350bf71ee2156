package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
)

var (
	errKeyEncoding   = errors.New("public key is not 32 bytes of base64url or a PEM of an Ed25519 key")
	errKeyCanonical  = errors.New("public key is not a canonical point encoding")
	errKeySmallOrder = errors.New("public key is a point of small order")
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

// The y coordinates of the eight points whose order divides 8, little-endian with
// the sign bit clear: 1 (the identity), p-1 (order 2), 0 (order 4, both signs), and
// the two of order 8 (both signs).
var smallOrderY = [5][32]byte{
	{0: 1},
	{0: 0xec, 1: 0xff, 2: 0xff, 3: 0xff, 4: 0xff, 5: 0xff, 6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff,
		16: 0xff, 17: 0xff, 18: 0xff, 19: 0xff, 20: 0xff, 21: 0xff, 22: 0xff, 23: 0xff, 24: 0xff, 25: 0xff, 26: 0xff, 27: 0xff, 28: 0xff, 29: 0xff, 30: 0xff, 31: 0x7f},
	{},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
}

// checkPoint refuses an encoding whose y is not below p = 2^255-19, and the small
// orders. A y for which there is no x is left to the signature check, which fails.
// (The other non-canonical form, x = 0 with the sign bit set, has a y of small order.)
func checkPoint(raw []byte) error {
	var y [32]byte
	copy(y[:], raw)
	y[31] &= 0x7f
	if y[31] == 0x7f && y[0] >= 0xed {
		high := true
		for _, b := range y[1:31] {
			high = high && b == 0xff
		}
		if high {
			return errKeyCanonical
		}
	}
	for _, small := range smallOrderY {
		if y == small {
			return errKeySmallOrder
		}
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
