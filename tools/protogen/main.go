// Command protogen writes everything that is generated from schema/: Go, manifest
// and reference page, all of it below gen/.
//
//	go run ./tools/protogen -schema schema -out .
//
// With -check it writes nothing: it generates in memory and fails when a file below
// gen/ differs, is missing, or is there although nothing generates it. With -release
// it freezes the schema as what is promised from now on: schema/released/v<version>.json.
// With -roots it generates Go from schemas that are not ours, which is how the official
// test suite goes through it. With -valid it writes a package that makes no values, for
// measuring.
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
	freeze := flag.Bool("release", false, "write the released bundle instead, unless that breaks the one that is there")
	roots := flag.String("roots", "", "generate Go from this bundle of schemas from elsewhere instead")
	valid := flag.String("valid", "", "write the package that only validates to this folder instead")
	flag.Parse()
	err := error(nil)
	switch {
	case *roots != "":
		err = foreign(*roots, *out)
	case *valid != "":
		err = validators(*schemaDir, *valid)
	case *freeze:
		err = release(*schemaDir)
	default:
		err = run(*schemaDir, *out, *check)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
