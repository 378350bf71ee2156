package settings

import (
	"math"
	"reflect"
	"regexp"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// place is where a value stands in the config, and what may be shown of it.
type place struct {
	path string
	// t is the type that the value is read into, nil where nothing is known about it.
	t reflect.Type
	// foreign is a value that is kept without effect; hiding is then what its name and
	// the names above say.
	foreign bool
	hiding  hiding
	// sealed is a value that is hidden because nobody can tell whether it is a secret.
	sealed bool
}

// hiding is what of a value is not shown.
type hiding int

const (
	hideNothing hiding = iota
	// hideText hides text: a name such as maxTokens may hold a number.
	hideText
	// hideAll hides all but true, false and null.
	hideAll
)

func (p place) member(key string) place {
	out := place{path: join(p.path, key), foreign: p.foreign, hiding: max(p.hiding, hidingOf(key)), sealed: p.sealed}
	if p.foreign {
		return out
	}
	if out.t = typeBelow(p.t, key); out.t != nil {
		return out
	}
	row, _ := foreignAt(out.path)
	if out.foreign = row != nil; out.foreign && row.sealed {
		out.hiding, out.sealed = hideAll, true
	}
	return out
}

func (p place) item() place {
	return place{path: p.path + "[]", t: typeInside(p.t), foreign: p.foreign, hiding: p.hiding, sealed: p.sealed}
}

// hides reports whether a single value may not be shown. A reference to the
// environment may: it names the variable and not the secret.
func (p place) hides(n *json5.Node) bool {
	if n.Kind == json5.Null || n.Kind == json5.Bool || n.Kind == json5.String && isReference(n.Text) {
		return false
	}
	if !p.foreign {
		return p.t == nil || p.t == secretType || isGroup(p.t) && (p.t != choiceType || n.Kind != json5.String)
	}
	return p.hiding == hideAll || n.Kind == json5.String && (p.hiding == hideText || withUser.MatchString(n.Text))
}

// wordBytesMin is how long a hidden text must be to be looked for in comments too. A
// shorter one would hide pieces of other words, and one that is hidden by its name alone
// may be an ordinary word.
func (p place) wordBytesMin() int {
	switch {
	case p.sealed:
		return math.MaxInt
	case p.foreign:
		return 2 * secretBytesMin
	}
	return secretBytesMin
}

// withUser finds a URL that carries a user name or a password.
var withUser = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@`)

// hidingOf says what the name of a foreign key tells of its value. It hides more
// than the original, which looks for token, password, secret and apiKey: a placeholder
// too many costs nothing, since it is put back when it returns.
func hidingOf(key string) hiding {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(key))
	switch name {
	case "env", "headers", "extraheaders", "cookies", "pin", "jwk":
		return hideAll
	case "auth", "key", "pem", "cert":
		return hideText
	}
	for _, part := range []string{
		"password", "passwd", "passphrase", "secret", "apikey", "accesskey", "privatekey", "signingkey", "encryptkey", "encryptionkey", "authkey",
		"credential", "authorization", "cookie", "bearer", "serviceaccount", "connectionstring",
	} {
		if strings.Contains(name, part) {
			return hideAll
		}
	}
	for _, part := range []string{"token", "webhook", "dsn"} {
		if strings.Contains(name, part) {
			return hideText
		}
	}
	return hideNothing
}
