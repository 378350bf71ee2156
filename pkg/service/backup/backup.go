// Package backup answers backup.create and backup.check: copies of the database that
// the gateway itself takes, because it alone may open the file while it runs.
//
// It chooses no path and takes none from a client: copies go to one folder of the
// state directory, where only the owner of the gateway can read them. Both methods
// are for administrators, and one copy is taken at a time.
package backup

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Keeper takes the copies; *store.Keeper is one.
type Keeper interface {
	Create(ctx context.Context, reason string) (store.Copy, store.Report, error)
	Check(ctx context.Context) (store.Report, error)
}

// Service implements protocol.BackupService.
type Service struct{ keeper Keeper }

var _ protocol.BackupService = (*Service)(nil)

// New returns a service on a keeper of copies.
func New(keeper Keeper) *Service { return &Service{keeper} }

// BackupCreate handles backup.create. A copy that would fill the disk, or that fails
// its check, is an UNAVAILABLE that says so.
func (s *Service) BackupCreate(ctx context.Context, _ *wire.Peer, _ protocol.BackupCreateParams) (protocol.BackupCreateResult, error) {
	c, report, err := s.keeper.Create(ctx, store.ReasonRequest)
	if err != nil {
		return protocol.BackupCreateResult{}, refusal("backup", err)
	}
	return protocol.BackupCreateResult{Path: c.Path, Bytes: c.Bytes, CreatedAtMs: c.At.UnixMilli(), Check: result(report)}, nil
}

// BackupCheck handles backup.check. What it finds is a result, not an error.
func (s *Service) BackupCheck(ctx context.Context, _ *wire.Peer, _ protocol.BackupCheckParams) (protocol.BackupCheckResult, error) {
	report, err := s.keeper.Check(ctx)
	if err != nil {
		return protocol.BackupCheckResult{}, refusal("check", err)
	}
	return result(report), nil
}

// refusal words what the administrator can do something about; everything else is
// left to the router.
func refusal(what string, err error) error {
	var unsound *store.UnsoundError
	if errors.As(err, &unsound) || errors.Is(err, store.ErrNoRoom) || errors.Is(err, store.ErrNotChecked) {
		return wire.Errorf(protocol.ErrorUnavailable, "%s failed: %s", what, err)
	}
	return err
}

func result(r store.Report) protocol.BackupCheckResult {
	return protocol.BackupCheckResult{
		Sound: r.Sound(), Bytes: r.Bytes, SchemaVersion: int64(r.Version), Rows: int64(r.Rows()), DurationMs: r.Ms,
		Faults: append([]string{}, r.Faults...), FaultCount: int64(r.FaultCount),
		BadRows: append([]string{}, r.BadRows...), BadRowCount: int64(r.BadRowCount),
	}
}
