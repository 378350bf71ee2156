package openai

//lint:file-ignore SA1019 the older name is the one that every service knows; the newer one follows where it is refused

import (
	"errors"

	client "github.com/sashabaranov/go-openai"
)

// boundTokens asks for an answer of at most n tokens; 0 is no bound.
func boundTokens(req *client.ChatCompletionRequest, n int64) { req.MaxTokens = int(n) }

// renamesBound gives the bound its newer name when err says that the service, or the
// client for a model of OpenAI's, refuses the older one. It reports whether it did.
func renamesBound(req *client.ChatCompletionRequest, err error) bool {
	if req.MaxTokens == 0 || !errors.Is(err, client.ErrReasoningModelMaxTokensDeprecated) && !refusesMember(err, "max_tokens") {
		return false
	}
	req.MaxTokens, req.MaxCompletionTokens = 0, req.MaxTokens
	return true
}
