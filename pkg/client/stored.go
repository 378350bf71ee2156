package client

import (
	"maps"
	"slices"
)

// StoredToken is a device token that a gateway has issued to this device.
type StoredToken struct {
	Role   string
	Scopes []string
	// Origin is the gateway's, as Address.Origin names it; empty when another
	// program stored the token and did not say.
	Origin string
	// Token is the secret itself.
	Token string
	// UpdatedAtMs is when it was stored, in Unix milliseconds.
	UpdatedAtMs int64
}

// List returns the stored tokens in the order of their roles.
func (t *Tokens) List() ([]StoredToken, error) {
	f, err := t.read()
	if err != nil {
		return nil, err
	}
	var out []StoredToken
	for _, role := range slices.Sorted(maps.Keys(f.Tokens)) {
		e := f.Tokens[role]
		out = append(out, StoredToken{Role: role, Scopes: slices.Clone(e.Scopes), Origin: e.Gateway, Token: e.Token, UpdatedAtMs: e.UpdatedAtMs})
	}
	return out, nil
}
