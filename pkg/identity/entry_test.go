package identity

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestSetEntry(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.AllowedHosts, c.AllowedOrigins, c.Hostname = []string{"old.example"}, nil, "box.lan"
	})
	holds := func(g Grant) bool {
		ok, err := f.Holds(g)
		require.NoError(t, err)
		return ok
	}
	early := f.grant(t, attempt())
	require.False(t, f.SetEntry(Entry{AllowedHosts: []string{"old.example", "New.example"}}), "one more name is no reason to close anything")
	require.True(t, holds(early))
	for _, host := range []string{"old.example", "new.example:18789", "localhost", "box.lan", "box.local", "127.0.0.1"} {
		require.True(t, f.HostAllowed(host), host)
	}

	require.False(t, f.SetEntry(Entry{AllowedHosts: []string{"old.example", "new.example"}, AllowedOrigins: []string{"https://ui.example"}}))
	require.True(t, f.SetEntry(Entry{AllowedHosts: []string{"new.example"}, AllowedOrigins: []string{"https://ui.example"}}))
	require.False(t, f.HostAllowed("old.example"))
	require.True(t, f.HostAllowed("box.lan"), "the machine's own names stay")
	require.False(t, holds(early), "who was let in by the old rules on the way in comes again")
	require.True(t, holds(f.grant(t, attempt())))

	require.True(t, f.SetEntry(Entry{AllowedHosts: []string{"new.example"}}), "an origin less")
	proxy := netip.MustParsePrefix("127.0.0.0/8")
	require.True(t, f.SetEntry(Entry{AllowedHosts: []string{"new.example"}, TrustedProxies: []netip.Prefix{proxy}}), "a proxy says where others are")
	require.False(t, f.SetEntry(Entry{AllowedHosts: []string{"new.example"}, TrustedProxies: []netip.Prefix{proxy}}), "the same again")
	addr, ok := f.ClientAddr(netip.MustParseAddrPort("127.0.0.1:5"), map[string][]string{"X-Forwarded-For": {"203.0.113.9"}})
	require.True(t, ok)
	require.Equal(t, "203.0.113.9", addr.String())
}

func TestSetEntryKeepsWhatIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		require.Equal(t, []string{mismatchText}, f.guesses(t, 2, remotely))
		f.SetEntry(Entry{Limits: Limits{AttemptsMax: 3}})
		require.Equal(t, []string{mismatchText}, f.guesses(t, 1, remotely))
		require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, remotely), "three wrong ones, two of them under the old limit")
	})
}
