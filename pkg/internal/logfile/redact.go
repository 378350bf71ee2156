package logfile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	redacted = "[redacted]"

	// textBytesMax bounds one text of a record, so that no line outgrows what
	// logs.tail can hand out.
	textBytesMax = 16 << 10
	// depthMax bounds how deep a value is searched.
	depthMax = 8
)

// secretNames are endings of attribute names, in lower case and without - and _,
// whose values are never written. "contextTokens" ends otherwise.
var secretNames = []string{"token", "password", "passwd", "secret", "apikey", "authorization", "signature", "cookie", "privatekey", "credential", "credentials"}

// secretText finds credentials inside a text; groups 1 and 2 are the parts to
// keep. A text without one of the hints is not searched, since few have one.
type secretText struct {
	hints   []string
	pattern *regexp.Regexp
}

var secretTexts = []secretText{
	{[]string{"bearer", "basic"}, regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}`)},
	{[]string{"="}, regexp.MustCompile(`(?i)([?&#](?:token|access_token|password|api_?key|key|secret|signature)=)[^&\s"']+`)},
	{[]string{`"`}, regexp.MustCompile(`(?i)("(?:[a-z_]*token|password|api_?key|secret|signature|authorization)"\s*:\s*")[^"]+`)},
	{[]string{"://"}, regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(@)`)},
	{[]string{"sk-"}, regexp.MustCompile(`()\bsk-[A-Za-z0-9_-]{12,}`)},
}

// redactor cleans records before the handlers that write them see them.
type redactor struct {
	next slog.Handler
	// secret says that a group with a secret name is open: everything in it is
	// replaced.
	secret bool
}

func newRedactor(next slog.Handler) *redactor { return &redactor{next: next} }

// Enabled asks the next handler.
func (h *redactor) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle passes a clean copy of the record on.
func (h *redactor) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, cleanText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.clean(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs cleans the attributes once, here.
func (h *redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.clean(a)
	}
	return &redactor{next: h.next.WithAttrs(clean), secret: h.secret}
}

// WithGroup opens a group.
func (h *redactor) WithGroup(name string) slog.Handler {
	return &redactor{next: h.next.WithGroup(name), secret: h.secret || isSecretName(name)}
}

func (h *redactor) clean(a slog.Attr) slog.Attr { return cleanAttr(a, h.secret, 0) }

// cleanAttr returns a without secrets. An empty or boolean value stays: whether
// there is a secret is worth knowing, and no secret.
func cleanAttr(a slog.Attr, secret bool, depth int) slog.Attr {
	secret = secret || isSecretName(a.Key)
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if depth >= depthMax {
			return slog.String(a.Key, "[too deep]")
		}
		group := value.Group()
		clean := make([]slog.Attr, len(group))
		for i, inner := range group {
			clean[i] = cleanAttr(inner, secret, depth+1)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	}
	if secret {
		if value.Kind() == slog.KindBool || (value.Kind() == slog.KindString && value.String() == "") {
			return slog.Attr{Key: a.Key, Value: value}
		}
		return slog.String(a.Key, redacted)
	}
	switch value.Kind() {
	case slog.KindString:
		value = slog.StringValue(cleanText(value.String()))
	case slog.KindAny:
		value = cleanAny(value.Any())
	}
	return slog.Attr{Key: a.Key, Value: value}
}

// cleanAny brings a value into the form in which it would be written and cleans
// that. Whoever formats itself is taken at its word, as slog does.
func cleanAny(value any) slog.Value {
	switch value.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error, fmt.Stringer:
		return slog.StringValue(cleanText(fmt.Sprint(value))) // Sprint survives a nil pointer
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return slog.StringValue(cleanText(fmt.Sprintf("%T", value)))
	}
	var generic any
	if json.Unmarshal(raw, &generic) != nil {
		return slog.StringValue(cleanText(fmt.Sprintf("%T", value)))
	}
	return slog.AnyValue(cleanTree(generic, 0))
}

func cleanTree(value any, depth int) any {
	if depth >= depthMax {
		return "[too deep]"
	}
	switch v := value.(type) {
	case string:
		return cleanText(v)
	case []any:
		for i := range v {
			v[i] = cleanTree(v[i], depth+1)
		}
	case map[string]any:
		for name, inner := range v {
			if isSecretName(name) && inner != nil && inner != "" {
				v[name] = redacted
				continue
			}
			v[name] = cleanTree(inner, depth+1)
		}
	}
	return value
}

func isSecretName(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(name))
	for _, ending := range secretNames {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// cleanText replaces credentials in text and bounds it.
func cleanText(text string) string {
	more := ""
	if len(text) > textBytesMax {
		cut := textBytesMax
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text, more = text[:cut], fmt.Sprintf("...[%d bytes more]", len(text)-cut)
	}
	lower := strings.ToLower(text)
	for _, s := range secretTexts {
		hinted := slices.ContainsFunc(s.hints, func(hint string) bool { return strings.Contains(lower, hint) })
		if hinted {
			text = s.pattern.ReplaceAllString(text, "${1}"+redacted+"${2}")
		}
	}
	return text + more
}
