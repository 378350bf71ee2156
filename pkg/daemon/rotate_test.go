package daemon

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
)

// tokenHouse is a house whose secret is in its token file.
func tokenHouse(t *testing.T) *house {
	t.Helper()
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	require.NoError(t, settings.WriteToken(h.dir, settings.NewSecret(testToken)))
	h.fromFile = true
	h.start()
	return h
}

// bearer asks for the metrics with a secret, as something behind a proxy that nobody
// configured, so that the secret decides.
func (h *house) bearer(secret string) int {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http"+h.url()[len("ws"):]+"/metrics", nil)
	require.NoError(h.t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Via", "1.1 somebody")
	res, err := http.DefaultClient.Do(req)
	require.NoError(h.t, err)
	require.NoError(h.t, res.Body.Close())
	return res.StatusCode
}

var secretChanged = client.CloseError{Code: protocol.CloseGatewaySecretChangedCode, Reason: protocol.CloseGatewaySecretChanged}

// Entry 5: a new token file is in force without a restart, on every door, and what
// came in by the old secret is closed. Who holds a device token stays.
func TestANewTokenFileIsTakenWhileTheGatewayRuns(t *testing.T) {
	h := tokenHouse(t)
	id := newIdentity(t)
	bySecret := h.visit("lamp", as(id, protocol.ScopeOperatorRead))
	byDevice := h.visit("lamp", as(id, protocol.ScopeOperatorRead), byToken(bySecret.Hello().Auth.V.DeviceToken))
	require.Equal(t, http.StatusOK, h.bearer(testToken))

	next := testToken + "-next"
	require.NoError(t, settings.WriteToken(h.dir, settings.NewSecret(next)))
	require.Equal(t, secretChanged, bySecret.ended())
	require.Equal(t, http.StatusUnauthorized, h.bearer(testToken))
	require.Equal(t, http.StatusOK, h.bearer(next))
	require.Contains(t, h.refused(as(newIdentity(t))).Message, "unauthorized")
	byDevice.alive()
	second := h.visit("desk", byToken(next))

	// What is no secret changes nothing, nor does a file that is gone for a while or
	// half a file that somebody still writes.
	path := filepath.Join(h.dir, settings.TokenFileName)
	for _, text := range []string{"", "  \n", "undefined\n", "null"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.Error(t, h.d.rotateSecret(t.Context()), "%q", text)
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, h.d.rotateSecret(t.Context()))
	require.NoFileExists(t, path, "none is made up")
	second.alive()
	require.Equal(t, http.StatusOK, h.bearer(next))

	// A file that is written in place counts as well.
	third := testToken + "-third"
	require.NoError(t, os.WriteFile(path, []byte(third), 0o600))
	require.Equal(t, secretChanged, second.ended())
	require.Equal(t, http.StatusOK, h.bearer(third))
	byDevice.alive()

	h.restart()
	require.Equal(t, http.StatusOK, h.bearer(third))
	records, err := h.d.audit.List(audit.Query{})
	require.NoError(t, err)
	changes := 0
	for _, r := range records {
		if r.Action == audit.ActionSecretChange {
			changes++
			require.Equal(t, audit.Allowed, r.Decision)
		}
	}
	require.Equal(t, 2, changes)
}

// The config is the other place that a secret lives in. A mode is not changed while
// the gateway runs, and a config that is wrong changes nothing.
func TestANewSecretInTheConfigIsTakenWhileTheGatewayRuns(t *testing.T) {
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	path := filepath.Join(h.dir, "coderclaw.json")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(`{gateway: {auth: {mode: "password", password: "` + testToken + `"}}}`)
	h.fromFile = true
	h.start()
	byPassword := func(password string) func(*client.Options) {
		return func(o *client.Options) { o.Token, o.Password = "", password }
	}
	first := h.visit("desk", byPassword(testToken))
	require.NoError(t, settings.ReplaceSecret(path, "gateway.auth.password", settings.NewSecret(testToken+"-next")))
	require.Equal(t, secretChanged, first.ended())
	second := h.visit("desk", byPassword(testToken+"-next"))
	require.Contains(t, h.refused(byPassword(testToken)).Message, "gateway password mismatch")

	for _, faulty := range []string{`{gateway: {auth: {mode: "password", password: "null"}}}`, `{gateway: {`} {
		write(faulty)
		h.d.config.look()
		require.NoError(t, h.d.rotateSecret(t.Context()), "what was accepted before holds")
	}
	require.Contains(t, h.logs.String(), "config change refused", "it is said in the log")
	write(`{gateway: {auth: {mode: "token", token: "` + testToken + `"}}}`)
	h.d.config.look()
	require.ErrorContains(t, h.d.rotateSecret(t.Context()), "restart the gateway to change it")
	second.alive()
}

func TestReplacedFilesAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	files := []string{path, path + "-none"}
	none := lookAt(files)
	require.NoError(t, os.WriteFile(path, []byte("a"), 0o600))
	one := lookAt(files)
	require.NotEqual(t, none, one)
	require.True(t, one.replaced(none), "a new file")
	require.NoError(t, os.WriteFile(path, []byte("ab"), 0o600))
	two := lookAt(files)
	require.NotEqual(t, one, two)
	require.False(t, two.replaced(one), "written in place: maybe not to its end")
	require.NoError(t, os.WriteFile(path+"-next", []byte("abc"), 0o600))
	require.NoError(t, os.Rename(path+"-next", path))
	require.True(t, lookAt(files).replaced(two))
}
