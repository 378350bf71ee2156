// Package schema holds the declaration of the protocol: one JSON Schema file
// (draft 2020-12) for each domain, with the domain's types in $defs, its methods
// in x-methods and its events in x-events. frames.json adds roles, scopes and the
// protocol version, errors.json the catalogue of refusals and close reasons.
//
// Everything else that speaks of the protocol is generated from these files or
// reads them: nothing declares a method, event, field or error code a second
// time. The package embeds the files so that the binary can print them and check
// instances without a checkout; it interprets nothing and keeps no state. released/
// holds what was promised: the bundle that package compat compares the files with.
//
// A rule that surprises: objects are closed for the server that reads requests,
// while clients read results and events openly, so a new optional member of a
// result is no breaking change but a new member of params is one for old servers.
package schema

import (
	"cmp"
	"embed"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed *.json
var files embed.FS

//go:embed released/v*.json
var released embed.FS

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

// Released returns the frozen bundle of the newest protocol version that people's
// programs were written against, in package compat's canonical form.
func Released() []byte {
	entries, err := fs.ReadDir(released, "released")
	if err != nil || len(entries) == 0 {
		panic("schema: no released bundle is embedded")
	}
	newest := slices.MaxFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(version(a), version(b)) })
	text, err := released.ReadFile("released/" + newest.Name())
	if err != nil {
		panic("schema: embedded bundle is unreadable: " + err.Error())
	}
	return text
}

// version is the number in the name of a released bundle, v<number>.json.
func version(e fs.DirEntry) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "v"), ".json"))
	return n
}
