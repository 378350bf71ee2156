package gateway

import "time"

// Limits bounds what clients can make the gateway hold or do. A zero field
// takes the default named beside it, so the zero value is the product's.
type Limits struct {
	// HandshakeTimeout is from accept to hello-ok, TLS included, absolute: 10 s. An
	// upgrade on a connection that has served other requests counts from there.
	HandshakeTimeout time.Duration
	// HandshakeFrameBytes is the largest message before hello-ok: 64 KiB.
	HandshakeFrameBytes int64
	// FrameBytes is the largest message after hello-ok: 25 MiB. Clients read it
	// as policy.maxPayload.
	FrameBytes int64
	// HandshakesPerAddress and HandshakesTotal bound the connections that have
	// not authenticated, plain HTTP included: 32 and 256. Authenticated ones do
	// not count, so a flood of strangers never ends a conversation.
	HandshakesPerAddress, HandshakesTotal int
	// Connections bounds the authenticated connections: 16384.
	Connections int
	// QueueBytes is what may wait for one slow reader: 16 MiB, at most 50 MiB.
	// Clients read it as policy.maxBufferedBytes.
	QueueBytes int64
	// QueueBytesTotal bounds all queues together: 256 MiB.
	QueueBytesTotal int64
	// RequestsInFlight bounds the requests of one connection that have not been
	// answered: 64. At the limit reading pauses for RequestWait (1 s), which is
	// enough for a client that pipelines; after that each further request is
	// refused as UNAVAILABLE and retryable, so that a client whose requests all
	// wait for an agent still hears from us.
	RequestsInFlight int
	RequestWait      time.Duration
	// RequestBytesInFlight bounds the params of these requests: 64 MiB. One
	// request alone is always admitted.
	RequestBytesInFlight int64
	// WriteStall is how long a reader may take nothing at all while something
	// waits for it: 10 s.
	WriteStall time.Duration
	// CloseTimeout is how long a connection that is being closed may take to
	// receive what is queued and the close frame, and to answer it: 5 s. A slow
	// consumer gets slowPatience times as long, because it must read what the
	// kernel holds before it can see why it was closed.
	CloseTimeout time.Duration
	// DrainTimeout is how long a graceful shutdown may take: 3 s.
	DrainTimeout time.Duration
}

// Limits that no deployment has a reason to change.
const (
	// slowPatience is how many CloseTimeouts a slow consumer gets to read why it
	// was closed.
	slowPatience      = 6
	queueBytesCeiling = 50 << 20 // the most that QueueBytes can be set to
	requestIDBytes    = 128      // longest request id
	methodNameBytes   = 64       // longest method name
	closeReasonBytes  = 120      // longest close reason, as in the original
	errorTextBytes    = 4 << 10  // longest message of an error response
	garbageMax        = 20       // messages that are not JSON, within garbageWindow
	garbageWindow     = 10 * time.Second
	tickInterval      = 30 * time.Second
	readHeaderTimeout = 5 * time.Second
	httpTimeout       = 10 * time.Second // one plain HTTP exchange
	idleTimeout       = 30 * time.Second // a kept-alive HTTP connection
	headerBytesMax    = 32 << 10
	lingerBytes       = 32 << 20 // input thrown away while a close is under way
	readPauseBytes    = 1 << 20  // queued output at which reading pauses
	writeChunkBytes   = 256 << 10
	writeChunkFrames  = 64
	// A peer that always has more input ready rests for fairPause for every fairFrames
	// frames, of which fairBytes count as one (see transport.rest).
	fairFrames = 32
	fairBytes  = 8 << 10
	fairPause  = time.Millisecond
)

// withDefaults fills the zero fields and clamps what has a ceiling.
func (l Limits) withDefaults() Limits {
	or(&l.HandshakeTimeout, 10*time.Second)
	or(&l.RequestWait, time.Second)
	or(&l.WriteStall, 10*time.Second)
	or(&l.CloseTimeout, 5*time.Second)
	or(&l.DrainTimeout, 3*time.Second)
	or(&l.HandshakeFrameBytes, 64<<10)
	or(&l.FrameBytes, 25<<20)
	or(&l.QueueBytes, 16<<20)
	or(&l.QueueBytesTotal, 256<<20)
	or(&l.RequestBytesInFlight, 64<<20)
	or(&l.HandshakesPerAddress, 32)
	or(&l.HandshakesTotal, 256)
	or(&l.Connections, 16384)
	or(&l.RequestsInFlight, 64)
	l.QueueBytes = min(l.QueueBytes, queueBytesCeiling)
	return l
}

// or sets v to d when it is zero.
func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
