package audit

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

func newService(t *testing.T) (*Service, *audit.Log) {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	log, err := audit.New(audit.Config{DB: db})
	require.NoError(t, err)
	s, err := New(Config{Log: log})
	require.NoError(t, err)
	return s, log
}

func TestNewNeedsARecord(t *testing.T) {
	_, err := New(Config{})
	require.EqualError(t, err, "audit service needs a record")
}

func TestAuditListTellsAllOfARecord(t *testing.T) {
	s, log := newService(t)
	require.NoError(t, log.Append(t.Context(), audit.Record{
		At: 7, Action: audit.ActionConnect, Decision: audit.Refused, Actor: "a", Client: "cli", Device: "d", Address: "192.0.2.9", Role: "operator",
		Scopes: []string{"operator.read"}, Reason: "pairing required", Code: "PAIRING_REQUIRED", ConnID: "c", Count: 3,
	}))
	require.NoError(t, log.Append(t.Context(), audit.Record{At: 8, Action: audit.ActionSecretChange, Decision: audit.Allowed}))
	result, err := s.AuditList(t.Context(), &wire.Peer{}, protocol.AuditListParams{})
	require.NoError(t, err)
	raw := result.AppendJSON(nil)
	require.JSONEq(t, `{"records":[{"seq":2,"at":8,"action":"secret.change","decision":"allowed"},
		{"seq":1,"at":7,"action":"connect","decision":"refused","actor":"a","client":"cli","device":"d","address":"192.0.2.9","role":"operator",
		"scopes":["operator.read"],"reason":"pairing required","code":"PAIRING_REQUIRED","connId":"c","count":3}]}`, string(raw))
	require.NoError(t, protocol.Validate("AuditListResult", raw))
}

func TestAuditListPages(t *testing.T) {
	s, log := newService(t)
	for i := range 120 {
		require.NoError(t, log.Append(t.Context(), audit.Record{Action: audit.ActionConnect, Decision: audit.Allowed, Actor: fmt.Sprintf("d%03d", i)}))
	}
	list := func(p protocol.AuditListParams) protocol.AuditListResult {
		result, err := s.AuditList(t.Context(), &wire.Peer{}, p)
		require.NoError(t, err)
		return result
	}
	first := list(protocol.AuditListParams{})
	require.Len(t, first.Records, 100)
	require.Equal(t, wire.Some(int64(21)), first.Next)
	rest := list(protocol.AuditListParams{Before: first.Next})
	require.Len(t, rest.Records, 20)
	require.False(t, rest.Next.Set)
	require.Equal(t, "d000", rest.Records[19].Actor.V)
	require.Len(t, list(protocol.AuditListParams{Device: wire.Some("d01")}).Records, 10, "a device is named by its beginning")
	require.Len(t, list(protocol.AuditListParams{Limit: wire.Some(int64(1))}).Records, 1)
	require.Empty(t, list(protocol.AuditListParams{Decision: wire.Some(protocol.AuditListParamsDecisionRefused)}).Records)
	require.Empty(t, list(protocol.AuditListParams{Action: wire.Some(audit.ActionNodeRename)}).Records)
}
