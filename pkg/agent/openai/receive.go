package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	client "github.com/sashabaranov/go-openai"

	"github.com/coderclaw/gateway/pkg/agent"
)

// receive reads the stream to its end into result and emits each piece of text.
// On an error result holds what came before it.
func (b *Backend) receive(ctx context.Context, stream *client.ChatCompletionStream, result *agent.Result, emit func(agent.Event)) error {
	var text strings.Builder
	var finish client.FinishReason
	var tool string
	var events int
	defer func() { result.Text = text.String() }()
	for {
		chunk, err := stream.Recv()
		if ended := ctx.Err(); ended != nil {
			return ended // a piece that came with the end is not emitted any more
		}
		if err != nil {
			// Some services leave [DONE] out; a finish reason says the same.
			if err != io.EOF && (finish == "" || !errors.Is(err, io.ErrUnexpectedEOF)) {
				return b.explain(ctx, err)
			}
			break
		}
		events++
		if chunk.Usage != nil {
			result.Usage = usageOf(chunk.Usage)
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		choice := chunk.Choices[0]
		if choice.FinishReason != "" {
			finish = choice.FinishReason
		}
		tool = firstTool(tool, choice.Delta)
		if piece := choice.Delta.Content + choice.Delta.Refusal; piece != "" {
			text.WriteString(piece)
			emit(agent.Event{Text: piece})
		}
	}
	result.StopReason = stopReason(finish)
	switch {
	case events == 0:
		return fmt.Errorf("the model service at %s answered without a stream of events: check that %s is the address of an OpenAI-compatible API with streaming", b.baseURL, b.cfg.urlKey())
	case tool != "" && text.Len() == 0:
		return fmt.Errorf("the model asked for the tool %q, but this gateway offers models no tools yet: ask for an answer in words, or choose another model", tool)
	case tool != "":
		b.log.Warn("model asked for a tool, but none was offered", "tool", tool, "runModel", result.Model)
	}
	return nil
}

// firstTool returns the name of the first tool that the model asked for.
func firstTool(known string, delta client.ChatCompletionStreamChoiceDelta) string {
	switch {
	case known != "":
		return known
	case len(delta.ToolCalls) > 0:
		return clip(delta.ToolCalls[0].Function.Name)
	case delta.FunctionCall != nil:
		return clip(delta.FunctionCall.Name)
	}
	return ""
}

// stopReason translates the API's finish reasons into the port's words.
func stopReason(finish client.FinishReason) string {
	switch finish {
	case "", client.FinishReasonStop, client.FinishReasonNull:
		return "stop"
	case client.FinishReasonLength:
		return "length"
	case client.FinishReasonToolCalls, client.FinishReasonFunctionCall:
		return "toolUse"
	}
	return string(finish)
}

// usageOf counts cached tokens once, as CacheRead.
func usageOf(u *client.Usage) agent.Usage {
	usage := agent.Usage{Input: int64(u.PromptTokens), Output: int64(u.CompletionTokens), Total: int64(u.TotalTokens)}
	if u.PromptTokensDetails != nil {
		usage.CacheRead = int64(u.PromptTokensDetails.CachedTokens)
		usage.Input -= usage.CacheRead
	}
	if usage.Total == 0 {
		usage.Total = usage.Input + usage.CacheRead + usage.Output
	}
	return usage
}
