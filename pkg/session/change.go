package session

// ChangeKind is what happened to a session.
type ChangeKind string

// The kinds of changes.
const (
	ChangeCreated   ChangeKind = "created"
	ChangeUpdated   ChangeKind = "updated"
	ChangeMessage   ChangeKind = "message"
	ChangeReset     ChangeKind = "reset"
	ChangeCompacted ChangeKind = "compacted"
	ChangeDeleted   ChangeKind = "deleted"
)

// Change tells of one committed change.
type Change struct {
	// Key is the session's canonical key.
	Key  string
	Kind ChangeKind
}

// OnChange has fn called for every change from now on, in the order of the commits
// and when the change is on disk. The store's writer waits for fn, so fn only notes
// what happened. It must be called before the sessions are used, and once.
func (s *Sessions) OnChange(fn func(Change)) { s.onChange = fn }

// committed brings the index up to date and tells of the change.
func (s *Sessions) committed(e *Entry, c Change) {
	if c.Kind == ChangeDeleted {
		s.index.drop(c.Key)
	} else {
		s.index.put(e)
	}
	if s.onChange != nil {
		s.onChange(c)
	}
}
