package identity

import (
	"slices"
	"strings"
)

// kind is the kind of machine a device says it is. It is pinned when the device is
// approved, because it decides which commands a node may offer: a phone that comes
// back as a computer has to ask again. The version inside a platform ("iOS 18.3")
// is left out, or every update of a phone would need a person.
type kind struct {
	Platform string `json:"platform,omitempty"`
	Family   string `json:"family,omitempty"`
}

// The names of platforms by the words they begin with, and by the words that a
// device family contains when the platform says nothing.
var (
	platformWords = []struct{ word, name string }{
		{"ios", "ios"}, {"ipados", "ios"}, {"android", "android"}, {"mac", "macos"}, {"darwin", "macos"}, {"win", "windows"}, {"linux", "linux"},
	}
	familyWords = []struct{ word, name string }{
		{"iphone", "ios"}, {"ipad", "ios"}, {"ios", "ios"}, {"android", "android"}, {"mac", "macos"}, {"windows", "windows"}, {"linux", "linux"},
	}
)

const platformUnknown = "unknown"

// kindOf derives the kind from what a client says of itself.
func kindOf(platform, family string) kind {
	platform, family = plain(label(platform, detailBytesMax)), plain(label(family, detailBytesMax))
	k := kind{Platform: platformUnknown, Family: family}
	if i := slices.IndexFunc(platformWords, func(w struct{ word, name string }) bool { return strings.HasPrefix(platform, w.word) }); i >= 0 {
		k.Platform = platformWords[i].name
	} else if i := slices.IndexFunc(familyWords, func(w struct{ word, name string }) bool { return strings.Contains(family, w.word) }); i >= 0 {
		k.Platform = familyWords[i].name
	}
	return k
}

// fits reports whether a device that was pinned as k may come as other. One that
// was paired before there were pins fits everything, and a family that either side
// leaves out says nothing.
func (k kind) fits(other kind) bool {
	if k == (kind{}) {
		return true
	}
	return k.Platform == other.Platform && (k.Family == "" || other.Family == "" || k.Family == other.Family)
}

// plain is the form in which a platform or family is compared and signed: without
// white space around it and in lower case, ASCII only, so that clients in every
// language arrive at the same.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(text))
}
