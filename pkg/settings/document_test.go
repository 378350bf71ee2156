package settings

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// folder writes files below a new folder and returns a source for its config.
func folder(t *testing.T, files map[string]string) Source {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return Source{Path: filepath.Join(dir, configFileName), Getenv: noEnv}
}

func read(t *testing.T, src Source) *Document {
	t.Helper()
	d, err := Read(src)
	require.NoError(t, err)
	return d
}

func TestIncludes(t *testing.T) {
	src := folder(t, map[string]string{
		configFileName:     `{$include: ["base.json5", "parts/more.json5"], gateway: {port: 3}, agents: {defaults: {$include: "parts/model.json5", contextTokens: 7}}}`,
		"base.json5":       `{gateway: {port: 1, maxBufferedBytes: 65536, allowedHosts: ["a", "b"]}, ui: {seamColor: "#111111"}}`,
		"parts/more.json5": `{gateway: {port: 2, allowedHosts: ["c"], $include: "./deep.json5"}, ui: {seamColor: "#222222"}}`,
		"parts/deep.json5": `{auth: {token: "from-the-deep-1"}}`,
		// Names are relative to the file they stand in, and may go up as long as they stay below the config's folder.
		"parts/model.json5": `{model: "openai/m", contextTokens: 1, $include: "../empty.json5"}`,
		"empty.json5":       "\n",
	})
	d := read(t, src)
	require.NoError(t, d.Err())
	s := d.Settings
	require.Equal(t, 3, s.Gateway.Port, "the including file wins")
	require.Equal(t, []string{"c"}, s.Gateway.AllowedHosts, "a later file wins, lists are replaced")
	require.Equal(t, 65536, s.Gateway.MaxBufferedBytes, "objects are merged")
	require.Equal(t, "#222222", s.UI.SeamColor)
	require.Equal(t, "from-the-deep-1", s.Gateway.Auth.Token.Reveal())
	require.Equal(t, "openai/m", s.Agents.Defaults.Model.Primary)
	require.EqualValues(t, 7, s.Agents.Defaults.ContextTokens)
	require.Len(t, d.Files, 6, "all of them are watched")
	require.Equal(t, HashOf(d.Raw), d.Hash, "the hash is of the file itself")

	require.NoError(t, os.WriteFile(d.Files[1], []byte(`{}`), 0o600))
	again := read(t, src)
	require.Equal(t, d.Hash, again.Hash)
	require.False(t, again.Unchanged(d), "a changed include is a change")
	require.True(t, again.Unchanged(read(t, src)))
}

func TestIncludesRefuse(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.json5")
	require.NoError(t, os.WriteFile(outside, []byte(`{gateway: {port: 1}}`), 0o600))
	deep := map[string]string{configFileName: `{$include: "d1.json5"}`}
	for i := 1; i <= 12; i++ {
		deep[fmt.Sprintf("d%d.json5", i)] = fmt.Sprintf(`{$include: "d%d.json5"}`, i+1)
	}
	var many []string
	wide := map[string]string{}
	for i := range 40 {
		many = append(many, fmt.Sprintf(`"w%d.json5"`, i))
		wide[fmt.Sprintf("w%d.json5", i)] = "{}"
	}
	wide[configFileName] = `{$include: [` + strings.Join(many, ",") + `]}`
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"outside", map[string]string{configFileName: `{$include: "../x.json5"}`}, "line 1: $include must name a file in the folder of coderclaw.json or below"},
		{"absolute", map[string]string{configFileName: `{$include: "` + outside + `"}`}, "must name a file in the folder"},
		{"itself", map[string]string{configFileName: `{$include: "coderclaw.json"}`}, "includes itself: coderclaw.json"},
		{"in a circle", map[string]string{configFileName: `{$include: "a.json5"}`, "a.json5": "{\n gateway: {$include: 'b.json5'}}", "b.json5": `{$include: "a.json5"}`}, "b.json5 line 1: gateway.$include includes itself: a.json5"},
		{"missing", map[string]string{configFileName: `{gateway: {$include: "none.json5"}}`}, "gateway.$include cannot be read: no such file or directory"},
		{"a folder", map[string]string{configFileName: `{$include: "sub"}`, "sub/x": ""}, "cannot be read: not a regular file"},
		{"no name", map[string]string{configFileName: `{$include: 7}`}, "$include must be the name of a file or a list of names, not a whole number"},
		{"no object", map[string]string{configFileName: `{$include: "a.json5"}`, "a.json5": "[]"}, "holds a list instead of an object"},
		{"no JSON5", map[string]string{configFileName: `{$include: "a.json5"}`, "a.json5": "{\n,"}, "a.json5 line 2: not JSON5 at line 2, column 1"},
		{"an unknown key in it", map[string]string{configFileName: `{$include: "a.json5"}`, "a.json5": "{\n\ngatway: {}}"}, "a.json5 line 3: unknown key gatway (did you mean gateway?)"},
		{"too deep", deep, "is nested deeper than 8 files"},
		{"too many", wide, "makes more than 32 files"},
		{"too large", map[string]string{configFileName: `{$include: "a.json5"}`, "a.json5": "//" + strings.Repeat("x", fileBytesMax)}, "larger than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := read(t, folder(t, c.files))
			require.ErrorContains(t, d.Err(), c.want)
			require.Nil(t, d.Settings)
		})
	}
	t.Run("through a link", func(t *testing.T) {
		src := folder(t, map[string]string{configFileName: `{$include: "link.json5"}`})
		require.NoError(t, os.Symlink(outside, filepath.Join(filepath.Dir(src.Path), "link.json5")))
		require.ErrorContains(t, read(t, src).Err(), "$include cannot be read")
	})
}

func TestEnvironmentReferences(t *testing.T) {
	src := folder(t, map[string]string{configFileName: `{
  gateway: {auth: {token: "${TOKEN}"}, allowedHosts: ["${HOST}.example.com", "$${HOST}", "${lower}"]},
  agents: {defaults: {model: "a-${A}-${B_2}"}},
}`})
	src.Getenv = env("TOKEN", "from-the-environment", "HOST", "gw", "A", "1", "B_2", "2")
	d := read(t, src)
	require.ErrorContains(t, d.Err(), "gateway.allowedHosts[1] must be a plain host name", "$${HOST} stands for ${HOST} itself")
	require.Equal(t, "gw.example.com", d.filed.Gateway.AllowedHosts[0])
	require.Equal(t, []string{"${HOST}", "${lower}"}, d.filed.Gateway.AllowedHosts[1:])
	require.Equal(t, "from-the-environment", d.filed.Gateway.Auth.Token.Reveal())
	require.Equal(t, "a-1-2", d.filed.Agents.Defaults.Model.Primary)
	v := d.View()
	for _, text := range [][]byte{v.Resolved, v.Config} {
		require.NotContains(t, string(text), "from-the-environment")
		require.NotContains(t, string(text), "a-1-2", "what comes from the environment is not shown")
	}
	require.Contains(t, string(v.Raw), `"${TOKEN}"`, "a reference is no secret")
	require.Contains(t, string(v.Parsed), `"${TOKEN}"`)

	src.Getenv = env("HOST", "gw", "A", "1")
	err := read(t, src).Err()
	require.ErrorContains(t, err, "line 2: gateway.auth.token needs the environment variable TOKEN, which is not set")
	require.ErrorContains(t, err, "line 3: agents.defaults.model needs the environment variable B_2")

	require.NoError(t, os.WriteFile(src.Path, []byte(`{gateway: {port: 5, auth: {token: "${TOKEN}"}}}`), 0o600))
	src.EnvOptional = true
	s, err := Load(src)
	require.NoError(t, err, "a program beside the gateway need not have its environment")
	require.False(t, s.Gateway.Auth.Token.IsSet())
	require.Equal(t, 5, s.Gateway.Port)
}

const withSecrets = `// old token: hunter2-hunter2
{
  gateway: {port: 1, auth: {token: 'hunter2-hunter2', password: "pässwört-1"}, token: "misplaced-7"}, // no
  models: {providers: {openai: {apiKey: "sk-12345"}, x: {apiKey: {deep: "sk-deep"}}}}, agents: {defaults: {model: "openai/m"}},
  passwords: ["in-a-list-1", {deep: 424242}],
}
`

func TestViewHidesSecretsWhereverTheyAre(t *testing.T) {
	src := folder(t, map[string]string{configFileName: withSecrets})
	d := read(t, src)
	require.Error(t, d.Err(), "two unknown keys")
	v := d.View()
	for _, text := range []string{string(v.Raw), string(v.Parsed), string(v.Resolved), string(v.Config), d.Err().Error()} {
		for _, secret := range []string{"hunter2", "pässwört", "sk-12345", "sk-deep", "misplaced-7", "in-a-list", "424242"} {
			require.NotContains(t, text, secret)
		}
	}
	require.Contains(t, string(v.Raw), `token: "`+Redacted+`", password: "`+Redacted+`"}, token: "`+Redacted+`"}, // no`)
	require.Contains(t, string(v.Raw), "// old token: "+Redacted)
	require.Contains(t, string(v.Parsed), `"model":"openai/m"`)
	require.True(t, json.Valid(v.Config))

	broken := Compile(src, []byte(`{gateway: {auth: {token: "hunter2-hunter2"`))
	require.Nil(t, broken.View().Raw, "in a text that is no JSON5 nobody can tell the secrets")
	twice := Compile(src, []byte(`{gateway: {auth: {token: "hunter2-hunter2", token: "x-other-x"}}}`))
	require.Nil(t, twice.View().Raw, "the value that lost could be anywhere")
}

func TestPlaceholdersComeBackAsWhatIsStored(t *testing.T) {
	stored := read(t, folder(t, map[string]string{
		configFileName: `{$include: "more.json5", gateway: {auth: {token: 'hunter2-\u0068unter2', password: "${PW}"}}}`,
		"more.json5":   `{models: {providers: {"my-own": {apiKey: "sk-included"}}}}`,
	}))
	for _, c := range []struct{ name, sent, want string }{
		{"both spellings", `{gateway: {auth: {token: "__CODERCLAW_REDACTED__", password: '__OPENCLAW_REDACTED__'}}}`, `{gateway: {auth: {token: 'hunter2-\u0068unter2', password: "${PW}"}}}`},
		{"comments stay", "// __CODERCLAW_REDACTED__\n{gateway: {auth: {token: \"__CODERCLAW_REDACTED__\" /* x */}}}", "// __CODERCLAW_REDACTED__\n{gateway: {auth: {token: 'hunter2-\\u0068unter2' /* x */}}}"},
		{"from an included file", `{models: {providers: {"my-own": {apiKey: "__CODERCLAW_REDACTED__"}}}}`, `{models: {providers: {"my-own": {apiKey: "sk-included"}}}}`},
		{"a new secret", `{gateway: {auth: {token: "new-secret-9"}}}`, `{gateway: {auth: {token: "new-secret-9"}}}`},
	} {
		got, issues, err := stored.Restore([]byte(c.sent))
		require.NoError(t, err, c.name)
		require.Empty(t, issues, c.name)
		require.Equal(t, c.want, string(got), c.name)
	}
	_, issues, err := stored.Restore([]byte(`{models: {providers: {openai: {apiKey: "__CODERCLAW_REDACTED__", baseUrl: "http://__OPENCLAW_REDACTED__/"}}}}`))
	require.NoError(t, err)
	require.Len(t, issues, 2)
	require.Contains(t, issues[0].String(), "models.providers.openai.apiKey is the placeholder of a secret that is not stored")
	require.Contains(t, issues[1].String(), "models.providers.openai.baseUrl holds the placeholder of a secret among other text")

	list := &Document{texts: map[string][]byte{"": []byte(`[{id:"a",key:"1"},{id:"b",key:"2"},"3"]`)}}
	list.merged, err = json5.Parse(list.texts[""], fileDepthMax)
	require.NoError(t, err)
	got, issues, err := list.Restore([]byte(`[{id:"b",key:"__CODERCLAW_REDACTED__"},{id:"c",key:"x"},"__CODERCLAW_REDACTED__"]`))
	require.NoError(t, err)
	require.Empty(t, issues)
	require.Equal(t, `[{id:"b",key:"2"},{id:"c",key:"x"},"3"]`, string(got), "entries are found by id, else by place")
}

func TestEveryShownConfigComesBack(t *testing.T) {
	src := folder(t, map[string]string{configFileName: `{gateway: {auth: {token: "hunter2-hunter2"}}, models: {providers: {a: {baseUrl: "http://a", apiKey: "${KEY}", models: [{id: "m", cost: {input: 1}}]}, b: {baseUrl: "http://b", apiKey: "sk-of-b-1"}}}, agents: {defaults: {model: "a/m"}, list: [{id: "ops", model: {primary: "b/x", fallbacks: []}}]}, logging: {level: "warn"}}`})
	src.Getenv = env("KEY", "sk-env")
	store := NewStore(src)
	d := read(t, src)
	for _, shown := range [][]byte{d.View().Raw, d.View().Config, d.View().Resolved, d.View().Parsed} {
		before := read(t, src)
		w, err := store.Replace(before.Hash, shown)
		require.NoError(t, err, "%s", shown)
		require.Equal(t, before.Settings, w.After.Settings, "%s", shown)
		text, err := os.ReadFile(src.Path)
		require.NoError(t, err)
		require.Contains(t, string(text), "hunter2-hunter2")
		require.Contains(t, string(text), "sk-of-b-1")
		require.Contains(t, string(text), "${KEY}", "the reference stays one")
		require.NotContains(t, string(text), "sk-env")
	}
}

func TestStoreRefusesStaleAndFaultyTexts(t *testing.T) {
	src := folder(t, nil)
	store := NewStore(src)
	w, err := store.Replace("", []byte(`{ui: {seamColor: "#112233"}}`))
	require.NoError(t, err, "the first text needs no hash")
	require.False(t, w.Before.Exists)
	info, err := os.Stat(src.Path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	_, err = store.Replace("", []byte(`{}`))
	require.ErrorIs(t, err, ErrHashRequired)
	_, err = store.Patch("zz", []byte(`{}`))
	require.ErrorIs(t, err, ErrChanged)
	_, err = store.Patch(w.After.Hash, []byte(`[]`))
	require.ErrorIs(t, err, ErrNotObject)
	var syntax *SyntaxError
	_, err = store.Replace(w.After.Hash, []byte(`{`))
	require.ErrorAs(t, err, &syntax)
	require.EqualError(t, syntax, "JSON5: invalid end of input at 1:2")
	var invalid *InvalidError
	_, err = store.Patch(w.After.Hash, []byte(`{gateway: {port: "x", prot: 2}}`))
	require.ErrorAs(t, err, &invalid)
	require.Len(t, invalid.Issues, 2)
	require.Equal(t, "gateway.port", invalid.Issues[0].Path)
	_, err = store.Replace(w.After.Hash, []byte("//"+strings.Repeat("x", fileBytesMax)+"\n{}"))
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, w.After.Hash, read(t, src).Hash, "nothing was written")

	require.NoError(t, os.WriteFile(src.Path, []byte(`{ui: `), 0o600))
	_, err = store.Patch(HashOf([]byte(`{ui: `)), []byte(`{ui: null}`))
	require.ErrorIs(t, err, ErrBroken)
	_, err = store.Replace(HashOf([]byte(`{ui: `)), []byte(`{}`))
	require.NoError(t, err, "a whole text mends it")
}

func TestPatchKeepsComments(t *testing.T) {
	src := folder(t, map[string]string{configFileName: "// mine\n{\n  gateway: {port: 1}, // one\n  ui: {seamColor: '#112233'},\n}\n"})
	store := NewStore(src)
	_, err := store.Patch(read(t, src).Hash, []byte(`{gateway: {port: 2, bind: "loopback"}, ui: null}`))
	require.NoError(t, err)
	text, err := os.ReadFile(src.Path)
	require.NoError(t, err)
	require.Equal(t, "// mine\n{\n  gateway: {port: 2, \"bind\": \"loopback\"}, // one\n}\n", string(text))
}

func TestKeysSayEverything(t *testing.T) {
	classes := map[string]Class{}
	for _, k := range Keys() {
		require.NotEmpty(t, k.Doc, k.Path)
		require.Contains(t, []Class{ClassNone, ClassHot, ClassRestart}, k.Class, k.Path)
		classes[k.Path] = k.Class
		if k.Group {
			continue
		}
		src := Source{Getenv: env("GATEWAY_TOKEN", "a-long-secret-1", "GATEWAY_PASSWORD", "a-long-secret-2", "MODEL_API_KEY", "k", "REMOTE_TOKEN", "a-long-secret-4", "REMOTE_PASSWORD", "a-long-secret-5", "PROXY_SECRET", "a-long-enough-secret-3")}
		d := Compile(src, []byte(k.Snippet()))
		for _, issue := range d.Issues {
			require.NotEqual(t, k.Path, issue.Path, "the example %s: %s", k.Snippet(), issue)
			require.NotContains(t, issue.Message, "unknown key", k.Snippet())
		}
	}
	require.Equal(t, ClassHot, classes["gateway.auth.token"])
	require.Equal(t, ClassRestart, classes["gateway.port"])
	require.Equal(t, ClassRestart, classes["gateway.tls.allowPlaintextLan"], "a key has its group's class")
	require.Equal(t, ClassHot, classes["gateway.reload.mode"])
	require.Equal(t, ClassNone, classes["ui.seamColor"])
}

func TestDiff(t *testing.T) {
	a, b := Default(), Default()
	require.Empty(t, Diff(a, b))
	b.Gateway.AllowedHosts = []string{}
	require.Empty(t, Diff(a, b), "no entry and none at all are the same")
	b.Gateway.AllowedHosts, b.Gateway.Auth.Token, b.UI.SeamColor = []string{"x"}, NewSecret("x"), "#112233"
	require.Equal(t, []Change{{"gateway.auth.token", ClassHot}, {"gateway.allowedHosts", ClassHot}, {"ui.seamColor", ClassNone}}, Diff(a, b))
	require.Equal(t, ClassHot, Strongest(Diff(a, b)))
	b.Gateway.Port++
	require.Equal(t, ClassRestart, Strongest(Diff(a, b)))
	a, b = Default(), Default()
	a.Models.Providers = map[string]Provider{"gone": {}, "same": {BaseURL: "x"}, "other": {BaseURL: "x", APIKey: NewSecret("1"), Models: []Model{{ID: "m"}}}}
	b.Models.Providers = map[string]Provider{"new": {}, "same": {BaseURL: "x"}, "other": {BaseURL: "x", APIKey: NewSecret("2"), Models: []Model{{ID: "n"}}}}
	b.Agents.List = []Agent{{ID: "ops"}}
	require.Equal(t, []Change{
		{"models.providers.gone", ClassHot}, {"models.providers.new", ClassHot}, {"models.providers.other.apiKey", ClassHot}, {"models.providers.other.models", ClassHot}, {"agents.list", ClassHot},
	}, Diff(a, b))
	require.Equal(t, ClassNone, Strongest(nil))
}

func TestHints(t *testing.T) {
	byPath := map[string]Hint{}
	for i, h := range Hints() {
		require.NotEmpty(t, h.Label)
		require.Equal(t, (i+1)*10, h.Order)
		byPath[h.Path] = h
	}
	require.Equal(t, "Max buffered bytes", byPath["gateway.maxBufferedBytes"].Label)
	require.Equal(t, "16777216", byPath["gateway.maxBufferedBytes"].Placeholder)
	require.Equal(t, "Base URL", byPath["models.providers.*.baseUrl"].Label)
	require.True(t, byPath["models.providers.*.apiKey"].Sensitive)
	require.Equal(t, "Models", byPath["models.providers.*.apiKey"].Group)
	require.Equal(t, "Avatar", byPath["agents.list[].identity.avatar"].Label)
}

// TestConfigurationPage keeps docs/configuration.md fresh; make gen rewrites it.
func TestConfigurationPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(Markdown()), 0o644))
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, Markdown(), string(raw), "run: make gen")
}
