package identity

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	testToken = "tok2"
	testNonce = "bd0cf9c7-9381-448e-b05d-96cb43805862"
)

func fullScopes() []string {
	return []string{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing}
}

// fixture is a Guard on a store of its own, and what it logged.
type fixture struct {
	*Guard
	db  *store.DB
	dir string
	log *bytes.Buffer
	cfg Config
	// told are the events, one line each; record is the audit.
	told   *spy
	record *audit.Log
}

// spy writes down the events that it is told.
type spy struct {
	mu    sync.Mutex
	lines []string
}

func (s *spy) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// take returns what was told since the last call.
func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func (s *spy) PairRequested(p Pending) { s.add("requested %s %v", p.Role, p.Scopes) }
func (s *spy) PairResolved(p Pending, decision string, _ int64) {
	s.add("%s %s %v silent=%v", decision, p.Role, p.Scopes, p.Silent)
}
func (s *spy) AuthorityChanged(deviceID, role string) { s.add("changed %s %q", deviceID[:4], role) }
func (s *spy) SecretChanged(generation uint64)        { s.add("secret %d", generation) }
func (s *spy) NodePairRequested(p PendingNode)        { s.add("node requested %s", p.NodeID) }
func (s *spy) NodePairResolved(p PendingNode, decision string, _ int64) {
	s.add("node %s %s", decision, p.NodeID)
}

// newFixture opens a store and a Guard; change edits the configuration.
func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), log: &bytes.Buffer{}}
	f.cfg = Config{
		Token:          settings.NewSecret(testToken),
		Hostname:       "Workbench",
		AllowedHosts:   []string{"gw.example.com"},
		AllowedOrigins: []string{"https://ui.example.com"},
		Log:            slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	f.told = new(spy)
	f.cfg.Events = f.told
	if change != nil {
		change(&f.cfg)
	}
	f.open(t)
	t.Cleanup(func() { require.NoError(t, f.db.Close()) })
	return f
}

func (f *fixture) open(t testing.TB) {
	db, err := store.Open(store.Options{Dir: f.dir})
	require.NoError(t, err)
	f.db, f.cfg.DB = db, db
	f.record, err = audit.New(audit.Config{DB: db})
	require.NoError(t, err)
	f.cfg.Audit = f.record
	f.Guard, err = New(f.cfg)
	require.NoError(t, err)
}

func (f *fixture) restart(t testing.TB) {
	require.NoError(t, f.db.Close())
	f.open(t)
}

// grant connects and requires success.
func (f *fixture) grant(t testing.TB, a Attempt) Grant {
	t.Helper()
	g, err := f.Connect(context.Background(), a)
	require.NoError(t, err)
	return g
}

// refusal connects and requires a refusal.
func (f *fixture) refusal(t testing.TB, a Attempt) *Refusal {
	t.Helper()
	g, err := f.Connect(context.Background(), a)
	var r *Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, Grant{}, g, "a refusal grants nothing")
	return r
}

func (f *fixture) stored(t testing.TB, id string) (device, bool) {
	t.Helper()
	var d device
	var ok bool
	require.NoError(t, f.db.View(func(tx *store.Tx) (err error) {
		d, ok, err = devices.Get(tx, id)
		return err
	}))
	return d, ok
}

func (f *fixture) waiting(t testing.TB) map[string]request {
	t.Helper()
	all := map[string]request{}
	require.NoError(t, f.db.View(func(tx *store.Tx) error {
		for row, err := range pending.All(tx) {
			if err != nil {
				return err
			}
			all[row.Key] = row.Value
		}
		return nil
	}))
	return all
}

// details decodes a refusal's details.
func details(t testing.TB, r *Refusal) map[string]any {
	t.Helper()
	var d map[string]any
	require.NoError(t, json.Unmarshal(r.Err.Details, &d))
	return d
}

// attempt is a local connect of the test client without device; edits change it.
func attempt(edits ...func(*Attempt)) Attempt {
	a := Attempt{
		Params: protocol.ConnectParams{
			MinProtocol: 3, MaxProtocol: 3,
			Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "0.0.1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
			Role:   wire.Some(protocol.RoleOperator),
			Scopes: fullScopes(),
			Auth:   wire.Some(protocol.ConnectAuth{Token: wire.Some(testToken)}),
		},
		Nonce:      testNonce,
		RemoteAddr: netip.MustParseAddrPort("127.0.0.1:40000"),
		LocalAddr:  netip.MustParseAddrPort("127.0.0.1:18789"),
		Host:       "127.0.0.1:18789",
		Header:     http.Header{},
	}
	for _, edit := range edits {
		edit(&a)
	}
	return a
}

func withToken(token string) func(*Attempt) {
	return func(a *Attempt) { a.Params.Auth = wire.Some(protocol.ConnectAuth{Token: wire.Some(token)}) }
}

func withoutAuth(a *Attempt) { a.Params.Auth = wire.Opt[protocol.ConnectAuth]{} }

func withScopes(scopes ...string) func(*Attempt) {
	return func(a *Attempt) { a.Params.Scopes = scopes }
}

func withRole(role string) func(*Attempt) {
	return func(a *Attempt) { a.Params.Role = wire.Some(role) }
}

func withHeader(key, value string) func(*Attempt) {
	return func(a *Attempt) { a.Header.Add(key, value) }
}

func withHost(host string) func(*Attempt) { return func(a *Attempt) { a.Host = host } }

func withRemote(addr string) func(*Attempt) {
	return func(a *Attempt) { a.RemoteAddr = netip.MustParseAddrPort(addr) }
}

func withClient(id protocol.GatewayClientId, mode protocol.GatewayClientMode) func(*Attempt) {
	return func(a *Attempt) { a.Params.Client.ID, a.Params.Client.Mode = id, mode }
}

// remotely makes the connect come from another machine.
func remotely(a *Attempt) {
	a.RemoteAddr, a.Host = netip.MustParseAddrPort("192.0.2.9:4000"), "192.0.2.1:18789"
}

// fakeDevice is a device with its key.
type fakeDevice struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newFakeDevice() fakeDevice {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return fakeDevice{public, private}
}

func (d fakeDevice) id() string { return deviceID(d.public) }

// signs makes the connect the device's. It belongs after the edits of what is
// signed; tamper changes the device object after that.
func (d fakeDevice) signs(tamper ...func(*protocol.ConnectDevice)) func(*Attempt) {
	return func(a *Attempt) {
		object := protocol.ConnectDevice{
			ID: d.id(), PublicKey: encodeKey(d.public), SignedAt: time.Now().UnixMilli(), Nonce: wire.Some(a.Nonce),
		}
		d.sign(a, &object)
		for _, edit := range tamper {
			edit(&object)
		}
		a.Params.Device = wire.Some(object)
	}
}

// signsAt is signs with another clock and nonce; an empty nonce signs the first form.
func (d fakeDevice) signsAt(at time.Time, nonce string) func(*Attempt) {
	return func(a *Attempt) {
		object := protocol.ConnectDevice{ID: d.id(), PublicKey: encodeKey(d.public), SignedAt: at.UnixMilli()}
		if nonce != "" {
			object.Nonce = wire.Some(nonce)
		}
		d.sign(a, &object)
		a.Params.Device = wire.Some(object)
	}
}

func (d fakeDevice) sign(a *Attempt, object *protocol.ConnectDevice) {
	c := &claim{
		client: a.Params.Client, auth: a.Params.Auth.V, device: *object,
		role: a.Params.Role.Or(protocol.RoleOperator), asked: a.Params.Scopes,
	}
	object.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.private, []byte(signedText(c, object.Nonce.V))))
}

func TestNewRefusesAGuardWithoutSecret(t *testing.T) {
	f := newFixture(t, nil)
	for _, token := range []string{"", " ", "undefined", "null"} {
		cfg := f.cfg
		cfg.Token = settings.NewSecret(token)
		_, err := New(cfg)
		require.ErrorContains(t, err, "gateway token", "token %q", token)
	}
	_, err := New(Config{Token: settings.NewSecret("x")})
	require.ErrorContains(t, err, "needs a store")
}

// isSecret compares without counting, which no caller of the product may.
func (g *Guard) isSecret(text string) bool { return g.secret.Load().matches(text) }

func TestSecretIsComparedWhole(t *testing.T) {
	f := newFixture(t, nil)
	require.True(t, f.isSecret(testToken))
	for _, wrong := range []string{"", "tok", "tok22", "TOK2", "tok2 ", "tok2\x00"} {
		require.False(t, f.isSecret(wrong), "%q", wrong)
	}
}

func TestStoreFailureIsNoRefusal(t *testing.T) {
	f := newFixture(t, nil)
	require.NoError(t, f.db.Close())
	for name, a := range map[string]Attempt{
		"by secret": attempt(newFakeDevice().signs()),
		"by token":  attempt(withToken("x"), newFakeDevice().signs()),
	} {
		_, err := f.Connect(context.Background(), a)
		require.ErrorIs(t, err, store.ErrClosed, name)
		var r *Refusal
		require.False(t, errors.As(err, &r), name)
	}
}
