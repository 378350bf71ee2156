package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// Translation is what another gateway's config becomes here. It names keys, and
// never shows a value.
type Translation struct {
	// JSON is a config that Load accepts; empty when nothing was taken.
	JSON []byte
	// Taken are the keys that it has, Kept those of them that have no effect here,
	// Unknown those that this gateway does not know.
	Taken, Kept, Unknown []string
	// Refused are keys with the reason why their value was left out.
	Refused []Refused
}

// Refused is a key that was left out.
type Refused struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// leaf is one value of the foreign config.
type leaf struct {
	key   string
	value any
}

// Translate makes a config of this gateway from one of OpenClaw or the original
// CoderClaw (JSON5). A key is taken if it exists here and its value is allowed here;
// what has another name or other values here is in renamed.
func Translate(raw []byte) (t Translation, err error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(raw) > fileBytesMax {
		return t, fmt.Errorf("config is larger than %d bytes", fileBytesMax)
	}
	if !utf8.Valid(raw) {
		return t, errors.New("config is not UTF-8")
	}
	doc, err := json5.Parse(raw, fileDepthMax)
	var syntax *json5.SyntaxError
	if errors.As(err, &syntax) {
		return t, fmt.Errorf("config is not JSON5 at line %d, column %d: %s", syntax.Line, syntax.Column, syntax.Message)
	}
	if doc.Kind != json5.Object {
		return t, fmt.Errorf("config must be an object, not %s", kind(doc))
	}
	var top map[string]any
	if err := json.Unmarshal(doc.AppendJSON(nil), &top); err != nil {
		return t, err
	}
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		return t, err
	}
	var leaves []leaf
	t.split("", top, schema, &leaves)
	leaves = append(t.models(top), t.renamed(top, leaves)...)
	return t, t.fit(leaves)
}

// split sorts the members of a foreign object into leaves and unknown keys.
func (t *Translation) split(path string, doc, schema map[string]any, leaves *[]leaf) {
	properties, _ := schema["properties"].(map[string]any)
	for _, key := range slices.Sorted(mapKeys(doc)) {
		full := join(path, key)
		known, ok := properties[key].(map[string]any)
		value, isObject := doc[key].(map[string]any)
		switch {
		case full == providersKey || full == agentsKey || full == modelKey: // see models
		case !ok:
			row, below := foreignAt(full)
			switch {
			case row != nil:
				*leaves = append(*leaves, leaf{full, doc[key]})
			case below && isObject:
				t.split(full, value, nil, leaves)
			default:
				t.Unknown = append(t.Unknown, printable(full))
			}
		case isObject && known["properties"] != nil:
			t.split(full, value, known, leaves)
		default:
			*leaves = append(*leaves, leaf{full, doc[key]})
		}
	}
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func (t *Translation) refuse(key, reason string) {
	t.Refused = append(t.Refused, Refused{key, reason})
}

// renamed puts right what the original calls otherwise, or allows and we do not.
func (t *Translation) renamed(top map[string]any, leaves []leaf) []leaf {
	var out []leaf
	gateway, _ := top["gateway"].(map[string]any)
	for _, l := range leaves {
		text, isText := l.value.(string)
		switch {
		case isText && strings.Contains(text, "${"):
			t.refuse(l.key, "it names an environment variable; write the value itself, or set the variable that coderclaw reads")
			continue
		case l.key == "gateway.bind" && text == "custom":
			host, ok := gateway["customBindHost"].(string)
			if !ok {
				t.refuse(l.key, "it says custom, and gateway.customBindHost names no address")
				continue
			}
			l.value = host
			t.Unknown = slices.DeleteFunc(t.Unknown, func(key string) bool { return key == "gateway.customBindHost" })
		case l.key == "gateway.bind" && (text == "auto" || text == "tailnet"):
			t.refuse(l.key, "set it to loopback, lan, or the address to listen on")
			continue
		case l.key == "gateway.auth.mode" && text == "none":
			t.refuse(l.key, "there is no mode without a proof: a token is generated")
			continue
		}
		out = append(out, l)
	}
	return out
}

// fit adds one leaf after the other, as long as the config stays valid. One that
// leans on another is tried again when that is in.
func (t *Translation) fit(leaves []leaf) error {
	dir, err := os.MkdirTemp("", "coderclaw-import-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, configFileName)
	config := map[string]any{}
	for grew := true; grew && len(leaves) > 0; {
		grew = false
		var left []leaf
		t.Refused = slices.DeleteFunc(t.Refused, func(r Refused) bool {
			return slices.ContainsFunc(leaves, func(l leaf) bool { return l.key == r.Key })
		})
		for _, l := range leaves {
			next := with(config, strings.Split(l.key, "."), l.value)
			if err := loads(path, chosen(next)); err != nil {
				t.refuse(l.key, whyNot(err, path))
				left = append(left, l)
				continue
			}
			config, grew = next, true
			t.Taken = append(t.Taken, l.key)
			if row, _ := foreignAt(l.key); row != nil {
				t.Kept = append(t.Kept, l.key)
			}
		}
		leaves = left
	}
	if len(t.Taken) == 0 {
		return nil
	}
	if loads(path, config) != nil {
		config = chosen(config)
		t.Taken = append(t.Taken, modelKey+".primary")
		t.refuse(modelKey, "no model of a provider that is taken over is chosen; until one is, the gateway's fixed replies answer")
	}
	slices.Sort(t.Taken)
	slices.Sort(t.Kept)
	t.JSON, err = json.MarshalIndent(config, "", "  ")
	t.JSON = append(t.JSON, '\n')
	return err
}

// loads reports whether the config would be accepted, in a clean environment.
func loads(path string, config map[string]any) error {
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return err
	}
	_, err = Load(Source{Path: path, Getenv: func(string) string { return "" }})
	return err
}

// whyNot leaves the path of the trial out of a refusal.
func whyNot(err error, path string) string {
	text := strings.TrimPrefix(err.Error(), "settings: ")
	// The trial is written on one line.
	return strings.ReplaceAll(strings.TrimPrefix(text, "config "+path+": "), "line 1: ", "")
}

// with returns a copy of an object with a value at a path.
func with(object map[string]any, path []string, value any) map[string]any {
	out := make(map[string]any, len(object)+1)
	for key, v := range object {
		out[key] = v
	}
	if len(path) == 1 {
		out[path[0]] = value
		return out
	}
	inner, _ := object[path[0]].(map[string]any)
	out[path[0]] = with(inner, path[1:], value)
	return out
}
