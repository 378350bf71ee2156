package importer

import (
	"context"
	"encoding/json"

	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
)

const (
	pairedFile  = "devices/paired.json"
	pendingFile = "devices/pending.json"
	nodesFile   = "nodes/paired.json"
)

// pairedDevice is a member of devices/paired.json.
type pairedDevice struct {
	DeviceID     string                 `json:"deviceId"`
	PublicKey    string                 `json:"publicKey"`
	DisplayName  string                 `json:"displayName"`
	Platform     string                 `json:"platform"`
	DeviceFamily string                 `json:"deviceFamily"`
	ClientID     string                 `json:"clientId"`
	ClientMode   string                 `json:"clientMode"`
	Role         string                 `json:"role"`
	Roles        []string               `json:"roles"`
	Scopes       []string               `json:"scopes"`
	RemoteIP     string                 `json:"remoteIp"`
	CreatedAtMs  int64                  `json:"createdAtMs"`
	ApprovedAtMs int64                  `json:"approvedAtMs"`
	Tokens       map[string]pairedToken `json:"tokens"`
}

type pairedToken struct {
	Token        string   `json:"token"`
	Role         string   `json:"role"`
	Scopes       []string `json:"scopes"`
	CreatedAtMs  int64    `json:"createdAtMs"`
	RotatedAtMs  int64    `json:"rotatedAtMs"`
	RevokedAtMs  int64    `json:"revokedAtMs"`
	LastUsedAtMs int64    `json:"lastUsedAtMs"`
}

// imported is the device in the words of package identity. The original keeps one
// list of scopes for all roles; they are an operator's.
func (d pairedDevice) imported(id string) identity.Imported {
	out := identity.Imported{
		DeviceID: id, PublicKey: d.PublicKey, DisplayName: d.DisplayName, Platform: d.Platform, DeviceFamily: d.DeviceFamily,
		ClientID: d.ClientID, ClientMode: d.ClientMode, RemoteIP: d.RemoteIP, CreatedAtMs: d.CreatedAtMs, Roles: map[string]identity.ImportedRole{},
	}
	for _, role := range append(append([]string{}, d.Roles...), d.Role) {
		if role != "" {
			out.Roles[role] = identity.ImportedRole{Scopes: d.Scopes, ApprovedAtMs: d.ApprovedAtMs}
		}
	}
	for role, t := range d.Tokens {
		r, ok := out.Roles[role]
		if !ok {
			continue // a token for what was never approved
		}
		r.Token, r.TokenScopes = settings.NewSecret(t.Token), t.Scopes
		r.TokenCreatedAtMs, r.RotatedAtMs, r.RevokedAtMs, r.LastUsedAtMs = t.CreatedAtMs, t.RotatedAtMs, t.RevokedAtMs, t.LastUsedAtMs
		out.Roles[role] = r
	}
	return out
}

func (i *importer) devices(ctx context.Context) error {
	paired := i.readMap(pairedFile)
	for _, id := range sortedKeys(paired) {
		var d pairedDevice
		if err := json.Unmarshal(paired[id], &d); err != nil {
			i.report.add(KindDevice, id, VerdictSkipped, "it is unreadable: %s", unreadable(err))
			continue
		}
		added, err := i.Guard.Import(ctx, d.imported(id), i.From, !i.Apply)
		name := id[:min(len(id), 12)]
		if d.DisplayName != "" {
			name = d.DisplayName + " " + name
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			i.report.add(KindDevice, name, VerdictSkipped, "%v", err)
		case added:
			i.report.add(KindDevice, name, VerdictNew, "")
		default:
			i.report.add(KindDevice, name, VerdictThere, "it is paired here, and stays as it is")
		}
	}
	if pending := i.readMap(pendingFile); len(pending) > 0 {
		for _, id := range sortedKeys(pending) {
			i.report.add(KindPending, id, VerdictSkipped, "requests last five minutes; the device asks again")
		}
	}
	return nil
}

// nodes tells of the original's second list of nodes, which its handshake never read.
func (i *importer) nodes(context.Context) error {
	nodes := i.readMap(nodesFile)
	for _, id := range sortedKeys(nodes) {
		i.report.add(KindNode, id, VerdictSkipped, "this gateway knows nodes as paired devices only; pair it as a device if it is not one yet")
	}
	return nil
}
