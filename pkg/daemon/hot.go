package daemon

import (
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The groups of hot keys that applyHot puts into effect; the secrets and the log
// level, which are hot too, have ways of their own.
var entryKeys = []string{"gateway.allowedHosts", "gateway.controlUi.allowedOrigins", "gateway.trustedProxies", "gateway.auth.rateLimit"}

// applyHot puts changed keys into effect without a restart. When the rules of who may
// enter became stricter, connections that were let in by the old ones are closed as
// for a restart, behind the answers that wait for them, and are judged anew.
func (d *Daemon) applyHot(keys []string, s *settings.Settings) {
	changed := func(group string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return key == group || strings.HasPrefix(key, group+".") })
	}
	if slices.ContainsFunc(entryKeys, changed) && d.guard.SetEntry(entryOf(s)) {
		n := d.gateway.Dismiss(func(*wire.Peer) bool { return true }, protocol.CloseServiceRestartCode, protocol.CloseServiceRestart)
		d.log.Info("the rules of who may connect are stricter: connections are judged anew", "closed", n)
	}
	if changed("gateway.maxBufferedBytes") {
		d.gateway.SetQueueBytes(int64(s.Gateway.MaxBufferedBytes))
	}
	if changed("tasks") || changed("agents.defaults.maxConcurrent") {
		d.tasks.SetLimits(taskLimits(s))
	}
}

// entryOf is what the settings say of who may enter.
func entryOf(s *settings.Settings) identity.Entry {
	limit := s.Gateway.Auth.RateLimit
	return identity.Entry{
		TrustedProxies: s.Gateway.ProxyPrefixes(), AllowedHosts: s.Gateway.AllowedHosts, AllowedOrigins: s.Gateway.ControlUI.AllowedOrigins,
		Limits: identity.Limits{
			AttemptsMax: limit.MaxAttempts,
			Window:      time.Duration(limit.WindowMs) * time.Millisecond,
			Lockout:     time.Duration(limit.LockoutMs) * time.Millisecond,
		},
	}
}

// taskLimits is what the settings say to the task engine.
func taskLimits(s *settings.Settings) durable.Limits {
	t := s.Tasks
	return durable.Limits{
		RunningMax: s.Agents.Defaults.MaxConcurrent, AgentMax: t.PerAgent, OpenMax: t.OpenMax,
		LeaseTTL: time.Duration(t.LeaseSeconds) * time.Second, Backoff: time.Duration(t.RetryBackoffMs) * time.Millisecond,
		Retention: time.Duration(t.RetentionDays) * 24 * time.Hour, CountMax: t.RetentionCount, BytesMax: int(t.RetentionBytes),
		KeyRetention: time.Duration(t.KeyRetentionHours) * time.Hour, LagMax: t.WatcherLagEvents,
	}
}
