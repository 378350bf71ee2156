package gateway

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// metrics are the gateway's counters, in the text format of Prometheus. The zero
// value is ready to use. No label holds anything that a client chose: methods
// and events are known names, outcomes and codes are closed lists.
type metrics struct {
	accepted  atomic.Int64
	requests  vector // by method and outcome
	durations histogram
	drops     vector // by event
	closes    vector // by code
	refused   vector // by reason
}

func (m *metrics) dropped(event string) { m.drops.add(event) }

// vector is a counter for each value of its labels.
type vector struct {
	mu     sync.Mutex
	counts map[[2]string]int64
}

func (v *vector) add(first string, second ...string) {
	key := [2]string{first}
	copy(key[1:], second)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.counts == nil {
		v.counts = map[[2]string]int64{}
	}
	v.counts[key]++
}

// write writes one line for each value, sorted. An empty second label is left out.
func (v *vector) write(w io.Writer, name, help string, labels ...string) {
	header(w, name, "counter", help)
	v.mu.Lock()
	counts := maps.Clone(v.counts)
	v.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		fmt.Fprintf(w, "%s{%s=%q", name, labels[0], k[0])
		if len(labels) > 1 {
			fmt.Fprintf(w, ",%s=%q", labels[1], k[1])
		}
		fmt.Fprintf(w, "} %d\n", counts[k])
	}
}

// durationBounds are the upper ends of the histogram's buckets.
var durationBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
	500 * time.Millisecond, 2500 * time.Millisecond, 10 * time.Second, time.Minute,
}

// histogram counts durations.
type histogram struct {
	buckets [len(durationBounds) + 1]atomic.Int64
	sum     atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(durationBounds) && d > durationBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) write(w io.Writer, name, help string) {
	header(w, name, "histogram", help)
	total := int64(0)
	for i := range h.buckets {
		bound := "+Inf"
		if i < len(durationBounds) {
			bound = seconds(durationBounds[i])
		}
		total += h.buckets[i].Load()
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", name, bound, total)
	}
	fmt.Fprintf(w, "%s_sum %s\n%s_count %d\n", name, seconds(time.Duration(h.sum.Load())), name, total)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

func header(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// writeMetrics writes everything there is to count.
func (g *Gateway) writeMetrics(w io.Writer) {
	gauge := func(name, help string, v int64) {
		header(w, name, "gauge", help)
		fmt.Fprintf(w, "%s %d\n", name, v)
	}
	open, peers := g.hub.count()
	m := &g.metrics
	gauge("coderclaw_gateway_connections", "Connections after hello-ok.", int64(peers))
	gauge("coderclaw_gateway_handshakes", "WebSockets before hello-ok or being closed.", int64(open-peers))
	gauge("coderclaw_gateway_queue_bytes", "Bytes queued for all connections.", g.queued.Load())
	header(w, "coderclaw_gateway_accepted_total", "counter", "WebSockets opened.")
	fmt.Fprintf(w, "coderclaw_gateway_accepted_total %d\n", m.accepted.Load())
	m.refused.write(w, "coderclaw_gateway_refused_total", "Connections refused before hello-ok.", "reason")
	m.closes.write(w, "coderclaw_gateway_closes_total", "WebSockets ended, by close code; 0 without one.", "code")
	m.requests.write(w, "coderclaw_gateway_requests_total", "Requests answered.", "method", "outcome")
	m.durations.write(w, "coderclaw_gateway_request_seconds", "Time from a request's arrival to its last response.")
	m.drops.write(w, "coderclaw_gateway_dropped_events_total", "Events lost to slow readers.", "event")
}
