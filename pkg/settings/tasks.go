package settings

import "fmt"

// The defaults and bounds of the group tasks.
const (
	DefaultTasksOpenMax           = 20_000
	DefaultTasksLeaseSeconds      = 30
	DefaultTasksRetryBackoffMs    = 1000
	DefaultTasksRetentionDays     = 7
	DefaultTasksRetentionCount    = 20_000
	DefaultTasksRetentionBytes    = 128 << 20
	DefaultTasksKeyRetentionHours = 24
	DefaultTasksWatcherLagEvents  = 10_000
)

// Tasks is what the task engine may take and how long it remembers.
type Tasks struct {
	PerAgent          int   `json:"perAgent" jsonschema:"minimum=0,maximum=1000,default=0" example:"4" jsonschema_description:"Tasks of one agent that run at a time; 0 is no limit of its own. Tasks of one session run one after the other whatever this says."`
	OpenMax           int   `json:"openMax" jsonschema:"minimum=100,maximum=1000000,default=20000" jsonschema_description:"Tasks that have not ended, running and waiting ones together; more are refused. Each takes about 1 KB of memory."`
	LeaseSeconds      int64 `json:"leaseSeconds" jsonschema:"minimum=5,maximum=3600,default=30" jsonschema_description:"How long a worker holds a task without a sign of life, in seconds, before it is taken for dead. Holds for tasks begun afterwards."`
	RetryBackoffMs    int64 `json:"retryBackoffMs" jsonschema:"minimum=100,maximum=300000,default=1000" jsonschema_description:"How long a task waits after its first failed attempt, in milliseconds; the wait doubles with each further attempt, up to five minutes."`
	RetentionDays     int   `json:"retentionDays" jsonschema:"minimum=1,maximum=3650,default=7" jsonschema_description:"How long a task is kept after its end, with its history, in days."`
	RetentionCount    int   `json:"retentionCount" jsonschema:"minimum=100,maximum=1000000,default=20000" jsonschema_description:"Ended tasks that are kept at most; the oldest go first."`
	RetentionBytes    int64 `json:"retentionBytes" jsonschema:"minimum=1048576,maximum=68719476736,default=134217728" jsonschema_description:"Bytes of ended tasks that are kept at most; the oldest go first."`
	KeyRetentionHours int   `json:"keyRetentionHours" jsonschema:"minimum=24,maximum=720,default=24" jsonschema_description:"How long an ended task answers requests that repeat its idempotency key, in hours. At most as long as retentionDays, since it is the kept task that answers."`
	WatcherLagEvents  int   `json:"watcherLagEvents" jsonschema:"minimum=100,maximum=1000000,default=10000" jsonschema_description:"Events that a live watcher may be behind before it is told to begin again."`
}

func defaultTasks() Tasks {
	return Tasks{
		OpenMax: DefaultTasksOpenMax, LeaseSeconds: DefaultTasksLeaseSeconds, RetryBackoffMs: DefaultTasksRetryBackoffMs,
		RetentionDays: DefaultTasksRetentionDays, RetentionCount: DefaultTasksRetentionCount, RetentionBytes: DefaultTasksRetentionBytes,
		KeyRetentionHours: DefaultTasksKeyRetentionHours, WatcherLagEvents: DefaultTasksWatcherLagEvents,
	}
}

func (t Tasks) check() (problems []string) {
	for _, k := range []struct {
		key                string
		value, least, most int64
	}{
		{"perAgent", int64(t.PerAgent), 0, 1000},
		{"openMax", int64(t.OpenMax), 100, 1_000_000},
		{"leaseSeconds", t.LeaseSeconds, 5, 3600},
		{"retryBackoffMs", t.RetryBackoffMs, 100, 300_000},
		{"retentionDays", int64(t.RetentionDays), 1, 3650},
		{"retentionCount", int64(t.RetentionCount), 100, 1_000_000},
		{"retentionBytes", t.RetentionBytes, 1 << 20, 64 << 30},
		{"keyRetentionHours", int64(t.KeyRetentionHours), 24, 720},
		{"watcherLagEvents", int64(t.WatcherLagEvents), 100, 1_000_000},
	} {
		if k.value < k.least || k.value > k.most {
			problems = append(problems, fmt.Sprintf("tasks.%s must be between %d and %d", k.key, k.least, k.most))
		}
	}
	if t.KeyRetentionHours > 24*t.RetentionDays && len(problems) == 0 {
		problems = append(problems, fmt.Sprintf("tasks.keyRetentionHours must not be longer than tasks.retentionDays, which is %d hours", 24*t.RetentionDays))
	}
	return problems
}
