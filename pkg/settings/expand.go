package settings

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// envReference finds ${NAME}, and $${NAME}, which stands for the text ${NAME}.
var envReference = regexp.MustCompile(`\$?\$\{[A-Z_][A-Z0-9_]*\}`)

// expand returns the merged tree with references to the environment replaced. A
// variable that is not set, or set to nothing, is a fault that names key and
// variable; where src says that it is optional, the key counts as absent.
func (d *Document) expand(src Source) *json5.Node {
	n, _ := d.expandNode("", d.merged, src)
	return n
}

func (d *Document) expandNode(path string, n *json5.Node, src Source) (_ *json5.Node, keep bool) {
	switch n.Kind {
	case json5.Object:
		out := *n
		out.Members = nil
		for _, m := range n.Members {
			if m.Value, keep = d.expandNode(join(path, m.Key), m.Value, src); keep {
				out.Members = append(out.Members, m)
			}
		}
		return &out, true
	case json5.Array:
		out := *n
		out.Items = nil
		for i, item := range n.Items {
			if item, keep = d.expandNode(fmt.Sprintf("%s[%d]", path, i), item, src); keep {
				out.Items = append(out.Items, item)
			}
		}
		return &out, true
	case json5.String:
	default:
		return n, true
	}
	if !strings.Contains(n.Text, "${") {
		return n, true
	}
	out, keep := *n, true
	out.Text = envReference.ReplaceAllStringFunc(n.Text, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		name := ref[2 : len(ref)-1]
		value := src.Getenv(name)
		d.fromEnv[path] = true
		if value == "" && src.EnvOptional {
			keep = false
		} else if value == "" {
			d.Issues = append(d.Issues, Issue{Path: printable(path), File: n.File, Line: n.Line,
				Message: fmt.Sprintf("needs the environment variable %s, which is not set: set it where the gateway starts, or write $${%s} for these characters themselves", name, name)})
		}
		return value
	})
	return &out, keep
}

// isReference reports whether text is nothing but one reference to the environment:
// such a text is not itself a secret.
func isReference(text string) bool {
	return !strings.HasPrefix(text, "$$") && envReference.FindString(text) == text && text != ""
}
