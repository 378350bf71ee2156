package openai

import (
	"encoding/base64"
	"strings"

	client "github.com/sashabaranov/go-openai"

	"github.com/coderclaw/gateway/pkg/agent"
)

// buildMessages returns the conversation in the API's form. Messages without
// content are left out, because services refuse them.
func buildMessages(turn agent.Turn) []client.ChatCompletionMessage {
	var out []client.ChatCompletionMessage
	if turn.System != "" {
		out = append(out, client.ChatCompletionMessage{Role: client.ChatMessageRoleSystem, Content: turn.System})
	}
	said := len(out)
	for _, m := range turn.Messages {
		if m.Text == "" && (len(m.Images) == 0 || m.Role != client.ChatMessageRoleUser) {
			continue
		}
		out = append(out, buildMessage(m))
	}
	if len(out) == said {
		return nil
	}
	return out
}

// buildMessage sends images as data URLs, so that the service need not fetch
// anything. Only a user's message may carry images in this API.
func buildMessage(m agent.Message) client.ChatCompletionMessage {
	if len(m.Images) == 0 || m.Role != client.ChatMessageRoleUser {
		return client.ChatCompletionMessage{Role: m.Role, Content: m.Text}
	}
	var parts []client.ChatMessagePart
	if m.Text != "" {
		parts = append(parts, client.ChatMessagePart{Type: client.ChatMessagePartTypeText, Text: m.Text})
	}
	for _, image := range m.Images {
		parts = append(parts, client.ChatMessagePart{
			Type:     client.ChatMessagePartTypeImageURL,
			ImageURL: &client.ChatMessageImageURL{URL: dataURL(image)},
		})
	}
	return client.ChatCompletionMessage{Role: m.Role, MultiContent: parts}
}

func dataURL(image agent.Image) string {
	mime := image.MimeType
	if !strings.HasPrefix(mime, "image/") || strings.ContainsAny(mime, ",;\r\n ") {
		mime = "image/png"
	}
	return "data:" + mime + ";base64," + base64.StdEncoding.EncodeToString(image.Data)
}
