package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
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
			require.Error(t, err, "%x", raw)
			r := f.refusal(t, attempt(newFakeDevice().signs(func(o *protocol.ConnectDevice) {
				o.ID, o.PublicKey = deviceID(raw[:]), base64.RawURLEncoding.EncodeToString(raw[:])
				o.Signature = base64.RawURLEncoding.EncodeToString(universal)
			})))
			require.Equal(t, "device public key invalid", r.Err.Message)
		}
	}
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
	found := 0
	for add := int64(0); add < 19; add++ {
		for _, sign := range []byte{0, 0x80} {
			n := new(big.Int).Add(prime(), big.NewInt(add))
			raw := n.FillBytes(make([]byte, 32))
			slices.Reverse(raw)
			raw[31] |= sign
			_, err := parsePublicKey(base64.RawURLEncoding.EncodeToString(raw))
			require.Error(t, err, "p+%d, sign %x", add, sign)
			if _, err := new(edwards25519.Point).SetBytes(raw); err == nil {
				require.ErrorIs(t, checkPoint(raw), errKeyCanonical)
				found++
			}
		}
	}
	require.Greater(t, found, 10, "some of them are points")
	// The other form: x is 0, and the sign bit says that it is odd.
	raw := make([]byte, 32)
	raw[0], raw[31] = 1, 0x80
	require.ErrorIs(t, checkPoint(raw), errKeyCanonical)
	nowhere := make([]byte, 32)
	nowhere[0] = 2
	require.ErrorIs(t, checkPoint(nowhere), errKeyEncoding, "no point has this y")
}

// A key with a small point added verifies what the key signs in a library that
// multiplies by the cofactor, and not in crypto/ed25519.
func TestMixedOrderKeysAreRefused(t *testing.T) {
	f := newFixture(t, nil)
	small := smallPoints(t)
	require.Len(t, small, 8)
	for range 4 {
		d := newFakeDevice()
		point, err := new(edwards25519.Point).SetBytes(d.public)
		require.NoError(t, err)
		require.NoError(t, checkPoint(d.public))
		for _, torsion := range small {
			raw := new(edwards25519.Point).Add(point, torsion).Bytes()
			if torsion.Equal(edwards25519.NewIdentityPoint()) == 1 {
				require.NoError(t, checkPoint(raw))
				continue
			}
			require.ErrorIs(t, checkPoint(raw), errKeyMixedOrder)
			r := f.refusal(t, attempt(d.signs(func(o *protocol.ConnectDevice) { o.ID, o.PublicKey = deviceID(raw), encodeKey(raw) })))
			require.Equal(t, "device public key invalid", r.Err.Message)
		}
	}
}

// smallPoints are the points that the table of small orders names.
func smallPoints(t *testing.T) (points []*edwards25519.Point) {
	t.Helper()
	for _, y := range smallOrderY {
		for _, sign := range []byte{0, 0x80} {
			raw := y
			raw[31] |= sign
			p, err := new(edwards25519.Point).SetBytes(raw[:])
			require.NoError(t, err)
			if !slices.ContainsFunc(points, func(q *edwards25519.Point) bool { return q.Equal(p) == 1 }) {
				points = append(points, p)
			}
		}
	}
	return points
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
