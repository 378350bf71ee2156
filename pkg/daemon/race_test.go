//go:build race

package daemon

// heavy names the recordings that are left out under the race detector, which makes
// their frames of 14 MB take minutes. They are replayed without it by
// tools/conformance.sh and by a plain go test.
const heavy = "slow-consumer"
