// Package testdata embeds the conversations that tell whether a gateway or a client
// speaks the protocol, so that the conformance runner needs no checkout.
//
// The Go tool leaves directories of this name out of ./..., but not out of imports.
// Nothing else belongs into this package: tests read the files themselves.
package testdata

import (
	"embed"
	"io/fs"
)

//go:embed frames conformance
var files embed.FS

// Frames returns the recorded conversations: INDEX.json, EXCEPTIONS.md and one
// .jsonl file for each.
func Frames() fs.FS { return below("frames") }

// Conversations returns the written conversations: <domain>/<what it shows>.txtar.
func Conversations() fs.FS { return below("conformance") }

func below(dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic("testdata: " + err.Error()) // the name is a constant
	}
	return sub
}
