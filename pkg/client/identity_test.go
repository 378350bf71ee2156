package client

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func identityPath(dir string) string { return filepath.Join(dir, "identity", "device.json") }

func TestLoadIdentityMakesOneThatNodeClientsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	id, err := LoadIdentity(dir)
	require.NoError(t, err)

	var f map[string]any
	data, err := os.ReadFile(identityPath(dir))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &f))
	require.EqualValues(t, 1, f["version"])
	require.Equal(t, id.DeviceID, f["deviceId"])
	require.NotZero(t, f["createdAtMs"])

	block, rest := pem.Decode([]byte(f["publicKeyPem"].(string)))
	require.NotNil(t, block)
	require.Empty(t, rest)
	require.Equal(t, "PUBLIC KEY", block.Type)
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	key := parsed.(ed25519.PublicKey)
	sum := sha256.Sum256(key)
	require.Equal(t, hex.EncodeToString(sum[:]), id.DeviceID)
	require.Equal(t, base64.RawURLEncoding.EncodeToString(key), id.PublicKey())
	sig, err := base64.RawURLEncoding.DecodeString(id.Sign("text"))
	require.NoError(t, err)
	require.True(t, ed25519.Verify(key, []byte("text"), sig))

	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Dir(identityPath(dir)): 0o700, identityPath(dir): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
	again, err := LoadIdentity(dir)
	require.NoError(t, err)
	require.Equal(t, id, again)
}

// The file of a Node client, whose key is the test vector 1 of RFC 8032.
func TestLoadIdentityReadsANodeClientsFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "identity"), 0o700))
	require.NoError(t, os.WriteFile(identityPath(dir), []byte(`{
  "version": 1,
  "deviceId": "not what the key says",
  "publicKeyPem": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
  "privateKeyPem": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
  "createdAtMs": 1700000000000,
  "label": "unknown to us"
}`), 0o644))
	id, err := LoadIdentity(dir)
	require.NoError(t, err)
	require.Equal(t, int64(1700000000000), id.CreatedAtMs)
	require.Equal(t, "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9", id.DeviceID, "the id is derived from the key")
	info, err := os.Stat(identityPath(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "a readable key is made private")
}

func TestLoadIdentityLeavesADamagedFileAlone(t *testing.T) {
	for name, content := range map[string]string{
		"empty":         "",
		"not JSON":      "{",
		"no key":        `{"version":1,"deviceId":"x"}`,
		"other version": `{"version":2}`,
		"foreign key":   `{"version":1,"privateKeyPem":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "identity"), 0o700))
			require.NoError(t, os.WriteFile(identityPath(dir), []byte(content), 0o600))
			_, err := LoadIdentity(dir)
			require.ErrorContains(t, err, "damaged")
			data, err := os.ReadFile(identityPath(dir))
			require.NoError(t, err)
			require.Equal(t, content, string(data))
		})
	}
}

func TestLoadIdentityAtOnceGivesOneIdentity(t *testing.T) {
	dir := t.TempDir()
	ids := make([]*Identity, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, err := LoadIdentity(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.NotNil(t, id)
		require.Equal(t, ids[0].DeviceID, id.DeviceID)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "identity"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
}

func TestTokens(t *testing.T) {
	const here, there = "ws://localhost:18789", "wss://gw.example.com:443"
	store := func(t *testing.T) (*Tokens, string) {
		dir := t.TempDir()
		return OpenTokens(dir, "dev-1"), filepath.Join(dir, "identity", "device-auth.json")
	}
	get := func(t *testing.T, s *Tokens, origin string, loopback bool) string {
		token, err := s.Get(origin, "operator", loopback)
		require.NoError(t, err)
		return token
	}

	t.Run("a token goes to the gateway that issued it only", func(t *testing.T) {
		s, path := store(t)
		require.Empty(t, get(t, s, there, false))
		require.NoError(t, s.Put(there, "operator", "tok", []string{"operator.admin"}))
		require.Equal(t, "tok", get(t, s, there, false))
		require.Empty(t, get(t, s, here, true))
		require.Empty(t, get(t, s, "wss://gw.example.com:8443", false))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
	t.Run("a Node client's entry without a gateway serves loopback", func(t *testing.T) {
		s, path := store(t)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(`{"version":1,"deviceId":"dev-1","tokens":{"operator":{"token":"node","role":"operator","scopes":[],"updatedAtMs":1}}}`), 0o600))
		require.Equal(t, "node", get(t, s, here, true))
		require.Empty(t, get(t, s, there, false))
	})
	t.Run("another device's file and a damaged one count as empty", func(t *testing.T) {
		for _, content := range []string{`{"version":1,"deviceId":"dev-2","tokens":{"operator":{"token":"x"}}}`, `{`, `null`} {
			s, path := store(t)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			require.Empty(t, get(t, s, here, true), content)
			require.NoError(t, s.Put(here, "operator", "new", nil))
			require.Equal(t, "new", get(t, s, here, true))
		}
	})
	t.Run("drop forgets the refused token, not its successor", func(t *testing.T) {
		s, _ := store(t)
		require.NoError(t, s.Put(here, "operator", "second", nil))
		require.NoError(t, s.Drop("operator", "first"))
		require.Equal(t, "second", get(t, s, here, true))
		require.NoError(t, s.Drop("operator", "second"))
		require.Empty(t, get(t, s, here, true))
	})
	t.Run("an equal token is not written again", func(t *testing.T) {
		s, path := store(t)
		require.NoError(t, s.Put(here, "operator", "same", []string{"a"}))
		before, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, s.Put(here, "operator", "same", []string{"a"}))
		after, err := os.Stat(path)
		require.NoError(t, err)
		require.True(t, os.SameFile(before, after))
	})
	t.Run("roles written at once are all kept", func(t *testing.T) {
		s, _ := store(t)
		var wg sync.WaitGroup
		roles := []string{"operator", "node", "a", "b", "c", "d"}
		for _, role := range roles {
			wg.Go(func() {
				if err := OpenTokens(filepath.Dir(filepath.Dir(s.path)), "dev-1").Put(here, role, "tok-"+role, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, role := range roles {
			token, err := s.Get(here, role, true)
			require.NoError(t, err)
			require.Equal(t, "tok-"+role, token)
		}
	})
}

func TestParseAddress(t *testing.T) {
	for _, tc := range []struct {
		raw, url, origin string
		loopback         bool
	}{
		{"ws://127.0.0.1:18789", "ws://127.0.0.1:18789", "ws://localhost:18789", true},
		{"ws://localhost:18789/path", "ws://localhost:18789/path", "ws://localhost:18789", true},
		{"ws://[::1]:1", "ws://[::1]:1", "ws://localhost:1", true},
		{"ws://[::ffff:127.0.0.1]:1", "ws://[::ffff:127.0.0.1]:1", "ws://localhost:1", true},
		{"http://127.8.9.1", "ws://127.8.9.1", "ws://localhost:80", true},
		{"https://GW.example.com", "wss://GW.example.com", "wss://gw.example.com:443", false},
		{"wss://gw.example.com:8443", "wss://gw.example.com:8443", "wss://gw.example.com:8443", false},
		{"ws://127.evil.com:1", "ws://127.evil.com:1", "ws://127.evil.com:1", false},
		{"ws://localhost.evil.com:1", "ws://localhost.evil.com:1", "ws://localhost.evil.com:1", false},
		{"ws://0.0.0.0:1", "ws://0.0.0.0:1", "ws://0.0.0.0:1", false},
		{"ws://192.168.1.5:1", "ws://192.168.1.5:1", "ws://192.168.1.5:1", false},
	} {
		addr, err := ParseAddress(tc.raw)
		require.NoError(t, err, tc.raw)
		require.Equal(t, tc.url, addr.String(), tc.raw)
		require.Equal(t, tc.origin, addr.Origin(), tc.raw)
		require.Equal(t, tc.loopback, addr.Loopback, tc.raw)
	}
	for _, raw := range []string{"", "127.0.0.1:18789", "ftp://x", "ws://", "ws://SECRET@127.0.0.1", "ws://u:SECRET@127.0.0.1:1", "ws://127.0.0.1?token=SECRET", "ws://127.0.0.1#SECRET", "ws://[SECRET", "ws://h:SECRET"} {
		_, err := ParseAddress(raw)
		require.Error(t, err, raw)
		require.NotContains(t, err.Error(), "SECRET", raw)
	}
}
