//go:build ignore

// This program measures. Package speed builds it in a module of its own, beside code that
// is generated for it, and reads what it prints.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"

	"speed.test/gojs"
	"speed.test/valid"
)

// frame is a line of frames.jsonl.
type frame struct {
	Name, Envelope, Member, Definition string
	Frame                              string
}

// rows are the contestants: each returns the function that reads one frame whole,
// envelope and payload, and reports whether it was accepted.
type contestant struct {
	name string
	of   func(frame) func(raw []byte) bool
}

func main() {
	frames, err := readFrames(os.Args[1])
	check(err)
	oracle, err := compile(os.Args[2])
	check(err)
	contestants := []contestant{
		{"decode", decode},
		{"valid", validate},
		{"refuse", decode},
		{"encode", encode},
		{"syntax", func(frame) func([]byte) bool { return wire.ValidJSON }},
		{"json.Valid", func(frame) func([]byte) bool { return json.Valid }},
		{"encoding/json", func(frame) func([]byte) bool {
			return func(raw []byte) bool {
				var v any
				return json.Unmarshal(raw, &v) == nil
			}
		}},
		{"santhosh", oracle.validate},
		{"go-jsonschema", gojsonschema},
	}
	out := map[string]map[string]cost{}
	for _, f := range frames {
		measureFrame(f, contestants, out)
	}
	check(json.NewEncoder(os.Stdout).Encode(out))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// cost is what one frame takes.
type cost struct {
	Nanoseconds float64 `json:"ns"`
	Allocs      float64 `json:"allocs"`
}

// measureFrame times all contestants in turns, so that a busy machine slows all of them or
// none, and keeps the shortest of many short runs.
func measureFrame(f frame, contestants []contestant, out map[string]map[string]cost) {
	const rounds = 40
	fns := make([]func(), len(contestants))
	times := make([]int, len(contestants))
	least := make([]time.Duration, len(contestants))
	for i, c := range contestants {
		raw, accepts := []byte(f.Frame), true
		if c.name == "refuse" {
			raw, accepts = spoiled(f), false
		}
		read := c.of(f)
		if read(raw) != accepts {
			check(fmt.Errorf("%s reads %s wrongly", c.name, f.Name))
		}
		fns[i] = func() { read(raw) }
		start := time.Now()
		for range 10 {
			fns[i]()
		}
		times[i] = max(1, int(time.Millisecond/(time.Since(start)/10+1)))
		least[i] = math.MaxInt64
	}
	for range rounds {
		for i, fn := range fns {
			start := time.Now()
			for range times[i] {
				fn()
			}
			least[i] = min(least[i], time.Since(start)*1000/time.Duration(times[i]))
		}
	}
	for i, c := range contestants {
		if out[c.name] == nil {
			out[c.name] = map[string]cost{}
		}
		out[c.name][f.Name] = cost{float64(least[i]) / 1000, allocs(fns[i])}
	}
}

func allocs(fn func()) float64 {
	const times = 100
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		fn()
	}
	runtime.ReadMemStats(&after)
	return math.Floor(float64(after.Mallocs-before.Mallocs) / times)
}

// spoiled gives the payload a member that nobody knows and takes one away that is
// required.
func spoiled(f frame) []byte {
	raw := strings.Replace(f.Frame, `"`+f.Member+`":{`, `"`+f.Member+`":{"unexpected":true,`, 1)
	first := map[string]string{
		"ConnectParams": `"minProtocol"`, "ChatSendParams": `"sessionKey"`, "AgentEvent": `"runId"`, "HealthSummary": `"ts"`, "HelloOk": `"protocol"`,
	}[f.Definition]
	return []byte(strings.Replace(raw, first, `"unheard of"`, 1))
}

func readFrames(path string) ([]frame, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []frame
	for line := range bytes.Lines(text) {
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// decode is what the gateway does with a request: the envelope, then the payload out of
// its raw bytes.
func decode(f frame) func([]byte) bool {
	payload := map[string]func([]byte) bool{
		"ConnectParams": ok(protocol.DecodeConnectParams), "ChatSendParams": ok(protocol.DecodeChatSendParams),
		"AgentEvent": ok(protocol.DecodeAgentEvent), "HealthSummary": ok(protocol.DecodeHealthSummary), "HelloOk": ok(protocol.DecodeHelloOk),
	}[f.Definition]
	return inTwoSteps(f, payload)
}

func ok[T any](decode func([]byte) (T, error)) func([]byte) bool {
	return func(raw []byte) bool {
		_, err := decode(raw)
		return err == nil
	}
}

func inTwoSteps(f frame, payload func([]byte) bool) func([]byte) bool {
	switch f.Envelope {
	case "RequestFrame":
		return func(raw []byte) bool {
			e, err := protocol.DecodeRequestFrame(raw)
			return err == nil && payload(e.Params)
		}
	case "ResponseFrame":
		return func(raw []byte) bool {
			e, err := protocol.DecodeResponseFrame(raw)
			return err == nil && payload(e.Payload)
		}
	}
	return func(raw []byte) bool {
		e, err := protocol.DecodeEventFrame(raw)
		return err == nil && payload(e.Payload)
	}
}

// validate makes no values, and reads envelope and payload as one type.
func validate(f frame) func([]byte) bool {
	return map[string]func([]byte) bool{
		"ConnectParams": valid.ConnectParamsFrame, "ChatSendParams": valid.ChatSendParamsFrame,
		"AgentEvent": valid.AgentEventFrame, "HealthSummary": valid.HealthSummaryFrame, "HelloOk": valid.HelloOkFrame,
	}[f.Definition]
}

// encode writes the payload that the frame holds into a buffer that is there.
func encode(f frame) func([]byte) bool {
	raw := []byte(f.Frame)
	var payload []byte
	switch f.Envelope {
	case "RequestFrame":
		e, _ := protocol.DecodeRequestFrame(raw)
		payload = e.Params
	case "ResponseFrame":
		e, _ := protocol.DecodeResponseFrame(raw)
		payload = e.Payload
	default:
		e, _ := protocol.DecodeEventFrame(raw)
		payload = e.Payload
	}
	switch f.Definition {
	case "ConnectParams":
		return append1(protocol.CodecConnectParams, payload)
	case "ChatSendParams":
		return append1(protocol.CodecChatSendParams, payload)
	case "AgentEvent":
		return append1(protocol.CodecAgentEvent, payload)
	case "HealthSummary":
		return append1(protocol.CodecHealthSummary, payload)
	}
	return append1(protocol.CodecHelloOk, payload)
}

func append1[T any](c wire.Codec[T], payload []byte) func([]byte) bool {
	v, err := c.Decode(payload)
	check(err)
	b := make([]byte, 0, 1<<16)
	return func([]byte) bool { return len(c.Append(b, v)) > 0 }
}

// gojsonschema decodes into what go-jsonschema made of the same schema, with its own
// validation. It reads envelope and payload as one type, which spares it a second pass.
func gojsonschema(f frame) func([]byte) bool {
	return map[string]func([]byte) bool{
		"ConnectParams": into[gojs.ConnectParamsFrame], "ChatSendParams": into[gojs.ChatSendParamsFrame], "AgentEvent": into[gojs.AgentEventFrame],
		"HealthSummary": into[gojs.HealthSummaryFrame], "HelloOk": into[gojs.HelloOkFrame],
	}[f.Definition]
}

func into[T any](raw []byte) bool {
	var v T
	return json.Unmarshal(raw, &v) == nil
}

// independent holds the validators of santhosh-tekuri/jsonschema by definition.
type independent map[string]*jsonschema.Schema

func compile(dir string) (independent, error) {
	c := jsonschema.NewCompiler()
	var places []string
	names, err := fs.Glob(os.DirFS(dir), "*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		file := doc.(map[string]any)
		id := file["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			return nil, err
		}
		defs, _ := file["$defs"].(map[string]any)
		for def := range defs {
			places = append(places, id+"#/$defs/"+def)
		}
	}
	out := independent{}
	for _, place := range places {
		s, err := c.Compile(place)
		if err != nil {
			return nil, err
		}
		out[place[strings.LastIndexByte(place, '/')+1:]] = s
	}
	return out, nil
}

// validate parses once and validates envelope and payload.
func (o independent) validate(f frame) func([]byte) bool {
	envelope, payload := o[f.Envelope], o[f.Definition]
	return func(raw []byte) bool {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return false
		}
		return envelope.Validate(v) == nil && payload.Validate(v.(map[string]any)[f.Member]) == nil
	}
}
