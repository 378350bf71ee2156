package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

func clientID(id string) protocol.GatewayClientId { return protocol.GatewayClientId(id) }

func TestParsePublicKeyForms(t *testing.T) {
	d := newFakeDevice()
	der, err := x509.MarshalPKIXPublicKey(d.public)
	require.NoError(t, err)
	forms := map[string]string{
		"base64url":        base64.RawURLEncoding.EncodeToString(d.public),
		"padded base64url": base64.URLEncoding.EncodeToString(d.public),
		"base64":           base64.RawStdEncoding.EncodeToString(d.public),
		"padded base64":    base64.StdEncoding.EncodeToString(d.public),
		"pem":              string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
	f := newFixture(t, nil)
	for name, form := range forms {
		key, err := parsePublicKey(form)
		require.NoError(t, err, name)
		require.Equal(t, d.public, key, name)
		f.grant(t, attempt(d.signs(func(o *protocol.ConnectDevice) { o.PublicKey = form })))
	}
	stored, ok := f.stored(t, d.id())
	require.True(t, ok)
	require.Equal(t, forms["base64url"], stored.PublicKey, "one key is one device, however it was written")
}

func TestParsePublicKeyRefuses(t *testing.T) {
	key := newFakeDevice().public
	ecKey := "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYD54V/vp+54P9DXarYqx4MPcm+HK\nRIQzNasYSoRQHQ/6S6Ps8tpMcT+KvIIC8W/e9k0W7Cm72M1P9jU7SLf/vg==\n-----END PUBLIC KEY-----\n"
	for name, text := range map[string]string{
		"nothing": "", "short": base64.RawURLEncoding.EncodeToString(key[:31]), "long": base64.RawURLEncoding.EncodeToString(append(slices.Clone(key), 0)),
		"not base64": "*", "stray bits at the end": base64.RawURLEncoding.EncodeToString(make([]byte, 32))[:42] + "B",
		"pem without end": "-----BEGIN PUBLIC KEY-----", "pem of another kind of key": ecKey,
	} {
		_, err := parsePublicKey(text)
		require.ErrorIs(t, err, errKeyEncoding, name)
	}
}

// An identity key has one signature for all messages, and crypto/ed25519 takes it.
func TestSmallOrderKeysAreRefused(t *testing.T) {
	universal := make([]byte, ed25519.SignatureSize)
	universal[0] = 1
	identityPoint := make([]byte, 32)
	identityPoint[0] = 1
	require.True(t, ed25519.Verify(identityPoint, []byte("whatever"), universal), "the reason for the check")

	f := newFixture(t, nil)
	for _, y := range smallOrderY {
		for _, sign := range []byte{0, 0x80} {
			raw := y
			raw[31] |= sign
			_, err := parsePublicKey(base64.RawURLEncoding.EncodeToString(raw[:]))
			require.ErrorIs(t, err, errKeySmallOrder, "%x", raw)
			r := f.refusal(t, attempt(newFakeDevice().signs(func(o *protocol.ConnectDevice) {
				o.ID, o.PublicKey = deviceID(raw[:]), base64.RawURLEncoding.EncodeToString(raw[:])
				o.Signature = base64.RawURLEncoding.EncodeToString(universal)
			})))
			require.Equal(t, "device public key invalid", r.Err.Message)
		}
	}
}

// The table is all of them: a point's order divides 8 exactly if 8 times it is the
// identity, and there are eight such points.
func TestSmallOrderTable(t *testing.T) {
	points := map[string]bool{}
	for _, y := range smallOrderY {
		for _, x := range curveX(littleEndian(y[:])) {
			px, py := x, littleEndian(y[:])
			for range 3 {
				px, py = double(px, py)
			}
			require.Zero(t, px.Sign(), "%x", y)
			require.Equal(t, "1", py.String(), "%x", y)
			points[x.String()+" "+littleEndian(y[:]).String()] = true
		}
	}
	require.Len(t, points, 8)
}

func TestNonCanonicalKeysAreRefused(t *testing.T) {
	for add := int64(0); add < 19; add++ {
		for _, sign := range []byte{0, 0x80} {
			n := new(big.Int).Add(prime(), big.NewInt(add))
			raw := n.FillBytes(make([]byte, 32))
			slices.Reverse(raw)
			raw[31] |= sign
			_, err := parsePublicKey(base64.RawURLEncoding.EncodeToString(raw))
			require.ErrorIs(t, err, errKeyCanonical, "p+%d, sign %x", add, sign)
		}
	}
	below := new(big.Int).Sub(prime(), big.NewInt(2)).FillBytes(make([]byte, 32))
	slices.Reverse(below)
	require.NoError(t, checkPoint(below), "p-2 is canonical")
}

// A scalar that is not reduced would be a second signature of the same message.
func TestSignatureIsNotMalleable(t *testing.T) {
	d := newFakeDevice()
	signature := ed25519.Sign(d.private, []byte("m"))
	require.True(t, signatureOK(d.public, "m", base64.RawURLEncoding.EncodeToString(signature)))
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := new(big.Int).Add(littleEndian(signature[32:]), order)
	raw := s.FillBytes(make([]byte, 32))
	slices.Reverse(raw)
	require.False(t, signatureOK(d.public, "m", base64.RawURLEncoding.EncodeToString(append(signature[:32:32], raw...))))
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(encodeKey(newFakeDevice().public))
	f.Add("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----")
	f.Add("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parsePublicKey(text)
		if err != nil {
			require.Nil(t, key)
			return
		}
		again, err := parsePublicKey(encodeKey(key))
		require.NoError(t, err)
		require.Equal(t, key, again, "the stored form names the same key")
		universal := make([]byte, ed25519.SignatureSize)
		universal[0] = 1
		require.False(t, ed25519.Verify(key, []byte("a"), universal))
	})
}

// Arithmetic on -x^2 + y^2 = 1 + d x^2 y^2 mod p, slow and plain.

func prime() *big.Int {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	return p.Sub(p, big.NewInt(19))
}

func curveD() *big.Int {
	d := new(big.Int).ModInverse(big.NewInt(121666), prime())
	d.Mul(d, big.NewInt(-121665))
	return d.Mod(d, prime())
}

func littleEndian(raw []byte) *big.Int {
	raw = slices.Clone(raw)
	slices.Reverse(raw)
	return new(big.Int).SetBytes(raw)
}

// curveX returns the x values that belong to y.
func curveX(y *big.Int) []*big.Int {
	p := prime()
	yy := new(big.Int).Mul(y, y)
	den := new(big.Int).Mul(curveD(), yy)
	den.Add(den, big.NewInt(1)).ModInverse(den.Mod(den, p), p)
	xx := new(big.Int).Sub(yy, big.NewInt(1))
	xx.Mul(xx, den).Mod(xx, p)
	x := new(big.Int).ModSqrt(xx, p)
	if x == nil {
		return nil
	}
	if x.Sign() == 0 {
		return []*big.Int{x}
	}
	return []*big.Int{x, new(big.Int).Sub(p, x)}
}

func double(x, y *big.Int) (*big.Int, *big.Int) {
	p := prime()
	xy := new(big.Int).Mul(x, y)
	t := new(big.Int).Mul(xy, xy)
	t.Mul(t, curveD()).Mod(t, p)
	top := new(big.Int).Lsh(xy, 1)
	low := new(big.Int).Add(big.NewInt(1), t)
	nx := top.Mul(top, low.ModInverse(low.Mod(low, p), p))
	top2 := new(big.Int).Add(new(big.Int).Mul(y, y), new(big.Int).Mul(x, x))
	low2 := new(big.Int).Sub(big.NewInt(1), t)
	ny := top2.Mul(top2, low2.ModInverse(low2.Mod(low2, p), p))
	return nx.Mod(nx, p), ny.Mod(ny, p)
}
