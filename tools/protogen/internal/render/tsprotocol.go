package render

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// tsProtocol renders the tables of methods and events, as types for the compiler and as
// values for a client, and the constants of the handshake.
func tsProtocol(pkg *plan.Package) *printer {
	p := tsFile("*.json")
	p.f("import type { Codec } from \"../wire/codec.js\";")
	used := map[string]map[string]bool{}
	use := func(def *plan.Def) {
		if used[def.Domain.Name] == nil {
			used[def.Domain.Name] = map[string]bool{}
		}
		used[def.Domain.Name][def.Name] = true
	}
	methods, events := map[string]*plan.Method{}, map[string]*plan.Event{}
	for _, d := range pkg.Domains {
		for _, m := range d.Methods {
			methods[m.Name] = m
			use(m.Params)
			use(m.Result)
			if m.Ack != nil {
				use(m.Ack)
			}
		}
		for _, e := range d.Events {
			events[e.Name] = e
			use(e.Payload)
		}
	}
	for _, domain := range sorted(used) {
		p.f("import { %s } from \"./%s.js\";", strings.Join(sorted(used[domain]), ", "), domain)
	}
	p.f("")
	p.tsDoc("", "The version of the protocol that these files describe.")
	p.f("export const protocolVersion = %s;\n", cmp.Or(pkg.Protocol, "0"))
	tsMethods(p, methods)
	tsEvents(p, events)
	tsConsts(p, "roles", "Role", "What a connection is.", pkg.Roles)
	tsConsts(p, "scopes", "Scope", "What an operator may do.", pkg.Scopes)
	p.Truncate(p.Len() - 1)
	return p
}

func tsMethods(p *printer, methods map[string]*plan.Method) {
	p.tsDoc("", "What each method takes and answers. A staged one answers twice: ack, then result.")
	p.f("export interface Methods {")
	for _, name := range sorted(methods) {
		m := methods[name]
		p.tsDoc("  ", m.Doc, tsGone(m.Value))
		ack := ""
		if m.Ack != nil {
			ack = "readonly ack: " + m.Ack.Name + "; "
		}
		p.f("  readonly %s: { readonly params: %s; %sreadonly result: %s };", load.Quote(name), m.Params.Name, ack, m.Result.Name)
	}
	p.f("}\n")
	p.WriteString(`/** Name of a method. */
export type MethodName = keyof Methods;

/** Params of a method. */
export type ParamsOf<M extends MethodName> = Methods[M]["params"];

/** Result of a method. */
export type ResultOf<M extends MethodName> = Methods[M]["result"];

/** First answer of a staged method; never for the others. */
export type AckOf<M extends MethodName> = Methods[M] extends { readonly ack: infer A } ? A : never;

/** Name of a method that answers twice. */
export type StagedMethod = { [M in MethodName]: Methods[M] extends { readonly ack: unknown } ? M : never }[MethodName];

/** Calls a method: params and result go with its name, and only a staged one takes onAck. */
export type Call = <M extends MethodName>(
  method: M,
  params: ParamsOf<M>,
  ...rest: M extends StagedMethod ? [onAck?: (ack: AckOf<M>) => void] : []
) => Promise<ResultOf<M>>;

/** What a client needs to know to call a method. */
export interface MethodInfo<M extends MethodName> {
  readonly params: Codec<ParamsOf<M>>;
  readonly result: Codec<ResultOf<M>>;
  readonly ack?: Codec<AckOf<M>>;
  /** Role that may call it, or any. */
  readonly role: string;
  /** Scope that an operator needs; empty when none. */
  readonly scope: string;
  /** Whether params must carry an idempotencyKey. */
  readonly idempotent: boolean;
}

`)
	p.tsDoc("", "Every method by its name.")
	p.f("export const methods: { readonly [M in MethodName]: MethodInfo<M> } = {")
	for _, name := range sorted(methods) {
		m := methods[name]
		ack := ""
		if m.Ack != nil {
			ack = "ack: " + m.Ack.Name + ", "
		}
		p.f("  %s: { params: %s, %sresult: %s, role: %s, scope: %s, idempotent: %t },", load.Quote(name), m.Params.Name, ack, m.Result.Name, load.Quote(m.Role), load.Quote(m.Scope), m.Idempotency == "required")
	}
	p.f("};\n")
}

func tsEvents(p *printer, events map[string]*plan.Event) {
	p.tsDoc("", "What each event carries.")
	p.f("export interface Events {")
	for _, name := range sorted(events) {
		p.tsDoc("  ", events[name].Doc, tsGone(events[name].Value))
		p.f("  readonly %s: %s;", load.Quote(name), events[name].Payload.Name)
	}
	p.f("}\n")
	p.tsDoc("", "Name of an event.")
	p.f("export type EventName = keyof Events;\n")
	p.tsDoc("", "The payload's codec of every event, by the event's name.")
	p.f("export const events: { readonly [E in EventName]: Codec<Events[E]> } = {")
	for _, name := range sorted(events) {
		p.f("  %s: %s,", load.Quote(name), events[name].Payload.Name)
	}
	p.f("};\n")
}

// tsGone returns the tag of a method or event that is on its way out.
func tsGone(entry *load.Value) string {
	switch v := entry.Get("x-deprecated"); {
	case v == nil || v.Kind == load.Bool && !v.Bool:
		return ""
	case v.Kind == load.String:
		return "@deprecated " + v.Text
	}
	return "@deprecated Kept for older gateways."
}

// tsConsts renders a closed list of names with a comment each.
func tsConsts(p *printer, table, typ, doc string, consts []*plan.Const) {
	p.tsDoc("", doc)
	p.f("export const %s = {", table)
	for _, c := range consts {
		p.tsDoc("  ", c.Entry.Doc)
		p.f("  %s: %s,", tsKey(tsCamel(strings.TrimPrefix(c.GoName, typ))), load.Quote(c.Entry.Name))
	}
	p.f("} as const;\n")
	p.tsDoc("", "One of "+table+".")
	p.f("export type %s = (typeof %s)[keyof typeof %s];\n", typ, table, table)
}

// tsCamel lowers the first letter.
func tsCamel(name string) string {
	if name == "" {
		return name
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// tsCatalogue renders the catalogue of errors.
func tsCatalogue(pkg *plan.Package) *printer {
	p := tsFile("errors.json")
	p.f("import type { Open } from \"../wire/codec.js\";\n")
	p.WriteString(`/** What people are told of a refusal. */
export interface ErrorInfo {
  readonly meaning: string;
  readonly cause: string;
  readonly fix: string;
  /** Whether the same request may succeed later; absent when the entry does not say. */
  readonly retryable?: boolean;
}

/** A finer code, and the error.code that it travels under. */
export interface DetailInfo extends ErrorInfo {
  readonly error: string;
  /** What a program should do, as error.details.recommendedNextStep. */
  readonly nextStep?: string;
}

/** Why the gateway closes a connection. */
export interface CloseInfo extends ErrorInfo {
  /** WebSocket close code. */
  readonly code: number;
  /** The reason on the wire, which may be empty. */
  readonly reason: string;
}

`)
	tsErrors(p, "errorCodes", "ErrorCode", "ErrorInfo", "The codes of error.code.", pkg.Errors)
	tsErrors(p, "detailCodes", "DetailCode", "DetailInfo", "The codes of error.details.code.", pkg.Details)
	tsErrors(p, "closeReasons", "CloseReason", "CloseInfo", "The reasons for which the gateway closes a connection.", pkg.Closes)
	p.Truncate(p.Len() - 1)
	return p
}

func tsErrors(p *printer, table, typ, info, doc string, consts []*plan.Const) {
	p.tsDoc("", doc)
	p.f("export const %s = {", table)
	for _, c := range consts {
		e := c.Entry
		fields := []string{
			"meaning: " + load.Quote(e.Doc), "cause: " + load.Quote(e.Cause), "fix: " + load.Quote(e.Fix),
		}
		if e.Retryable != nil {
			fields = append(fields, fmt.Sprintf("retryable: %t", *e.Retryable))
		}
		switch info {
		case "DetailInfo":
			fields = append(fields, "error: "+load.Quote(e.Error))
			if e.NextStep != "" {
				fields = append(fields, "nextStep: "+load.Quote(e.NextStep))
			}
		case "CloseInfo":
			fields = append(fields, "code: "+cmp.Or(c.CloseCode, "0"), "reason: "+load.Quote(c.Reason))
		}
		p.f("  %s: {\n    %s,\n  },", tsKey(e.Name), strings.Join(fields, ",\n    "))
	}
	p.f("} as const satisfies Readonly<Record<string, %s>>;\n", info)
	p.tsDoc("", "One of "+table+", or one of a newer gateway.")
	p.f("export type %s = Open<Extract<keyof typeof %s, string>>;\n", typ, table)
}
