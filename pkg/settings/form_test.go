package settings

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// edited is the text of a form that shows d: the configuration with one change.
func edited(t *testing.T, d *Document, change func(config map[string]any)) []byte {
	t.Helper()
	var config map[string]any
	require.NoError(t, json.Unmarshal(d.View().Config, &config))
	change(config)
	text, err := json.MarshalIndent(config, "", "  ")
	require.NoError(t, err)
	return text
}

func group(config map[string]any, key string) map[string]any {
	g, ok := config[key].(map[string]any)
	if !ok {
		g = map[string]any{}
		config[key] = g
	}
	return g
}

func TestFormWritesWhatItChanges(t *testing.T) {
	const file = "// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}, allowedHosts: ['a', 'b']}, // two\n  models: {providers: {openai: {apiKey: '${KEY}', baseUrl: 'http://127.0.0.1:1'}}}, agents: {defaults: {model: 'openai/m'}},\n  $include: './more.json5',\n}\n"
	cases := []struct {
		name   string
		change func(config map[string]any)
		want   string
	}{
		{"a new value", func(c map[string]any) { group(c, "ui")["seamColor"] = "#336699" },
			"// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}, allowedHosts: ['a', 'b']}, // two\n  models: {providers: {openai: {apiKey: '${KEY}', baseUrl: 'http://127.0.0.1:1'}}}, agents: {defaults: {model: 'openai/m'}},\n  $include: './more.json5',\n  \"ui\": {\n    \"seamColor\": \"#336699\"\n  }\n}\n"},
		{"a default is changed", func(c map[string]any) { group(c, "gateway")["port"] = 18800 },
			"// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}, allowedHosts: ['a', 'b'], \"port\": 18800}, // two\n  models: {providers: {openai: {apiKey: '${KEY}', baseUrl: 'http://127.0.0.1:1'}}}, agents: {defaults: {model: 'openai/m'}},\n  $include: './more.json5',\n}\n"},
		{"a list is shortened", func(c map[string]any) { group(c, "gateway")["allowedHosts"] = []string{"a"} },
			"// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}, allowedHosts: [\n    \"a\"\n  ]}, // two\n  models: {providers: {openai: {apiKey: '${KEY}', baseUrl: 'http://127.0.0.1:1'}}}, agents: {defaults: {model: 'openai/m'}},\n  $include: './more.json5',\n}\n"},
		{"a key is taken out", func(c map[string]any) { delete(group(c, "gateway"), "allowedHosts") },
			"// mine\n{\n  gateway: {auth: {token: 'hunter2-hunter2'}, }, // two\n  models: {providers: {openai: {apiKey: '${KEY}', baseUrl: 'http://127.0.0.1:1'}}}, agents: {defaults: {model: 'openai/m'}},\n  $include: './more.json5',\n}\n"},
		{"nothing", func(map[string]any) {}, file},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src := folder(t, map[string]string{configFileName: file, "more.json5": "{logging: {level: 'warn'}}"})
			src.Getenv = env("KEY", "sk-env")
			d := read(t, src)
			w, err := NewStore(src).Replace(d.Hash, edited(t, d, c.change))
			require.NoError(t, err)
			text, err := os.ReadFile(src.Path)
			require.NoError(t, err)
			require.Equal(t, c.want, string(text))
			require.Equal(t, "warn", w.After.Settings.Logging.Level)
			require.Equal(t, "hunter2-hunter2", w.After.Settings.Gateway.Auth.Token.Reveal())
		})
	}
}

func TestFormWithoutAFile(t *testing.T) {
	src := folder(t, nil)
	_, err := NewStore(src).Replace(HashOf(nil), edited(t, read(t, src), func(c map[string]any) { group(c, "ui")["seamColor"] = "#336699" }))
	require.NoError(t, err)
	text, err := os.ReadFile(src.Path)
	require.NoError(t, err)
	require.JSONEq(t, `{"ui": {"seamColor": "#336699"}}`, string(text))
}

func TestTextsThatAreNoFormAreWrittenAsTheyAre(t *testing.T) {
	src := folder(t, map[string]string{configFileName: "{agents: {defaults: {model: 'builtin'}}, $include: './more.json5'}", "more.json5": "{logging: {level: 'warn'}}"})
	store := NewStore(src)
	d := read(t, src)
	unincluded := edited(t, d, func(c map[string]any) { delete(c, "logging") })
	for name, text := range map[string]string{
		"a few defaults by hand":                        `{"gateway": {"port": 18789, "bind": "loopback"}}`,
		"all of them, with a comment":                   "// mine\n" + string(edited(t, d, func(map[string]any) {})),
		"a key of an included file, which no patch can": string(unincluded),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.Replace(read(t, src).Hash, []byte(text))
			require.NoError(t, err)
			got, err := os.ReadFile(src.Path)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			require.NoError(t, os.WriteFile(src.Path, d.Raw, 0o600))
		})
	}
}

func TestFormWithAFaultIsRefusedAsItStands(t *testing.T) {
	src := folder(t, map[string]string{configFileName: "{}"})
	d := read(t, src)
	text := edited(t, d, func(c map[string]any) { group(c, "ui")["seamColor"] = "blueish" })
	_, err := NewStore(src).Replace(d.Hash, text)
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "ui.seamColor", invalid.Issues[0].Path)
	require.Positive(t, invalid.Issues[0].Line, "the line is that of the text that was sent")
}
