// Package agents keeps the agents of the gateway: their names, models and folders,
// and the files in those folders that an agent works by.
//
// It runs nothing and knows no session. The default agent is always there and
// cannot be deleted; what is stored of it are the changes to it.
//
// What the configuration declares (Declare) is laid over what is stored and is not
// stored itself: an agent that is declared no more is gone, but for its folder and its
// sessions.
//
// The rule that surprises: deleting an agent never deletes a file. A folder that
// was made for the agent is renamed and stays beside its old place, and one that
// was there before stays as it is.
//
// Files are reached below an os.Root, by names of a fixed list, and only when they
// are regular files with one name: an agent may write its folder, so a link in it
// may have been made to lead the gateway elsewhere (files.go).
//
// A Registry is safe for concurrent use. mu guards the list, which is a copy of
// the store, and is held for memory alone; change serialises the writers, on disk
// and in folders.
package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// AgentsMax bounds the agents.
	AgentsMax = 100
	// FallbacksMax bounds the models that an agent falls back on.
	FallbacksMax = 8

	textBytesMax = 256 // of a name, a model, an emoji
	pathBytesMax = 1024
)

var bucket = store.NewBucket[record]("agents.records")

// record is what is stored of an agent, by its id. Empty members of the default
// agent's mean that nobody changed them.
type record struct {
	Name string `json:"name,omitempty"`
	// Workspace is relative to the state directory where it lies below that, so that
	// the directory can be moved, or brought back on another machine.
	Workspace string `json:"workspace,omitempty"`
	// Made says that the folder was made for the agent.
	Made      bool     `json:"made,omitempty"`
	Model     string   `json:"model,omitempty"`
	Fallbacks []string `json:"fallbacks,omitempty"`
	// NoFallbacks says that Fallbacks is empty by somebody's wish.
	NoFallbacks bool `json:"noFallbacks,omitempty"`
	// Overlay says that these are changes to an agent that the configuration declares,
	// and that is none without it.
	Overlay     bool  `json:"overlay,omitempty"`
	CreatedAtMs int64 `json:"createdAtMs,omitempty"`
	UpdatedAtMs int64 `json:"updatedAtMs,omitempty"`
}

// Agent is an agent as others see it.
type Agent struct {
	ID, Name string
	// Workspace is an absolute path.
	Workspace string
	// Model is the one to ask first; empty means the gateway's default.
	Model string
	// Fallbacks are the models to ask when that one fails; nil means the gateway's.
	Fallbacks []string
}

// Config is what a Registry needs. DB, DefaultID and Workspace are required.
type Config struct {
	DB  *store.DB
	Log *slog.Logger
	// DefaultID is the agent that is always there, and DefaultName its name until
	// it is given another.
	DefaultID, DefaultName string
	// Workspace is the default agent's folder, and StateDir what relative folders of
	// the others are below.
	Workspace, StateDir string
	// Home is what ~ stands for; empty refuses it.
	Home string
	// CheckModel tells, for people, why a model cannot be asked; nil takes any.
	CheckModel func(name string) error
}

// Registry is the list of agents.
type Registry struct {
	cfg Config
	log *slog.Logger

	change sync.Mutex
	mu     sync.Mutex // guards the fields below
	list   map[string]record
	// declared are the agents of the configuration, workspace and defaultID what it says
	// of the agent that is always there and of the one that is meant by default.
	declared             map[string]Declared
	workspace, defaultID string
}

// New reads the agents of a store.
func New(c Config) (*Registry, error) {
	if c.DB == nil || c.DefaultID == "" || c.Workspace == "" {
		return nil, errors.New("agents need a store, a default agent and its folder")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{cfg: c, log: c.Log, list: map[string]record{}, workspace: c.Workspace, defaultID: c.DefaultID}
	err := c.DB.View(func(tx *store.Tx) error {
		for row, err := range bucket.All(tx) {
			if err != nil {
				return err
			}
			r.list[row.Key] = row.Value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return r, nil
}

// DefaultID is the agent that is meant when a request names none.
func (r *Registry) DefaultID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.defaultID
}

// List returns the agents, the default one first, the others by id.
func (r *Registry) List() []Agent {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{r.cfg.DefaultID: true}
	for id := range r.list {
		ids[id] = r.existsLocked(id)
	}
	for id := range r.declared {
		ids[id] = true
	}
	list := []Agent{r.agentLocked(r.defaultID)}
	for id, there := range ids {
		if there && id != r.defaultID {
			list = append(list, r.agentLocked(id))
		}
	}
	slices.SortFunc(list[1:], func(a, b Agent) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Find returns the agent that an id, in any spelling, names.
func (r *Registry) Find(id string) (Agent, bool) {
	id = session.NormalizeAgentID(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.existsLocked(id) {
		return Agent{}, false
	}
	return r.agentLocked(id), true
}

// Exists reports whether an id, in any spelling, names an agent.
func (r *Registry) Exists(id string) bool {
	_, ok := r.Find(id)
	return ok
}

func (r *Registry) agentLocked(id string) Agent {
	rec := r.list[id]
	a := Agent{ID: id, Name: rec.Name, Workspace: r.located(rec.Workspace), Model: rec.Model, Fallbacks: slices.Clone(rec.Fallbacks)}
	if rec.NoFallbacks {
		a.Fallbacks = []string{}
	}
	if id == r.cfg.DefaultID {
		a.Name, a.Workspace = cmp.Or(a.Name, r.cfg.DefaultName), cmp.Or(a.Workspace, r.workspace)
	}
	r.declaredLocked(&a)
	return a
}

// New agents and changes, as the protocol words them.
type (
	// Draft is an agent to make.
	Draft struct{ Name, Workspace, Emoji, Avatar string }
	// Change is what to change of an agent. nil members stay.
	Change struct {
		Name, Workspace, Model, Avatar *string
		Fallbacks                      *[]string
	}
)

// Create makes an agent, its folder and the files that it begins with. Its id is
// made of its name. The words of the refusals are the original's.
func (r *Registry) Create(ctx context.Context, d Draft) (Agent, error) {
	name, err := plain("name", d.Name)
	if err != nil {
		return Agent{}, err
	}
	for what, text := range map[string]string{"emoji": d.Emoji, "avatar": d.Avatar} {
		if _, err := plain(what, text); text != "" && err != nil {
			return Agent{}, err
		}
	}
	if !strings.ContainsFunc(name, func(c rune) bool { return c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) }) {
		return Agent{}, refuse("name %q holds no letter or digit that an id could be made of: use a-z and 0-9", name)
	}
	id := session.NormalizeAgentID(name)
	if id == r.cfg.DefaultID {
		return Agent{}, refuse("%q is reserved", id)
	}
	r.change.Lock()
	defer r.change.Unlock()
	if r.Exists(id) {
		return Agent{}, refuse("agent %q already exists", id)
	}
	if len(r.List()) >= AgentsMax {
		return Agent{}, refuse("there are %d agents already, which is as many as there may be: delete one first", AgentsMax)
	}
	path, made, err := r.openWorkspace(id, d.Workspace)
	if err != nil {
		return Agent{}, err
	}
	if err := seed(path, name, d.Emoji, d.Avatar); err != nil {
		return Agent{}, err
	}
	now := time.Now().UnixMilli()
	err = r.save(ctx, id, record{Name: name, Workspace: r.portable(path), Made: made, CreatedAtMs: now, UpdatedAtMs: now})
	if err != nil {
		return Agent{}, err
	}
	r.log.Info("agent created", "agentId", id, "workspace", path)
	a, _ := r.Find(id)
	return a, nil
}

// Update changes an agent.
func (r *Registry) Update(ctx context.Context, id string, c Change) (Agent, error) {
	r.change.Lock()
	defer r.change.Unlock()
	a, rec, err := r.find(id)
	if err != nil {
		return Agent{}, err
	}
	if err := r.refuseDeclared(a.ID, c); err != nil {
		return Agent{}, err
	}
	for what, text := range map[string]*string{"name": c.Name, "model": c.Model} {
		if text == nil {
			continue
		}
		clean, err := plain(what, *text)
		if err != nil {
			return Agent{}, err
		}
		if what == "name" {
			rec.Name = clean
			continue
		}
		if err := r.checkModel(clean); err != nil {
			return Agent{}, err
		}
		rec.Model = clean
	}
	if c.Fallbacks != nil {
		if len(*c.Fallbacks) > FallbacksMax {
			return Agent{}, refuse("fallbacks must be at most %d models", FallbacksMax)
		}
		rec.Fallbacks = nil
		for _, m := range *c.Fallbacks {
			if m, err = plain("model", m); err == nil {
				err = r.checkModel(m)
			}
			if err != nil {
				return Agent{}, err
			}
			rec.Fallbacks = append(rec.Fallbacks, m)
		}
		rec.NoFallbacks = len(rec.Fallbacks) == 0
	}
	if c.Workspace != nil {
		if a.Workspace, rec.Made, err = r.openWorkspace(a.ID, *c.Workspace); err != nil {
			return Agent{}, err
		}
		if err := seed(a.Workspace, cmp.Or(rec.Name, a.Name), "", ""); err != nil {
			return Agent{}, err
		}
		rec.Workspace = r.portable(a.Workspace)
	}
	if c.Avatar != nil {
		avatar := ""
		if strings.TrimSpace(*c.Avatar) != "" {
			if avatar, err = plain("avatar", *c.Avatar); err != nil {
				return Agent{}, err
			}
		}
		if err := setIdentityLine(a.Workspace, "Avatar", avatar); err != nil {
			return Agent{}, err
		}
	}
	if rec.UpdatedAtMs == 0 && a.ID != r.cfg.DefaultID {
		rec.Overlay = true // only a declared agent has no record yet
	}
	rec.UpdatedAtMs = time.Now().UnixMilli()
	if err := r.save(ctx, a.ID, rec); err != nil {
		return Agent{}, err
	}
	r.log.Info("agent changed", "agentId", a.ID)
	a, _ = r.Find(a.ID)
	return a, nil
}

// Delete forgets an agent. When aside is true, a folder that was made for it is
// renamed, and movedTo says to what.
func (r *Registry) Delete(ctx context.Context, id string, aside bool) (movedTo string, _ error) {
	if session.NormalizeAgentID(id) == r.cfg.DefaultID {
		return "", refuse("%q cannot be deleted", r.cfg.DefaultID)
	}
	r.change.Lock()
	defer r.change.Unlock()
	a, rec, err := r.find(id)
	if err != nil {
		return "", err
	}
	if d, ok := r.declaredOf(a.ID); ok {
		return "", refuse("agent %q is declared in the configuration: remove %s there (coderclaw config edit)", a.ID, d.Key)
	}
	err = r.cfg.DB.Update(ctx, func(tx *store.Tx) error { return bucket.Delete(tx, a.ID) })
	if err != nil {
		return "", fmt.Errorf("delete agent: %w", err)
	}
	r.mu.Lock()
	delete(r.list, a.ID)
	r.mu.Unlock()
	if aside && rec.Made {
		if movedTo, err = moveAside(a.Workspace); err != nil {
			r.log.Warn("the folder of a deleted agent stays where it is", "agentId", a.ID, "err", err)
		}
	}
	r.log.Info("agent deleted", "agentId", a.ID, "movedTo", movedTo)
	return movedTo, nil
}

func (r *Registry) checkModel(name string) error {
	if r.cfg.CheckModel == nil {
		return nil
	}
	if err := r.cfg.CheckModel(name); err != nil {
		return refuse("%s", err)
	}
	return nil
}

// find is Find for whoever changes the agent.
func (r *Registry) find(id string) (Agent, record, error) {
	a, ok := r.Find(id)
	if !ok {
		return a, record{}, refuse("agent %q not found", session.NormalizeAgentID(id))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return a, r.list[a.ID], nil
}

// save writes a record and then shows it.
func (r *Registry) save(ctx context.Context, id string, rec record) error {
	err := r.cfg.DB.Update(ctx, func(tx *store.Tx) error { return bucket.Put(tx, id, rec) })
	if err != nil {
		return fmt.Errorf("store agent: %w", err)
	}
	r.mu.Lock()
	r.list[id] = rec
	r.mu.Unlock()
	return nil
}

// plain returns a text of one printable line without blanks around it.
func plain(what, text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > textBytesMax || strings.ContainsFunc(text, unseen) {
		return "", refuse("%s must be one line of 1 to %d bytes of printable text", what, textBytesMax)
	}
	return text, nil
}

// unseen reports whether a character could hide or reorder what stands beside it.
func unseen(c rune) bool { return unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

func refuse(format string, args ...any) error {
	return wire.Errorf(protocol.ErrorInvalidRequest, format, args...)
}
