package protocol_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// labelledCase is a line of testdata/ajv/cases.jsonl.gz: an instance and what ajv
// said of it under the published schema.
type labelledCase struct {
	Def    string     `json:"d"`
	Text   string     `json:"t"`
	OK     bool       `json:"ok"`
	Errors [][]string `json:"e"` // instancePath, keyword, message, params
}

// exception is a line of testdata/ajv/exceptions.txt: cases of def may differ in the
// errors at path.
type exception struct {
	def, path, reason string
	used              int
}

func readExceptions(t *testing.T) []*exception {
	data, err := os.ReadFile("../../testdata/ajv/exceptions.txt")
	require.NoError(t, err)
	var list []*exception
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, "\t")
		require.Len(t, parts, 3, "an exception is definition, pointer, reason: %q", line)
		list = append(list, &exception{def: parts[0], path: parts[1], reason: parts[2]})
	}
	return list
}

// TestLabelledCases compares verdict, paths, words and order with ajv for every
// definition that this package has.
func TestLabelledCases(t *testing.T) {
	exceptions := readExceptions(t)
	present := protocol.Definitions()
	ran, absent := map[string]int{}, map[string]bool{}
	excepted, faults := 0, 0
	for c := range labelledCases(t) {
		if !slices.Contains(present, c.Def) {
			absent[c.Def] = true
			continue
		}
		ran[c.Def]++
		diff := compareCase(c)
		if diff == "" {
			continue
		}
		if e := excuse(exceptions, c); e != nil {
			e.used++
			excepted++
			continue
		}
		faults++
		if faults <= 20 {
			t.Errorf("%s %s\n%s", c.Def, c.Text, diff)
		}
	}
	total := 0
	for _, def := range present {
		if ran[def] > 0 {
			t.Logf("%-24s %d cases", def, ran[def])
			total += ran[def]
		}
	}
	t.Logf("%d cases of %d definitions, %d excepted, %d differ; %d definitions are not in the schema yet", total, len(ran), excepted, faults, len(absent))
	require.NotZero(t, total)
	for _, e := range exceptions {
		require.NotZero(t, e.used, "no case needs the exception of %s any more: %s", e.def, e.reason)
	}
}

// excuse returns the exception that explains why c differs: without the errors at its
// path both lists are equal, or an error there was all that kept a union from fitting.
func excuse(list []*exception, c labelledCase) *exception {
	got, err := errorList(protocol.Validate(c.Def, []byte(c.Text)))
	if err != nil {
		return nil
	}
	for _, e := range list {
		at := func(one []string) bool { return one[0] == e.path }
		if e.def != c.Def || !slices.ContainsFunc(append(slices.Clone(c.Errors), got...), at) {
			continue
		}
		rest := func(list [][]string) [][]string { return slices.DeleteFunc(slices.Clone(list), at) }
		if len(got) == 0 || slices.EqualFunc(rest(got), rest(c.Errors), slices.Equal) {
			return e
		}
	}
	return nil
}

func labelledCases(t *testing.T) func(func(labelledCase) bool) {
	data, err := os.ReadFile("../../testdata/ajv/cases.jsonl.gz")
	require.NoError(t, err)
	zr, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	return func(yield func(labelledCase) bool) {
		lines := bufio.NewScanner(zr)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var c labelledCase
			require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
			if !yield(c) {
				return
			}
		}
		require.NoError(t, lines.Err())
	}
}

// compareCase returns what differs, or an empty string.
func compareCase(c labelledCase) string {
	got, err := errorList(protocol.Validate(c.Def, []byte(c.Text)))
	if err != nil {
		return err.Error()
	}
	if c.OK != (len(got) == 0) || !slices.EqualFunc(got, c.Errors, slices.Equal) {
		return fmt.Sprintf("got  %q\nwant %q", got, c.Errors)
	}
	return ""
}

// errorList brings a refusal into the form of the labelled cases.
func errorList(err error) ([][]string, error) {
	if err == nil {
		return nil, nil
	}
	var refusal wire.ValidationErrors
	if !errors.As(err, &refusal) {
		return nil, fmt.Errorf("%T: %w", err, err)
	}
	var list [][]string
	for _, e := range refusal {
		list = append(list, []string{e.InstancePath, e.Keyword, e.Message, string(e.Params)})
	}
	return list, nil
}
