package cli_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func killGateway(ts *testscript.TestScript, _ bool, _ []string) {
	f := of(ts)
	cmd := f.gateway
	f.gateway = nil
	ts.Check(cmd.Process.Kill())
	_ = cmd.Wait()
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	raw, err := os.ReadFile(path)
	ts.Check(err)
	for i := 2 * 4096; i < len(raw); i++ {
		raw[i] = 0xd5
	}
	ts.Check(os.WriteFile(path, raw, 0o600))
}

// hashes tells whether anything below a folder has changed: content, mode, link or name.
func hashes(ts *testscript.TestScript, _ bool, args []string) {
	var out strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			content = []byte(link)
		case e.Type().IsRegular():
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&out, "%x %s %d %s\n", sha256.Sum256(content), info.Mode(), info.ModTime().UnixNano(), path)
		return nil
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o600))
}
