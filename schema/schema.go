// Package schema holds the declaration of the protocol: one JSON Schema file
// (draft 2020-12) for each domain, with the domain's types in $defs, its methods
// in x-methods and its events in x-events. frames.json adds roles, scopes and the
// protocol version, errors.json the catalogue of refusals and close reasons.
//
// Everything else that speaks of the protocol is generated from these files or
// reads them: nothing declares a method, event, field or error code a second
// time. The package embeds the files so that the binary can print them and check
// instances without a checkout; it interprets nothing and keeps no state.
//
// A rule that surprises: objects are closed for the server that reads requests,
// while clients read results and events openly, so a new optional member of a
// result is no breaking change but a new member of params is one for old servers.
package schema

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.json
var files embed.FS

// FS returns the schema files, at the root and named <domain>.json.
func FS() fs.FS { return files }

// Domains returns the names of the schema files without extension, sorted.
func Domains() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic("schema: embedded directory is unreadable: " + err.Error())
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// File returns the text of one schema file. The error is fs.ErrNotExist when
// there is no such domain.
func File(domain string) ([]byte, error) { return fs.ReadFile(files, domain+".json") }
