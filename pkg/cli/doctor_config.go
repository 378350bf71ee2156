package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/coderclaw/gateway/pkg/settings"
)

// checkConfig looks at the config file and what it includes: whether the gateway can
// start with it, who else may read or change it, and which keys have no effect.
func (d *doctor) checkConfig(context.Context) []finding {
	const check = "config"
	if d.lastGood {
		return one(check, levelFail, "coderclaw config edit, or go back: coderclaw config rollback 1", "%v; the gateway runs, or starts, with the last good one", d.confErr)
	}
	if d.confErr != nil {
		return one(check, levelFail, "mend what the text names in "+d.configPath, "%v", d.confErr)
	}
	doc, err := settings.Read(settings.Source{Path: d.configPath, Getenv: d.getenv})
	switch {
	case err != nil:
		return one(check, levelFail, "", "%v", err)
	case !doc.Exists:
		return one(check, levelOK, "", "no file, so everything is as by default (%s)", d.configPath)
	}
	var found []finding
	for _, file := range doc.Files {
		found = append(found, checkConfigFile(file, doc.HoldsSecret(file))...)
	}
	if len(found) == 0 {
		found = one(check, levelOK, "", "%s is valid", d.configPath)
	}
	if keys := foreignKeys(doc); keys != "" {
		found = append(found, one(check, levelWarn, "nothing, if the file is another gateway's too; else take them out: coderclaw config edit",
			"%s holds keys that are kept but have no effect here: %s", d.configPath, keys)...)
	}
	return found
}

func checkConfigFile(path string, secret bool) []finding {
	const check = "config"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // an included file that is not there is a fault of the config
	case err != nil:
		return one(check, levelFail, "", "%v", err)
	case info.Mode().Perm()&0o022 != 0:
		return one(check, levelFail, "chmod go-w "+quoted(path), "others may change %s", path)
	case info.Mode().Perm()&0o044 != 0 && secret:
		return one(check, levelFail, "chmod 600 "+quoted(path), "others may read the secrets in %s", path)
	}
	return nil
}

// foreignKeys names the keys without effect and their lines.
func foreignKeys(doc *settings.Document) string {
	var keys []string
	for _, w := range doc.Warnings {
		keys = append(keys, fmt.Sprintf("%s (line %d)", w.Path, w.Line))
	}
	return strings.Join(keys, ", ")
}
