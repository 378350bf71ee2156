package identity

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
)

const (
	mismatchText = "unauthorized: gateway token mismatch (provide gateway auth token)"
	tokenText    = "unauthorized: device token mismatch (rotate/reissue device token)"
)

// guesses sends n wrong secrets and returns the answers in order, equal ones once.
func (f *fixture) guesses(t *testing.T, n int, edits ...func(*Attempt)) []string {
	t.Helper()
	var texts []string
	for range n {
		text := f.refusal(t, attempt(append([]func(*Attempt){withToken("wrong")}, edits...)...)).Err.Message
		if len(texts) == 0 || texts[len(texts)-1] != text {
			texts = append(texts, text)
		}
	}
	return texts
}

// The tenth failure begins the lockout; the eleventh is told so. This host is no
// exception (entry 9).
func TestLockout(t *testing.T) {
	for name, from := range map[string]func(*Attempt){"loopback": withRemote("127.0.0.1:1"), "remote": remotely} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				require.Equal(t, []string{mismatchText}, f.guesses(t, DefaultAttemptsMax, from))
				require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, from))
				f.grant(t, attempt(from)) // the right one is weighed (entry 14)
				require.Equal(t, []string{mismatchText}, f.guesses(t, 1, from), "and ends the lockout")
			})
		})
	}
}

// During a lockout only the reserve is weighed: a right secret after it is not
// found out by guessing on.
func TestLockoutBoundsWhatIsWeighed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.guesses(t, DefaultAttemptsMax+reserveMax, remotely)
		r := f.refusal(t, attempt(remotely))
		require.Equal(t, rateLimitedText, r.Err.Message)
		require.Equal(t, "AUTH_RATE_LIMITED", details(t, r)["code"])
		require.Equal(t, rateLimitedText, r.CloseReason)
		require.Equal(t, (DefaultLockout / reserveShare).Milliseconds(), *r.Err.RetryAfterMs)

		time.Sleep(DefaultLockout / reserveShare)
		f.guesses(t, 1, remotely)
		require.Equal(t, rateLimitedText, f.refusal(t, attempt(remotely)).Err.Message, "one more was weighed, and it was spent")
		time.Sleep(DefaultLockout / reserveShare)
		f.grant(t, attempt(remotely))

		f.guesses(t, DefaultAttemptsMax+reserveMax, remotely)
		time.Sleep(DefaultLockout)
		require.Equal(t, []string{mismatchText}, f.guesses(t, DefaultAttemptsMax, remotely), "a lockout ends")
	})
}

func TestWindowSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		for range 5 {
			f.guesses(t, DefaultAttemptsMax-1, remotely)
			time.Sleep(DefaultWindow)
		}
		require.Equal(t, []string{mismatchText}, f.guesses(t, DefaultAttemptsMax, remotely))
	})
}

// Entry 14: who floods the owner's address does not lock the owner's device out.
func TestPairedDevicePassesDuringALockout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d, fresh := newFakeDevice(), newFakeDevice()
		token := f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
		f.guesses(t, 1000)
		for range tokensMax - 1 {
			require.Equal(t, fullScopes(), f.grant(t, attempt(d.signs())).Scopes)
			f.grant(t, attempt(withToken(token), d.signs()))
		}
		f.grant(t, attempt(fresh.signs())) // guesses without a key do not spend the reserve of those with one
		require.Equal(t, []string{tokenText, rateLimitedText}, f.guesses(t, 20, d.signs0()), "its own guesses are counted (entry 10)")
		require.Equal(t, rateLimitedText, f.refusal(t, attempt(d.signs())).Err.Message)
		f.grant(t, attempt(newFakeDevice().signs()))
	})
}

// signs0 signs when it is applied, after the edits before it.
func (d fakeDevice) signs0() func(*Attempt) { return func(a *Attempt) { d.signs()(a) } }

// Entry 10: a device object does not take a guess out of the count.
func TestUnknownDevicesAreCountedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		var last string
		for range DefaultAttemptsMax + 1 {
			last = f.refusal(t, attempt(remotely, withToken("wrong"), newFakeDevice().signs())).Err.Message
		}
		require.Equal(t, rateLimitedText, last)
		for range reserveMax {
			f.refusal(t, attempt(remotely, withToken("wrong"), newFakeDevice().signs()))
		}
		require.Equal(t, rateLimitedText, f.refusal(t, attempt(remotely, newFakeDevice().signs())).Err.Message)
	})
}

// Entry 12: the kinds of credential do not forgive each other.
func TestDeviceTokenDoesNotForgiveGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		token := f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
		for range DefaultAttemptsMax - 1 {
			f.guesses(t, 1, d.signs0())
			f.grant(t, attempt(withToken(token), d.signs()))
		}
		require.Equal(t, []string{tokenText, rateLimitedText}, f.guesses(t, 2, d.signs0()))
		g := f.grant(t, attempt(withToken(token), d.signs()))
		require.False(t, g.BySecret)
	})
}

// Every connect by device token tries the token as the shared secret first.
func TestDeviceTokensAreNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		token := f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
		for range 5 * DefaultAttemptsMax {
			f.grant(t, attempt(withToken(token), d.signs()))
		}
		require.Empty(t, f.limiter.sources)
		for range 5 * DefaultAttemptsMax {
			f.refusal(t, attempt(withoutAuth))
		}
		require.Empty(t, f.limiter.sources, "nor is a missing secret")
	})
}

// Entry 11.
func TestAddressesAreCanonical(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.9": "192.0.2.9", "::ffff:192.0.2.9": "192.0.2.9", "2001:db8:1:2:3::9": "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"127.0.0.1": "local", "127.9.9.9": "local", "::1": "local", "::ffff:127.0.0.1": "local",
	} {
		require.Equal(t, want, addressSource(netip.MustParseAddr(text)), text)
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		for i := range DefaultAttemptsMax {
			f.guesses(t, 1, remotely, withRemote([]string{"192.0.2.9:1", "[::ffff:192.0.2.9]:1"}[i%2]))
		}
		require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, remotely))
		require.Equal(t, []string{mismatchText}, f.guesses(t, 1, remotely, withRemote("192.0.2.10:1")))
		for i := range DefaultAttemptsMax {
			f.guesses(t, 1, remotely, withRemote(fmt.Sprintf("[2001:db8::%x]:1", i+1)))
		}
		require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, remotely, withRemote("[2001:db8::ffff:1]:1")))
	})
}

// Many addresses together are bounded too, and neither this host nor a paired
// device pays for it.
func TestGlobalLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		f.grant(t, attempt(d.signs()))
		far := func(i int) func(*Attempt) {
			return withRemote(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1).String())
		}
		for i := range globalFactor*DefaultAttemptsMax + reserveMax {
			f.guesses(t, 1, remotely, far(i))
		}
		require.Equal(t, rateLimitedText, f.refusal(t, attempt(remotely, far(60000))).Err.Message)
		f.grant(t, attempt())
		f.grant(t, attempt(remotely, far(60000), d.signs()))
	})
}

// Entry 13.
func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter(Limits{})
	for i := range 100_000 {
		l.judge(source{kind: sharedCredential, from: fromDevice + fmt.Sprint(i)}, false)
	}
	l.judge(source{kind: sharedCredential, from: "192.0.2.9"}, false)
	require.Len(t, l.sources, sourcesMax)
	require.Equal(t, sourcesMax, l.recent.Len())
	require.Contains(t, l.sources, source{kind: sharedCredential, from: fromDevice + "99999"})
	require.LessOrEqual(t, len(l.global), 1)
}

// Entries 102 and 104.
func TestBearerCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		ctx, addr := context.Background(), netip.MustParseAddr("127.0.0.1")
		for range 100 {
			ok, after := f.BearerCheck(ctx, addr, "")
			require.False(t, ok)
			require.Zero(t, after)
		}
		for range DefaultAttemptsMax {
			ok, after := f.BearerCheck(ctx, addr, "wrong")
			require.False(t, ok)
			require.Zero(t, after)
		}
		for range reserveMax {
			_, after := f.BearerCheck(ctx, addr, "wrong")
			require.Equal(t, DefaultLockout/reserveShare, after)
		}
		ok, after := f.BearerCheck(ctx, addr, testToken)
		require.False(t, ok, "the limiter comes first")
		require.Equal(t, DefaultLockout/reserveShare, after)
		require.Equal(t, rateLimitedText, f.refusal(t, attempt()).Err.Message, "both doors count together")
		time.Sleep(after)
		ok, after = f.BearerCheck(ctx, addr, testToken)
		require.True(t, ok)
		require.Zero(t, after)
	})
}

// Entry 5: the old secret is refused at once, wherever it is shown.
func TestSetSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		device := f.grant(t, attempt(d.signs()))
		bare := f.grant(t, attempt())
		byToken := f.grant(t, attempt(withToken(device.Auth.V.DeviceToken), d.signs()))
		f.told.take()

		require.Error(t, f.SetSecret(context.Background(), settings.NewSecret("undefined")))
		require.NoError(t, f.SetSecret(context.Background(), settings.NewSecret(testToken)))
		require.Empty(t, f.told.take(), "the same again changes nothing")
		stopping, stop := context.WithCancel(context.Background())
		stop()
		require.NoError(t, f.SetSecret(stopping, settings.NewSecret("another")), "what is in force is recorded")
		require.Equal(t, []string{"secret 1"}, f.told.take())
		require.False(t, f.isSecret(testToken))
		require.True(t, f.isSecret("another"))
		require.Equal(t, mismatchText, f.refusal(t, attempt()).Err.Message)
		require.Equal(t, tokenText, f.refusal(t, attempt(d.signs())).Err.Message)
		f.grant(t, attempt(withToken("another"), d.signs()))
		for _, c := range []struct {
			grant Grant
			want  bool
		}{{device, false}, {bare, false}, {byToken, true}} {
			holds, err := f.Holds(c.grant)
			require.NoError(t, err)
			require.Equal(t, c.want, holds)
		}
		require.Equal(t, "local", f.recorded(t, "secret.change").Actor)
		require.NotContains(t, f.log.String(), "another")
	})
	f := newFixture(t, proxied(protocol.AuthModeTrustedProxy))
	require.Error(t, f.SetSecret(context.Background(), settings.NewSecret("x")))
	require.False(t, f.isSecret(""))
}

// Guesses that arrive together are not answered more often than guesses in a row.
func TestParallelGuessesAreCountedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		const guessers = 200
		texts := make(chan string, guessers)
		weighed := make(chan bool, guessers)
		for range guessers {
			go func() { texts <- f.refusal(t, attempt(remotely, withToken("wrong"))).Err.Message }()
			go func() {
				weighed <- f.limiter.judge(source{kind: tokenCredential, from: "192.0.2.9"}, false).weighed
			}()
		}
		told, counted := 0, 0
		for range guessers {
			if <-texts == mismatchText {
				told++
			}
			if <-weighed {
				counted++
			}
		}
		require.Equal(t, DefaultAttemptsMax, told)
		require.Equal(t, DefaultAttemptsMax+reserveMax, counted)
	})
}

// A lockout of the tokens does not make guesses at the shared secret free.
func TestALockoutOfTokensPaysForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		stranger := newFakeDevice()
		f.guesses(t, DefaultAttemptsMax+reserveMax, remotely, stranger.signs0())
		time.Sleep(DefaultLockout / reserveShare)
		require.Equal(t, "pairing required", f.refusal(t, attempt(remotely, newFakeDevice().signs())).Err.Message, "the owner is let in, and ends the lockout of the secret only")
		f.guesses(t, 1, remotely, stranger.signs0())
		f.guesses(t, DefaultAttemptsMax+reserveMax, remotely, stranger.signs0())
		require.Equal(t, rateLimitedText, f.refusal(t, attempt(remotely, stranger.signs())).Err.Message)
	})
}

// Who is refused without being weighed does not use up what others have left.
func TestTheReserveIsSpentByWhatIsWeighed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Limits{})
		at := func(i int) source { return source{kind: sharedCredential, from: fmt.Sprintf("198.51.100.%d", i)} }
		for range DefaultAttemptsMax + reserveMax {
			require.True(t, l.judge(at(0), false).weighed)
		}
		for i := range (globalFactor-1)*DefaultAttemptsMax - reserveMax {
			l.judge(at(1+i), false)
		}
		for range 10 * reserveMax {
			require.False(t, l.judge(at(0), false).weighed)
		}
		require.True(t, l.judge(at(200), true).right)
	})
}
