package turn

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestCleanMessage(t *testing.T) {
	got, err := CleanMessage("a\x01\tb\r\nc\x7f\x1b[31m é\u2028")
	require.NoError(t, err)
	require.Equal(t, "a\tb\r\nc[31m é\u2028", got)
	_, err = CleanMessage("a\x00b")
	require.Equal(t, "message must not contain null bytes", wireError(t, err).Message)
}

func TestAttachments(t *testing.T) {
	png := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 20)...)
	b64 := base64.StdEncoding.EncodeToString
	item := func(members ...string) wire.Raw {
		m := map[string]string{}
		for i := 0; i < len(members); i += 2 {
			m[members[i]] = members[i+1]
		}
		raw, err := json.Marshal(m)
		require.NoError(t, err)
		return raw
	}
	exact := append(append([]byte{}, png...), make([]byte, attachmentBytesMax-len(png))...)
	cases := []struct {
		name  string
		items []wire.Raw
		want  []session.Image
		err   string
	}{
		{"none", nil, nil, ""},
		{"an image", []wire.Raw{item("content", b64(png))}, []session.Image{{MimeType: "image/png", Data: png}}, ""},
		{"a data URL", []wire.Raw{item("content", "data:image/jpeg;base64,"+b64(png))}, []session.Image{{MimeType: "image/png", Data: png}}, ""},
		{"bytes that say nothing", []wire.Raw{item("mimeType", "image/heic", "content", b64([]byte{0, 1, 2, 3}))}, []session.Image{{MimeType: "image/heic", Data: []byte{0, 1, 2, 3}}}, ""},
		{"no image is dropped", []wire.Raw{item("mimeType", "image/png", "content", b64([]byte("%PDF-1.7")))}, nil, ""},
		{"unknown is dropped", []wire.Raw{item("content", b64([]byte{0, 1, 2, 3}))}, nil, ""},
		{"no content is ignored", []wire.Raw{item("fileName", "a.png"), wire.Raw(`7`), wire.Raw(`null`), wire.Raw(`{"content":{}}`)}, nil, ""},
		{"the largest", []wire.Raw{item("content", b64(exact))}, []session.Image{{MimeType: "image/png", Data: exact}}, ""},
		{"bad base64, named by file", []wire.Raw{item("type", "image", "mimeType", "image/png", "fileName", "a.png", "content", "!!!")}, nil,
			"Error: attachment a.png: invalid base64 content"},
		{"named by type", []wire.Raw{item("type", "image", "content", "abc")}, nil, "Error: attachment image: invalid base64 content"},
		{"named by place", []wire.Raw{item("content", b64(png)), item("content", "ab=c")}, nil, "Error: attachment attachment-2: invalid base64 content"},
		{"newlines are no base64", []wire.Raw{item("content", "YWJj\nYWJj")}, nil, "Error: attachment attachment-1: invalid base64 content"},
		{"too large", []wire.Raw{item("fileName", "big.png", "content", b64(append(exact, 0)))}, nil,
			"Error: attachment big.png: exceeds size limit (5000001 > 5000000 bytes)"},
		{"too large to be decoded at all", []wire.Raw{item("content", strings.Repeat("!", 8_000_000))}, nil,
			"Error: attachment attachment-1: exceeds size limit (6000000 > 5000000 bytes)"},
		{"a data URL that is too large", []wire.Raw{item("content", "data:image/png;base64,"+b64(append(exact, 0)))}, nil,
			"Error: attachment attachment-1: exceeds size limit (5000001 > 5000000 bytes)"},
		{"cut short", []wire.Raw{item("content", b64(png)[:10])}, nil, "Error: attachment attachment-1: invalid base64 content"},
		{"only padding", []wire.Raw{item("content", "====")}, nil, "Error: attachment attachment-1: exceeds size limit (0 > 5000000 bytes)"},
		{"nothing in it", []wire.Raw{item("content", "data:image/png;base64,")}, nil,
			"Error: attachment attachment-1: exceeds size limit (0 > 5000000 bytes)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Attachments(c.items)
			if c.err != "" {
				e := wireError(t, err)
				require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
				require.Equal(t, c.err, e.Message)
				return
			}
			require.NoError(t, err)
			require.Equal(t, len(c.want), len(got))
			for i := range got {
				require.Equal(t, c.want[i].MimeType, got[i].MimeType)
				require.Equal(t, strings.Compare(string(c.want[i].Data), string(got[i].Data)), 0)
			}
		})
	}
}
