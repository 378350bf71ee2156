// Package logs answers logs.tail: the end of the gateway's log file, or what came
// since a byte cursor.
//
// It reads one file, gateway.log of the log directory, and never another one: the
// directory is opened as an os.Root, so that not even a symbolic link leads out,
// and what is no regular file is refused. Older files of the rotation are not
// served. That no secret is in the file is the care of who writes it.
//
// A call reads the file anew and keeps nothing, so handlers need no lock.
package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The defaults of logs.tail. The schema has the upper bounds, which are repeated
// here for callers that did not pass a decoder.
const (
	limitDefault = 500
	limitMax     = 5000
	bytesDefault = 250_000
	bytesMax     = 1_000_000
)

// Config says which file is served.
type Config struct {
	// Path is the log file. It need not exist.
	Path string
}

// Service implements protocol.LogsService.
type Service struct {
	path string
}

var _ protocol.LogsService = (*Service)(nil)

// New returns a service for the file of cfg.
func New(cfg Config) *Service { return &Service{path: cfg.Path} }

// LogsTail handles logs.tail.
//
// Without a cursor it answers the last maxBytes of the file. With one it answers
// what came since; a cursor beyond the end, as after a rotation, or more than
// maxBytes behind it begins anew near the end and says so with reset. truncated
// says that maxBytes left something out (the original does not count what limit
// leaves out). Lines are whole: a torn one at the front is dropped, and one at the
// end that is still being written waits for the next call.
func (s *Service) LogsTail(_ context.Context, _ *wire.Peer, params protocol.LogsTailParams) (protocol.LogsTailResult, error) {
	slice, err := s.read(clamp(params.MaxBytes.Or(bytesDefault), bytesMax), params.Cursor)
	if err != nil {
		return protocol.LogsTailResult{}, wire.Errorf(protocol.ErrorUnavailable, "log read failed: %s", err)
	}
	lines := split(slice.text)
	if limit := clamp(params.Limit.Or(limitDefault), limitMax); int64(len(lines)) > limit {
		lines = lines[int64(len(lines))-limit:]
	}
	return protocol.LogsTailResult{
		File:      s.path,
		Cursor:    slice.cursor,
		Size:      slice.size,
		Lines:     lines,
		Truncated: wire.Some(slice.truncated),
		Reset:     wire.Some(slice.reset),
	}, nil
}

func clamp(v, most int64) int64 { return min(max(v, 1), most) }

// piece is the part of the file that one answer is made from.
type piece struct {
	text             []byte
	cursor, size     int64
	truncated, reset bool
}

func (s *Service) read(most int64, cursor wire.Opt[int64]) (piece, error) {
	file, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return piece{}, nil // nothing has been logged yet
	}
	if err != nil {
		return piece{}, err
	}
	defer func() { _ = file.Close() }() // opened for reading
	info, err := file.Stat()
	if err != nil {
		return piece{}, err
	}
	p := piece{size: info.Size(), cursor: info.Size()}
	begin := p.begin(most, cursor)
	if begin >= p.size {
		return p, nil
	}
	return p, p.load(file, begin)
}

// open opens the file below its directory. Lstat comes first because opening a
// named pipe would wait for a writer.
func (s *Service) open() (*os.File, error) {
	root, err := os.OpenRoot(filepath.Dir(s.path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	name := filepath.Base(s.path)
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return root.Open(name)
}

// begin decides where to read from.
func (p *piece) begin(most int64, cursor wire.Opt[int64]) int64 {
	newest := max(0, p.size-most)
	at, given := cursor.Get()
	switch {
	case given && at > p.size:
		p.reset, p.truncated = true, newest > 0
	case given && p.size-at > most:
		p.reset, p.truncated = true, true
	case given:
		return max(0, at)
	default:
		p.truncated = newest > 0
	}
	return newest
}

// load reads from begin to the size seen before: what is appended meanwhile
// belongs to the next answer.
func (p *piece) load(file *os.File, begin int64) error {
	from := max(0, begin-1) // with the byte before, to see whether a line begins at begin
	buffer := make([]byte, p.size-from)
	n, err := file.ReadAt(buffer, from)
	if err != nil && err != io.EOF { // EOF: the file was cut meanwhile
		return err
	}
	text := buffer[:n]
	if begin > 0 {
		first := bytes.IndexByte(text, '\n')
		if first < 0 {
			return nil // one line longer than all that may be read: it is passed over
		}
		text = text[first+1:]
	}
	last := bytes.LastIndexByte(text, '\n') + 1
	p.cursor -= int64(len(text) - last)
	p.text = text[:last]
	return nil
}

// split cuts text into lines without their ends. Bytes that are no UTF-8 become
// U+FFFD, because the answer is JSON.
func split(text []byte) []string {
	lines := []string{}
	for line := range bytes.Lines(text) {
		lines = append(lines, strings.ToValidUTF8(string(bytes.TrimSuffix(line, []byte("\n"))), "\uFFFD"))
	}
	return lines
}
