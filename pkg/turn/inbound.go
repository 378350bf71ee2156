package turn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// attachmentBytesMax is the largest image a message may carry, decoded.
const attachmentBytesMax = 5_000_000

// CleanMessage returns a client's text without the control characters that no
// message needs (all but tab, newline and carriage return). A NUL is refused.
func CleanMessage(text string) (string, error) {
	if strings.ContainsRune(text, 0) {
		return "", wire.Errorf(protocol.ErrorInvalidRequest, "message must not contain null bytes")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return -1
		}
		return r
	}, text), nil
}

// dataURL matches a base64 data URL up to its data.
var dataURL = regexp.MustCompile(`^data:[^;]+;base64,`)

// attachmentItem is one element of the attachments that chat.send and agent take.
type attachmentItem struct {
	kind, mimeType, fileName, content string
}

// Attachments reads the attachments of a request: images as base64 or data URL.
// What is not an image is dropped, as the original does; items without content
// are ignored. The error is for the client, in the original's words.
func Attachments[T ~[]byte](items []T) ([]session.Image, error) {
	var images []session.Image
	for i, raw := range items {
		item := readAttachment(raw)
		if item.content == "" {
			continue
		}
		label := orElse(item.fileName, orElse(item.kind, fmt.Sprintf("attachment-%d", i+1)))
		data, err := decodeAttachment(item.content)
		if err != nil {
			return nil, wire.Errorf(protocol.ErrorInvalidRequest, "Error: attachment %s: %s", label, err)
		}
		if mimeType, ok := imageType(data, item.mimeType); ok {
			images = append(images, session.Image{MimeType: mimeType, Data: data})
		}
	}
	return images, nil
}

// readAttachment reads an item leniently: a member of the wrong type is absent.
func readAttachment(raw []byte) attachmentItem {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return attachmentItem{}
	}
	text := func(name string) string {
		var s string
		if json.Unmarshal(members[name], &s) != nil {
			return ""
		}
		return strings.TrimSpace(s)
	}
	return attachmentItem{text("type"), text("mimeType"), text("fileName"), text("content")}
}

// decodeAttachment decodes base64 with or without a data URL around it. What is too
// large is told by the length of its base64 and never decoded.
func decodeAttachment(content string) ([]byte, error) {
	content = content[dataURLBytes(content):]
	size := len(content)/4*3 - (len(content) - len(strings.TrimRight(content, "=")))
	switch {
	case len(content)%4 != 0:
		return nil, errBase64
	case size <= 0 || size > attachmentBytesMax:
		return nil, fmt.Errorf("exceeds size limit (%d > %d bytes)", max(size, 0), attachmentBytesMax)
	case strings.ContainsAny(content, "\r\n"):
		return nil, errBase64
	}
	data, err := base64.StdEncoding.Strict().DecodeString(content)
	if err != nil {
		return nil, errBase64
	}
	return data, nil
}

var errBase64 = errors.New("invalid base64 content")

// dataURLBytes is the length of a base64 data URL up to its data, 0 when content is
// none. Only the beginning is looked at: a media type is short.
func dataURLBytes(content string) int {
	return len(dataURL.FindString(content[:min(len(content), dataURLBytesMax)]))
}

// dataURLBytesMax bounds the part of a data URL before its data.
const dataURLBytesMax = 1024

// imageType tells an image by its bytes, or by what the client says of it when
// the bytes say nothing.
func imageType(data []byte, declared string) (string, bool) {
	sniffed, _, _ := strings.Cut(http.DetectContentType(data), ";")
	if strings.HasPrefix(sniffed, "image/") {
		return sniffed, true
	}
	declared, _, _ = strings.Cut(strings.ToLower(declared), ";")
	declared = strings.TrimSpace(declared)
	silent := sniffed == "application/octet-stream" || strings.HasPrefix(sniffed, "text/")
	return declared, silent && strings.HasPrefix(declared, "image/")
}
