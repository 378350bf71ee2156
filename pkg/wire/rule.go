package wire

import "regexp"

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
	MaxLength, MinLength                                 string
	MaxItems, MinItems                                   string
	// Pattern is the schema's spelling, Match what Go makes of it.
	Pattern string
	Match   *regexp.Regexp

	Items      *Rule
	Required   []string
	Closed     bool
	Additional *Rule
	Properties []PropertyRule
	Patterns   []PropertyRule

	// More holds the rare keywords; nil when there are none.
	More *MoreRule
}

// PropertyRule is the rule of a member, or of all members whose name matches Match. A
// nil Match stands for every name.
type PropertyRule struct {
	Name  string
	Rule  Rule
	Match *regexp.Regexp
}

// MoreRule holds the keywords that shape no type. The schema of a wire protocol does
// without them; schemas from elsewhere do not.
type MoreRule struct {
	// Never is the schema false.
	Never bool
	AllOf []Rule

	Not, If, Then, Else *Rule

	MultipleOf string

	// Prefix are the rules of the first elements; Rule.Items is the others'.
	Prefix                   []Rule
	Contains                 *Rule
	MinContains, MaxContains string
	Unique                   bool

	MaxProperties, MinProperties string
	Names                        *Rule
	DependentRequired            []Dependent
	DependentSchemas             []PropertyRule

	// UnevaluatedItems and UnevaluatedProperties bind what no other rule has seen.
	UnevaluatedItems, UnevaluatedProperties *Rule
}

// Dependent says which members must be there when Name is.
type Dependent struct {
	Name  string
	Needs []string
}
