// Package models answers models.list: the catalogue of the configured backend.
//
// A backend asks its service over the network, so the list is kept for a minute,
// a look-up is bounded in time, and callers who come meanwhile wait for the one
// that is under way instead of asking again. A failure is told as UNAVAILABLE and
// kept for a moment too, so that a dead service does not hold up every caller.
//
// turn is a lock of one place that a caller can stop waiting for; it guards the
// fields below it.
package models

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	lookUpTimeout = 5 * time.Second
	listFresh     = time.Minute
	failureFresh  = 3 * time.Second
)

// Catalogue lists models. An agent.Backend is one.
type Catalogue interface {
	Models(ctx context.Context) ([]agent.Model, error)
}

// Config is what the service needs.
type Config struct {
	Log       *slog.Logger
	Catalogue Catalogue
}

// Service implements protocol.ModelsService.
type Service struct {
	log       *slog.Logger
	catalogue Catalogue

	changes atomic.Uint64 // counts Forget

	turn   chan struct{}
	seen   uint64 // the changes that the list knows of
	models []protocol.ModelChoice
	err    error
	until  time.Time
}

var _ protocol.ModelsService = (*Service)(nil)

// New returns a service that has asked nothing yet.
func New(cfg Config) *Service {
	return &Service{log: cfg.Log, catalogue: cfg.Catalogue, turn: make(chan struct{}, 1)}
}

// Forget has the next caller look anew: the configuration has changed. A look that is
// under way may still be answered.
func (s *Service) Forget() { s.changes.Add(1) }

// ModelsList handles models.list.
func (s *Service) ModelsList(ctx context.Context, _ *wire.Peer, _ protocol.ModelsListParams) (protocol.ModelsListResult, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return protocol.ModelsListResult{}, ctx.Err()
	}
	if seen := s.changes.Load(); seen != s.seen || !time.Now().Before(s.until) {
		s.seen = seen
		if err := s.renew(ctx); err != nil {
			return protocol.ModelsListResult{}, err
		}
	}
	if s.err != nil {
		return protocol.ModelsListResult{}, s.err
	}
	return protocol.ModelsListResult{Models: slices.Clone(s.models)}, nil
}

// renew asks the catalogue. An error means that the caller left; the catalogue's
// own failure goes into s.err.
func (s *Service) renew(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	found, err := s.catalogue.Models(bounded)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.log.Warn("models cannot be listed", "error", err)
		s.models, s.err, s.until = nil, unavailable(err), time.Now().Add(failureFresh)
		return nil
	}
	s.models, s.err, s.until = choices(found), nil, time.Now().Add(listFresh)
	return nil
}

// unavailable tells the backend's own words, which are made for users.
func unavailable(err error) error {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = "the model service did not list its models within " + lookUpTimeout.String()
	}
	details := protocol.ErrorDetails{Code: wire.Some(protocol.DetailModelUnavailable)}
	if step := protocol.DetailNextStep(protocol.DetailModelUnavailable); step != "" {
		details.RecommendedNextStep = wire.Some(step)
	}
	refusal := wire.Errorf(protocol.ErrorUnavailable, "%s", text).WithDetails(details.AppendJSON(nil))
	refusal.Retryable = new(true)
	return refusal
}

// choices sorts the models by provider, then by name, as the original does.
func choices(found []agent.Model) []protocol.ModelChoice {
	out := make([]protocol.ModelChoice, 0, len(found))
	for _, m := range found {
		if m.ID == "" || m.Provider == "" {
			continue // the result's schema has no place for it
		}
		choice := protocol.ModelChoice{ID: m.ID, Name: cmp.Or(m.Name, m.ID), Provider: m.Provider}
		if m.ContextWindow > 0 {
			choice.ContextWindow = wire.Some(m.ContextWindow)
		}
		if m.Reasoning {
			choice.Reasoning = wire.Some(true)
		}
		if len(m.Input) > 0 {
			choice.Input = m.Input
		}
		out = append(out, choice)
	}
	slices.SortStableFunc(out, func(a, b protocol.ModelChoice) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Name, b.Name))
	})
	return out
}
