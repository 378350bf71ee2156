//go:build !race

package daemon

// heavy names the recordings that are left out under the race detector: none here.
const heavy = ""
