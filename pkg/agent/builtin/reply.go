package builtin

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coderclaw/gateway/pkg/agent"
)

const (
	quoteRunesMax = 200
	echoRunesMax  = 4000
)

// stamp is the time that runs put before a message for the model's eyes, such as
// "[Sun 2026-11-22 10:48 UTC] ".
var stamp = regexp.MustCompile(`^\[[A-Z][a-z]{2} \d{4}-\d{2}-\d{2} \d{2}:\d{2} [^\]]{1,16}\] `)

// reply returns the whole answer to the last message of the turn.
func (b *Backend) reply(ctx context.Context, turn agent.Turn) string {
	var last agent.Message
	if n := len(turn.Messages); n > 0 {
		last = turn.Messages[n-1]
	}
	text := strings.TrimSpace(stamp.ReplaceAllString(last.Text, ""))
	answer := acknowledge(text)
	switch n := len(last.Images); {
	case n == 1:
		answer += " It came with an image, which I cannot look at."
	case n > 1:
		answer += fmt.Sprintf(" It came with %d images, which I cannot look at.", n)
	}
	first := !slices.ContainsFunc(turn.Messages, func(m agent.Message) bool { return m.Role == "assistant" })
	if first || asksHow(text) {
		return answer + "\n\n" + b.explain(ctx)
	}
	return answer + "\n\nStill no language model is connected: this is a fixed reply of the gateway itself. " +
		"Ask \"how do I connect a model?\" for the commands, or send /help for what works without one."
}

// acknowledge answers the few things that need no model, and quotes the rest.
func acknowledge(text string) string {
	plain := strings.ToLower(strings.TrimFunc(text, func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSpace(r) }))
	if said, ok := cutPrefixFold(text, "echo "); ok {
		return clip(strings.TrimSpace(said), echoRunesMax)
	}
	switch plain {
	case "":
		return "Your message is empty."
	case "hello", "hi", "hey", "hello there", "hi there", "good morning", "good evening":
		return "Hello."
	case "ping":
		return "pong"
	case "thanks", "thank you":
		return "You are welcome."
	case "who are you", "what are you", "are you an ai", "are you there":
		return "I am the built-in responder of the CoderClaw gateway: a program with a few fixed replies, not an AI."
	case "time", "date", "what time is it", "what day is it", "what is the time", "what is the date":
		return "On this host it is " + time.Now().Format("Monday, 2 January 2006, 15:04 MST") + "."
	}
	return fmt.Sprintf("I received your message: %q", clip(text, quoteRunesMax))
}

// asksHow reports whether text seems to ask about models and settings.
func asksHow(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{"connect", "model", "ollama", "openai", "llm", "set up", "setup", "configure", "api key"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// explain says what this is and how to connect a model.
func (b *Backend) explain(ctx context.Context) string {
	var s strings.Builder
	s.WriteString("No language model is connected to this gateway yet. What you read is a fixed reply of the program itself, not of an AI.\n\n")
	b.explainOllama(&s, b.ollama.lookUp(ctx))
	s.WriteString("To connect any OpenAI-compatible service, stop the gateway and start it with:\n\n")
	writeSetting(&s, b.configPath, "openai", "https://api.openai.com/v1", "YOUR_MODEL", true)
	s.WriteString("Send /help for what works without a model.")
	return s.String()
}

func (b *Backend) explainOllama(s *strings.Builder, found finding) {
	switch {
	case !found.answers:
		fmt.Fprintf(s, "A local Ollama would need no key, but none answers at %s now.\n\n", b.ollama.url)
	case len(found.models) == 0:
		fmt.Fprintf(s, "Ollama answers at %s, but has no model yet: run `ollama pull llama3.2`, then ask me again.\n\n", b.ollama.url)
	default:
		fmt.Fprintf(s, "Good news: Ollama answers at %s and offers %s. To use it, stop the gateway and start it with:\n\n", b.ollama.url, strings.Join(found.models, ", "))
		writeSetting(s, b.configPath, "ollama", b.ollama.url+"/v1", found.preferred(), false)
	}
}

// writeSetting writes the same setting as environment and as configuration.
func writeSetting(s *strings.Builder, path, provider, baseURL, model string, key bool) {
	envKey, fileKey := "", ""
	if key {
		envKey, fileKey = " OPENAI_API_KEY=YOUR_KEY", `, apiKey: "YOUR_KEY"`
	}
	fmt.Fprintf(s, "    OPENAI_BASE_URL=%s%s OPENAI_MODEL=%s coderclaw gateway\n\n", baseURL, envKey, model)
	fmt.Fprintf(s, "or put this into %s, which needs no restart:\n\n", path)
	fmt.Fprintf(s, "    { models: { providers: { %s: { baseUrl: %q%s } } }, agents: { defaults: { model: %q } } }\n\n", provider, baseURL, fileKey, provider+"/"+model)
}

// clip bounds text in characters.
func clip(text string, runesMax int) string {
	if runes := []rune(text); len(runes) > runesMax {
		return string(runes[:runesMax]) + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func cutPrefixFold(text, prefix string) (string, bool) {
	if len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
		return text[len(prefix):], true
	}
	return text, false
}
