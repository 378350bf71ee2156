package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	heartbeatEvery     = 30 * time.Minute
	heartbeatEveryText = "30m"
	heartbeatOff       = "disabled"
	heartbeatAckMax    = 300
	heartbeatPrompt    = "Read HEARTBEAT.md in the workspace, if there is one, and do what it says. If nothing needs attention, reply HEARTBEAT_OK."

	heartbeatFile    = "HEARTBEAT.md"
	heartbeatFileMax = 64 << 10 // bytes read of the file
	previewMax       = 200      // characters
	reasonNoTarget   = "no-target"
	reasonEmptyFile  = "empty-heartbeat-file"
)

// RunHeartbeats beats every 30 minutes while heartbeats are on, and at once when
// they are switched on after the last beat has become overdue. It returns when ctx ends.
func (s *Service) RunHeartbeats(ctx context.Context) error {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.beat:
			tick.Reset(heartbeatEvery)
		}
		if s.heartbeats() {
			s.heartbeat()
		}
	}
}

// heartbeat looks at what there is to do and tells everybody how it went. A
// heartbeat speaks through a channel; while there is none it is skipped, with what
// it would have been about as preview, and costs no model call.
func (s *Service) heartbeat() {
	start := time.Now()
	task, err := s.heartbeatTask()
	e := protocol.HeartbeatEvent{Ts: start.UnixMilli(), Status: protocol.HeartbeatStatusSkipped, Reason: wire.Some(reasonNoTarget), HasMedia: wire.Some(false)}
	switch {
	case err != nil:
		e.Status, e.Reason = protocol.HeartbeatStatusFailed, wire.Some(err.Error())
	case task == "":
		e.Reason = wire.Some(reasonEmptyFile)
	default:
		e.Preview = wire.Some(cut(task, previewMax))
	}
	e.DurationMs = wire.Some(float64(time.Since(start).Milliseconds()))
	s.mu.Lock()
	s.last = wire.NotNull(e)
	s.mu.Unlock()
	wire.Emit(s.cfg.Emitter, protocol.EventHeartbeat, e)
}

// heartbeatTask returns what a heartbeat would be about: the waiting system events,
// else the text of HEARTBEAT.md without headings; empty when there is nothing.
func (s *Service) heartbeatTask() (string, error) {
	if queued := s.cfg.QueuedEvents(); len(queued) > 0 {
		return strings.Join(queued, "\n"), nil
	}
	// The workspace is the agent's to write: a link that leads out of it is refused.
	workspace := s.cfg.Agents()[0].Workspace
	root, err := os.OpenRoot(workspace)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	f, err := root.Open(heartbeatFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open %s: %w", filepath.Join(workspace, heartbeatFile), err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, heartbeatFileMax))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", heartbeatFile, err)
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(raw), "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// LastHeartbeat answers last-heartbeat: the last beat since the start, or null.
func (s *Service) LastHeartbeat(context.Context, *wire.Peer, protocol.LastHeartbeatParams) (protocol.LastHeartbeatResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return protocol.LastHeartbeatResult{Null: s.last}, nil
}

// SetHeartbeats switches heartbeats on or off until the next start.
func (s *Service) SetHeartbeats(_ context.Context, _ *wire.Peer, p protocol.SetHeartbeatsParams) (protocol.SetHeartbeatsResult, error) {
	on, ok := p.Enabled.Get()
	if !ok {
		return protocol.SetHeartbeatsResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "invalid %s params: enabled (boolean) required", protocol.MethodSetHeartbeats.Name)
	}
	s.mu.Lock()
	overdue := on && !s.enabled && (!s.last.Valid || time.Since(time.UnixMilli(s.last.V.Ts)) >= heartbeatEvery)
	s.enabled = on
	s.mu.Unlock()
	if overdue {
		select {
		case s.beat <- struct{}{}:
		default: // one is about to run
		}
	}
	s.Want()
	return protocol.SetHeartbeatsResult{Ok: true, Enabled: on}, nil
}

func (s *Service) heartbeats() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enabled
}

// cut shortens text to n characters.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
