package sessions

import (
	"context"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// labelCharsMax bounds a label.
const labelCharsMax = 64

// SessionsPatch changes a session's settings, all or none, and makes the session
// if it is missing (sessions.patch). null clears a setting, an absent member
// leaves it. Any model is accepted: the backend knows which ones it has.
func (s *Service) SessionsPatch(ctx context.Context, _ *wire.Peer, p protocol.SessionsPatchParams) (protocol.SessionsPatchResult, error) {
	k, err := s.key(protocol.MethodSessionsPatch.Name, p.Key)
	if err != nil {
		return protocol.SessionsPatchResult{}, err
	}
	def := s.model(k.AgentID)
	e, err := s.sessions.Patch(ctx, k.Full, func(e *session.Entry) error { return s.apply(p, k, def, e) })
	if err != nil {
		return protocol.SessionsPatchResult{}, refusal(err)
	}
	provider, model := s.resolved(&e, def)
	return protocol.SessionsPatchResult{
		Ok:       true,
		Path:     s.path,
		Key:      e.Key,
		Entry:    s.entry(&e),
		Resolved: wire.Some(protocol.SessionModelRef{ModelProvider: some(provider), Model: some(model)}),
	}, nil
}

// apply changes e as p says, or returns the first refusal in the original's order.
func (s *Service) apply(p protocol.SessionsPatchParams, k session.Key, def Model, e *session.Entry) error {
	if err := applySpawn(p, k, e); err != nil {
		return err
	}
	if p.Label.Set {
		label, ok := p.Label.Get()
		e.Label = strings.TrimSpace(label)
		if ok && e.Label == "" {
			return invalid("invalid label: empty")
		}
		if len([]rune(e.Label)) > labelCharsMax {
			return invalid("invalid label: too long (max 64)")
		}
	}
	for _, l := range levels(p, e) {
		if err := l.apply(); err != nil {
			return err
		}
	}
	if err := s.applyModel(p.Model, def, e); err != nil {
		return err
	}
	if p.SendPolicy.Set {
		e.SendPolicy = string(p.SendPolicy.V)
	}
	if p.GroupActivation.Set {
		e.GroupActivation = string(p.GroupActivation.V)
	}
	return nil
}

// applySpawn sets who started the session, which can be said once and only of a
// subagent's session.
func applySpawn(p protocol.SessionsPatchParams, k session.Key, e *session.Entry) error {
	subagent := strings.HasPrefix(k.Rest, "subagent:")
	if by, ok := p.SpawnedBy.Get(); ok {
		by = strings.TrimSpace(by)
		switch {
		case by == "":
			return invalid("invalid spawnedBy: empty")
		case !subagent:
			return invalid("spawnedBy is only supported for subagent:* sessions")
		case e.SpawnedBy != "" && e.SpawnedBy != by:
			return invalid("spawnedBy cannot be changed once set")
		}
		e.SpawnedBy = by
	} else if p.SpawnedBy.Null && e.SpawnedBy != "" {
		return invalid("spawnedBy cannot be cleared once set")
	}
	if n, ok := p.SpawnDepth.Get(); ok {
		switch {
		case !subagent:
			return invalid("spawnDepth is only supported for subagent:* sessions")
		case e.SpawnDepth != nil && *e.SpawnDepth != n:
			return invalid("spawnDepth cannot be changed once set")
		}
		e.SpawnDepth = &n
	} else if p.SpawnDepth.Null && e.SpawnDepth != nil {
		return invalid("spawnDepth cannot be cleared once set")
	}
	return nil
}

// applyModel sets the model of the next runs. The agent's own model is no override. A
// provider that nobody knows is taken too, as by the original; until it is configured
// the agent's model answers.
func (s *Service) applyModel(p wire.OptNull[string], def Model, e *session.Entry) error {
	if !p.Set {
		return nil
	}
	name, ok := p.Get()
	name = strings.TrimSpace(name)
	if !ok {
		e.ProviderOverride, e.ModelOverride = "", ""
		return nil
	}
	if name == "" {
		return invalid("invalid model: empty")
	}
	provider, id, ok := s.resolve(name)
	if !ok {
		provider, id = splitModel(name, def.Provider)
	}
	if id == "" || provider == "" && strings.Contains(name, "/") {
		return invalid("invalid model: " + name)
	}
	if provider == def.Provider && id == def.ID {
		provider, id = "", ""
	}
	e.ProviderOverride, e.ModelOverride = provider, id
	return nil
}

// level is one setting that has a few values and synonyms for them.
type level struct {
	param wire.OptNull[string]
	field *string
	// parse returns the value that a word means, or empty.
	parse func(word string) string
	// refusal is told when it means none.
	refusal string
	// plain is the value that is the same as no setting, if there is one.
	plain string
}

// levels lists the settings of p in the order the original checks them.
func levels(p protocol.SessionsPatchParams, e *session.Entry) []level {
	usage := wire.OptNull[string]{V: string(p.ResponseUsage.V), Set: p.ResponseUsage.Set, Null: p.ResponseUsage.Null}
	return []level{
		{p.ThinkingLevel, &e.ThinkingLevel, turn.Thinking, "invalid thinkingLevel (use off|minimal|low|medium|high)", ""},
		{p.VerboseLevel, &e.VerboseLevel, verbose, `invalid verboseLevel (use "on"|"off")`, ""},
		{p.ReasoningLevel, &e.ReasoningLevel, reasoning, `invalid reasoningLevel (use "on"|"off"|"stream")`, "off"},
		{usage, &e.ResponseUsage, responseUsage, `invalid responseUsage (use "off"|"tokens"|"full")`, "off"},
		{p.ElevatedLevel, &e.ElevatedLevel, elevated, `invalid elevatedLevel (use "on"|"off"|"ask"|"full")`, ""},
		{p.ExecHost, &e.ExecHost, among("sandbox", "gateway", "node"), `invalid execHost (use "sandbox"|"gateway"|"node")`, ""},
		{p.ExecSecurity, &e.ExecSecurity, among("deny", "allowlist", "full"), `invalid execSecurity (use "deny"|"allowlist"|"full")`, ""},
		{p.ExecAsk, &e.ExecAsk, among("off", "on-miss", "always"), `invalid execAsk (use "off"|"on-miss"|"always")`, ""},
		{p.ExecNode, &e.ExecNode, strings.TrimSpace, "invalid execNode: empty", ""},
	}
}

// apply sets the field, clears it or refuses.
func (l level) apply() error {
	if !l.param.Set {
		return nil
	}
	word, ok := l.param.Get()
	if !ok {
		*l.field = ""
		return nil
	}
	value := l.parse(word)
	if value == "" {
		return invalid(l.refusal)
	}
	if value == l.plain {
		value = ""
	}
	*l.field = value
	return nil
}

// among accepts the values themselves, whatever their case.
func among(values ...string) func(string) string {
	return func(word string) string {
		word = strings.ToLower(strings.TrimSpace(word))
		for _, v := range values {
			if v == word {
				return v
			}
		}
		return ""
	}
}

func verbose(word string) string {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "off", "false", "no", "0":
		return "off"
	case "on", "minimal", "true", "yes", "1":
		return "on"
	case "full", "all", "everything":
		return "full"
	}
	return ""
}

func reasoning(word string) string {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "off", "false", "no", "0", "hide", "hidden", "disable", "disabled":
		return "off"
	case "on", "true", "yes", "1", "show", "visible", "enable", "enabled":
		return "on"
	case "stream", "streaming", "draft", "live":
		return "stream"
	}
	return ""
}

func elevated(word string) string {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "off", "false", "no", "0":
		return "off"
	case "on", "true", "yes", "1":
		return "on"
	case "ask", "prompt", "approval", "approve":
		return "ask"
	case "full", "auto", "auto-approve", "autoapprove":
		return "full"
	}
	return ""
}

// responseUsage takes what the schema lets through: on is an old name of tokens.
func responseUsage(word string) string {
	if word == "on" {
		return "tokens"
	}
	return word
}

// invalid is a refusal in the original's words.
func invalid(text string) error { return wire.Errorf(protocol.ErrorInvalidRequest, "%s", text) }
