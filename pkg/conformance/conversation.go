package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
)

// Conversation is a written example of the protocol: a txtar file whose comment
// says in two lines what it shows and why that matters, and whose one section,
// conversation, holds the lines below. Blank lines and lines that begin with #
// are for the reader; a line that begins with white space continues the one
// before it.
//
//	needs llm                         what the target must offer (also: restart, stop)
//	connect bob scopes=operator.read  open a connection and shake hands
//	> chat.send {"sessionKey":"main","message":"hi","idempotencyKey":"k1"}
//	< ok {"runId":"k1","status":"started"}
//	< event chat {"runId":"k1","state":"final"}
//	< error INVALID_REQUEST "unknown method: no.such"
//	< no event chat {"runId":"k2"}
//	< close 1008 "slow consumer"
//	! restart                         stop the gateway and start it on the same state
//	! disconnect                      close our end
//
// A line of a connection other than the first one begins with its name: bob>,
// bob<, ! disconnect bob. connect takes the options id and mode (of the client,
// test unless given), role, scopes, caps, token (the gateway's unless given; device
// is the token of the last hello-ok, none is none), device=none and host (the Host
// header; another name of the gateway makes the device one on another host). It must succeed
// unless the next line of the connection begins with <. Each name is one device,
// also after a restart. hello is another word for ok in answer to connect.
//
// An ok or error answers the last request of the connection; a number after the
// arrow names a request (>1, <1) when several are open, and a second < ok is the
// second answer. Events are found in the order written, those between them do
// not matter; < no event looks at everything received so far, which is complete
// for everything that happened before the last answered request.
//
// Values are JSON. A pattern object needs the members it names and may have
// others; a pattern array matches element by element, and the element "..."
// stands for any number of elements. "<string>", "<int>", "<number>", "<bool>",
// "<uuid>" and "<any>" match by kind, "<absent>" matches a missing member,
// "<~re>" a regular expression. $name is a variable: in a pattern it takes the
// value on first sight and must equal it later; in params it is put in, a fresh
// UUID on first sight. $session is a session key of this run alone, $token the
// gateway's secret, $profile the way it knows its clients: token or password.
//
// Whatever is written, everything received also has to keep the rules that any
// conversation obeys (see audit): frames, results and events are as the schema says,
// seq and stateVersion count, each run ends once.
type Conversation struct {
	// Name is the file's path below the directory, such as chat/send.txtar.
	Name string
	// About is the comment.
	About string
	needs []string
	lines []line
	// known is what the protocol can say.
	known *vocabulary
}

// line is one action or expectation.
type line struct {
	number int
	verb   string // connect, say, ok, error, event, no event, close, restart, disconnect
	conn   string
	label  string
	word   string // method, event, error code, close code
	text   string // error message, close reason
	value  json.RawMessage
	opts   map[string]string
	// expected marks a connect whose answer is written out.
	expected bool
}

// LoadConversations reads every .txtar file below dir, sorted by path.
func LoadConversations(dir fs.FS) ([]Case, error) {
	list, err := readConversations(dir)
	cases := make([]Case, len(list))
	for i, c := range list {
		cases[i] = c.Case()
	}
	return cases, err
}

// Case returns the conversation as a case.
func (c *Conversation) Case() Case {
	run := func(ctx context.Context, target Target) []Outcome { return []Outcome{c.run(ctx, target)} }
	return Case{
		Name: c.Name, About: c.About, names: []string{c.Name}, run: run, play: c.play,
		restarts: slices.Contains(c.needs, "restart"), final: slices.Contains(c.needs, "stop"),
	}
}

func readConversations(dir fs.FS) ([]*Conversation, error) {
	var list []*Conversation
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".txtar" {
			return err
		}
		raw, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		c, err := ParseConversation(name, string(raw))
		if err != nil {
			return err
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// Methods returns the methods the conversation calls, each once, sorted. Every
// listed method needs a conversation; this is how a test finds out.
func (c *Conversation) Methods() []string {
	var names []string
	for _, l := range c.lines {
		if l.verb == "connect" {
			names = append(names, protocol.MethodConnect.Name)
		}
		if l.verb == "say" {
			names = append(names, l.word)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ParseConversation reads the notation described at Conversation. The error names
// the line.
func ParseConversation(name, text string) (*Conversation, error) {
	about, script, ok := strings.Cut(text, "-- conversation --\n")
	if !ok {
		return nil, fmt.Errorf("%s: no section -- conversation --", name)
	}
	c := &Conversation{Name: name, About: strings.TrimSpace(about), known: words()}
	if n := strings.Count(c.About, "\n"); n != 1 {
		return nil, fmt.Errorf("%s: opens with %d lines instead of two that say what and why", name, n+1)
	}
	offset := strings.Count(about, "\n") + 2
	var joined []string
	var numbers []int
	for i, l := range strings.Split(script, "\n") {
		switch trimmed := strings.TrimSpace(l); {
		case trimmed == "" || trimmed[0] == '#':
		case (l[0] == ' ' || l[0] == '\t') && len(joined) > 0:
			joined[len(joined)-1] += " " + trimmed
		default:
			joined, numbers = append(joined, trimmed), append(numbers, i+offset)
		}
	}
	p := &scriptParser{first: "", c: c}
	for i, l := range joined {
		if err := p.line(numbers[i], l); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, numbers[i], err)
		}
	}
	if len(c.lines) == 0 {
		return nil, fmt.Errorf("%s: nothing is said", name)
	}
	c.markExpectedConnects()
	return c, nil
}

// scriptParser remembers which connection is the first one, to which unnamed
// lines belong.
type scriptParser struct {
	c     *Conversation
	first string
}

var spokenLine = regexp.MustCompile(`^([a-z][a-z0-9]*)?([<>])([0-9]*)\s+(.*)$`)

func (p *scriptParser) line(number int, text string) error {
	if m := spokenLine.FindStringSubmatch(text); m != nil {
		l := line{number: number, conn: m[1], label: m[3]}
		if l.conn == "" {
			l.conn = p.first
		}
		if l.conn == "" {
			return fmt.Errorf("no connection is open")
		}
		parse := p.expectation
		if m[2] == ">" {
			parse = p.request
		}
		return parse(l, m[4])
	}
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "needs":
		p.c.needs = append(p.c.needs, strings.Fields(rest)...)
		return nil
	case "connect":
		return p.connect(number, rest)
	case "!":
		return p.action(number, rest)
	}
	return fmt.Errorf("unknown line: %s", text)
}

func (p *scriptParser) add(l line) error {
	p.c.lines = append(p.c.lines, l)
	return nil
}

func (p *scriptParser) connect(number int, rest string) error {
	l := line{number: number, verb: "connect", conn: "main", opts: map[string]string{}}
	for i, word := range strings.Fields(rest) {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case ok && slices.Contains([]string{"id", "mode", "role", "scopes", "caps", "token", "device", "host"}, key):
			l.opts[key] = value
		case !ok && i == 0:
			l.conn = word
		default:
			return fmt.Errorf("unknown option %s", word)
		}
	}
	if p.first == "" {
		p.first = l.conn
	}
	return p.add(l)
}

func (p *scriptParser) action(number int, rest string) error {
	words := strings.Fields(rest)
	switch {
	case len(words) == 1 && (words[0] == "restart" || words[0] == "stop"):
		p.c.needs = append(p.c.needs, words[0])
		return p.add(line{number: number, verb: words[0]})
	case len(words) >= 1 && len(words) <= 2 && words[0] == "disconnect":
		conn := p.first
		if len(words) == 2 {
			conn = words[1]
		}
		return p.add(line{number: number, verb: "disconnect", conn: conn})
	}
	return fmt.Errorf("unknown action %s", rest)
}

func (p *scriptParser) request(l line, rest string) error {
	l.verb = "say"
	method, params, _ := strings.Cut(rest, " ")
	l.word = method
	if params = strings.TrimSpace(params); params != "" {
		l.value = json.RawMessage(params)
		if !json.Valid(l.value) {
			return fmt.Errorf("params are no JSON: %s", params)
		}
	}
	return p.add(l)
}

func (p *scriptParser) expectation(l line, rest string) error {
	if after, ok := strings.CutPrefix(rest, "no event "); ok {
		l.verb = "no event"
		return p.named(l, after)
	}
	verb, after, _ := strings.Cut(rest, " ")
	after = strings.TrimSpace(after)
	switch verb {
	case "ok", "hello":
		l.verb = "ok"
		return p.valued(l, after)
	case "event":
		l.verb = "event"
		return p.named(l, after)
	case "error", "close":
		l.verb = verb
		code, text, _ := strings.Cut(after, " ")
		l.word = code
		d := json.NewDecoder(strings.NewReader(text))
		if err := d.Decode(&l.text); err != nil {
			return fmt.Errorf("%s needs a code and a quoted text: %s", verb, after)
		}
		return p.valued(l, strings.TrimSpace(text[d.InputOffset():]))
	}
	return fmt.Errorf("unknown expectation %s", rest)
}

func (p *scriptParser) named(l line, rest string) error {
	name, value, _ := strings.Cut(rest, " ")
	l.word = name
	return p.valued(l, strings.TrimSpace(value))
}

func (p *scriptParser) valued(l line, value string) error {
	if value != "" {
		l.value = json.RawMessage(value)
		if !json.Valid(l.value) {
			return fmt.Errorf("pattern is no JSON: %s", value)
		}
	}
	return p.add(l)
}

// markExpectedConnects finds the connects whose answer the script spells out.
func (c *Conversation) markExpectedConnects() {
	for i := range c.lines {
		if c.lines[i].verb != "connect" {
			continue
		}
		for _, next := range c.lines[i+1:] {
			if next.conn == c.lines[i].conn {
				c.lines[i].expected = next.verb == "ok" || next.verb == "error"
				break
			}
		}
	}
}
