package compat

// Rule names a kind of change. Each has a pair of schemas in testdata that shows it.
type Rule string

// What types can change, whichever way they travel.
const (
	// RequiredAdded: a member has to be there. WIRE in params.
	RequiredAdded Rule = "required-added"
	// PropertyRemoved: a member is gone. WIRE in results and events, and in params that are closed.
	PropertyRemoved Rule = "property-removed"
	// PropertyOptional: a member may be absent. WIRE in results and events.
	PropertyOptional Rule = "property-optional"
	// PropertyAdded: a member that need not be sent, or that clients drop. INFO.
	PropertyAdded Rule = "property-added"
	// TypeNarrowed: a JSON type is no longer accepted, or sent. WIRE in params.
	TypeNarrowed Rule = "type-narrowed"
	// TypeWidened: another JSON type is accepted, or sent. WIRE in results and events.
	TypeWidened Rule = "type-widened"
	// NullableAdded: null is accepted, or sent. WIRE in results and events.
	NullableAdded Rule = "nullable-added"
	// NullableRemoved: null is no longer accepted, or sent. WIRE in params.
	NullableRemoved Rule = "nullable-removed"
	// EnumValueRemoved: a value is gone. WIRE in params, SOURCE elsewhere: a constant is gone.
	EnumValueRemoved Rule = "enum-value-removed"
	// EnumValueAdded: a value is new. INFO: clients keep values that they do not know.
	EnumValueAdded Rule = "enum-value-added"
	// EnumClosed: what was free is one of a list. WIRE in params.
	EnumClosed Rule = "enum-closed"
	// EnumOpened: what was one of a list is free. SOURCE.
	EnumOpened Rule = "enum-opened"
	// ConstChanged: the only value is another one (WIRE), or no longer the only one.
	ConstChanged Rule = "const-changed"
	// BoundsNarrowed: a length or limit excludes more. WIRE in params.
	BoundsNarrowed Rule = "bounds-narrowed"
	// BoundsWidened: a length or limit excludes less. WIRE in results and events.
	BoundsWidened Rule = "bounds-widened"
	// PatternChanged: a pattern came (WIRE in params), went (WIRE in results) or changed (WIRE).
	PatternChanged Rule = "pattern-changed"
	// ObjectClosed: members without a name are refused. WIRE in params.
	ObjectClosed Rule = "object-closed"
	// ObjectOpened: members without a name are accepted. INFO: clients drop them.
	ObjectOpened Rule = "object-opened"
	// VariantRemoved: an alternative of a union is gone. WIRE in params.
	VariantRemoved Rule = "variant-removed"
	// VariantAdded: an alternative of a union is new. WIRE in results and events.
	VariantAdded Rule = "variant-added"
	// DiscriminatorChanged: another member tells alternatives apart. WIRE in results and events.
	DiscriminatorChanged Rule = "discriminator-changed"
	// KeywordChanged: a rule that this package cannot weigh came, went or changed. WIRE.
	KeywordChanged Rule = "keyword-changed"
	// DefaultChanged: what absence means. INFO.
	DefaultChanged Rule = "default-changed"
	// Deprecated: something is marked as deprecated. INFO.
	Deprecated Rule = "deprecated"
)

// What only those who compile against the models notice. SOURCE.
const (
	// DefinitionRenamed: a type has another name and the same rules.
	DefinitionRenamed Rule = "definition-renamed"
	// DefinitionRemoved: a type's name is gone.
	DefinitionRemoved Rule = "definition-removed"
	// ReferenceChanged: a member is of a type with another name.
	ReferenceChanged Rule = "reference-changed"
)

// What methods and events can change. WIRE, except what is added or loosened.
const (
	MethodRemoved       Rule = "method-removed"
	MethodAdded         Rule = "method-added"
	MethodUnlisted      Rule = "method-unlisted"
	ReplyChanged        Rule = "reply-changed"
	IdempotencyRequired Rule = "idempotency-required"
	IdempotencyDropped  Rule = "idempotency-dropped"
	ReplayChanged       Rule = "replay-changed"
	ValidationAdded     Rule = "validation-added"
	EventRemoved        Rule = "event-removed"
	EventAdded          Rule = "event-added"
	AudienceNarrowed    Rule = "audience-narrowed"
	AudienceWidened     Rule = "audience-widened"
	StateVersionRemoved Rule = "state-version-removed"
	DroppableLoosened   Rule = "droppable-loosened"
)

// Who may do what. WIRE, except what is added or loosened.
const (
	RoleChanged    Rule = "role-changed"
	RoleLoosened   Rule = "role-loosened"
	RoleRemoved    Rule = "role-removed"
	RoleAdded      Rule = "role-added"
	ScopeTightened Rule = "scope-tightened"
	ScopeLoosened  Rule = "scope-loosened"
	ScopeRemoved   Rule = "scope-removed"
	ScopeNarrowed  Rule = "scope-narrowed"
	ScopeAdded     Rule = "scope-added"
)

// The catalogue of errors. WIRE, except for what is added or only advice.
const (
	ErrorCodeRemoved   Rule = "error-code-removed"
	DetailsCodeRemoved Rule = "details-code-removed"
	DetailsCodeMoved   Rule = "details-code-moved"
	NextStepChanged    Rule = "next-step-changed"
	CloseReasonRemoved Rule = "close-reason-removed"
	CloseChanged       Rule = "close-changed"
	RetryableChanged   Rule = "retryable-changed"
	ErrorAdded         Rule = "error-added"
)

// The version and what is waived.
const (
	// ProtocolRaised waives every break. INFO.
	ProtocolRaised Rule = "protocol-raised"
	// ProtocolLowered is WIRE.
	ProtocolLowered Rule = "protocol-lowered"
	// WaiverUnused: an x-waive entry that fits no break. INFO.
	WaiverUnused Rule = "waiver-unused"
)
