package load

// Rare holds the keywords that shape no type of ours: a schema with one of them is
// checked against the rules and kept as text. A keyword that is absent has its zero
// value.
type Rare struct {
	// Never is the boolean schema false.
	Never bool
	AllOf []*Schema

	Not, If, Then, Else *Schema

	// Prefix are the schemas of the first elements; Items are the rest's.
	Prefix                   []*Schema
	Contains                 *Schema
	MinContains, MaxContains string
	Unique                   bool

	MultipleOf string

	MinProperties, MaxProperties string
	// Names is propertyNames.
	Names             *Schema
	DependentRequired []Dependent
	DependentSchemas  []Property

	UnevaluatedItems, UnevaluatedProperties *Schema
}

// Dependent says which members must be there when Name is.
type Dependent struct {
	Name  string
	Needs []string
}

func (s *Schema) rare() *Rare {
	if s.Rare == nil {
		s.Rare = &Rare{}
	}
	return s.Rare
}

// rare reads the keywords that shape no type. An applicator that rules nothing without
// another one (then without if) is read and forgotten.
func (r reader) rare(s *Schema, m Member) bool {
	v := m.Value
	has := func(name string) bool { return s.Value.Get(name) != nil }
	switch m.Name {
	case "allOf":
		s.rare().AllOf = append(s.rare().AllOf, r.list(v)...)
	case "not":
		s.rare().Not = r.schema(v)
	case "if":
		s.rare().If = r.schema(v)
	case "then":
		if then := r.schema(v); has("if") {
			s.rare().Then = then
		}
	case "else":
		if other := r.schema(v); has("if") {
			s.rare().Else = other
		}
	case "contains":
		s.rare().Contains = r.schema(v)
	case "uniqueItems":
		if r.boolean(v) {
			s.rare().Unique = true
		}
	case "multipleOf":
		if s.rare().MultipleOf = r.number(v); v.Kind == Number && !positive(v.Text) {
			r.Addf(v.Pos, "must be above zero")
		}
	case "minProperties":
		s.rare().MinProperties = r.natural(v)
	case "maxProperties":
		s.rare().MaxProperties = r.natural(v)
	case "propertyNames":
		s.rare().Names = r.schema(v)
	default:
		if r.dialect == Draft7 {
			return r.rare7(s, m)
		}
		return r.rare2020(s, m)
	}
	return true
}

// positive reports whether the number text is above zero.
func positive(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-', c == 'e', c == 'E':
			return false
		case '1' <= c && c <= '9':
			return true
		}
	}
	return false
}

func (r reader) rare2020(s *Schema, m Member) bool {
	v := m.Value
	switch m.Name {
	case "prefixItems":
		s.rare().Prefix = r.list(v)
	case "minContains":
		if n := r.natural(v); s.Value.Get("contains") != nil {
			s.rare().MinContains = n
		}
	case "maxContains":
		if n := r.natural(v); s.Value.Get("contains") != nil {
			s.rare().MaxContains = n
		}
	case "dependentRequired":
		for _, one := range v.Members {
			s.rare().DependentRequired = append(s.rare().DependentRequired, Dependent{one.Name, r.texts(one.Value)})
		}
	case "dependentSchemas":
		s.rare().DependentSchemas = r.properties(v)
	case "unevaluatedItems":
		s.rare().UnevaluatedItems = r.schema(v)
	case "unevaluatedProperties":
		s.rare().UnevaluatedProperties = r.schema(v)
	default:
		return false
	}
	return true
}

func (r reader) rare7(s *Schema, m Member) bool {
	v := m.Value
	switch m.Name {
	case "dependencies":
		for _, one := range v.Members {
			if one.Value.Kind == Array {
				s.rare().DependentRequired = append(s.rare().DependentRequired, Dependent{one.Name, r.texts(one.Value)})
			} else {
				s.rare().DependentSchemas = append(s.rare().DependentSchemas, Property{one.Name, r.schema(one.Value)})
			}
		}
	case "additionalItems":
		rest := r.schema(v)
		if items := s.Value.Get("items"); items != nil && items.Kind == Array {
			s.Items = rest
		}
	default:
		return false
	}
	return true
}

// items reads items, which draft 7 also spells as the list that prefixItems is today.
func (r reader) items(s *Schema, v *Value) {
	if v.Kind != Array || r.dialect != Draft7 {
		s.Items = r.schema(v)
		return
	}
	if len(v.Items) > 0 {
		s.rare().Prefix = r.list(v)
		s.unusual(v.Pos, "items is a schema, not a list")
	}
}

// place reads the keywords that give schemas a place or an address and rule nothing,
// and the annotations that the house does without.
func (r reader) place(s *Schema, m Member) bool {
	v := m.Value
	switch m.Name {
	case "definitions":
		r.properties(v)
	case "$defs":
		if r.dialect == Draft7 {
			return false
		}
		r.properties(v)
	case "$anchor":
		if r.dialect == Draft7 {
			return false
		}
		r.index.anchors[r.base+"#"+r.text(v)] = s
	case "$schema":
		if Dialect(trimFragment(v.Text)) != r.dialect {
			r.Addf(v.Pos, "the dialect %q is not %s", v.Text, r.dialect)
		}
	case "contentSchema":
		if r.dialect == Draft7 {
			return false
		}
		r.schema(v)
	case "contentEncoding", "contentMediaType": // draft 7 lets them rule
		return r.dialect != Draft7
	case "format", "readOnly", "writeOnly":
	default:
		return false
	}
	return true
}
