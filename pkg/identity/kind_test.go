package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func withMachine(platform, family string) func(*Attempt) {
	return func(a *Attempt) {
		a.Params.Client.Platform = platform
		if family != "" {
			a.Params.Client.DeviceFamily = wire.Some(family)
		}
	}
}

// signsText signs what text makes of the second form.
func (d fakeDevice) signsText(text func(second string) string) func(*Attempt) {
	return func(a *Attempt) {
		object := protocol.ConnectDevice{ID: d.id(), PublicKey: encodeKey(d.public), SignedAt: time.Now().UnixMilli(), Nonce: wire.Some(a.Nonce)}
		c := &claim{client: a.Params.Client, auth: a.Params.Auth.V, device: object, role: a.Params.Role.Or(protocol.RoleOperator), asked: a.Params.Scopes}
		object.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.private, []byte(text(signedText(c, a.Nonce)))))
		a.Params.Device = wire.Some(object)
	}
}

func third(platform, family string) func(string) string {
	return func(second string) string {
		return "v3" + strings.TrimPrefix(second, "v2") + "|" + platform + "|" + family
	}
}

func TestThirdFormOfSignature(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	machine := withMachine(" iOS 18.3", "iPhone")
	f.grant(t, attempt(machine, d.signsText(third("ios 18.3", "iphone"))))
	f.grant(t, attempt(machine, d.signsText(third(" iOS 18.3", "iPhone"))))
	f.grant(t, attempt(machine, d.signs()))
	f.grant(t, attempt(newFakeDevice().signsText(third("linux", ""))))
	for name, a := range map[string]Attempt{
		"another platform":      attempt(machine, d.signsText(third("linux", "iphone"))),
		"another family":        attempt(machine, d.signsText(third("ios 18.3", "ipad"))),
		"fields left out":       attempt(machine, d.signsText(third("", ""))),
		"changed after signing": attempt(machine, d.signsText(third("ios 18.3", "iphone")), withMachine("macos", "Mac")),
		"first form's name":     attempt(d.signsText(func(s string) string { return "v1" + strings.TrimPrefix(s, "v2") + "|linux|" })),
		"fourth form":           attempt(d.signsText(func(s string) string { return "v4" + strings.TrimPrefix(s, "v2") + "|linux|" })),
		"bar in the platform":   attempt(withMachine("ios|x", ""), d.signsText(third("ios|x", ""))),
		"bar in the family":     attempt(withMachine("ios", "x|y"), d.signsText(third("ios", "x|y"))),
	} {
		require.Equal(t, "device signature invalid", f.refusal(t, a).Err.Message, name)
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct{ platform, family, want string }{
		{"iOS 18.3", "iPhone", "ios"}, {"iPadOS 18", "iPad", "ios"}, {"android 15", "", "android"}, {"darwin", "", "macos"}, {"macOS 15.1", "Mac", "macos"},
		{"win32", "", "windows"}, {"Windows 11", "", "windows"}, {"linux", "Linux", "linux"}, {"", "iPhone", "ios"}, {"web", "Mac", "macos"},
		{"web", "", "unknown"}, {"", "", "unknown"}, {"xlinux", "", "unknown"}, {" LINUX\x00 ", "", "linux"},
	} {
		require.Equal(t, c.want, kindOf(c.platform, c.family).Platform, "%q %q", c.platform, c.family)
	}
	long := kindOf("linux", strings.Repeat("x", 500))
	require.Len(t, long.Family, detailBytesMax)
}

// Entry 48: a node that comes back as another kind of machine, which may offer other
// commands, asks again. A new version of the same does not.
func TestKindIsPinned(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	node := []func(*Attempt){withRole(protocol.RoleNode), withScopes()}
	as := func(platform, family string, more ...func(*Attempt)) Attempt {
		return attempt(append(append(append([]func(*Attempt){withMachine(platform, family)}, node...), more...), d.signs0())...)
	}
	g := f.grant(t, as("iOS 18.3", "iPhone"))
	require.Equal(t, "ios", g.Platform)
	token := withToken(g.Auth.V.DeviceToken)
	for _, same := range []Attempt{as("iOS 19.0", "iPhone", token), as("ios", "", token, remotely), as("iPadOS 18", "IPHONE ", token), as("iOS 20", "iPhone", remotely)} {
		require.Equal(t, "ios", f.grant(t, same).Platform)
	}
	ids := map[string]bool{}
	for name, other := range map[string]Attempt{
		"by device token":        as("macOS 15", "iPhone", token),
		"by device token afar":   as("linux", "", token, remotely),
		"by the secret afar":     as("darwin", "Mac", remotely),
		"another family":         as("iOS 18.3", "iPad", token),
		"unknown":                as("web", "iPhone2", token),
		"a family of its choice": as("", "Mac mini", token),
	} {
		r := f.refusal(t, other)
		require.Equal(t, "pairing required", r.Err.Message, name)
		id := details(t, r)["requestId"].(string)
		if r, ok := f.waiting(t)[id]; ok {
			require.True(t, r.IsRepair, name)
		}
		require.False(t, ids[id], name)
		ids[id] = true
	}
	stored, _ := f.stored(t, d.id())
	require.Equal(t, kind{"ios", "iphone"}, stored.Pin)

	f.told.take()
	id := details(t, f.refusal(t, as("linux", "", token, remotely)))["requestId"].(string)
	_, err := f.Approve(context.Background(), local, id)
	require.NoError(t, err)
	require.Contains(t, f.told.take(), "changed "+d.id()[:4]+` ""`, "connections as what it was are closed")
	require.Equal(t, "linux", f.grant(t, as("linux", "", token, remotely)).Platform)
	f.refusal(t, as("iOS 18.3", "iPhone", token))
	require.Equal(t, "ios", f.grant(t, as("iOS 18.3", "iPhone")).Platform, "on this host, with the secret, it approves itself")
}
