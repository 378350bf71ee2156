// Command protogen writes everything that is generated from schema/: Go, manifest
// and reference page, all of it below gen/.
//
//	go run ./tools/protogen -schema schema -out .
//
// With -check it writes nothing: it generates in memory and fails when a file below
// gen/ differs, is missing, or is there although nothing generates it.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	schemaDir := flag.String("schema", "schema", "folder of the schema files")
	out := flag.String("out", ".", "root of the repository")
	check := flag.Bool("check", false, "compare instead of write")
	flag.Parse()
	if err := run(*schemaDir, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
