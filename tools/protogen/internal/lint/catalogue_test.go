package lint_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/lint"
	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

const good = `{
 "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.test/errors.json", "title": "errors", "description": "Errors.",
 "x-errors": {"BAD": {"meaning": "m", "cause": "c", "fix": "f", "retryable": false}},
 "x-details": {"WORSE": {"meaning": "m", "cause": "c", "fix": "f", "error": "BAD", "close": "gone", "retryable": true, "recommendedNextStep": "s"}},
 "x-close": {"gone": {"meaning": "m", "cause": "c", "fix": "f", "code": 1008, "reason": "", "retryable": true}}
}`

// TestCatalogue breaks one rule of the catalogue at a time.
func TestCatalogue(t *testing.T) {
	for name, one := range map[string]struct{ from, to, want string }{
		"whole":             {"", "", ""},
		"no meaning":        {`"meaning": "m", "cause": "c", "fix": "f", "retryable": false`, `"cause": "c", "fix": "f", "retryable": false`, "errors.json#/x-errors/BAD: meaning is missing"},
		"no cause":          {`"cause": "c", "fix": "f", "error"`, `"fix": "f", "error"`, "errors.json#/x-details/WORSE: cause is missing"},
		"no fix":            {`"fix": "f", "code"`, `"code"`, "errors.json#/x-close/gone: fix is missing"},
		"no word on retry":  {`, "retryable": false`, ``, "errors.json#/x-errors/BAD: retryable is missing"},
		"no next step":      {`, "recommendedNextStep": "s"`, ``, "errors.json#/x-details/WORSE: recommendedNextStep is missing"},
		"unknown error":     {`"error": "BAD"`, `"error": "GOOD"`, `errors.json#/x-details/WORSE: error must name an entry of the catalogue, is "GOOD"`},
		"no error":          {`"error": "BAD", `, ``, `errors.json#/x-details/WORSE: error must name an entry of the catalogue, is ""`},
		"unknown close":     {`"close": "gone"`, `"close": "lost"`, `errors.json#/x-details/WORSE: close must name an entry of the catalogue, is "lost"`},
		"no close code":     {`"code": 1008, `, ``, "errors.json#/x-close/gone: code must be a WebSocket close code"},
		"a small code":      {`1008`, `108`, "errors.json#/x-close/gone: code must be a WebSocket close code"},
		"code of two lists": {`"gone": {`, `"BAD": {`, "errors.json#/x-close/BAD: the name is already taken by errors.json#/x-errors/BAD"},
		"unknown field":     {`"code": 1008`, `"code": 1008, "colour": "red"`, "errors.json#/x-close/gone/colour: unknown key of a table entry"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, one.from)
			text := strings.Replace(good, one.from, one.to, 1)
			model, err := load.Dir(fstest.MapFS{"errors.json": {Data: []byte(text)}})
			if err == nil {
				err = lint.House(model)
			}
			if one.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, one.want)
		})
	}
}
