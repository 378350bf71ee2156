package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
	"github.com/coderclaw/gateway/tools/protogen/internal/render"
)

// bundle holds schemas from elsewhere: the keyword check and the renderer of Go are
// asked about them, the house's lint and the other renderers are not.
type bundle struct {
	Roots []struct {
		Name    string
		Dialect load.Dialect
		Schema  json.RawMessage
	}
	// Documents are what references may lead to, by URI. Nothing is fetched.
	Documents map[string]json.RawMessage
}

// foreign generates Go from the bundle at path into out, one definition for each root,
// and writes out/refused.json: why each of the other roots was refused.
func foreign(path, out string) error {
	if out == "." {
		return errors.New("-roots needs -out: gen/ of this repository is made of schema/")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	model, refused, err := b.model()
	if err != nil {
		return err
	}
	pkg, err := planned(model, refused)
	if err != nil {
		return err
	}
	files, err := render.Go(pkg)
	if err != nil {
		return err
	}
	reasons := map[string]string{}
	for name, err := range refused {
		reasons[name] = err.Error()
	}
	list, err := json.MarshalIndent(reasons, "", "\t")
	if err != nil {
		return err
	}
	files["refused.json"] = list
	return write(files, out)
}

func (b *bundle) model() (*load.Model, map[string]error, error) {
	documents := map[string]*load.Value{}
	for uri, text := range b.Documents {
		v, err := load.ParseJSON(uri, text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", uri, err)
		}
		documents[uri] = v
	}
	var roots []load.Root
	for _, r := range b.Roots {
		v, err := load.ParseJSON(r.Name+".json", r.Schema)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		roots = append(roots, load.Root{Name: r.Name, Dialect: r.Dialect, Schema: v})
	}
	model, refused := load.Roots(roots, documents)
	return model, refused, nil
}

// planned plans the model without the files that cannot be planned, which it adds to
// refused.
func planned(model *load.Model, refused map[string]error) (*plan.Package, error) {
	for {
		pkg, err := plan.Make(model)
		if err == nil {
			return pkg, nil
		}
		list, ok := err.(interface{ Unwrap() []error })
		if !ok {
			return nil, err
		}
		for _, one := range list.Unwrap() {
			var p load.Problem
			if !errors.As(one, &p) {
				return nil, err
			}
			name := strings.TrimSuffix(p.Pos.File, ".json")
			refused[name] = errors.Join(refused[name], one)
		}
		var kept []*load.File
		for _, f := range model.Files {
			if refused[f.Defs[0].Name] == nil {
				kept = append(kept, f)
			}
		}
		if len(kept) == len(model.Files) {
			return nil, err
		}
		model.Files = kept
	}
}
