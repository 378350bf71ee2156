package wire

import "sync/atomic"

// StateVersions counts the changes of the two states that clients cache:
// presence and health. Both counters start at 1. The services that own the
// states bump them, the gateway stamps snapshots and events with them.
//
// The zero value is ready to use. All methods are safe for concurrent use; a
// StateVersions must not be copied.
type StateVersions struct {
	// presence and health hold the number of bumps, one less than the version,
	// so that the zero value needs no constructor.
	presence, health atomic.Int64
}

// Presence returns the version of the presence list.
func (v *StateVersions) Presence() int64 { return v.presence.Load() + 1 }

// Health returns the version of the health summary.
func (v *StateVersions) Health() int64 { return v.health.Load() + 1 }

// BumpPresence notes a change of the presence list and returns its new version.
func (v *StateVersions) BumpPresence() int64 { return v.presence.Add(1) + 1 }

// BumpHealth notes a change of the health summary and returns its new version.
func (v *StateVersions) BumpHealth() int64 { return v.health.Add(1) + 1 }
