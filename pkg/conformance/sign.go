package conformance

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// handshake is the part of connect's params that a signature covers, and the
// device that carries it.
type handshake struct {
	clientID, clientMode, role string
	scopes                     []string
	token                      string
	device                     *deviceProof
}

// deviceProof is connect.params.device.
type deviceProof struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
	Signature string `json:"signature"`
	SignedAt  int64  `json:"signedAt"`
	Nonce     string `json:"nonce,omitempty"`
}

// challenge is the payload of connect.challenge.
type challenge struct {
	Nonce string `json:"nonce"`
	TS    int64  `json:"ts"`
}

// signedText is what the device signs: version 2 with a nonce, else version 1.
func (h handshake) signedText(d deviceProof) []byte {
	role := h.role
	if role == "" {
		role = "operator"
	}
	version, tail := "v1", ""
	if d.Nonce != "" {
		version, tail = "v2", "|"+d.Nonce
	}
	return []byte(strings.Join([]string{version, d.ID, h.clientID, h.clientMode, role, strings.Join(h.scopes, ","),
		strconv.FormatInt(d.SignedAt, 10), h.token}, "|") + tail)
}

// defects are the faults of a recorded handshake that a replay makes again.
type defects struct {
	foreignID, foreignNonce, noNonce, badSignature bool
	// age is how far signedAt lies before the challenge when it is out of bounds.
	age time.Duration
}

// skewMax is how far signedAt may be off; see the documentation of ConnectDevice.
const skewMax = 600 * time.Second

// findDefects checks a recorded handshake against its own challenge.
func (h handshake) findDefects(ch challenge) (defects, error) {
	d := h.device
	key, err := base64.RawURLEncoding.DecodeString(d.PublicKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return defects{}, fmt.Errorf("recorded public key %q is unusable", d.PublicKey)
	}
	var found defects
	found.foreignID = d.ID != deviceID(key)
	found.noNonce = d.Nonce == ""
	found.foreignNonce = !found.noNonce && d.Nonce != ch.Nonce
	if age := time.Duration(ch.TS-d.SignedAt) * time.Millisecond; age.Abs() > skewMax {
		found.age = age
	}
	signature, err := base64.RawURLEncoding.DecodeString(d.Signature)
	found.badSignature = err != nil || !ed25519.Verify(key, h.signedText(*d), signature)
	return found, nil
}

// recordedDefects is findDefects for a recording, whose signature may have been
// taken out.
func (h handshake) recordedDefects(ch challenge) (defects, error) {
	found, err := h.findDefects(ch)
	if h.device.Signature == redactedSignature {
		found.badSignature = false
	}
	return found, err
}

// device is the identity with which a replay connects.
type device struct {
	key ed25519.PrivateKey
	id  string
}

// newDevice makes a fresh identity.
func newDevice() (device, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return device{}, err
	}
	return device{key: key, id: deviceID(public)}, nil
}

func deviceID(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// prove signs h for the gateway's challenge and makes the given defects again.
func (d device) prove(h handshake, ch challenge, wrong defects) deviceProof {
	proof := deviceProof{
		ID:        d.id,
		PublicKey: base64.RawURLEncoding.EncodeToString(d.key.Public().(ed25519.PublicKey)),
		SignedAt:  time.Now().Add(-wrong.age).UnixMilli(),
		Nonce:     ch.Nonce,
	}
	if wrong.foreignID {
		proof.ID = h.device.ID
	}
	if wrong.foreignNonce || wrong.noNonce {
		proof.Nonce = h.device.Nonce
	}
	signature := ed25519.Sign(d.key, h.signedText(proof))
	if wrong.badSignature {
		signature[0] ^= 1
	}
	proof.Signature = base64.RawURLEncoding.EncodeToString(signature)
	return proof
}
