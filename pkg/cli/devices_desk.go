package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The two ways to the devices, as --json names them.
const (
	viaGateway = "gateway"
	viaState   = "state directory"
)

// desk is where devices are decided about: the running gateway, or the state
// directory while none runs. Both speak of devices in the words of the protocol.
type desk interface {
	// way is viaGateway or viaState, and the URL or directory that it leads to.
	way() (via, where string)
	list(ctx context.Context) (protocol.DevicePairListResult, error)
	approve(ctx context.Context, requestID string) (protocol.PairedDevice, error)
	reject(ctx context.Context, requestID string) error
	rename(ctx context.Context, deviceID, name string) (protocol.PairedDevice, error)
	remove(ctx context.Context, deviceID string) error
	// rotate takes nil scopes for all approved ones.
	rotate(ctx context.Context, deviceID, role string, scopes []string) (protocol.DeviceTokenRotateResult, error)
	revoke(ctx context.Context, deviceID, role string) (protocol.DeviceTokenRevokeResult, error)
	close() error
}

// openDesk goes through the gateway when one runs on the state directory, or when
// --url names another, and works on the state directory itself otherwise: the
// approval of a device never needs the connection that waits for it.
func (a *App) openDesk(ctx context.Context, c *cli.Context) (desk, error) {
	stateDir, _ := settings.Paths(a.getenv(c))
	if _, elsewhere := globalString(c, flagURL); !elsewhere {
		if _, running := runningPort(stateDir); !running {
			return openStateDesk(stateDir)
		}
	}
	conn, t, err := a.dialDoor(ctx, c, "stop the gateway: this command then works on its state directory, without a connection")
	if err != nil {
		return nil, err
	}
	return gatewayDesk{conn, t.url}, nil
}

// dialDoor connects for a command that can also do without: when the gateway of
// this state directory refuses the connection, instead says what to do.
func (a *App) dialDoor(ctx context.Context, c *cli.Context, instead string) (*client.Conn, target, error) {
	conn, t, err := a.dial(ctx, c, nil)
	var refused *client.RefusedError
	if err != nil && t.local && errors.As(err, &refused) {
		err = withHint(err, "see: coderclaw auth explain; or %s", instead)
	}
	return conn, t, err
}

// gatewayDesk is the desk of a running gateway.
type gatewayDesk struct {
	conn *client.Conn
	url  string
}

func (d gatewayDesk) way() (string, string)     { return viaGateway, d.url }
func (d gatewayDesk) close() error              { return d.conn.Close() }
func (d gatewayDesk) protocol() protocol.Client { return protocol.Client{Caller: d.conn} }

func (d gatewayDesk) list(ctx context.Context) (protocol.DevicePairListResult, error) {
	return d.protocol().DevicePairList(ctx, protocol.DevicePairListParams{})
}

func (d gatewayDesk) approve(ctx context.Context, requestID string) (protocol.PairedDevice, error) {
	r, err := d.protocol().DevicePairApprove(ctx, protocol.DevicePairApproveParams{RequestID: requestID})
	return r.Device, err
}

func (d gatewayDesk) reject(ctx context.Context, requestID string) error {
	_, err := d.protocol().DevicePairReject(ctx, protocol.DevicePairRejectParams{RequestID: requestID})
	return err
}

func (d gatewayDesk) rename(ctx context.Context, deviceID, name string) (protocol.PairedDevice, error) {
	r, err := d.protocol().DevicePairRename(ctx, protocol.DevicePairRenameParams{DeviceID: deviceID, DisplayName: name})
	return r.Device, err
}

func (d gatewayDesk) remove(ctx context.Context, deviceID string) error {
	_, err := d.protocol().DevicePairRemove(ctx, protocol.DevicePairRemoveParams{DeviceID: deviceID})
	return err
}

func (d gatewayDesk) rotate(ctx context.Context, deviceID, role string, scopes []string) (protocol.DeviceTokenRotateResult, error) {
	return d.protocol().DeviceTokenRotate(ctx, protocol.DeviceTokenRotateParams{DeviceID: deviceID, Role: role, Scopes: scopes})
}

func (d gatewayDesk) revoke(ctx context.Context, deviceID, role string) (protocol.DeviceTokenRevokeResult, error) {
	return d.protocol().DeviceTokenRevoke(ctx, protocol.DeviceTokenRevokeParams{DeviceID: deviceID, Role: role})
}

// openState opens the store of a state directory that no gateway runs on. It makes
// none: a mistyped directory would look like a gateway without devices.
func openState(stateDir string) (*store.DB, error) {
	_, err := os.Stat(filepath.Join(stateDir, store.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("no gateway has kept anything in %s yet", stateDir),
			"start one with: coderclaw gateway; or name its directory with --state-dir")
	}
	if err != nil {
		return nil, err
	}
	db, err := store.Open(store.Options{Dir: stateDir, Verify: verifier(), Log: storeLog()})
	var locked *store.LockedError
	if errors.As(err, &locked) {
		return nil, withHint(fmt.Errorf("the state directory %s is in use, by a gateway that starts or another command", stateDir),
			"run the command again in a moment")
	}
	return db, err
}

// stateDesk decides in the state directory itself: whoever may write the database
// may decide everything.
type stateDesk struct {
	db    *store.DB
	dir   string
	guard *identity.Guard
	audit *audit.Log
}

// owner is whoever works on the state directory itself.
var owner = identity.Actor{Local: true}

func openStateDesk(stateDir string) (desk, error) {
	db, err := openState(stateDir)
	if err != nil {
		return nil, err
	}
	d := stateDesk{db: db, dir: stateDir}
	d.audit, err = audit.New(audit.Config{DB: db})
	if err == nil {
		// This guard meets nobody, so the secret is one that nobody knows; a broken
		// config must not keep anybody from taking a device's authority away.
		d.guard, err = identity.New(identity.Config{DB: db, Audit: d.audit, Token: settings.NewSecret(rand.Text())})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

func (d stateDesk) way() (string, string) { return viaState, d.dir }

// close writes what the record still holds back, and lets the store go.
func (d stateDesk) close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return errors.Join(d.audit.Run(ended), d.db.Close())
}

func (d stateDesk) list(context.Context) (protocol.DevicePairListResult, error) {
	out := protocol.DevicePairListResult{Pending: []protocol.DevicePairRequestedEvent{}, Paired: []protocol.PairedDevice{}}
	pending, err := d.guard.PendingRequests()
	if err != nil {
		return out, err
	}
	devices, err := d.guard.Devices()
	if err != nil {
		return out, err
	}
	for _, p := range pending {
		out.Pending = append(out.Pending, pendingDevice(p))
	}
	for _, device := range devices {
		out.Paired = append(out.Paired, pairedDevice(device))
	}
	return out, nil
}

func (d stateDesk) approve(ctx context.Context, requestID string) (protocol.PairedDevice, error) {
	device, err := d.guard.Approve(ctx, owner, requestID)
	return pairedDevice(device), err
}

func (d stateDesk) reject(ctx context.Context, requestID string) error {
	_, err := d.guard.Reject(ctx, owner, requestID)
	return err
}

func (d stateDesk) rename(ctx context.Context, deviceID, name string) (protocol.PairedDevice, error) {
	device, err := d.guard.Rename(ctx, owner, deviceID, name)
	return pairedDevice(device), err
}

func (d stateDesk) remove(ctx context.Context, deviceID string) error {
	_, err := d.guard.Remove(ctx, owner, deviceID)
	return err
}

func (d stateDesk) rotate(ctx context.Context, deviceID, role string, scopes []string) (protocol.DeviceTokenRotateResult, error) {
	token, sum, err := d.guard.Rotate(ctx, owner, deviceID, role, scopes)
	return protocol.DeviceTokenRotateResult{
		DeviceID: deviceID, Role: role, Scopes: append([]string{}, sum.Scopes...), RotatedAtMs: sum.RotatedAtMs, Token: nonEmpty(token),
	}, err
}

func (d stateDesk) revoke(ctx context.Context, deviceID, role string) (protocol.DeviceTokenRevokeResult, error) {
	sum, err := d.guard.Revoke(ctx, owner, deviceID, role)
	return protocol.DeviceTokenRevokeResult{DeviceID: deviceID, Role: role, RevokedAtMs: sum.RevokedAtMs}, err
}

func pendingDevice(p identity.Pending) protocol.DevicePairRequestedEvent {
	return protocol.DevicePairRequestedEvent{
		RequestID: p.RequestID, DeviceID: p.DeviceID, PublicKey: p.PublicKey, DisplayName: nonEmpty(p.DisplayName),
		Platform: nonEmpty(p.Platform), ClientID: nonEmpty(p.ClientID), ClientMode: nonEmpty(p.ClientMode),
		Role: nonEmpty(p.Role), Roles: []string{p.Role}, Scopes: append([]string{}, p.Scopes...), RemoteIP: nonEmpty(p.RemoteIP),
		Silent: wire.Some(p.Silent), IsRepair: wire.Some(p.Repair), Ts: p.TS,
	}
}

func pairedDevice(d identity.Device) protocol.PairedDevice {
	out := protocol.PairedDevice{
		DeviceID: d.DeviceID, PublicKey: d.PublicKey, DisplayName: nonEmpty(d.DisplayName), Platform: nonEmpty(d.Platform),
		DeviceFamily: nonEmpty(d.DeviceFamily), ClientID: nonEmpty(d.ClientID), ClientMode: nonEmpty(d.ClientMode),
		Roles: append([]string{}, d.Roles...), Scopes: append([]string{}, d.Scopes...), RemoteIP: nonEmpty(d.RemoteIP),
		CreatedAtMs: d.CreatedAtMs, ApprovedAtMs: d.ApprovedAtMs, LastSeenAtMs: happened(d.LastSeenAtMs), Tokens: []protocol.DeviceToken{},
	}
	for _, t := range d.Tokens {
		out.Tokens = append(out.Tokens, protocol.DeviceToken{
			Role: t.Role, Scopes: append([]string{}, t.Scopes...), CreatedAtMs: t.CreatedAtMs,
			RotatedAtMs: happened(t.RotatedAtMs), RevokedAtMs: happened(t.RevokedAtMs), LastUsedAtMs: happened(t.LastUsedAtMs),
		})
	}
	return out
}

func nonEmpty(s string) wire.Opt[string] { return wire.Opt[string]{V: s, Set: s != ""} }

// happened makes the 0 of what never was an absent time.
func happened(ms int64) wire.Opt[int64] { return wire.Opt[int64]{V: ms, Set: ms != 0} }
