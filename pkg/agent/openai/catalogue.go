package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
)

// catalogue remembers the service's list of models. turn is a lock of one place
// that a caller can stop waiting for; it guards the other fields.
type catalogue struct {
	turn   chan struct{}
	models []agent.Model
	until  time.Time
}

// Models lists what the service offers, the configured model first. The list is
// asked for at most once a minute; a failure is not remembered.
func (b *Backend) Models(ctx context.Context) ([]agent.Model, error) {
	c := &b.catalogue
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.models == nil || !time.Now().Before(c.until) {
		models, err := b.fetchModels(ctx)
		if err != nil {
			return nil, err
		}
		c.models, c.until = models, time.Now().Add(modelsFresh)
	}
	return slices.Clone(c.models), nil
}

func (b *Backend) fetchModels(ctx context.Context) ([]agent.Model, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, modelsTimeout, errSilent)
	defer cancel()
	list, err := b.api.ListModels(bounded)
	if err != nil {
		if errors.Is(context.Cause(bounded), errSilent) {
			err = fmt.Errorf("%w: no list of models within %s", errSilent, modelsTimeout)
		}
		return nil, b.explain(ctx, err)
	}
	var models []agent.Model
	if b.cfg.Model != "" {
		models = append(models, agent.Model{ID: b.cfg.Model, Name: b.cfg.Model, Provider: b.cfg.Provider, ContextWindow: b.cfg.ContextTokens})
	}
	for _, m := range list.Models {
		known := func(have agent.Model) bool { return have.ID == m.ID }
		if m.ID == "" || slices.ContainsFunc(models, known) {
			continue
		}
		models = append(models, agent.Model{ID: m.ID, Name: m.ID, Provider: b.cfg.Provider})
	}
	return models, nil
}

// model returns the id to use for a turn that asks for wanted.
func (b *Backend) model(ctx context.Context, wanted string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	if b.cfg.Model != "" {
		return b.cfg.Model, nil
	}
	models, err := b.Models(ctx)
	if refused, ok := refusal(err); ok && refused.status == http.StatusNotFound {
		return "", fmt.Errorf("%w: no model is chosen and the service at %s does not list its models: set %s", agent.ErrNotConfigured, b.baseURL, b.cfg.modelKey())
	}
	if err != nil {
		return "", err
	}
	if len(models) == 0 {
		return "", fmt.Errorf("%w: no model is chosen and the service at %s lists none: load one there, or set %s", agent.ErrNotConfigured, b.baseURL, b.cfg.modelKey())
	}
	return models[0].ID, nil
}
