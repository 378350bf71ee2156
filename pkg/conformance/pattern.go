package conformance

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// variables holds what $names stand for in one conversation.
type variables map[string]any

var (
	variableName = regexp.MustCompile(`\$[a-zA-Z][a-zA-Z0-9]*`)
	uuidShape    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// fill puts the variables into params. A variable that has no value yet becomes
// a fresh UUID.
func (vars variables) fill(params json.RawMessage) (json.RawMessage, error) {
	v, err := parse(params)
	if err != nil {
		return nil, err
	}
	return json.Marshal(vars.fillValue(v))
}

func (vars variables) fillValue(v any) any {
	switch v := v.(type) {
	case string:
		if variableName.FindString(v) == v && v != "" {
			return vars.get(v)
		}
		return variableName.ReplaceAllStringFunc(v, func(name string) string { return fmt.Sprint(vars.get(name)) })
	case []any:
		for i := range v {
			v[i] = vars.fillValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = vars.fillValue(v[k])
		}
	}
	return v
}

func (vars variables) get(name string) any {
	if v, ok := vars[name]; ok {
		return v
	}
	vars[name] = newUUID()
	return vars[name]
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// match tells how got differs from the pattern: the first difference, or "".
// Variables that it binds stay bound only when everything matches.
func (vars variables) match(pattern, got json.RawMessage) string {
	if pattern == nil {
		return ""
	}
	p, err := parse(pattern)
	if err != nil {
		return err.Error()
	}
	g, err := parse(got)
	if err != nil {
		return err.Error()
	}
	trial := variables{}
	for k, v := range vars {
		trial[k] = v
	}
	if diff := trial.matchValue("", p, g); diff != "" {
		return diff
	}
	for k, v := range trial {
		vars[k] = v
	}
	return ""
}

func (vars variables) matchValue(path string, pattern, got any) string {
	differs := func() string {
		return fmt.Sprintf("at %s: %s instead of %s", orRoot(path), show(got), show(pattern))
	}
	switch p := pattern.(type) {
	case string:
		if !vars.matchString(p, got) {
			return differs()
		}
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return differs()
		}
		for _, key := range sortedKeys(p) {
			value, ok := g[key]
			if p[key] == "<absent>" {
				if ok {
					return fmt.Sprintf("at %s/%s: %s instead of nothing", path, key, show(value))
				}
				continue
			}
			if !ok {
				return fmt.Sprintf("at %s/%s: missing", path, key)
			}
			if diff := vars.matchValue(path+"/"+key, p[key], value); diff != "" {
				return diff
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			return differs()
		}
		return vars.matchArray(path, p, g)
	default:
		if pattern != got {
			return differs()
		}
	}
	return ""
}

// matchArray matches element by element; "..." stands for any number of elements.
func (vars variables) matchArray(path string, pattern, got []any) string {
	for i, p := range pattern {
		if p == "..." {
			diff := "nothing after ..."
			for skip := i; skip <= len(got); skip++ {
				if diff = vars.matchArray(fmt.Sprintf("%s[%d:]", path, skip), pattern[i+1:], got[skip:]); diff == "" {
					return ""
				}
			}
			return diff
		}
		if i >= len(got) {
			return fmt.Sprintf("at %s: %d elements instead of more", orRoot(path), len(got))
		}
		if diff := vars.matchValue(fmt.Sprintf("%s/%d", path, i), p, got[i]); diff != "" {
			return diff
		}
	}
	if len(got) > len(pattern) {
		return fmt.Sprintf("at %s: %d elements instead of %d", orRoot(path), len(got), len(pattern))
	}
	return ""
}

func (vars variables) matchString(pattern string, got any) bool {
	text, isText := got.(string)
	number, isNumber := got.(json.Number)
	switch pattern {
	case "<any>":
		return true
	case "<string>":
		return isText
	case "<uuid>":
		return isText && uuidShape.MatchString(text)
	case "<number>":
		return isNumber
	case "<int>":
		return isNumber && !strings.ContainsAny(number.String(), ".eE")
	case "<bool>":
		_, ok := got.(bool)
		return ok
	}
	if re, ok := strings.CutPrefix(pattern, "<~"); ok && strings.HasSuffix(re, ">") {
		compiled, err := regexp.Compile(strings.TrimSuffix(re, ">"))
		return err == nil && isText && compiled.MatchString(text)
	}
	if variableName.FindString(pattern) == pattern && pattern != "" {
		bound, ok := vars[pattern]
		if !ok {
			vars[pattern] = got
			return true
		}
		return reflect.DeepEqual(bound, got)
	}
	return isText && vars.matchInside(pattern, text)
}

// matchInside matches text that has variables in it. One that has no value yet takes
// what stands in its place.
func (vars variables) matchInside(pattern, text string) bool {
	var re strings.Builder
	var unbound []string
	rest := pattern
	for {
		at := variableName.FindStringIndex(rest)
		if at == nil {
			break
		}
		re.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		name := rest[at[0]:at[1]]
		if bound, ok := vars[name]; ok {
			re.WriteString(regexp.QuoteMeta(fmt.Sprint(bound)))
		} else {
			re.WriteString("(.+)")
			unbound = append(unbound, name)
		}
		rest = rest[at[1]:]
	}
	re.WriteString(regexp.QuoteMeta(rest))
	found := regexp.MustCompile("(?s)^" + re.String() + "$").FindStringSubmatch(text)
	if found == nil {
		return false
	}
	for i, name := range unbound {
		if bound, ok := vars[name]; ok && bound != found[i+1] {
			return false
		}
		vars[name] = found[i+1]
	}
	return true
}

func orRoot(path string) string {
	if path == "" {
		return "root"
	}
	return path
}

// show renders a value for a message, cut to a readable length.
func show(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	text := strings.TrimSuffix(b.String(), "\n")
	const readable = 400
	if len(text) > readable {
		return text[:readable] + "..."
	}
	return text
}
