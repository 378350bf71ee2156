package logfile

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// subsystem is what clients show as the source of a line.
const subsystem = `{"subsystem":"gateway"}`

// lineHandler writes a record as one line of its own making. It lets slog's own
// handlers encode the attributes and puts its line together from that, so groups
// and bound attributes need no code here.
type lineHandler struct {
	out    *lineOutput
	text   slog.Handler // writes "a=1 b=2\n" into out.text
	json   slog.Handler // writes a JSON object into out.json
	level  slog.Leveler
	format func(r slog.Record, attrs string, object []byte) []byte
}

// lineOutput is shared by all handlers derived from one. mu guards the buffers
// and orders the lines.
type lineOutput struct {
	mu         sync.Mutex
	w          io.Writer
	text, json bytes.Buffer
}

func newLineHandler(w io.Writer, level slog.Leveler, format func(slog.Record, string, []byte) []byte) *lineHandler {
	out := &lineOutput{w: w}
	return &lineHandler{
		out:    out,
		text:   slog.NewTextHandler(&out.text, &slog.HandlerOptions{ReplaceAttr: dropBuiltins}),
		json:   slog.NewJSONHandler(&out.json, nil),
		level:  level,
		format: format,
	}
}

// dropBuiltins leaves time, level and message out of the attributes.
func dropBuiltins(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// Enabled reports whether records of this level are written.
func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle writes the record with one call to the writer.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.text.Reset()
	h.out.json.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	if err := h.json.Handle(ctx, r); err != nil {
		return err
	}
	line := h.format(r, strings.TrimSpace(h.out.text.String()), h.out.json.Bytes())
	_, err := h.out.w.Write(line)
	return err
}

// WithAttrs returns a handler that adds attrs to each record.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.text, derived.json = h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)
	return &derived
}

// WithGroup returns a handler that puts later attributes into a group.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	derived := *h
	derived.text, derived.json = h.text.WithGroup(name), h.json.WithGroup(name)
	return &derived
}

// formatTerminal writes "15:04:05 INFO  client connected  connId=...".
func formatTerminal(r slog.Record, attrs string, _ []byte) []byte {
	line := []byte(r.Time.Format(time.TimeOnly))
	level := r.Level.String()
	line = append(line, ' ')
	line = append(line, level...)
	line = append(line, strings.Repeat(" ", max(1, 6-len(level)))...)
	line = append(line, printable(r.Message)...)
	if attrs != "" {
		line = append(line, "  "...)
		line = append(line, attrs...)
	}
	return append(line, '\n')
}

// printable quotes a message that could steer a terminal or fake a line.
func printable(message string) string {
	if strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(message)
	}
	return message
}

// tailMembers are the members that clients of logs.tail read.
type tailMembers struct {
	Zero string   `json:"0"`
	One  string   `json:"1"`
	Meta tailMeta `json:"_meta"`
}

type tailMeta struct {
	Runtime      string `json:"runtime"`
	Name         string `json:"name"`
	Date         string `json:"date"`
	LogLevelID   int    `json:"logLevelId"`
	LogLevelName string `json:"logLevelName"`
}

// formatTail puts the original's members before those of slog.
func formatTail(r slog.Record, attrs string, object []byte) []byte {
	message := r.Message
	if attrs != "" {
		message += " " + attrs
	}
	id, name := tailLevel(r.Level)
	members, err := json.Marshal(tailMembers{Zero: subsystem, One: message, Meta: tailMeta{
		Runtime: "go", Name: subsystem, Date: r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), LogLevelID: id, LogLevelName: name,
	}})
	if err != nil || len(object) < 2 {
		return object // strings always encode; slog always writes an object
	}
	line := append(members[:len(members)-1], ',')
	return append(line, object[1:]...)
}

// tailLevel returns the original's number and name of a level.
func tailLevel(level slog.Level) (int, string) {
	switch {
	case level >= slog.LevelError:
		return 5, "ERROR"
	case level >= slog.LevelWarn:
		return 4, "WARN"
	case level >= slog.LevelInfo:
		return 3, "INFO"
	}
	return 2, "DEBUG"
}
