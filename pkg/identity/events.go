package identity

import (
	"context"
	"errors"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

// The decisions that PairResolved tells of.
const (
	DecisionApproved = "approved"
	DecisionRejected = "rejected"
)

// Events are told what changed, after it is on disk and with no lock held. They
// are called on the goroutine of whoever caused the change and must not wait for
// it: the connection that an AuthorityChanged is about may be the very one whose
// request changed it, and is owed its answer before it is closed.
type Events interface {
	// PairRequested says that a request waits for a person. It is told once, not
	// each time the device asks again.
	PairRequested(p Pending)
	// PairResolved says that the request is gone: DecisionApproved or
	// DecisionRejected, at ts in milliseconds since 1970.
	PairResolved(p Pending, decision string, ts int64)
	// AuthorityChanged says that live connections of the device in this role, or in
	// any role when role is empty, hold what is no longer theirs: close them.
	AuthorityChanged(deviceID, role string)
	// SecretChanged says that the shared secret is another one: close the
	// connections that proved an earlier generation of it. Some have proved the new
	// one by then.
	SecretChanged(generation uint64)
	// NodePairRequested says that a node on the older list waits for a person; told
	// once for each request.
	NodePairRequested(p PendingNode)
	// NodePairResolved says that such a request is gone, as PairResolved does.
	NodePairResolved(p PendingNode, decision string, ts int64)
}

// Audit takes the record of what was decided. *audit.Log is one.
type Audit interface {
	// AppendIn writes a record in the transaction of the change it tells of, so
	// that neither is ever on disk without the other.
	AppendIn(tx *store.Tx, r audit.Record) error
	// Note queues a record and never waits.
	Note(r audit.Record)
}

// quiet stands in for Events and Audit that nobody gave.
type quiet struct{}

func (quiet) PairRequested(Pending)                       {}
func (quiet) PairResolved(Pending, string, int64)         {}
func (quiet) AuthorityChanged(string, string)             {}
func (quiet) SecretChanged(uint64)                        {}
func (quiet) NodePairRequested(PendingNode)               {}
func (quiet) NodePairResolved(PendingNode, string, int64) {}
func (quiet) AppendIn(*store.Tx, audit.Record) error      { return nil }
func (quiet) Note(audit.Record)                           {}

// noteConnect records how a connect ended. Strangers cause connects, so the record
// is queued and never costs the connect a write.
func (g *Guard) noteConnect(a *Attempt, c *claim, grant Grant, err error) {
	r := audit.Record{
		Action: audit.ActionConnect, Decision: audit.Allowed, Client: string(a.Params.Client.ID),
		Actor: grant.Principal, Role: grant.Role, Scopes: grant.Scopes, Address: addressText(a.RemoteAddr.Addr()),
	}
	if c != nil && c.origin.addr.IsValid() {
		r.Address = addressText(c.origin.addr)
	}
	var refusal *Refusal
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		r.Decision, r.Reason, r.Code = audit.Refused, refusal.Err.Message, refusal.code
		if c != nil {
			r.Actor, r.Role, r.Scopes = c.deviceID, c.role, c.scopes
		}
	default:
		return // the store's failure decides nothing about the peer
	}
	g.audit.Note(r)
}

// Holds reports whether a grant is still what its peer would get: the device is
// paired, approved for the role and scopes, and the token or secret that proved it
// is valid, and the rules of who may enter have not become stricter. Ask it after the connection is on the list that AuthorityChanged and
// SecretChanged close, so that a change between the two is not missed. While
// nothing was taken back since the grant, it costs one comparison.
func (g *Guard) Holds(grant Grant) (bool, error) {
	if grant.rules != g.door().rules {
		return false, nil // it was judged by rules that are no longer: it may come again
	}
	if g.taken.Load() == grant.taken {
		return true, nil
	}
	if grant.BySecret && g.secret.Load().generation != grant.SecretGeneration {
		return false, nil
	}
	if grant.DeviceID == "" {
		return true, nil
	}
	var holds bool
	err := g.db.View(func(tx *store.Tx) error {
		d, _, err := devices.Get(tx, grant.DeviceID)
		if err != nil {
			return err
		}
		a := d.Roles[grant.Role]
		tokenless := grant.BySecret && grant.tokenHash == "" // see admitUnwritten
		holds = d.approves(grant.Role, grant.Scopes) && (tokenless || a.findHash(grant.tokenHash) != nil)
		return nil
	})
	return holds, err
}

// took counts that something was taken back. It is called after the change is on
// disk and before the events that tell of it.
func (g *Guard) took() { g.taken.Add(1) }

// SetSecret replaces the shared secret, token or password, from now on: the old one
// is refused by every door that asks this Guard, and SecretChanged is told. It
// fails when the secret is unusable, and in trusted-proxy mode, which has none.
func (g *Guard) SetSecret(ctx context.Context, secret settings.Secret) error {
	if g.mode == protocol.AuthModeTrustedProxy {
		return errors.New("auth mode trusted-proxy has no shared secret")
	}
	next, err := newSharedSecret(secret)
	if err != nil {
		return err
	}
	g.rotation.Lock()
	defer g.rotation.Unlock()
	old := g.secret.Load()
	if old.sum == next.sum {
		return nil
	}
	next.generation = old.generation + 1
	g.secret.Store(next)
	g.took()
	g.events.SecretChanged(next.generation)
	record := audit.Record{At: time.Now().UnixMilli(), Action: audit.ActionSecretChange, Decision: audit.Allowed, Actor: actorLocal}
	// It is in force: a gateway that stops now records it all the same.
	if err := g.db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return g.audit.AppendIn(tx, record) }); err != nil {
		return err
	}
	g.log.Info("shared secret replaced")
	return nil
}
