package settings

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordedForeign is what a config of the original may hold beside our keys.
const recordedForeign = `{
  commands: {native: "auto", restart: true}, // ours says nothing of commands
  hooks: {enabled: true, token: "hook-secret-1", allowedAgentIds: ["a"]},
  gateway: {port: 18841, http: {endpoints: {responses: {enabled: true}}}},
  channels: {telegram: {botToken: "tele-secret-2", dmPolicy: "pairing", allowFrom: [1, 2]}},
  cron: {enabled: true, webhookUrl: "https://hook-secret-3@x.example.com/y"},
  plugins: {entries: {voice: {config: {number: "plug-secret-4"}}}},
  tools: {web: {search: {apiKey: "tool-secret-5", maxTokens: 2000, provider: "brave"}}},
  messages: {ackReactionScope: "group-mentions", headers: {"X-Thing": "head-secret-6"}},
  talk: {apiKey: "${TALK_KEY}", maxTokens: 12, url: "https://user:url-secret-7@h/x"},
}
`

func TestForeignKeysAreKeptAndTold(t *testing.T) {
	src := folder(t, map[string]string{configFileName: recordedForeign})
	src.Getenv = env("TALK_KEY", "talk-secret-8")
	d := read(t, src)
	require.NoError(t, d.Err())
	require.Equal(t, 18841, d.Settings.Gateway.Port)

	var told []string
	for _, w := range d.Warnings {
		require.Contains(t, w.Message, "is kept but has no effect: this gateway does not have")
		told = append(told, w.String())
	}
	require.Len(t, told, 9)
	require.Equal(t, "line 2: commands is kept but has no effect: this gateway does not have settings of chat commands yet", told[0])
	require.Contains(t, strings.Join(told, "\n"), "line 4: gateway.http is kept")
	require.Contains(t, strings.Join(told, "\n"), "line 8: tools.web is kept")

	v := d.View()
	for name, text := range map[string][]byte{"raw": v.Raw, "parsed": v.Parsed, "resolved": v.Resolved, "config": v.Config} {
		require.NotRegexp(t, `secret-\d`, string(text), name)
		for _, kept := range []string{"auto", "brave", "pairing", "group-mentions", "2000"} {
			require.Contains(t, string(text), kept, name)
		}
	}
	require.Contains(t, string(v.Raw), "// ours says nothing of commands")
	require.Contains(t, string(v.Raw), `"${TALK_KEY}"`, "a reference is no secret")
	var config map[string]map[string]any
	require.NoError(t, json.Unmarshal(v.Config, &config))
	require.Equal(t, Redacted, config["talk"]["apiKey"])
	require.EqualValues(t, 12, config["talk"]["maxTokens"], "a number of tokens is no token")
	require.Equal(t, map[string]any{"endpoints": map[string]any{"responses": map[string]any{"enabled": true}}}, config["gateway"]["http"])

	restored, issues, err := d.Restore(v.Raw)
	require.NoError(t, err)
	require.Empty(t, issues)
	require.Equal(t, recordedForeign, string(restored), "what was shown may be sent back")
}

func TestForeignKeysThatRestrictAreFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{tools: {deny: ["exec"]}}`:                          "unknown key tools.deny",
		`{tools: {web: {}, exec: {security: "deny"}}}`:       "unknown key tools.exec",
		`{approvals: {exec: {enabled: true}}}`:               "unknown key approvals",
		`{commands: {allowFrom: {telegram: [1]}}}`:           "commands.allowFrom restricts what others may do",
		`{commands: {useAccessGroups: true}}`:                "commands.useAccessGroups restricts",
		`{session: {sendPolicy: {default: "deny"}}}`:         "session.sendPolicy restricts",
		`{agents: {defaults: {sandbox: {mode: "all"}}}}`:     "unknown key agents.defaults.sandbox",
		`{agents: {list: [{id: "a"}, {tools: {deny: []}}]}}`: "unknown key agents.list[1].tools",
		`{gateway: {nodes: {denyCommands: ["x"]}}}`:          "unknown key gateway.nodes",
		`{gateway: {tools: {deny: ["x"]}}}`:                  "unknown key gateway.tools",
		`{gateway: {auth: {allowUsers: ["x"]}}}`:             "unknown key gateway.auth.allowUsers",
		`{gateway: {tls: {caPath: "x"}}}`:                    "unknown key gateway.tls.caPath",
		`{gateway: {controlUi: {allowInsecureAuth: true}}}`:  "unknown key gateway.controlUi.allowInsecureAuth",
		`{logging: {redactPatterns: ["x"]}}`:                 "unknown key logging.redactPatterns",
		`{gateway: {remote: {transport: "ssh"}}}`:            "unknown key gateway.remote.transport",
		`{hooks: {token: "a", token: "b"}}`:                  "hooks.token is given twice",
		`{tools: {web: {}, web: {}}}`:                        "tools.web is given twice",
		`{channel: {}}`:                                      "unknown key channel",
	} {
		d := Compile(Source{Getenv: noEnv}, []byte(text))
		require.ErrorContains(t, d.Err(), want, text)
	}
	d := Compile(Source{Getenv: noEnv}, []byte(`{agents: {defaults: {blockStreamingDefault: "off"}}, channels: {x: {allowFrom: [1]}}}`))
	require.NoError(t, d.Err(), "a name that only looks like one, and a restriction of what is not there at all")
}

// TestForeignKeysAreNotOurs fails when a key has come into the struct tree: its row
// must go then.
func TestForeignKeysAreNotOurs(t *testing.T) {
	ours := map[string]bool{}
	for _, k := range Keys() {
		ours[k.Path] = true
	}
	seen := map[string]bool{}
	for _, row := range foreignKeys {
		require.False(t, ours[row.path], "%s is a key of ours now: take its row out of foreignKeys", row.path)
		require.False(t, seen[row.path], "%s stands there twice", row.path)
		require.NotEmpty(t, row.lacks, row.path)
		seen[row.path] = true
		for _, never := range []string{"gateway.auth", "gateway.tls", "gateway.trustedProxies", "gateway.proxySecret", "approvals", "gateway.nodes", "gateway.tools"} {
			require.False(t, row.path == never || strings.HasPrefix(row.path, never+"."), "%s must not be ignored", row.path)
		}
	}
}

func TestFindForeign(t *testing.T) {
	for path, secret := range map[string]bool{"hooks.token": true, "hooks.enabled": false, "gateway.http.endpoints.responses.enabled": false, "plugins.x": true, "env.vars.A": true} {
		k, ok := FindForeign(path)
		require.True(t, ok, path)
		require.Equal(t, secret, k.Secret, path)
	}
	for _, path := range []string{"gateway.port", "tools", "tools.deny", "gateway.auth.x", "nope", ""} {
		_, ok := FindForeign(path)
		require.False(t, ok, path)
	}
}

func TestChangedKeys(t *testing.T) {
	src := Source{Getenv: noEnv}
	a := Compile(src, []byte(`{hooks: {enabled: true}, gateway: {port: 1}, cron: {enabled: true}}`))
	b := Compile(src, []byte(`{hooks: {enabled: false}, gateway: {port: 2}, cron: {enabled: /* the same */ true}, talk: {}}`))
	require.Equal(t, []string{"gateway.port", "hooks", "talk"}, ChangedKeys(a, b))
	require.Equal(t, []string{"gateway.port", "hooks", "talk"}, ChangedKeys(b, a))
	require.Empty(t, ChangedKeys(a, a))
}

func TestHidingOf(t *testing.T) {
	for name, want := range map[string]hiding{
		"token": hideText, "botToken": hideText, "maxTokens": hideText, "webhookUrl": hideText,
		"apiKey": hideAll, "api_key": hideAll, "client-secret": hideAll, "Password": hideAll, "headers": hideAll, "privateKeyPath": hideAll,
		"enabled": hideNothing, "sessionKey": hideNothing, "keys": hideNothing, "model": hideNothing,
	} {
		require.Equal(t, want, hidingOf(name), name)
	}
}

// A hidden text may be an ordinary word: it must not be torn out of keys, other values
// and comments.
func TestHiddenWordsStayElsewhere(t *testing.T) {
	const text = `// use openai, or config-source; old: abcdef-abcdef
{
  plugins: {entries: {voice: {provider: "openai"}}},
  channels: {x: {tokenSource: "config", configWrites: true, botToken: "abcdef-abcdef"}},
  models: {providers: {openai: {baseUrl: "http://127.0.0.1:1"}}}, agents: {defaults: {model: "openai/m"}},
}
`
	d := Compile(Source{Getenv: noEnv}, []byte(text))
	require.NoError(t, d.Err())
	shown := string(d.View().Raw)
	require.Contains(t, shown, "// use openai, or config-source; old: "+Redacted)
	require.Contains(t, shown, `configWrites: true, botToken: "`+Redacted)
	require.Contains(t, shown, `model: "openai/m"`)
	restored, issues, err := d.Restore([]byte(shown))
	require.NoError(t, err)
	require.Empty(t, issues)
	require.Equal(t, strings.Replace(text, "old: abcdef-abcdef", "old: "+Redacted, 1), string(restored))
}
