package importer

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/session"
)

// injectedModel is what the original calls the model of what no model has said.
const injectedModel = "gateway-injected"

// lineBytesMax bounds a line of a transcript: the largest message, with its images in
// base64 and its escapes.
const lineBytesMax = 2 * session.MessageBytesMax

// sessions imports agents/<id>/sessions/sessions.json of every agent, and the
// transcripts that it names.
func (i *importer) sessions(ctx context.Context) error {
	agents, err := fs.ReadDir(i.root.FS(), "agents")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		i.report.problem("agents: %v", err)
	}
	for _, agent := range agents {
		dir := path.Join("agents", agent.Name(), "sessions")
		stored := i.readMap(path.Join(dir, "sessions.json"))
		for _, key := range sortedKeys(stored) {
			if err := i.session(ctx, agent.Name(), dir, key, stored[key]); err != nil {
				return err
			}
		}
		i.leftover(dir, stored)
	}
	return nil
}

// leftover counts the transcripts that no session writes to any more: those that the
// original archived at a reset, and those whose session is gone.
func (i *importer) leftover(dir string, stored map[string]json.RawMessage) {
	named := map[string]bool{}
	for _, raw := range stored {
		for _, file := range transcriptFiles(raw) {
			named[file] = true
		}
	}
	n := 0
	files, _ := fs.ReadDir(i.root.FS(), dir) // no folder, no files
	for _, f := range files {
		name := f.Name()
		if strings.Contains(name, ".jsonl") && !strings.HasSuffix(name, ".lock") && !named[name] {
			n++
		}
	}
	if n > 0 {
		i.report.add(KindArchive, dir, VerdictSkipped, "%d transcripts that no session uses any more", n)
	}
}

// transcriptFiles are the names that the transcript of an entry may have, the likelier
// first. The entry names a whole path, which is of no use once the state directory was
// moved or copied; the file of a forum's topic is not called like the session id.
func transcriptFiles(entry json.RawMessage) (names []string) {
	var e struct {
		SessionID   string `json:"sessionId"`
		SessionFile string `json:"sessionFile"`
	}
	_ = json.Unmarshal(entry, &e) // what it has of the two decides
	if file := path.Base(strings.ReplaceAll(e.SessionFile, `\`, "/")); strings.HasSuffix(file, ".jsonl") {
		names = append(names, file)
	}
	if own := e.SessionID + ".jsonl"; e.SessionID != "" && !slices.Contains(names, own) {
		names = append(names, own)
	}
	return names
}

// transcriptFile is the first of transcriptFiles that is there.
func (i *importer) transcriptFile(dir string, entry json.RawMessage) string {
	names := transcriptFiles(entry)
	for _, name := range names {
		if _, err := i.root.Lstat(path.Join(dir, name)); err == nil {
			return path.Join(dir, name)
		}
	}
	return path.Join(dir, names[len(names)-1]) // the session id is good: there is one
}

func (i *importer) session(ctx context.Context, agent, dir, key string, raw json.RawMessage) error {
	entry, dropped, err := decodeEntry(raw)
	if err != nil {
		i.report.add(KindSession, key, VerdictSkipped, "it is unreadable: %s", unreadable(err))
		return nil
	}
	if !strings.HasPrefix(key, "agent:") && key != "global" && key != "unknown" {
		key = "agent:" + agent + ":" + key
	}
	switch err := i.Sessions.Importable(key, entry.SessionID); {
	case errors.Is(err, session.ErrImported):
		i.report.add(KindSession, key, VerdictThere, "%s", i.goneOn(key, entry))
		return nil
	case errors.Is(err, session.ErrArchived):
		i.report.add(KindSession, key, VerdictThere, "it was reset or deleted here since its import, and stays so")
		return nil
	case errors.Is(err, session.ErrKeyInUse):
		i.report.add(KindSession, key, VerdictSkipped, "this gateway has a conversation of that name: import before you talk to it, or begin that one anew with sessions.delete")
		return nil
	case err != nil:
		i.report.add(KindSession, key, VerdictSkipped, "%v", err)
		return nil
	}
	t := transcript{file: i.transcriptFile(dir, raw), report: &i.report, first: map[string]string{}}
	messages := t.messages(i)
	if i.Apply {
		_, err = i.Sessions.Import(ctx, key, entry, func(yield func(session.Message) bool) {
			for m := range messages {
				if ctx.Err() != nil || !yield(m) {
					return
				}
			}
		})
		if err != nil {
			return fmt.Errorf("import session %s: %w", key, err)
		}
	} else {
		for range messages {
		}
	}
	i.report.Messages += t.read
	note := fmt.Sprintf("%d messages", t.read)
	if t.missing {
		note = "without a transcript"
	}
	if t.summaries > 0 {
		note += ", and what summarises older ones"
	}
	if t.read > session.MessagesMax {
		note += fmt.Sprintf(", of which the newest %d are kept", session.MessagesMax)
	}
	if t.broken > 0 {
		note += fmt.Sprintf(", %d broken lines left out", t.broken)
	}
	if len(dropped) > 0 {
		note += ", unreadable: " + strings.Join(dropped, " ")
	}
	i.report.add(KindSession, key, VerdictNew, "%s", note)
	return nil
}

// goneOn says of a session that is here already that the other gateway went on with
// it, or nothing.
func (i *importer) goneOn(key string, there session.Entry) string {
	here, ok, err := i.Sessions.Get(key)
	if err != nil || !ok || there.UpdatedAt <= here.UpdatedAt {
		return ""
	}
	return "it has gone on there since the import; what was said after that is not taken over"
}

// decodeEntry reads a session's entry. Most members have the same names here; what
// this gateway does not know is left out, and what does not decode is named.
func decodeEntry(raw json.RawMessage) (e session.Entry, dropped []string, err error) {
	if json.Unmarshal(raw, &e) != nil {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			return e, nil, err
		}
		e = session.Entry{}
		for _, name := range sortedKeys(members) {
			one, _ := json.Marshal(map[string]json.RawMessage{name: members[name]})
			if json.Unmarshal(one, &e) != nil {
				dropped = append(dropped, name)
			}
		}
	}
	e.Key, e.CreatedAt, e.MessageCount = "", 0, 0
	return e, dropped, nil
}

// transcript reads one <session id>.jsonl.
type transcript struct {
	file      string
	report    *Report
	read      int
	summaries int
	broken    int
	missing   bool
	// unsaid are the ids of entries that are no messages, since the last that is one:
	// a summary may begin at such an entry.
	unsaid []string
	// first has the message that comes next after such an entry.
	first map[string]string
}

// line is a line of a transcript.
type line struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	// Of a compaction.
	Summary          string `json:"summary"`
	FirstKeptEntryID string `json:"firstKeptEntryId"`
	TokensBefore     int64  `json:"tokensBefore"`
	Message          struct {
		Role         string          `json:"role"`
		Content      json.RawMessage `json:"content"`
		Timestamp    int64           `json:"timestamp"`
		API          string          `json:"api"`
		Provider     string          `json:"provider"`
		Model        string          `json:"model"`
		StopReason   string          `json:"stopReason"`
		ErrorMessage string          `json:"errorMessage"`
		Usage        *session.Usage  `json:"usage"`
	} `json:"message"`
}

// messages yields what people and the model said, in the order of the file.
func (t *transcript) messages(i *importer) iter.Seq[session.Message] {
	return func(yield func(session.Message) bool) {
		f, err := i.open(t.file)
		if err != nil {
			if t.missing = errors.Is(err, fs.ErrNotExist); !t.missing {
				t.report.problem("%s: %v", t.file, err)
			}
			return
		}
		defer f.Close()
		in := bufio.NewReaderSize(f, 64<<10)
		for n := 1; ; n++ {
			raw, err := readLine(in)
			if errors.Is(err, io.EOF) && len(raw) == 0 {
				return
			}
			if err != nil && !errors.Is(err, io.EOF) {
				t.fault(n, err.Error())
				if !errors.Is(err, errLineTooLong) {
					return
				}
				continue
			}
			if m, ok := t.parse(n, raw); ok {
				if m.Type == "" {
					t.read++
				} else {
					t.summaries++
				}
				if !yield(m) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

var errLineTooLong = fmt.Errorf("it is longer than %d MiB", lineBytesMax>>20)

// readLine reads a line without its end; one that is too long is skipped whole.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for tooLong := false; ; {
		piece, err := in.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(piece) > lineBytesMax; tooLong {
			line = nil
		} else {
			line = append(line, piece...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if tooLong {
			return nil, errLineTooLong
		}
		return []byte(strings.TrimRight(string(line), "\r\n")), err
	}
}

func (t *transcript) fault(n int, why string) {
	t.broken++
	t.report.BrokenLines++
	t.report.problem("%s:%d: %s", t.file, n, why)
}

// parse makes a message of a line, if it is one that somebody said, or the summary
// that models are given in place of older ones.
func (t *transcript) parse(n int, raw []byte) (m session.Message, ok bool) {
	if len(strings.TrimSpace(string(raw))) == 0 {
		return m, false
	}
	var l line
	if err := json.Unmarshal(raw, &l); err != nil {
		t.fault(n, unreadable(err))
		return m, false
	}
	switch {
	case l.Type == "compaction" && l.Summary != "":
		m = session.Message{
			Type: session.TypeCompaction, ID: l.ID, Role: "system", Text: l.Summary,
			FirstKeptID: l.FirstKeptEntryID, TokensBefore: l.TokensBefore, Timestamp: l.milli(),
		}
		if id, ok := t.first[m.FirstKeptID]; ok {
			m.FirstKeptID = id
		}
	case l.Type == "message":
		m, ok = t.said(n, l)
	}
	if !ok && m.Type == "" {
		t.unsaid = append(t.unsaid, l.ID) // the header, changes of the model, calls of tools
		return m, false
	}
	if m.Type == "" {
		for _, id := range t.unsaid {
			t.first[id] = l.ID
		}
		t.unsaid = t.unsaid[:0]
	}
	if size := len(m.Text) + imageBytes(m.Images); size > session.MessageBytesMax {
		t.fault(n, fmt.Sprintf("its message is larger than %d MiB", session.MessageBytesMax>>20))
		return m, false
	}
	return m, true
}

func imageBytes(images []session.Image) (n int) {
	for _, i := range images {
		n += len(i.Data)
	}
	return n
}

// milli is the line's time in Unix milliseconds, 0 when it has none.
func (l *line) milli() int64 {
	if l.Timestamp.IsZero() {
		return 0
	}
	return l.Timestamp.UnixMilli()
}

// said makes a message of a line of that type.
func (t *transcript) said(n int, l line) (m session.Message, ok bool) {
	msg := l.Message
	switch msg.Role {
	case "user", "assistant", "system":
	default:
		t.report.ToolMessages++
		return m, false
	}
	m = session.Message{
		ID: l.ID, Role: msg.Role, Timestamp: msg.Timestamp, API: msg.API, Provider: msg.Provider, Model: msg.Model,
		StopReason: msg.StopReason, ErrorMessage: msg.ErrorMessage, Usage: msg.Usage, Injected: msg.Model == injectedModel,
	}
	if m.Timestamp == 0 {
		m.Timestamp = l.milli()
	}
	var err error
	if m.Text, m.Images, err = content(msg.Content); err != nil {
		t.fault(n, "its content is unreadable")
		return m, false
	}
	if m.Role == "user" {
		m.Text = unwrapped(m.Text)
	}
	if m.Text == "" && len(m.Images) == 0 && m.ErrorMessage == "" {
		t.report.ToolMessages++ // a reply of nothing but calls of tools
		return m, false
	}
	return m, true
}

// content reads a message's content: a text, or blocks of which texts and images stay.
func content(raw json.RawMessage) (text string, images []session.Image, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil, nil
	}
	if raw[0] == '"' {
		err = json.Unmarshal(raw, &text)
		return text, nil, err
	}
	var blocks []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		Data     string `json:"data"`
		MimeType string `json:"mimeType"`
	}
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return "", nil, err
	}
	var texts []string
	for _, b := range blocks {
		switch b.Type {
		case "text":
			texts = append(texts, b.Text)
		case "image":
			if data, err := base64.StdEncoding.DecodeString(b.Data); err == nil && len(data) > 0 {
				images = append(images, session.Image{MimeType: b.MimeType, Data: data})
			}
		}
	}
	return strings.Join(texts, "\n"), images, nil
}
