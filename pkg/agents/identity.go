package agents

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Identity is how an agent presents itself. Empty members are unknown.
type Identity struct{ Name, Theme, Emoji, Avatar string }

// Identity reads how an agent presents itself: what IDENTITY.md says, and the name
// that it was given where that says nothing.
func (r *Registry) Identity(id string) (Agent, Identity, bool) {
	a, ok := r.Find(id)
	if !ok {
		return a, Identity{}, false
	}
	who := r.written(a)
	who.Name = cmp.Or(who.Name, a.Name)
	return a, who, true
}

// Written is what the configuration and IDENTITY.md say.
func (r *Registry) Written(id string) Identity {
	a, ok := r.Find(id)
	if !ok {
		return Identity{}
	}
	return r.written(a)
}

func (r *Registry) written(a Agent) Identity {
	who, d := r.inFolder(a), Identity{}
	if declared, ok := r.declaredOf(a.ID); ok {
		d = declared.Identity
	}
	return Identity{
		Name: cmp.Or(d.Name, who.Name), Theme: cmp.Or(d.Theme, who.Theme), Emoji: cmp.Or(d.Emoji, who.Emoji), Avatar: cmp.Or(d.Avatar, who.Avatar),
	}
}

// inFolder is what the agent's IDENTITY.md says; nothing when it cannot be read.
func (r *Registry) inFolder(a Agent) Identity {
	root, err := os.OpenRoot(a.Workspace)
	if err != nil {
		return Identity{}
	}
	defer root.Close()
	f, err := read(root, a.Workspace, identityFile)
	if err != nil {
		return Identity{}
	}
	return parseIdentity(f.Content)
}

// parseIdentity reads the lines "- Name: X" of an IDENTITY.md, with or without
// stars around the label. A value in brackets or underscores is a hint to fill in,
// as the original's file has them, and counts as none.
func parseIdentity(text string) Identity {
	var who Identity
	for line := range strings.Lines(text) {
		label, value, ok := identityLine(line)
		if !ok || len(value) > textBytesMax || strings.ContainsFunc(value, unseen) {
			continue
		}
		switch label {
		case "name":
			who.Name = value
		case "theme", "vibe":
			who.Theme = cmp.Or(who.Theme, value)
		case "emoji":
			who.Emoji = value
		case "avatar":
			who.Avatar = value
		}
	}
	return who
}

func identityLine(line string) (label, value string, ok bool) {
	line, ok = strings.CutPrefix(strings.TrimSpace(line), "- ")
	if !ok {
		return "", "", false
	}
	label, value, ok = strings.Cut(line, ":")
	label = strings.ToLower(strings.Trim(strings.TrimSpace(label), "*"))
	value = strings.TrimSpace(strings.Trim(strings.TrimSpace(value), "*"))
	if strings.HasPrefix(value, "(") || strings.HasPrefix(value, "_") {
		value = ""
	}
	return label, value, ok
}

// withIdentityLine gives a line of an IDENTITY.md a value, and adds the line where
// there is none.
func withIdentityLine(text, label, value string) string {
	lines := strings.SplitAfter(text, "\n")
	entry := strings.TrimRight("- "+label+": "+value, " ") + "\n"
	for i, line := range lines {
		if l, _, ok := identityLine(line); ok && l == strings.ToLower(label) {
			lines[i] = entry
			return strings.Join(lines, "")
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + entry
}

// setIdentityLine changes a line of a folder's IDENTITY.md.
func setIdentityLine(dir, label, value string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("workspace %s is not there: make it, or name another", dir)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := read(root, dir, identityFile)
	if err != nil {
		return err
	}
	return write(root, identityFile, withIdentityLine(f.Content, label, value))
}
