package presence

import (
	"cmp"
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// SystemPresence answers system-presence.
func (s *Service) SystemPresence(context.Context, *wire.Peer, protocol.SystemPresenceParams) (protocol.SystemPresenceResult, error) {
	return s.List(), nil
}

// SystemEvent records a beacon: it updates presence, tells everybody, and queues
// the text for the next agent turn. A text of the form "Node: host (ip) · app v ·
// last input Ns ago · mode m · reason r" is read for what it says.
func (s *Service) SystemEvent(ctx context.Context, _ *wire.Peer, p protocol.SystemEventParams) (protocol.OkResult, error) {
	line := strings.TrimSpace(p.Text.V)
	if line == "" {
		return protocol.OkResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "text required")
	}
	e := parseBeacon(line)
	override := func(to *wire.Opt[string], from wire.Opt[string]) {
		if v := strings.TrimSpace(from.V); v != "" {
			*to = wire.Some(v)
		}
	}
	override(&e.Host, p.Host)
	override(&e.IP, p.IP)
	override(&e.Version, p.Version)
	override(&e.Platform, p.Platform)
	override(&e.DeviceFamily, p.DeviceFamily)
	override(&e.ModelIdentifier, p.ModelIdentifier)
	override(&e.Mode, p.Mode)
	override(&e.Reason, p.Reason)
	override(&e.DeviceID, p.DeviceID)
	override(&e.InstanceID, p.InstanceID)
	if idle, ok := p.LastInputSeconds.Get(); ok && idle >= 0 && idle < 1<<53 {
		e.LastInputSeconds = wire.Some(int64(idle))
	}
	e.Roles, e.Scopes, e.Tags = p.Roles, p.Scopes, p.Tags
	e.Text, e.Ts = wire.Some(line), time.Now().UnixMilli()

	if err := s.cfg.Notes.AddNote(ctx, line); err != nil {
		return protocol.OkResult{}, err
	}
	key := cmp.Or(e.DeviceID.V, e.InstanceID.V, e.Host.V, e.IP.V, line[:min(len(line), 64)])
	s.upsert(strings.ToLower(key), e)
	s.announce()
	return protocol.OkResult{Ok: true}, nil
}

var (
	beaconHost  = regexp.MustCompile(`^Node:\s*([^(·]+?)\s*(?:\(([^)]+)\))?\s*(?:·|$)`)
	beaconInput = regexp.MustCompile(`^last input (\d+)s ago$`)
)

// parseBeacon reads the parts of a beacon; a text of another form gives none.
func parseBeacon(line string) protocol.PresenceEntry {
	var e protocol.PresenceEntry
	m := beaconHost.FindStringSubmatch(line)
	if m == nil {
		return e
	}
	e.Host, e.IP = text(m[1]), text(m[2])
	for _, part := range strings.Split(line, "·")[1:] {
		part = strings.TrimSpace(part)
		if sec := beaconInput.FindStringSubmatch(part); sec != nil {
			if n, err := strconv.ParseInt(sec[1], 10, 64); err == nil {
				e.LastInputSeconds = wire.Some(n)
			}
			continue
		}
		word, value, _ := strings.Cut(part, " ")
		switch word {
		case "app":
			e.Version = text(value)
		case "mode":
			e.Mode = text(value)
		case "reason":
			e.Reason = text(value)
		}
	}
	return e
}
