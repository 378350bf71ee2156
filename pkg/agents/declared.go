package agents

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coderclaw/gateway/pkg/wire"
)

// Declared is an agent that the configuration declares. Empty members are left to what
// the store says of the agent; those that are given cannot be changed by Update.
type Declared struct {
	// Key is where it stands, such as agents.list[0].
	Key string
	ID  string
	// Default makes it the agent that is meant when a request names none.
	Default         bool
	Name, Workspace string
	Model           string
	Fallbacks       []string
	Identity        Identity
}

// Declare says which agents the configuration declares, in the place of those it
// declared before, and which folder the agent that is always there has by default. It
// makes the folders that are missing. The problems, for people, are of folders that
// cannot be used; the agents are there nevertheless.
func (r *Registry) Declare(list []Declared, workspace string) (problems []string) {
	r.change.Lock()
	defer r.change.Unlock()
	bad := func(key string, err error) {
		text := err.Error()
		var refused *wire.Error
		if errors.As(err, &refused) {
			text = refused.Message
		}
		problems = append(problems, key+": "+text)
	}
	own := r.cfg.Workspace
	if workspace != "" {
		path, err := r.resolve(workspace)
		if err == nil {
			_, err = makeFolder(path)
		}
		if err != nil {
			bad("agents.defaults.workspace", err)
		} else {
			own = path
		}
	}
	declared, first := map[string]Declared{}, r.cfg.DefaultID
	for _, d := range list {
		if d.Default {
			first = d.ID
		}
		if d.Workspace != "" {
			path, err := r.resolve(d.Workspace)
			if err != nil {
				bad(d.Key+".workspace", err)
				path = ""
			}
			d.Workspace = path
		}
		declared[d.ID] = d
	}
	r.mu.Lock()
	r.declared, r.workspace, r.defaultID = declared, own, first
	r.mu.Unlock()

	taken := map[string]string{}
	for _, a := range r.List() {
		if other, ok := taken[a.Workspace]; ok {
			bad(cmp.Or(declared[a.ID].Key, "agent "+a.ID), fmt.Errorf("the folder %s is agent %q's too: name another", a.Workspace, other))
		}
		taken[a.Workspace] = a.ID
		d, ok := declared[a.ID]
		if !ok || a.ID == r.cfg.DefaultID && d.Workspace == "" {
			continue
		}
		if _, err := makeFolder(a.Workspace); err != nil {
			bad(d.Key+".workspace", err)
			continue
		}
		if err := seed(a.Workspace, cmp.Or(d.Identity.Name, a.Name), d.Identity.Emoji, d.Identity.Avatar); err != nil {
			bad(d.Key+".workspace", err)
		}
	}
	return problems
}

// makeFolder makes a folder that is not there, and says whether it did.
func makeFolder(path string) (made bool, _ error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return false, nil
	case err == nil:
		return false, refuse("workspace %s is not a folder", path)
	case !errors.Is(err, fs.ErrNotExist):
		return false, refuse("workspace %s cannot be used: %v", path, errors.Unwrap(err))
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return false, refuse("workspace %s cannot be made: %v", path, errors.Unwrap(err))
	}
	return true, nil
}

// existsLocked reports whether there is an agent.
func (r *Registry) existsLocked(id string) bool {
	_, declared := r.declared[id]
	rec, stored := r.list[id]
	return id == r.cfg.DefaultID || declared || stored && !rec.Overlay
}

// declaredLocked puts what the configuration says of an agent over what is stored.
func (r *Registry) declaredLocked(a *Agent) {
	d, ok := r.declared[a.ID]
	if !ok {
		return
	}
	a.Name, a.Workspace, a.Model = cmp.Or(d.Name, a.Name, a.ID), cmp.Or(d.Workspace, a.Workspace), cmp.Or(d.Model, a.Model)
	if a.Workspace == "" {
		a.Workspace = filepath.Join(r.cfg.StateDir, "workspace-"+a.ID)
	}
	if d.Fallbacks != nil {
		a.Fallbacks = slices.Clone(d.Fallbacks)
	}
}

// declaredOf returns what the configuration declares of an agent.
func (r *Registry) declaredOf(id string) (Declared, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.declared[id]
	return d, ok
}

// refuseDeclared refuses a change of what the configuration says, unless it says the
// same.
func (r *Registry) refuseDeclared(id string, c Change) error {
	d, ok := r.declaredOf(id)
	if !ok {
		return nil
	}
	workspace := c.Workspace
	if workspace != nil {
		if path, err := r.resolve(*workspace); err == nil {
			workspace = &path
		}
	}
	for _, f := range []struct {
		key, says string
		wanted    *string
	}{
		{"name", d.Name, c.Name}, {"workspace", d.Workspace, workspace}, {"model", d.Model, c.Model}, {"identity.avatar", d.Identity.Avatar, c.Avatar},
	} {
		if f.says != "" && f.wanted != nil && *f.wanted != f.says {
			return refuseKey(id, d.Key+"."+f.key)
		}
	}
	if c.Fallbacks != nil && d.Fallbacks != nil && !slices.Equal(*c.Fallbacks, d.Fallbacks) {
		return refuseKey(id, d.Key+".model.fallbacks")
	}
	return nil
}

func refuseKey(id, key string) error {
	return refuse("%s of agent %q is set in the configuration: change it there (coderclaw config edit)", key, id)
}
