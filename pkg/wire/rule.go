package wire

// Rule is one schema object in the static tables that generated code carries. Only
// Explain and Conforms read it; the fast path has the same rules compiled in.
// Numbers keep the schema's spelling and are empty when the keyword is absent.
type Rule struct {
	// Ref is the name of a definition; nothing else is set beside it.
	Ref   string
	Types []string
	// Const and the values of Enum are JSON; Const is empty when absent.
	Const string
	Enum  []string
	AnyOf []Rule
	OneOf []Rule

	Maximum, Minimum, ExclusiveMaximum, ExclusiveMinimum string
	MaxLength, MinLength, Pattern                        string
	MaxItems, MinItems                                   string

	Items      *Rule
	Required   []string
	Closed     bool
	Additional *Rule
	Properties []PropertyRule
	Patterns   []PropertyRule
}

// PropertyRule is the rule of a member, or of all members that match a pattern.
type PropertyRule struct {
	Name string
	Rule Rule
}
