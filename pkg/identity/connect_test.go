package identity

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	originText = "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)"
	hostText   = "host not allowed (add it to gateway.allowedHosts)"
)

// The texts are those of the recorded conversations (connect-*.jsonl and their
// kin); the name of a case is the name of the recording where there is one.
func TestConnectRefuses(t *testing.T) {
	const controlUI, webchat = protocol.GatewayClientIdOpenclawControlUI, protocol.GatewayClientModeWebchat
	known := newFakeDevice()
	other := newFakeDevice()
	cases := []struct {
		name    string
		attempt []func(*Attempt)
		code    string
		message string
		detail  string
	}{
		{name: "connect-bad-token-cli", attempt: []func(*Attempt){withClient("cli", "cli"), withToken("wrong")},
			message: "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)", detail: "AUTH_TOKEN_MISMATCH"},
		{name: "connect-bad-token", attempt: []func(*Attempt){withToken("wrong")},
			message: "unauthorized: gateway token mismatch (provide gateway auth token)", detail: "AUTH_TOKEN_MISMATCH"},
		{name: "wrong token of a web page", attempt: []func(*Attempt){withClient("webchat", "webchat"), withHeader("Origin", "https://ui.example.com"), withToken("wrong")},
			message: "unauthorized: gateway token mismatch (open the dashboard URL and paste the token in Control UI settings)", detail: "AUTH_TOKEN_MISMATCH"},
		{name: "missing token of the command line", attempt: []func(*Attempt){withClient("cli", "cli"), withoutAuth, known.signs()},
			message: "unauthorized: gateway token missing (set gateway.remote.token to match gateway.auth.token)", detail: "AUTH_TOKEN_MISSING"},
		{name: "connect-no-auth-device", attempt: []func(*Attempt){withoutAuth, known.signs()},
			message: "unauthorized: gateway token missing (provide gateway auth token)", detail: "AUTH_TOKEN_MISSING"},
		{name: "connect-no-auth-no-device", attempt: []func(*Attempt){withoutAuth},
			code: "NOT_PAIRED", message: "device identity required", detail: "DEVICE_IDENTITY_REQUIRED"},
		{name: "empty token is no token", attempt: []func(*Attempt){withToken("")},
			code: "NOT_PAIRED", message: "device identity required", detail: "DEVICE_IDENTITY_REQUIRED"},
		{name: "connect-password-to-token-mode", attempt: []func(*Attempt){func(a *Attempt) {
			a.Params.Auth = wire.Some(protocol.ConnectAuth{Password: wire.Some("x")})
		}}, message: "unauthorized: gateway token missing (provide gateway auth token)", detail: "AUTH_TOKEN_MISSING"},
		{name: "connect-control-ui-bad-origin", attempt: []func(*Attempt){withClient(controlUI, webchat), withHeader("Origin", "https://evil.example"), known.signs()},
			message: originText, detail: "ORIGIN_NOT_ALLOWED"},
		{name: "connect-control-ui-no-origin", attempt: []func(*Attempt){withClient(controlUI, webchat)},
			message: originText, detail: "ORIGIN_NOT_ALLOWED"},
		{name: "control page without device", attempt: []func(*Attempt){withClient(controlUI, webchat), withHeader("Origin", "http://127.0.0.1:18789")},
			message: "control ui requires HTTPS or localhost (secure context)", detail: "SECURE_CONTEXT_REQUIRED"},
		{name: "control page of the other family, wrong token too", attempt: []func(*Attempt){withClient("coderclaw-control-ui", "ui"), withHeader("Origin", "http://127.0.0.1:18789"), withToken("wrong")},
			message: "control ui requires HTTPS or localhost (secure context)", detail: "SECURE_CONTEXT_REQUIRED"},
		{name: "connect-device-bad-devicetoken", attempt: []func(*Attempt){withToken(strings.Repeat("A", 43)), known.signs()},
			message: "unauthorized: device token mismatch (rotate/reissue device token)", detail: "AUTH_DEVICE_TOKEN_MISMATCH"},
		{name: "connect-device-bad-nonce", attempt: []func(*Attempt){known.signsAt(time.Now(), "deadbeef")},
			message: "device nonce mismatch", detail: "DEVICE_NONCE_MISMATCH"},
		{name: "connect-device-bad-sig", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.Signature = strings.Repeat("A", 86) })},
			message: "device signature invalid", detail: "DEVICE_SIGNATURE_INVALID"},
		{name: "signature that is not base64", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.Signature = "%" })},
			message: "device signature invalid", detail: "DEVICE_SIGNATURE_INVALID"},
		{name: "connect-device-id-mismatch", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.ID = strings.Repeat("0", 64) })},
			message: "device identity mismatch", detail: "DEVICE_ID_MISMATCH"},
		{name: "id in capitals is another id", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.ID = strings.ToUpper(d.ID) })},
			message: "device identity mismatch", detail: "DEVICE_ID_MISMATCH"},
		{name: "key of another device", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.PublicKey = encodeKey(other.public); d.ID = other.id() })},
			message: "device signature invalid", detail: "DEVICE_SIGNATURE_INVALID"},
		{name: "undecodable key", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.PublicKey = "x" })},
			message: "device public key invalid", detail: "DEVICE_PUBLIC_KEY_INVALID"},
		{name: "connect-device-stale", attempt: []func(*Attempt){known.signsAt(time.Now().Add(-11*time.Minute), testNonce)},
			message: "device signature expired", detail: "DEVICE_SIGNATURE_EXPIRED"},
		{name: "signedAt at the end of time", attempt: []func(*Attempt){known.signs(func(d *protocol.ConnectDevice) { d.SignedAt = 1<<63 - 1 })},
			message: "device signature expired", detail: "DEVICE_SIGNATURE_EXPIRED"},
		{name: "connect-device-v1-nononce is refused unless a setting allows it", attempt: []func(*Attempt){known.signsAt(time.Now(), "")},
			message: "device nonce required", detail: "DEVICE_NONCE_REQUIRED"},
		{name: "connect-remote-host-device-nononce", attempt: []func(*Attempt){withHost("gw.example.com"), known.signsAt(time.Now(), "")},
			message: "device nonce required", detail: "DEVICE_NONCE_REQUIRED"},
		{name: "connect-invalid-role", attempt: []func(*Attempt){withRole("admin")}, message: "invalid role", detail: "ROLE_INVALID"},
		{name: "role in capitals", attempt: []func(*Attempt){withRole("Operator")}, message: "invalid role", detail: "ROLE_INVALID"},
		{name: "node-without-device", attempt: []func(*Attempt){withRole("node"), withScopes()},
			code: "NOT_PAIRED", message: "device identity required", detail: "DEVICE_IDENTITY_REQUIRED"},
		{name: "unlisted host", attempt: []func(*Attempt){withHost("evil.example:18789")}, message: hostText, detail: "HOST_NOT_ALLOWED"},
		{name: "no host", attempt: []func(*Attempt){withHost("")}, message: hostText, detail: "HOST_NOT_ALLOWED"},
		{name: "protocol before role", attempt: []func(*Attempt){withRole("admin"), func(a *Attempt) { a.Params.MaxProtocol = 2; a.Params.MinProtocol = 1 }},
			message: "protocol mismatch", detail: "PROTOCOL_MISMATCH"},
		{name: "host before origin", attempt: []func(*Attempt){withHost("evil.example"), withHeader("Origin", "http://evil.example")},
			message: hostText, detail: "HOST_NOT_ALLOWED"},
		{name: "origin before secret", attempt: []func(*Attempt){withHeader("Origin", "http://evil.example"), withToken("wrong")},
			message: originText, detail: "ORIGIN_NOT_ALLOWED"},
		{name: "device before secret", attempt: []func(*Attempt){withoutAuth, known.signs(func(d *protocol.ConnectDevice) { d.ID = "x" })},
			message: "device identity mismatch", detail: "DEVICE_ID_MISMATCH"},
		{name: "separator inside a scope", attempt: []func(*Attempt){withScopes("operator.read,operator.admin"), known.signs()},
			message: "device signature invalid", detail: "DEVICE_SIGNATURE_INVALID"},
	}
	f := newFixture(t, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := f.refusal(t, attempt(c.attempt...))
			if c.code == "" {
				c.code = "INVALID_REQUEST"
			}
			require.Equal(t, c.code, r.Err.Code)
			require.Equal(t, c.message, r.Err.Message)
			require.Equal(t, c.detail, details(t, r)["code"])
			require.NotEmpty(t, details(t, r)["recommendedNextStep"])
			require.Equal(t, c.message[:min(len(c.message), 120)], r.CloseReason)
			if c.message != "protocol mismatch" {
				require.Equal(t, 1008, r.CloseCode)
			}
		})
	}
	_, paired := f.stored(t, known.id())
	require.False(t, paired, "none of these refusals paired the device")
	require.Empty(t, f.waiting(t), "nor left a request")
}

func TestConnectProtocolRange(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		oldest, newest int64
		ok             bool
	}{{3, 3, true}, {1, 9, true}, {1, 2, false}, {4, 9, false}, {9, 1, false}} {
		a := attempt(func(a *Attempt) { a.Params.MinProtocol, a.Params.MaxProtocol = c.oldest, c.newest })
		if c.ok {
			f.grant(t, a)
			continue
		}
		r := f.refusal(t, a)
		require.Equal(t, 1002, r.CloseCode)
		require.Equal(t, "protocol mismatch", r.CloseReason)
		require.EqualValues(t, 3, details(t, r)["expectedProtocol"])
	}
}

// A secret without a device opens the door and nothing behind it.
func TestConnectWithoutDeviceHasNoScopes(t *testing.T) {
	f := newFixture(t, nil)
	for name, a := range map[string]Attempt{
		"connect-ok-token-nodevice":          attempt(),
		"connect-remote-host-header":         attempt(withHost("gw.example.com")),
		"role left out":                      attempt(func(a *Attempt) { a.Params.Role = wire.Opt[string]{} }),
		"page from an allowed origin":        attempt(withClient("webchat-ui", "ui"), withHeader("Origin", "https://ui.example.com")),
		"page on another host, ip as origin": attempt(withClient("webchat", "ui"), remotely, withHeader("Origin", "http://192.0.2.1:18789")),
	} {
		t.Run(name, func(t *testing.T) {
			g := f.grant(t, a)
			require.Equal(t, []string{}, g.Scopes)
			require.Equal(t, protocol.RoleOperator, g.Role)
			require.Equal(t, PrincipalSecret, g.Principal)
			require.Empty(t, g.DeviceID)
			require.False(t, g.Auth.Set)
		})
	}
}

func TestConnectWithoutScopesHasNone(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(d.signs()))
	g := f.grant(t, attempt(withScopes(), d.signs()))
	require.Equal(t, []string{}, g.Scopes, "a device that is approved for more keeps what it asked for: nothing")
	require.Equal(t, fullScopes(), g.Auth.V.Scopes)
}

func TestConnectPairsALocalDeviceWithTheSecret(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	g := f.grant(t, attempt(d.signs()))
	require.Equal(t, fullScopes(), g.Scopes)
	require.Equal(t, d.id(), g.DeviceID)
	require.Equal(t, d.id(), g.Principal)
	require.True(t, g.Local)
	require.Empty(t, g.ClientIP)
	auth := g.Auth.V
	require.Len(t, auth.DeviceToken, 43)
	require.Equal(t, protocol.RoleOperator, auth.Role)
	require.Equal(t, fullScopes(), auth.Scopes)
	require.InDelta(t, time.Now().UnixMilli(), auth.IssuedAtMs.V, 60_000)

	upgraded := f.grant(t, attempt(withScopes(protocol.ScopeOperatorAdmin, protocol.ScopeOperatorRead, protocol.ScopeOperatorTalkSecrets), d.signs()))
	require.Equal(t, []string{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorRead, protocol.ScopeOperatorTalkSecrets}, upgraded.Scopes)

	node := f.grant(t, attempt(withRole("node"), withScopes(protocol.ScopeOperatorAdmin), d.signs()))
	require.Equal(t, protocol.RoleNode, node.Role)
	require.Equal(t, []string{}, node.Scopes, "a node holds no operator scope, whatever it names")
	require.Equal(t, []string{}, node.Auth.V.Scopes)
	require.Equal(t, protocol.RoleNode, node.Auth.V.Role)
}

// The command line of 2026.2.19 is first seen with one scope and then with three.
func TestConnectUpgradesALocalDeviceSilently(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(withClient("gateway-client", "backend"), withScopes(protocol.ScopeOperatorRead), d.signs()))
	g := f.grant(t, attempt(withClient("cli", "cli"), d.signs()))
	require.Equal(t, fullScopes(), g.Scopes)
	require.Equal(t, append([]string{protocol.ScopeOperatorRead}, fullScopes()...), g.Auth.V.Scopes)
}

// Each case lacks one of the conditions under which a device approves itself.
func TestConnectAsksWhenNotSilent(t *testing.T) {
	cases := []struct {
		name string
		edit func(*Attempt)
	}{
		{"connect-remote-host-device-pairing-required", withHost("gw.example.com")},
		{"connect-xff-untrusted-pairing-required", withHeader("X-Forwarded-For", "1.2.3.4")},
		{"remote-ip-device-pairing", remotely},
		{"remote address, loopback name", withRemote("192.0.2.9:1")},
		{"own host name", withHost("workbench:18789")},
		{"tailnet name on loopback", withHost("gw.example.com:443")},
		{"empty forwarding header", withHeader("X-Forwarded-For", "")},
		{"forwarded for loopback", withHeader("Forwarded", "for=127.0.0.1")},
		{"via", withHeader("Via", "1.1 proxy")},
		{"cloudflare", withHeader("CF-Connecting-IP", "203.0.113.1")},
		{"tailscale", withHeader("Tailscale-User-Login", "me@example.com")},
		{"nginx", withHeader("X-Real-IP", "127.0.0.1")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			stranger, reader := newFakeDevice(), newFakeDevice()
			f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), reader.signs()))
			for kind, a := range map[string]Attempt{
				"unknown device": attempt(c.edit, stranger.signs()),
				"scope upgrade":  attempt(c.edit, reader.signs()),
				"role upgrade":   attempt(c.edit, withRole("node"), reader.signs()),
			} {
				r := f.refusal(t, a)
				require.Equal(t, "NOT_PAIRED", r.Err.Code, kind)
				require.Equal(t, "pairing required", r.Err.Message, kind)
				require.Equal(t, "pairing required", r.CloseReason, kind)
				require.Equal(t, 1008, r.CloseCode, kind)
				require.Equal(t, "PAIRING_REQUIRED", details(t, r)["code"], kind)
				id := details(t, r)["requestId"].(string)
				require.Contains(t, f.waiting(t), id, kind)
				require.Equal(t, kind != "unknown device", f.waiting(t)[id].IsRepair, kind)
			}
			_, paired := f.stored(t, stranger.id())
			require.False(t, paired)
			d, _ := f.stored(t, reader.id())
			require.Equal(t, []string{protocol.ScopeOperatorRead}, d.Roles[protocol.RoleOperator].Scopes)
			require.NotContains(t, d.Roles, protocol.RoleNode)

			g := f.grant(t, attempt(c.edit, withScopes(protocol.ScopeOperatorRead), reader.signs()))
			require.Equal(t, []string{protocol.ScopeOperatorRead}, g.Scopes, "what was approved before works from anywhere")
			require.False(t, g.Local)
		})
	}
}

// Being local and holding a device token is not the proof of the 0600 file.
func TestDeviceTokenNeverUpgradesItself(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	token := f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs())).Auth.V.DeviceToken
	for name, edit := range map[string]func(*Attempt){"scope": withScopes(protocol.ScopeOperatorAdmin), "role": withRole("node")} {
		r := f.refusal(t, attempt(edit, withToken(token), d.signs()))
		require.Equal(t, "unauthorized: device token mismatch (rotate/reissue device token)", r.Err.Message, name)
	}
	require.Empty(t, f.waiting(t))
}

func TestScopesThatNobodyKnowsAreDropped(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	g := f.grant(t, attempt(withScopes("operator.future", protocol.ScopeOperatorRead, "*", protocol.ScopeOperatorRead), d.signs()))
	require.Equal(t, []string{protocol.ScopeOperatorRead}, g.Scopes)
	stored, _ := f.stored(t, d.id())
	require.Equal(t, []string{protocol.ScopeOperatorRead}, stored.Roles[protocol.RoleOperator].Scopes)
}

// The signature is over scopes as sent, the token verbatim, role, client and nonce:
// changing any after signing is refused.
func TestSignatureCoversTheConnect(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	changes := map[string]func(*Attempt){
		"scope order": withScopes(protocol.ScopeOperatorPairing, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorAdmin),
		"more scopes": withScopes(append(fullScopes(), protocol.ScopeOperatorRead)...),
		"no scopes":   withScopes(),
		"role":        withRole("node"),
		"token":       withToken("tok3"),
		"client id":   withClient("cli", "test"),
		"client mode": withClient("test", "backend"),
	}
	for name, change := range changes {
		r := f.refusal(t, attempt(d.signs(), change))
		require.Equal(t, "device signature invalid", r.Err.Message, name)
	}
	replayed := attempt(d.signs())
	f.grant(t, replayed)
	replayed.Nonce = "another connection's"
	require.Equal(t, "device nonce mismatch", f.refusal(t, replayed).Err.Message)
}

// The text of a v2 signature, spelled out once.
func TestSignedText(t *testing.T) {
	c := &claim{
		client: protocol.ConnectClient{ID: "cli", Mode: "cli"}, role: "operator", asked: []string{"operator.read", "operator.write"},
		device: protocol.ConnectDevice{ID: "abc", SignedAt: 1795344433024},
		auth:   protocol.ConnectAuth{Token: wire.Some("tok2"), Password: wire.Some("never signed")},
	}
	require.Equal(t, "v2|abc|cli|cli|operator|operator.read,operator.write|1795344433024|tok2|n-1", signedText(c, "n-1"))
	require.Equal(t, "v1|abc|cli|cli|operator|operator.read,operator.write|1795344433024|tok2", signedText(c, ""))
}

// The recorded device of connect-device-v2-autoapprove.jsonl signed this with a
// client of its own.
func TestRecordedSignature(t *testing.T) {
	key, err := parsePublicKey("ombYX5k8haq__ee_mjjmNH3J6qBe4K8lcSf1qmoTZfM")
	require.NoError(t, err)
	require.Equal(t, "2a426ead17d1b72040be024f0d0dc6e1916c0d58fc8bde28a5d9071d97a37be0", deviceID(key))
	c := &claim{
		client: protocol.ConnectClient{ID: "test", Mode: "test"}, role: "operator", asked: fullScopes(),
		device: protocol.ConnectDevice{ID: deviceID(key), SignedAt: 1795344367872},
		auth:   protocol.ConnectAuth{Token: wire.Some(testToken)},
	}
	const signature = "33chiVxlzs9AgKOsMKADw6jYGFUH0mZu2QPYU3HzRBKn-kHESoSKFthD1ZJBHbg_qhNdH5WX_g-NVL3qq35YCA"
	require.True(t, signatureOK(key, signedText(c, "b3b3c98d-56d4-41f4-84dc-50aba366c413"), signature))
	require.False(t, signatureOK(key, signedText(c, "b3b3c98d-56d4-41f4-84dc-50aba366c414"), signature))
}

func TestSkew(t *testing.T) {
	cases := []struct {
		name   string
		off    time.Duration
		nonce  string
		legacy bool
		remote bool
		want   string
	}{
		{name: "ten minutes behind", off: -600 * time.Second, nonce: testNonce},
		{name: "ten minutes ahead", off: 600 * time.Second, nonce: testNonce},
		{name: "a millisecond more behind", off: -600*time.Second - time.Millisecond, nonce: testNonce, want: "device signature expired"},
		{name: "a millisecond more ahead", off: 600*time.Second + time.Millisecond, nonce: testNonce, want: "device signature expired"},
		{name: "v1 when allowed", off: -120 * time.Second, legacy: true},
		{name: "v1 when allowed but old", off: -120*time.Second - time.Millisecond, legacy: true, want: "device signature expired"},
		{name: "v1 when not allowed", want: "device nonce required"},
		{name: "v1 from afar", legacy: true, remote: true, want: "device nonce required"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, func(cfg *Config) { cfg.AllowLegacySignature = c.legacy })
				edits := []func(*Attempt){newFakeDevice().signsAt(time.Now().Add(c.off), c.nonce)}
				if c.remote {
					edits = append(edits, remotely)
				}
				if c.want == "" {
					f.grant(t, attempt(edits...))
					return
				}
				require.Equal(t, c.want, f.refusal(t, attempt(edits...)).Err.Message)
			})
		})
	}
}

// A signature without a challenge lets one connect in, whoever shows it.
func TestLegacySignaturesAreUsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(cfg *Config) { cfg.AllowLegacySignature = true })
		d := newFakeDevice()
		signed := attempt(d.signsAt(time.Now(), ""))
		f.grant(t, signed)
		again := signed
		again.Nonce = "an" + testNonce
		require.Equal(t, "device nonce required", f.refusal(t, again).Err.Message)
		otherwise := again
		otherwise.Params.Device.V.Signature = base64.StdEncoding.EncodeToString(must(base64.RawURLEncoding.DecodeString(signed.Params.Device.V.Signature)))
		require.Equal(t, "device nonce required", f.refusal(t, otherwise).Err.Message, "in another alphabet too")
		time.Sleep(time.Millisecond)
		f.grant(t, attempt(d.signsAt(time.Now(), "")))
		f.grant(t, attempt(d.signs()))
		f.grant(t, attempt(d.signs()))

		for i := range replaysMax {
			f.replays.use(fmt.Sprint(i), time.Now().Add(legacySkewMax))
		}
		require.Len(t, f.replays.until, replaysMax)
		require.Equal(t, "device nonce required", f.refusal(t, attempt(newFakeDevice().signsAt(time.Now(), ""))).Err.Message)
		time.Sleep(legacySkewMax + time.Millisecond)
		f.grant(t, attempt(newFakeDevice().signsAt(time.Now(), "")))
		require.Len(t, f.replays.until, 1, "what is too old is forgotten")
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCloseReasonIsCutBetweenRunes(t *testing.T) {
	long := strings.Repeat("x", 119) + "äöü"
	r := invalid(protocol.DetailRoleInvalid, long)
	require.Equal(t, strings.Repeat("x", 119), r.CloseReason)
	require.Equal(t, long, r.Err.Message)
	require.Equal(t, strings.Repeat("x", 120), invalid(protocol.DetailRoleInvalid, strings.Repeat("x", 121)).CloseReason)
	require.True(t, utf8.ValidString(clip(strings.Repeat("€", 99), 120)))
}

func TestRefusalRepeatsHeadersBounded(t *testing.T) {
	f := newFixture(t, nil)
	r := f.refusal(t, attempt(withHost(strings.Repeat("h", 5000)+"\xff")))
	require.Len(t, details(t, r)["host"], 256)
	r = f.refusal(t, attempt(withHeader("Origin", "https://evil.example")))
	require.Equal(t, "https://evil.example", details(t, r)["origin"])
}

func TestSecretsStayOutOfTheLogAndTheStore(t *testing.T) {
	const secret = "s3cret-of-the-gateway"
	f := newFixture(t, func(c *Config) { c.Token = settings.NewSecret(secret) })
	d := newFakeDevice()
	token := f.grant(t, attempt(withToken(secret), d.signs())).Auth.V.DeviceToken
	f.grant(t, attempt(withToken(token), d.signs()))
	f.refusal(t, attempt(withToken("wrong-secret"), d.signs()))
	require.Contains(t, f.log.String(), d.id(), "pairing is logged")
	stored, _ := f.stored(t, d.id())
	dump := f.log.String() + fmt.Sprintf("%+v %#v", stored, *stored.Roles[protocol.RoleOperator])
	for _, text := range []string{secret, token, "wrong-secret", base64.StdEncoding.EncodeToString([]byte(secret))} {
		require.NotContains(t, dump, text)
	}
}

func TestConnectConcurrently(t *testing.T) {
	f := newFixture(t, nil)
	shared := newFakeDevice()
	ctx, cancel := context.WithCancel(context.Background())
	var runs, group sync.WaitGroup
	runs.Go(func() { require.NoError(t, f.Run(ctx)) })
	for range 8 {
		group.Go(func() {
			own := newFakeDevice()
			for range 4 {
				for _, d := range []fakeDevice{shared, own} {
					g, err := f.Connect(ctx, attempt(d.signs()))
					if err != nil {
						t.Error(err)
						return
					}
					// Others may have pushed the shared device's token out; never our own.
					again, err := f.Connect(ctx, attempt(withToken(g.Auth.V.DeviceToken), d.signs()))
					if d.id() == own.id() && (err != nil || again.Auth.V.DeviceToken != g.Auth.V.DeviceToken) {
						t.Error("the device's own token was not accepted", err)
					}
				}
			}
			if _, err := f.Connect(ctx, attempt(remotely, newFakeDevice().signs())); err == nil {
				t.Error("a remote stranger was let in")
			}
		})
	}
	group.Wait()
	cancel()
	runs.Wait()
	d, ok := f.stored(t, shared.id())
	require.True(t, ok)
	require.Len(t, d.Roles[protocol.RoleOperator].Tokens, tokensMax)
	require.Len(t, f.waiting(t), 8)
}

// FuzzConnect feeds the decision what a stranger can choose. Whatever comes, the
// answer is a grant or a refusal, and no grant has a scope without a device.
func FuzzConnect(f *testing.F) {
	f.Add("test", "test", "operator", "operator.admin", "tok2", "127.0.0.1:1", "localhost", "", "", "", "", int64(0), uint8(0))
	f.Add("cli", "cli", "node", "a,b", "wrong", "[::1]", "http://x", "X-Forwarded-For", "id", "key", "sig", int64(-1), uint8(7))
	fx := newFixture(f, func(c *Config) { c.AllowLegacySignature = true })
	real := newFakeDevice()
	f.Fuzz(func(t *testing.T, id, mode, role, scope, token, host, origin, header, deviceID, key, signature string, signedAt int64, flags uint8) {
		a := attempt(withClient(protocol.GatewayClientId(id), protocol.GatewayClientMode(mode)), withRole(role), withScopes(scope), withToken(token), withHost(host))
		if origin != "" {
			a.Header.Set("Origin", origin)
		}
		if header != "" {
			a.Header[header] = []string{""}
		}
		if flags&1 != 0 {
			remotely(&a)
		}
		if flags&2 != 0 {
			a.Params.Device = wire.Some(protocol.ConnectDevice{ID: deviceID, PublicKey: key, Signature: signature, SignedAt: max(signedAt, 0)})
		}
		if flags&4 != 0 {
			real.signs()(&a)
		}
		g, err := fx.Connect(context.Background(), a)
		if err != nil {
			var r *Refusal
			require.ErrorAs(t, err, &r)
			require.LessOrEqual(t, len(r.CloseReason), 120)
			return
		}
		require.NotNil(t, g.Scopes)
		require.Equal(t, g.DeviceID != "", g.Auth.Set)
		if g.DeviceID == "" {
			require.Empty(t, g.Scopes)
		}
	})
}
