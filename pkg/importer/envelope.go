package importer

import (
	"encoding/json"
	"regexp"
	"strings"
)

// The original writes into each user's message, for its model alone, from where and
// when it came; its own later versions hide that from people again. Transcripts here
// hold what people wrote.
const (
	infoHead  = "Conversation info (untrusted metadata):\n```json\n"
	blockFoot = "\n```\n\n"
)

// infoKnown are the members of that block that say nothing which the session or the
// message does not say anyway. Others, such as who spoke in a group, are content.
var infoKnown = map[string]bool{"message_id": true, "sender": true}

// stamp is the time that stands before a message, such as [Sun 2026-11-22 19:19 UTC].
var stamp = regexp.MustCompile(`^\[(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d [A-Za-z0-9+:-]{1,9}\] `)

// unwrapped is a user's message without what the original put before it. Whatever is
// not exactly of that form stays.
func unwrapped(text string) string {
	rest := text
	if block, ok := strings.CutPrefix(text, infoHead); ok {
		info, after, ok := strings.Cut(block, blockFoot)
		var members map[string]json.RawMessage
		if !ok || json.Unmarshal([]byte(info), &members) != nil {
			return text
		}
		for name := range members {
			if !infoKnown[name] {
				return text
			}
		}
		rest = after
	}
	return stamp.ReplaceAllString(rest, "")
}
