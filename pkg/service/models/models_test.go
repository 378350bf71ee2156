package models

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/wire"
)

// fakeCatalogue answers after a while and counts how often it is asked.
type fakeCatalogue struct {
	models []agent.Model
	err    error
	takes  time.Duration
	asked  int
}

func (c *fakeCatalogue) Models(ctx context.Context) ([]agent.Model, error) {
	c.asked++
	select {
	case <-time.After(c.takes):
		return c.models, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newService(c *fakeCatalogue) *Service {
	return New(Config{Log: slog.New(slog.DiscardHandler), Catalogue: c})
}

func list(ctx context.Context, s *Service) (string, error) {
	result, err := s.ModelsList(ctx, &wire.Peer{}, protocol.ModelsListParams{})
	if err != nil {
		return "", err
	}
	raw := result.AppendJSON(nil)
	return string(raw), protocol.Validate("ModelsListResult", raw)
}

func TestModelsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCatalogue{models: []agent.Model{
			{ID: "z", Name: "Zeta", Provider: "openai", ContextWindow: 8192, Reasoning: true, Input: []string{"text", "image"}},
			{ID: "a", Provider: "openai"},
			{ID: "", Name: "nameless", Provider: "openai"},
			{ID: "builtin", Name: "Built-in", Provider: "builtin"},
		}}
		got, err := list(t.Context(), newService(c))
		require.NoError(t, err)
		require.JSONEq(t, `{"models":[
			{"id":"builtin","name":"Built-in","provider":"builtin"},
			{"id":"z","name":"Zeta","provider":"openai","contextWindow":8192,"reasoning":true,"input":["text","image"]},
			{"id":"a","name":"a","provider":"openai"}
		]}`, got)
	})
}

func TestModelsListIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCatalogue{takes: time.Second}
		s := newService(c)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if got, err := list(t.Context(), s); err != nil || got != `{"models":[]}` {
					t.Errorf("list: %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, c.asked)
		time.Sleep(listFresh)
		_, err := list(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, 2, c.asked)
	})
}

func TestModelsListFailure(t *testing.T) {
	cases := []struct {
		name string
		c    *fakeCatalogue
		took time.Duration
		want string
	}{
		{"in the backend's words", &fakeCatalogue{err: errors.New("HTTP 401: mock invalid api key")}, 0, "HTTP 401: mock invalid api key"},
		{"too slow", &fakeCatalogue{takes: time.Hour}, lookUpTimeout, "the model service did not list its models within 5s"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(c.c)
				begin := time.Now()
				for range 2 { // the second is told at once
					_, err := list(t.Context(), s)
					var refusal *wire.Error
					require.ErrorAs(t, err, &refusal)
					require.Equal(t, protocol.ErrorUnavailable, refusal.Code)
					require.Equal(t, c.want, refusal.Message)
					require.JSONEq(t, `{"code":"MODEL_UNAVAILABLE","recommendedNextStep":"check_model_configuration"}`, string(refusal.Details))
					require.True(t, *refusal.Retryable)
				}
				require.Equal(t, c.took, time.Since(begin))
				require.Equal(t, 1, c.c.asked)

				c.c.err, c.c.takes = nil, 0
				time.Sleep(failureFresh)
				_, err := list(t.Context(), s)
				require.NoError(t, err, "the service came back")
			})
		})
	}
}

func TestModelsListCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCatalogue{takes: 2 * time.Second}
		s := newService(c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := list(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("asking: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			short, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			if _, err := list(short, s); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting: %v", err)
			}
		})
		wg.Wait()
		_, err := list(t.Context(), s)
		require.NoError(t, err, "who left leaves no failure behind")
		require.Equal(t, 2, c.asked)
	})
}
