// Package task is the port of the durable task engine: what a task is, which states
// it may take, and what an engine promises. pkg/task/durable implements it on the
// gateway's own store; pkg/task/tasktest is the contract that every implementation
// passes.
//
// Everything that an agent does is a task, whatever asked for it (chat.send, agent,
// tasks.submit), and what was acknowledged survives a crash. A task's record and the
// events that tell of a change are written in one transaction; the events of a task
// are numbered from 1 without gaps and linked by hashes.
//
// The rule that surprises: only the engine writes a status. A worker holds a Lease,
// and everything that it reports carries the lease's epoch, so that one whose lease
// was lost (it hung, the task was cancelled, the gateway died) changes nothing any
// more: it gets ErrFenced or ErrTerminal and must stop. What a worker does outside of
// the store cannot be fenced; it must stop when Lease.Done is closed.
//
// Times are wall-clock times in UTC and leave the gateway as RFC 3339 with
// milliseconds. Leases, delays and deadlines run on the monotonic clock once the
// engine has seen them, so that setting the clock ends none early.
package task

import (
	"encoding/json"
	"time"
)

// The limits of a task. Requests beyond them are refused with ErrInvalid.
const (
	DepthMax            = 16       // parents above a task
	DependsOnMax        = 64       // tasks that a task waits for
	DescriptionBytesMax = 4096     // of a description
	KeyBytesMax         = 256      // of an idempotency key
	MetadataBytesMax    = 16 << 10 // of the JSON of the metadata
	InputBytesMax       = 32 << 20 // of an input, an output, and a payload each
	CheckpointBytesMax  = 64 << 10 // of a checkpoint, and of a result
	AttemptsMax         = 100      // of Request.MaxAttempts
	AttemptsDefault     = 10       // when it is 0
)

// Task is one piece of work and what became of it. The JSON names are those of the
// original's TaskState with our additions.
type Task struct {
	// ID is a UUIDv7, so that ids sort by the time of submission.
	ID          string `json:"id"`
	Status      Status `json:"status"`
	Description string `json:"description"`
	// Input is what the agent is asked. List leaves it and Output out, and tells
	// their sizes.
	Input       string `json:"input,omitempty"`
	InputBytes  int64  `json:"inputBytes,omitempty"`
	Output      string `json:"output,omitempty"`
	OutputBytes int64  `json:"outputBytes,omitempty"`
	// AgentID, Model and Thinking choose who answers and how; empty means the
	// session's or the gateway's default.
	AgentID  string `json:"agentId,omitempty"`
	Model    string `json:"model,omitempty"`
	Thinking string `json:"thinking,omitempty"`
	// SessionID is the canonical key of the session that the task belongs to
	// ("agent:main:main"), or empty. The tasks of a session run one after the other.
	SessionID string `json:"sessionId,omitempty"`
	// Concurrent tasks do not stand in their session's line.
	Concurrent bool `json:"concurrent,omitempty"`
	// ParentTaskID is the task that this one is part of. RootID is the top of the
	// tree (the task itself when it has no parent), Depth the parents above it.
	ParentTaskID string `json:"parentTaskId,omitempty"`
	RootID       string `json:"rootId"`
	Depth        int    `json:"depth,omitempty"`
	// Detach keeps a cancellation of the parent from reaching this task.
	Detach bool `json:"detach,omitempty"`
	// DependsOn lists the tasks that must have ended before; OnFailure is what
	// happens when one of them does not complete.
	DependsOn []string  `json:"dependsOn,omitempty"`
	OnFailure OnFailure `json:"onDependencyFailure,omitempty"`

	CreatedAt   time.Time `json:"createdAt"`
	StartedAt   time.Time `json:"startedAt,omitzero"`   // of the first attempt
	CompletedAt time.Time `json:"completedAt,omitzero"` // of the terminal state
	// NotBefore is when it may be claimed (again); Deadline is when it fails if it
	// has not ended.
	NotBefore time.Time `json:"notBefore,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`
	// TimeoutMs bounds one attempt, in milliseconds; 0 is no bound of the engine's.
	TimeoutMs int64 `json:"timeoutMs,omitempty"`
	// Priority goes before age; higher is sooner.
	Priority int `json:"priority,omitempty"`
	// Attempt counts the attempts that began, MaxAttempts bounds them.
	Attempt     int `json:"attempt"`
	MaxAttempts int `json:"maxAttempts"`
	// Progress is a percentage, absent until the first report.
	Progress *int `json:"progress,omitempty"`
	// Error is why it failed, or why it was cancelled.
	Error *Failure `json:"error,omitempty"`
	// Checkpoint is what a worker left for the next attempt.
	Checkpoint []byte `json:"checkpoint,omitempty"`
	// Wait is what a waiting task waits for.
	Wait *Condition `json:"wait,omitempty"`

	Key         Key    `json:"key,omitzero"`
	ParamsHash  []byte `json:"paramsHash,omitempty"`
	RequestedBy Actor  `json:"requestedBy,omitzero"`
	// RetryOf is the ended task that this one does again.
	RetryOf      string   `json:"retryOf,omitempty"`
	Repo         string   `json:"repo,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	// Metadata is the submitter's, an object of JSON.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// Payload is what the worker needs beside the input, and Result what it tells
	// beside the output. Both are opaque to the engine and never leave the gateway.
	// Both are left out by List, and kept for as long as the task is, so that it can be
	// done once more (Again).
	Payload []byte          `json:"payload,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`

	CancelRequestedAt time.Time `json:"cancelRequestedAt,omitzero"`
	// Revision counts the writes of the record. Order is the place of the submission
	// among all, and the cursor of the task's first event.
	Revision uint64 `json:"revision"`
	Order    uint64 `json:"order"`
}

// RunID is what the task's run is called on the wire: the client's key, or the
// task's id when it has none.
func (t *Task) RunID() string {
	if t.Key.Key != "" {
		return t.Key.Key
	}
	return t.ID
}

// Namespace keeps the idempotency keys, and the workers, of different methods apart.
type Namespace string

// The namespaces of what starts tasks.
const (
	NamespaceAgent Namespace = "agent"
	NamespaceChat  Namespace = "chat"
	NamespaceSend  Namespace = "send"
	NamespacePoll  Namespace = "poll"
	NamespaceTask  Namespace = "task"
)

// Key is an idempotency key in its scope: nobody can replay, or learn of, the task of
// another principal. A task without a key has an empty Key.Key.
type Key struct {
	Principal string    `json:"principal,omitempty"`
	Namespace Namespace `json:"namespace,omitempty"`
	Key       string    `json:"key,omitempty"`
}

// Actor is who asked for a task, as far as it is known.
type Actor struct {
	User    string `json:"user,omitempty"`
	Device  string `json:"device,omitempty"`
	Session string `json:"session,omitempty"` // the connection or login
}

// Failure is why a task failed or was cancelled.
type Failure struct {
	// Code is one of the Code constants, or the worker's own.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Retryable lets the engine try again while attempts are left.
	Retryable bool `json:"retryable,omitempty"`
}

// The codes of the failures that the engine itself gives.
const (
	CodeDeadline         = "deadline"
	CodeTimeout          = "timeout"
	CodeDependencyFailed = "dependency_failed"
	CodeDependencySkip   = "dependency_skipped"
	CodeDeadLetter       = "dead_letter"
	CodeCancelled        = "cancelled"
	CodeParentCancelled  = "parent_cancelled"
)

// OnFailure says what becomes of a task when one that it depends on fails, is
// cancelled, or is skipped.
type OnFailure string

// The policies. The empty one means OnFailureFail.
const (
	// OnFailureFail fails the task with dependency_failed.
	OnFailureFail OnFailure = "fail"
	// OnFailureSkip cancels the task without calling that a failure.
	OnFailureSkip OnFailure = "skip"
	// OnFailureRun runs the task all the same.
	OnFailureRun OnFailure = "run"
)
