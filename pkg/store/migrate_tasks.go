package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The forms of version 1 and 2 are written down here as they were then; the packages
// that own the buckets go their own way.

// runV1 is a remembered run of version 1 (bucket task.runs).
type runV1 struct {
	Principal     string          `json:"principal"`
	Namespace     string          `json:"namespace"`
	Key           string          `json:"key"`
	ParamsHash    []byte          `json:"paramsHash"`
	Seq           uint64          `json:"seq"`
	State         string          `json:"state"` // accepted, running, done
	AcceptedAt    int64           `json:"acceptedAt"`
	SessionKey    string          `json:"sessionKey"`
	RawSessionKey string          `json:"rawSessionKey"`
	Command       bool            `json:"command"`
	TimeoutMs     int64           `json:"timeoutMs"`
	Attempts      int             `json:"attempts"`
	Outcome       map[string]any  `json:"outcome"`
	Usage         json.RawMessage `json:"usage"`
	EndSeq        uint64          `json:"endSeq"`

	id    string // its key in the bucket
	input inputV1
}

// inputV1 is what it was asked (bucket task.inputs).
type inputV1 struct {
	AgentID  string          `json:"agentId"`
	Message  string          `json:"message"`
	Images   json.RawMessage `json:"images,omitempty"`
	Thinking string          `json:"thinking"`
	System   string          `json:"system"`
}

// taskV2 is a task of version 2 (bucket durable.tasks).
type taskV2 struct {
	ID          string          `json:"id"`
	Status      string          `json:"status"`
	Description string          `json:"description"`
	InputBytes  int             `json:"inputBytes,omitempty"`
	OutputBytes int             `json:"outputBytes,omitempty"`
	AgentID     string          `json:"agentId,omitempty"`
	Thinking    string          `json:"thinking,omitempty"`
	SessionID   string          `json:"sessionId,omitempty"`
	Concurrent  bool            `json:"concurrent,omitempty"`
	RootID      string          `json:"rootId"`
	CreatedAt   time.Time       `json:"createdAt"`
	StartedAt   time.Time       `json:"startedAt,omitzero"`
	CompletedAt time.Time       `json:"completedAt,omitzero"`
	TimeoutMs   int64           `json:"timeoutMs,omitempty"`
	Attempt     int             `json:"attempt"`
	MaxAttempts int             `json:"maxAttempts"`
	Error       *failureV2      `json:"error,omitempty"`
	Key         keyV2           `json:"key"`
	ParamsHash  []byte          `json:"paramsHash"`
	RequestedBy actorV2         `json:"requestedBy"`
	Result      json.RawMessage `json:"result,omitempty"`
	Revision    uint64          `json:"revision"`
	Order       uint64          `json:"order"`
	Leased      bool            `json:"leased,omitempty"`
	Epoch       uint64          `json:"epoch,omitempty"`
	Worker      string          `json:"worker,omitempty"`
	Place       uint64          `json:"place,omitempty"`
	LastHash    string          `json:"lastHash"`
	EndSeq      uint64          `json:"endSeq,omitempty"`
	Cost        int             `json:"cost,omitempty"`
}

type failureV2 struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type keyV2 struct {
	Principal string `json:"principal,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Key       string `json:"key,omitempty"`
}

type actorV2 struct {
	User string `json:"user,omitempty"`
}

// eventV2 is an event of version 2; the order of the members is part of its hash.
type eventV2 struct {
	TaskID    string    `json:"taskId"`
	Seq       uint64    `json:"seq"`
	Cursor    uint64    `json:"cursor"`
	Timestamp time.Time `json:"timestamp"`
	Event     string    `json:"event"`
	OldStatus string    `json:"oldStatus,omitempty"`
	NewStatus string    `json:"newStatus,omitempty"`
	Message   string    `json:"message,omitempty"`
	Actor     string    `json:"actor,omitempty"`
	Attempt   int       `json:"attempt,omitempty"`
	Revision  uint64    `json:"revision"`
	PrevHash  string    `json:"prevHash,omitempty"`
	Hash      string    `json:"hash"`
}

type logV2 struct {
	ID        string `json:"id"`
	Seq       uint64 `json:"seq"`
	Status    string `json:"status"`
	SessionID string `json:"sessionId,omitempty"`
	AgentID   string `json:"agentId,omitempty"`
	Root      string `json:"root"`
	Namespace string `json:"namespace,omitempty"`
}

// runsToTasks makes a task of every run that version 1 remembers, live or ended, so
// that what was accepted runs and every key answers as before.
func runsToTasks(tx *bolt.Tx) error {
	runs, err := readRunsV1(tx)
	if err != nil {
		return err
	}
	m := &taskMigration{tx: tx, ended: map[string]int{}}
	for i := range runs {
		if err := m.add(&runs[i]); err != nil {
			return fmt.Errorf("run %q: %w", runs[i].Key, err)
		}
	}
	if err := m.finish(runs); err != nil {
		return err
	}
	for _, name := range []string{"task.runs", "task.inputs", "task.live", "task.ended", "task.totals"} {
		if tx.Bucket([]byte(name)) == nil {
			continue
		}
		if err := tx.DeleteBucket([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// readRunsV1 returns the runs in the order of their acceptance. One that cannot be
// read was of no use before either, and is left out.
func readRunsV1(tx *bolt.Tx) (runs []runV1, err error) {
	b := tx.Bucket([]byte("task.runs"))
	if b == nil {
		return nil, nil
	}
	inputs := tx.Bucket([]byte("task.inputs"))
	err = b.ForEach(func(k, v []byte) error {
		run := runV1{id: string(k)}
		if json.Unmarshal(v, &run) != nil || run.State == "done" && run.Outcome == nil {
			return nil
		}
		if inputs != nil {
			if raw := inputs.Get(k); raw != nil && json.Unmarshal(raw, &run.input) != nil {
				return nil
			}
		}
		runs = append(runs, run)
		return nil
	})
	slices.SortFunc(runs, func(a, b runV1) int { return cmp.Compare(a.Seq, b.Seq) })
	return runs, err
}

// taskMigration writes tasks of version 2.
type taskMigration struct {
	tx     *bolt.Tx
	cursor uint64
	ended  map[string]int
	cost   int
}

// put writes one row.
func (m *taskMigration) put(bucket, key string, value any) error {
	b, err := m.tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	raw, err := encode(value)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), raw)
}

// add writes the task of a run, its events and what finds it.
func (m *taskMigration) add(run *runV1) error {
	at := time.UnixMilli(run.AcceptedAt).UTC()
	t := &taskV2{
		ID: taskIDV2(run), Status: "pending", Description: descriptionV2(run.input.Message), InputBytes: len(run.input.Message),
		AgentID: run.input.AgentID, Thinking: run.input.Thinking, SessionID: run.SessionKey, Concurrent: run.Command,
		CreatedAt: at, TimeoutMs: lifeV2(run.TimeoutMs).Milliseconds(), MaxAttempts: 11,
		Key: keyV2{run.Principal, run.Namespace, run.Key}, ParamsHash: run.ParamsHash, RequestedBy: actorV2{run.Principal},
	}
	t.RootID = t.ID
	if err := m.tell(t, eventV2{Event: "created", NewStatus: "pending", Message: t.Description, Actor: run.Principal, Timestamp: at}); err != nil {
		return err
	}
	if t.Order = m.cursor; !t.Concurrent {
		t.Place = t.Order
	}
	carried := eventV2{Event: "status_changed", OldStatus: "pending", Message: "carried over from the form of an earlier version", Actor: "engine", Timestamp: at}
	switch run.State {
	case "running":
		t.Status, t.Attempt, t.StartedAt, t.Leased, t.Epoch, t.Worker = "running", run.Attempts, at, true, 1, "turn"
	case "done":
		if err := m.end(t, run); err != nil {
			return err
		}
		carried.Timestamp = t.CompletedAt
	}
	if t.Status != "pending" {
		carried.NewStatus = t.Status
		if err := m.tell(t, carried); err != nil {
			return err
		}
	}
	return m.index(t, run)
}

// end takes over an outcome.
func (m *taskMigration) end(t *taskV2, run *runV1) error {
	text := func(name string) string { s, _ := run.Outcome[name].(string); return s }
	endedAt, _ := run.Outcome["endedAt"].(float64)
	t.CompletedAt, t.EndSeq, t.Attempt = time.UnixMilli(int64(endedAt)).UTC(), run.EndSeq, 1
	switch state := text("state"); {
	case state == "final":
		t.Status = "completed"
	case state == "aborted" && text("stopReason") == "timeout":
		t.Status, t.Error = "failed", &failureV2{"timeout", "the run took too long"}
	case state == "aborted":
		t.Status, t.Error = "cancelled", &failureV2{"cancelled", text("stopReason")}
	default:
		t.Status, t.Error = "failed", &failureV2{text("detail"), text("error")}
	}
	output := text("text")
	t.OutputBytes = len(output)
	delete(run.Outcome, "text")
	if len(run.Usage) > 0 {
		run.Outcome["usage"] = run.Usage
	}
	var err error
	if t.Result, err = encode(run.Outcome); err != nil {
		return err
	}
	t.Cost = 1024 + 2*512 + t.OutputBytes + len(t.Result)
	m.ended[t.Status]++
	m.cost += t.Cost
	return m.body(t.ID, "output", []byte(output))
}

// index writes what finds a task, its question, and the task itself.
func (m *taskMigration) index(t *taskV2, run *runV1) error {
	list, row := "durable.open", any(t.ID)
	place := SeqKey("", t.Order)
	if t.EndSeq > 0 {
		list, place = "durable.ended", SeqKey("", t.EndSeq)
		row = map[string]any{"id": t.ID, "root": t.ID, "at": t.CompletedAt}
	} else {
		private, err := encode(map[string]any{"rawSessionKey": run.RawSessionKey, "images": orNull(run.input.Images), "system": run.input.System})
		if err != nil {
			return err
		}
		if err := m.body(t.ID, "payload", private); err != nil {
			return err
		}
	}
	for _, step := range []error{
		m.put(list, place, row),
		m.body(t.ID, "input", []byte(run.input.Message)),
		m.put("durable.keys", run.id, t.ID),
		m.put("durable.sessions", t.SessionID+"\x00"+t.ID, struct{}{}),
		m.put("durable.tasks", t.ID, t),
	} {
		if step != nil {
			return step
		}
	}
	return nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// body writes an input, an output or a payload.
func (m *taskMigration) body(id, kind string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	return m.put("durable.bodies", id+"\x00"+kind, map[string]any{"data": data})
}

// tell appends an event.
func (m *taskMigration) tell(t *taskV2, ev eventV2) error {
	m.cursor++
	t.Revision++
	ev.TaskID, ev.Seq, ev.Cursor, ev.Attempt, ev.Revision, ev.PrevHash = t.ID, t.Revision, m.cursor, t.Attempt, t.Revision, t.LastHash
	text, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte("coderclaw-task-v1" + ev.PrevHash + string(text)))
	ev.Hash = hex.EncodeToString(sum[:])
	t.LastHash = ev.Hash
	row := logV2{ID: t.ID, Seq: ev.Seq, Status: t.Status, SessionID: t.SessionID, AgentID: t.AgentID, Root: t.ID, Namespace: t.Key.Namespace}
	if err := m.put("durable.log", SeqKey("", m.cursor), row); err != nil {
		return err
	}
	return m.put("durable.events", SeqKey(t.ID, ev.Seq), ev)
}

// finish writes the totals, and from where the numbers go on.
func (m *taskMigration) finish(runs []runV1) error {
	if len(runs) == 0 {
		return nil
	}
	count, lastEnd := 0, uint64(0)
	for _, n := range m.ended {
		count += n
	}
	for _, run := range runs {
		lastEnd = max(lastEnd, run.EndSeq)
	}
	if err := m.put("durable.totals", "all", map[string]any{"ended": m.ended, "count": count, "cost": m.cost}); err != nil {
		return err
	}
	for name, n := range map[string]uint64{"durable.tasks": 1, "durable.log": m.cursor, "durable.ended": lastEnd} {
		b, err := m.tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		if err := b.SetSequence(n); err != nil {
			return err
		}
	}
	return nil
}

// taskIDV2 is an id in the form of a UUIDv7: the time of the acceptance, and the rest
// from the run's place, so that the migration gives the same however often it runs.
func taskIDV2(run *runV1) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(run.AcceptedAt)<<16)
	sum := sha256.Sum256(fmt.Append([]byte(run.id), run.Seq))
	copy(id[6:], sum[:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// lifeV2 is what the engine allows a run that asked for a timeout of so many
// milliseconds: what version 1 allowed, and ten seconds.
func lifeV2(timeoutMs int64) time.Duration {
	timeout := 10 * time.Minute
	if timeoutMs > 0 {
		timeout = min(time.Duration(min(timeoutMs, 86_400_000))*time.Millisecond, 24*time.Hour)
	}
	return min(max(timeout+time.Minute, 2*time.Minute), 24*time.Hour) + 10*time.Second
}

// descriptionV2 is the beginning of a message's first line.
func descriptionV2(message string) string {
	n := 0
	for i, c := range message {
		if n++; c == '\n' || n > 80 {
			return message[:i]
		}
	}
	return message
}
