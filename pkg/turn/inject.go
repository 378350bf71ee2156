package turn

import (
	"github.com/coderclaw/gateway/pkg/session"
)

// What the gateway's own words are signed with, so that clients tell them from a
// model's (the original's chat.inject and slash commands).
const (
	injectedAPI      = "openai-responses"
	injectedProvider = "coderclaw"
	injectedModel    = "gateway-injected"
)

// SendPolicyDeny is the session's send policy that refuses messages
// (sessions.patch).
const SendPolicyDeny = "deny"

// InjectedMessage is an assistant message that no model wrote. Its id, its time
// and its run are still to be filled in.
func InjectedMessage(text string) session.Message {
	return session.Message{
		Role:       "assistant",
		Text:       text,
		API:        injectedAPI,
		Provider:   injectedProvider,
		Model:      injectedModel,
		StopReason: "stop",
		Usage:      &session.Usage{},
		Injected:   true,
	}
}
