package plan

// refuseRecursion finds types that would hold themselves by value, which no language
// can lay out. A list, a map or a union between them is enough.
func (p *planner) refuseRecursion(pkg *Package) {
	done := map[*Def]bool{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			p.embeds(def, map[*Def]bool{}, done)
		}
	}
}

// embeds follows what def holds by value.
func (p *planner) embeds(def *Def, open, done map[*Def]bool) {
	if done[def] {
		return
	}
	if open[def] {
		done[def] = true
		if def.Domain.File.Foreign {
			def.Type.Kind = Checked
			return
		}
		p.problems.Addf(def.Type.Schema.Pos, "the type %s holds itself: put a list, a map or a union between", def.Name)
		return
	}
	open[def] = true
	for _, t := range append([]*Type{def.Type}, fieldTypes(def.Type)...) {
		for t != nil && t.Kind == Nullable {
			t = t.Elem
		}
		if t != nil && t.Kind == Ref {
			p.embeds(t.To, open, done)
		}
	}
	done[def] = true
}

func fieldTypes(t *Type) []*Type {
	var list []*Type
	for _, f := range t.Fields {
		list = append(list, f.Type)
	}
	return list
}
