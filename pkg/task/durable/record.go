package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// blobBytesMin is the size from which on an input, an output or a payload is kept
// once for all tasks that have it, under its SHA-256.
const blobBytesMin = 256 << 10

// recordOverheadBytes is what a kept task is taken to cost beside its strings, and
// eventOverheadBytes one of its events.
const (
	recordOverheadBytes = 1024
	eventOverheadBytes  = 512
)

// record is a task as it is stored: without input, output and payload.
type record struct {
	task.Task
	// Leased reports that the lease of Epoch, which Worker got, is the latest and
	// has not been given up.
	Leased bool   `json:"leased,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Worker string `json:"worker,omitempty"`
	// Above lists the ids of the parents, from the root down.
	Above []string `json:"above,omitempty"`
	// Place is the task's place in its session's line: its own Order, or the Place of
	// its nearest parent that stands in the same line. 0 stands in none.
	Place uint64 `json:"place,omitempty"`
	// LastHash is the hash of the latest event.
	LastHash string `json:"lastHash"`
	// RetryDelayMs is how long the next attempt was to wait when NotBefore was written:
	// it never waits longer, wherever the clock stands by then. 0 is no such bound.
	RetryDelayMs int64 `json:"retryDelayMs,omitempty"`
	// PayloadBytes is the size of the payload.
	PayloadBytes int64 `json:"payloadBytes,omitempty"`
	// ProgressAttempt is the attempt that Progress is of.
	ProgressAttempt int `json:"progressAttempt,omitempty"`
	// EndSeq is the place among the ended tasks, Cost what keeping it costs.
	EndSeq uint64 `json:"endSeq,omitempty"`
	Cost   int64  `json:"cost,omitempty"`
}

// logRow is an event's place in the order of all: where it is, and what a filter asks.
type logRow struct {
	ID        string         `json:"id"`
	Seq       uint64         `json:"seq"`
	Status    task.Status    `json:"status"`
	SessionID string         `json:"sessionId,omitempty"`
	AgentID   string         `json:"agentId,omitempty"`
	Parent    string         `json:"parent,omitempty"`
	Root      string         `json:"root"`
	Namespace task.Namespace `json:"namespace,omitempty"`
}

// body is an input, an output or a payload.
type body struct {
	Data []byte `json:"data,omitempty"`
	Blob string `json:"blob,omitempty"`
}

// endedRow is an ended task's place in the order of forgetting.
type endedRow struct {
	ID   string    `json:"id"`
	Root string    `json:"root"`
	At   time.Time `json:"at"`
}

// total is what all ended tasks are together.
type total struct {
	Ended map[task.Status]int `json:"ended,omitempty"`
	Count int64               `json:"count"`
	Cost  int64               `json:"cost"`
	// PurgedTo is the last cursor of which an event was purged.
	PurgedTo uint64 `json:"purgedTo,omitempty"`
}

var (
	// tasks holds every record by id. Its sequence is the source of epochs.
	tasks = store.NewBucket[record]("durable.tasks")
	// events holds the histories, by task and number.
	events = store.NewBucket[task.Event]("durable.events")
	// eventLog holds the order of all events. Its sequence is the source of cursors.
	eventLog = store.NewBucket[logRow]("durable.log")
	// openTasks holds the ids of the tasks that have not ended, by Order.
	openTasks = store.NewBucket[string]("durable.open")
	// endedTasks holds the others in the order in which they ended.
	endedTasks = store.NewBucket[endedRow]("durable.ended")
	// bodies holds inputs, outputs and payloads, by task and kind.
	bodies = store.NewBucket[body]("durable.bodies")
	// blobs holds the large ones by SHA-256, blobRefs who refers to them.
	blobs    = store.NewBucket[[]byte]("durable.blobs")
	blobRefs = store.NewBucket[struct{}]("durable.blobRefs")
	// keys holds the task of each idempotency key, by run id and owner.
	keys = store.NewBucket[string]("durable.keys")
	// children, dependents and sessionTasks are indexes: owner, zero byte, id.
	children     = store.NewBucket[struct{}]("durable.children")
	dependents   = store.NewBucket[struct{}]("durable.dependents")
	sessionTasks = store.NewBucket[struct{}]("durable.sessions")
	// totals has one row.
	totals = store.NewBucket[total]("durable.totals")
)

const totalsKey = "all"

// The kinds of bodies.
const (
	inputBody   = "input"
	outputBody  = "output"
	payloadBody = "payload"
)

func pair(owner, id string) string { return owner + "\x00" + id }

// keyID is where an idempotency key lies: by run id, so that those of one run id
// stand together, then by owner. Hashes make it short whatever a client sends.
func keyID(k task.Key) string {
	owner := sha256.Sum256([]byte(string(k.Namespace) + "\x00" + k.Principal))
	return runPrefix(k.Key) + hex.EncodeToString(owner[:16])
}

// runPrefix is what the ids of all keys of one run id begin with.
func runPrefix(runID string) string {
	run := sha256.Sum256([]byte(runID))
	return hex.EncodeToString(run[:16])
}

// lastCursor returns the cursor of the latest event, 0 when there was none. The latest
// may have been purged.
func lastCursor(tx *store.Tx) (uint64, error) {
	t, _, err := totals.Get(tx, totalsKey)
	if err != nil {
		return 0, err
	}
	for key, err := range eventLog.Keys(tx, store.Range{Reverse: true, Limit: 1}) {
		return max(seqOf(key), t.PurgedTo), err
	}
	return t.PurgedTo, nil
}

// seqOf returns the number at the end of a store.SeqKey.
func seqOf(key string) (n uint64) {
	for _, b := range []byte(key[max(len(key)-8, 0):]) {
		n = n<<8 | uint64(b)
	}
	return n
}

// putBody stores a body, or nothing when it is empty.
func putBody(tx *store.Tx, id, kind string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if len(data) < blobBytesMin {
		return bodies.Put(tx, pair(id, kind), body{Data: data})
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	has, err := blobs.Has(tx, name)
	if err == nil && !has {
		err = blobs.Put(tx, name, data)
	}
	if err == nil {
		err = blobRefs.Put(tx, pair(name, pair(id, kind)), struct{}{})
	}
	if err != nil {
		return err
	}
	return bodies.Put(tx, pair(id, kind), body{Blob: name})
}

// getBody returns a body, nil when there is none. A blob that is not what its name
// says is an error.
func getBody(tx *store.Tx, id, kind string) ([]byte, error) {
	b, ok, err := bodies.Get(tx, pair(id, kind))
	if err != nil || !ok || b.Blob == "" {
		return b.Data, err
	}
	data, ok, err := blobs.Get(tx, b.Blob)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); !ok || hex.EncodeToString(sum[:]) != b.Blob {
		return nil, fmt.Errorf("the %s of task %s is damaged", kind, id)
	}
	return data, nil
}

// dropBody removes a body, and its blob with the last reference.
func dropBody(tx *store.Tx, id, kind string) error {
	b, ok, err := bodies.Get(tx, pair(id, kind))
	if err != nil || !ok {
		return err
	}
	if err := bodies.Delete(tx, pair(id, kind)); err != nil || b.Blob == "" {
		return err
	}
	if err := blobRefs.Delete(tx, pair(b.Blob, pair(id, kind))); err != nil {
		return err
	}
	for _, err := range blobRefs.Keys(tx, store.Range{Prefix: b.Blob, Limit: 1}) {
		return err // somebody else has it
	}
	return blobs.Delete(tx, b.Blob)
}

// whole returns the task of a record with its bodies.
func whole(tx *store.Tx, rec *record) (task.Task, error) {
	t := rec.Task
	in, err := getBody(tx, t.ID, inputBody)
	if err != nil {
		return t, err
	}
	out, err := getBody(tx, t.ID, outputBody)
	if err != nil {
		return t, err
	}
	if t.Payload, err = getBody(tx, t.ID, payloadBody); err != nil {
		return t, err
	}
	t.Input, t.Output = string(in), string(out)
	return t, nil
}
