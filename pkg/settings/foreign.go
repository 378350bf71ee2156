package settings

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// foreignKey is a key of the original's config, with all below it, whose feature this
// gateway does not have. It is accepted, so that a config of the original stays whole,
// kept as it is written, and warned of wherever the config is read or checked.
//
// What would make the gateway less safe than its owner believes is never such a key.
// So there is no row for what says who may come in or how (gateway.auth, gateway.tls,
// gateway.trustedProxies), for lists of what is allowed or denied (tools.allow,
// gateway.nodes), nor for redaction (logging.redactPatterns): these stay unknown keys, which
// are faults. Below a row, a key that restricts something stays a fault too, unless the row is whole.
//
// A domain that learns a key adds it to the struct tree and takes the row out; a test
// fails while both are there.
type foreignKey struct {
	// path is written as Key.Path is: [] for an entry of a list, * for one of a record.
	path string
	// lacks is what this gateway does not have.
	lacks string
	// whole says that nothing of the feature is here: a restriction of who may write to a
	// channel guards nothing while there is no channel.
	whole bool
	// sealed says that nobody can tell which values below are secrets: all are hidden.
	sealed bool
}

var foreignKeys = []foreignKey{
	{path: "agents.defaults.blockStreamingBreak", lacks: "chat channels"},
	{path: "agents.defaults.blockStreamingChunk", lacks: "chat channels"},
	{path: "agents.defaults.blockStreamingCoalesce", lacks: "chat channels"},
	{path: "agents.defaults.blockStreamingDefault", lacks: "chat channels"},
	{path: "agents.defaults.bootstrapMaxChars", lacks: "a bound of its own for the files of an agent"},
	{path: "agents.defaults.bootstrapTotalMaxChars", lacks: "a bound of its own for the files of an agent"},
	{path: "agents.defaults.cliBackends", lacks: "agents that are other programs", sealed: true},
	{path: "agents.defaults.compaction", lacks: "settings of compaction"},
	{path: "agents.defaults.contextPruning", lacks: "pruning of tool results"},
	{path: "agents.defaults.envelopeElapsed", lacks: "chat channels"},
	{path: "agents.defaults.envelopeTimestamp", lacks: "chat channels"},
	{path: "agents.defaults.envelopeTimezone", lacks: "chat channels"},
	{path: "agents.defaults.heartbeat", lacks: "settings of heartbeats"},
	{path: "agents.defaults.humanDelay", lacks: "chat channels"},
	{path: "agents.defaults.imageMaxDimensionPx", lacks: "a way to make images smaller"},
	{path: "agents.defaults.imageModel", lacks: "a model for images alone"},
	{path: "agents.defaults.mediaMaxMb", lacks: "chat channels"},
	{path: "agents.defaults.memorySearch", lacks: "a memory index"},
	{path: "agents.defaults.models", lacks: "other names for models"},
	{path: "agents.defaults.repoRoot", lacks: "a repository of the agent"},
	{path: "agents.defaults.skipBootstrap", lacks: "a choice of whether an agent gets its first files"},
	{path: "agents.defaults.subagents", lacks: "sub-agents"},
	{path: "agents.defaults.thinkingDefault", lacks: "a level of thinking for all sessions"},
	{path: "agents.defaults.timeFormat", lacks: "a choice of how times are told"},
	{path: "agents.defaults.typingIntervalSeconds", lacks: "chat channels"},
	{path: "agents.defaults.typingMode", lacks: "chat channels"},
	{path: "agents.defaults.userTimezone", lacks: "a time zone other than the machine's"},
	{path: "agents.defaults.verboseDefault", lacks: "a verbosity for all sessions"},
	{path: "agents.list[].agentDir", lacks: "a folder of state for each agent"},
	{path: "agents.list[].groupChat", lacks: "group chats", whole: true},
	{path: "agents.list[].heartbeat", lacks: "settings of heartbeats"},
	{path: "agents.list[].humanDelay", lacks: "chat channels"},
	{path: "agents.list[].memorySearch", lacks: "a memory index"},
	{path: "agents.list[].skills", lacks: "skills", whole: true},
	{path: "agents.list[].subagents", lacks: "sub-agents"},
	{path: "models.bedrockDiscovery", lacks: "the models of Amazon Bedrock"},
	{path: "models.providers.*.models[].compat", lacks: "settings for what a service does otherwise"},

	{path: "acp", lacks: "a bridge to editors", whole: true},
	{path: "audio", lacks: "transcription", whole: true},
	{path: "auth", lacks: "profiles of model credentials"},
	{path: "bindings", lacks: "chat channels", whole: true},
	{path: "broadcast", lacks: "chat channels", whole: true},
	{path: "browser", lacks: "a browser", whole: true},
	{path: "canvasHost", lacks: "a canvas host", whole: true},
	{path: "channels", lacks: "chat channels", whole: true},
	{path: "commands", lacks: "settings of chat commands"},
	{path: "cron", lacks: "a scheduler", whole: true},
	{path: "diagnostics", lacks: "diagnostics to switch on", whole: true},
	{path: "discovery", lacks: "announcements on the network", whole: true},
	{path: "env", lacks: "variables set from the configuration", sealed: true},
	{path: "gateway.channelHealthCheckMinutes", lacks: "chat channels", whole: true},
	{path: "gateway.controlUi.basePath", lacks: "a control page of its own", whole: true},
	{path: "gateway.controlUi.enabled", lacks: "a control page of its own", whole: true},
	{path: "gateway.controlUi.root", lacks: "a control page of its own", whole: true},
	{path: "gateway.http", lacks: "HTTP endpoints for models", whole: true},
	{path: "gateway.remote.sshIdentity", lacks: "SSH tunnels", whole: true},
	{path: "gateway.remote.sshTarget", lacks: "SSH tunnels", whole: true},
	{path: "gateway.tailscale.mode", lacks: "a way to set up Tailscale Serve", whole: true},
	{path: "gateway.tailscale.resetOnExit", lacks: "a way to set up Tailscale Serve", whole: true},
	{path: "hooks", lacks: "webhooks", whole: true},
	{path: "logging.consoleLevel", lacks: "a level of the console's own"},
	{path: "logging.consoleStyle", lacks: "styles of the console"},
	{path: "logging.file", lacks: "another place for its log"},
	{path: "media", lacks: "media tools", whole: true},
	{path: "memory", lacks: "a memory index", whole: true},
	{path: "messages", lacks: "chat channels", whole: true},
	{path: "nodeHost", lacks: "a node host", whole: true},
	{path: "plugins", lacks: "plugins", whole: true, sealed: true},
	{path: "session", lacks: "settings of sessions"},
	{path: "skills", lacks: "skills", whole: true},
	{path: "talk", lacks: "speech", whole: true},
	{path: "tools.links", lacks: "tools"},
	{path: "tools.media", lacks: "tools"},
	{path: "tools.web", lacks: "tools"},
	{path: "ui.assistant", lacks: "a name of the assistant in its clients"},
	{path: "update", lacks: "updates of itself", whole: true},
	{path: "web", lacks: "chat channels", whole: true},
	{path: "wizard", lacks: "a setup wizard", whole: true},
}

// restriction finds the names of keys that say who or what is not let through.
var restriction = regexp.MustCompile(`(?i)^(allow|deny|disallow|forbid|restrict|exclude|require)|(allow|deny|block)(ed|list|from)|policy$|accessgroups$|` +
	`^(tools|sandbox|security|ask|approvals?|elevated|permissions?|profile|readonly|dmscope)$`)

var listIndex = regexp.MustCompile(`\[\d+\]`)

// foreignAt returns the row of a key; below reports whether there are rows further
// down instead.
func foreignAt(path string) (row *foreignKey, below bool) {
	parts := strings.Split(listIndex.ReplaceAllString(path, "[]"), ".")
	for i := range foreignKeys {
		want := strings.Split(foreignKeys[i].path, ".")
		if len(want) < len(parts) || !matches(want[:len(parts)], parts) {
			continue
		}
		if len(want) == len(parts) {
			return &foreignKeys[i], true
		}
		below = true
	}
	return nil, below
}

func matches(want, parts []string) bool {
	for i := range parts {
		if want[i] != parts[i] && want[i] != "*" && want[i] != parts[i]+"[]" {
			return false
		}
	}
	return true
}

// foreign takes up a key that the struct tree does not have. It reports whether the
// original has it, or keys below it, that are accepted here.
func (w *walker) foreign(path string, n *json5.Node) bool {
	row, below := foreignAt(path)
	switch {
	case row != nil:
		w.warnings = append(w.warnings, Issue{Path: printable(path), File: n.File, Line: n.Line,
			Message: fmt.Sprintf("%s is kept but has no effect: this gateway does not have %s yet", printable(path), row.lacks)})
		w.checkForeign(path, n, row)
		return true
	case below && n.Kind == json5.Object:
		w.twice(path, n)
		for _, m := range n.Members {
			if full := join(path, m.Key); !w.foreign(full, m.Value) {
				w.unknown(full, m.Value)
			}
		}
		return true
	}
	return false
}

// checkForeign notes what is at fault below a foreign key whatever it means.
func (w *walker) checkForeign(path string, n *json5.Node, row *foreignKey) {
	w.twice(path, n)
	for _, m := range n.Members {
		full := join(path, m.Key)
		if !row.whole && restriction.MatchString(m.Key) {
			w.bad(full, m.Value, "restricts what others may do, and this gateway does not have this restriction: remove it if the gateway may run without")
			continue
		}
		w.checkForeign(full, m.Value, row)
	}
	for i, item := range n.Items {
		w.checkForeign(fmt.Sprintf("%s[%d]", path, i), item, row)
	}
}

// TypeForeign is the Type of a key that is kept without effect.
const TypeForeign = "any"

// FindForeign returns the key at a path that is accepted without effect, or is below
// such a key.
func FindForeign(path string) (Key, bool) {
	p := place{t: reflect.TypeFor[Settings]()}
	for part := range strings.SplitSeq(path, ".") {
		p = p.member(part)
	}
	if !p.foreign {
		return Key{}, false
	}
	return Key{Path: path, Type: TypeForeign, Secret: p.hiding > hideNothing, Class: ClassNone, Doc: "Kept, without effect."}, true
}

// ChangedKeys names the keys in which two documents without faults differ, those
// without effect included, and no value.
func ChangedKeys(before, after *Document) []string {
	var keys []string
	if before.Settings != nil && after.Settings != nil {
		for _, c := range Diff(before.Settings, after.Settings) {
			keys = append(keys, c.Key)
		}
	}
	seen := map[string]bool{}
	for _, d := range []*Document{before, after} {
		for _, warning := range d.Warnings {
			if path := warning.Path; !seen[path] && !sameAt(before, after, path) {
				keys = append(keys, path)
			}
			seen[warning.Path] = true
		}
	}
	return keys
}

func sameAt(a, b *Document, path string) bool {
	x, y := lookUp(a.merged, path), lookUp(b.merged, path)
	if x == nil || y == nil {
		return x == y
	}
	return string(x.AppendJSON(nil)) == string(y.AppendJSON(nil))
}

// foreignMarkdown lists the rows for the page that documents every key.
func foreignMarkdown() string {
	var b strings.Builder
	b.WriteString(foreignHead)
	for _, row := range foreignKeys {
		fmt.Fprintf(&b, "| `%s` | %s |\n", row.path, row.lacks)
	}
	return b.String()
}

const foreignHead = `
## Keys that are kept without effect

A configuration of the original may stand here as it is. These keys of it, with all below them, are kept byte for byte; the gateway warns of
each at its start, in ` + "`coderclaw config check`" + `, ` + "`coderclaw doctor`" + ` and the answers of ` + "`config.*`" + `. Values below them whose names say that they are
secrets are hidden. A key below one that restricts what somebody may do (` + "`allow…`, `deny…`, `…Policy`, `sandbox`" + ` and such) is a
fault all the same where this gateway has a part of what it restricts: it must not seem to hold.

| key | what this gateway does not have |
| --- | --- |
`
