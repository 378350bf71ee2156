package protocol_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutation is a line of testdata/mutations/mutations.jsonl: a changed message and what
// a client has to do about it, as an oracle that knows nothing of this package says.
type mutation struct {
	ID     string `json:"id"`
	Def    string `json:"def"`
	Kind   string `json:"kind"`
	Frame  string `json:"frame"`
	Expect string `json:"expect"`
	Same   string `json:"same"`
}

// TestMutations decodes every changed message openly, and encodes it again.
func TestMutations(t *testing.T) {
	count := map[string]int{}
	for line := range jsonLines(t, "../../testdata/mutations/mutations.jsonl") {
		var m mutation
		require.NoError(t, json.Unmarshal(line, &m))
		count[m.Kind]++
		if fault := m.fault(); fault != "" {
			t.Errorf("%s as %s: %s\n%s", m.ID, m.Def, fault, m.Frame)
		}
	}
	require.Len(t, count, 7, "kinds of mutation")
	t.Log(count)
}

// fault returns what this package does wrong, or an empty string.
func (m mutation) fault() string {
	codec, ok := codecs[m.Def]
	if !ok {
		return "no such definition"
	}
	out, err := codec.open([]byte(m.Frame))
	switch {
	case m.Expect == "refuse" && err == nil:
		return "accepted, and encodes to " + string(out)
	case m.Expect == "refuse":
		return ""
	case err != nil:
		return "refused: " + err.Error()
	case canonical(out) != canonical([]byte(m.Same)):
		return "encodes to " + string(out) + ", want " + m.Same
	}
	return ""
}

// canonical prints JSON with its members sorted and the spelling of numbers kept, so
// that equal texts are equal values, to the last digit. What is no JSON stays itself.
func canonical(raw []byte) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return string(raw)
	}
	return printed(v)
}

func printed(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// jsonLines goes through the lines of a file.
func jsonLines(t testing.TB, path string) func(func([]byte) bool) {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return func(yield func([]byte) bool) {
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 1<<24)
		n := 0
		for ; lines.Scan(); n++ {
			if strings.TrimSpace(lines.Text()) != "" && !yield(lines.Bytes()) {
				return
			}
		}
		require.NoError(t, lines.Err())
		require.NotZero(t, n, path)
	}
}
