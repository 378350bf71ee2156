package protocol_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// anyCodec is a wire.Codec without its type: both functions decode and encode again.
type anyCodec struct {
	closed, open func(raw []byte) ([]byte, error)
}

func of[T any](c wire.Codec[T]) anyCodec {
	again := func(decode func([]byte) (T, error)) func([]byte) ([]byte, error) {
		return func(raw []byte) ([]byte, error) {
			v, err := decode(raw)
			if err != nil {
				return nil, err
			}
			return c.Append(nil, v), nil
		}
	}
	return anyCodec{closed: again(c.Decode), open: again(c.DecodeOpen)}
}

// schemaDef is what the examples' tests need of a definition.
type schemaDef struct {
	Examples []json.RawMessage `json:"examples"`
	Invalid  []struct {
		Value  json.RawMessage `json:"value"`
		Errors string          `json:"errors"`
	} `json:"x-invalid"`
}

func schemaDefs(t testing.TB) map[string]schemaDef {
	files, err := filepath.Glob("../../schema/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]schemaDef{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var f struct {
			Defs map[string]schemaDef `json:"$defs"`
		}
		require.NoError(t, json.Unmarshal(data, &f), file)
		for name, def := range f.Defs {
			all[name] = def
		}
	}
	return all
}

// TestExamples decodes each example strictly and openly and encodes it again: what
// comes out is the same value.
func TestExamples(t *testing.T) {
	n := 0
	for name, def := range schemaDefs(t) {
		for i, example := range def.Examples {
			n++
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				closed, err := codecs[name].closed(example)
				require.NoError(t, err)
				require.JSONEq(t, string(example), string(closed))
				open, err := codecs[name].open(example)
				require.NoError(t, err)
				require.Equal(t, string(closed), string(open))
			})
		}
	}
	require.NotZero(t, n)
}

// TestInvalidExamples compares the text of each refusal with the schema's.
func TestInvalidExamples(t *testing.T) {
	n := 0
	for name, def := range schemaDefs(t) {
		for i, invalid := range def.Invalid {
			n++
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				require.EqualError(t, protocol.Validate(name, compact(t, invalid.Value)), invalid.Errors)
			})
		}
	}
	require.NotZero(t, n)
}

func compact(t testing.TB, raw []byte) []byte {
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, raw))
	return b.Bytes()
}

// TestDefinitions checks that the lists by name hold every definition of the schema.
func TestDefinitions(t *testing.T) {
	names := protocol.Definitions()
	require.IsIncreasing(t, names)
	require.Len(t, names, len(schemaDefs(t)))
	require.Len(t, codecs, len(names))
	for _, name := range names {
		require.Contains(t, codecs, name)
		require.Error(t, protocol.Validate(name, []byte("{")), name)
	}
	require.EqualError(t, protocol.Validate("Nothing", []byte("{}")), `no definition is called "Nothing"`)
}
