package oracle

import (
	"regexp"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// jsonschemaRegexp compiles a pattern with the standard library.
func jsonschemaRegexp(pattern string) (jsonschema.Regexp, error) { return regexp.Compile(pattern) }
