package wgbond

import (
	"testing"
	"time"
)

// TestBest: the best rate is that of the last ten seconds, and a count that falls
// begins anew.
func TestBest(t *testing.T) {
	var b best
	var bytes uint64
	now := time.Duration(0)
	deliver := func(rate float64, d time.Duration) {
		for end := now + d; now < end; {
			now += 25 * ms
			bytes += uint64(rate * (25 * ms).Seconds())
			b.add(now, bytes)
		}
	}
	deliver(1e6, time.Second)
	deliver(4e6, time.Second)
	deliver(1e6, 5*time.Second)
	within(t, "the best of seven seconds", b.rate(), 4e6, 4e6)
	bytes = 0
	deliver(1e6, 2*time.Second)
	within(t, "the same after a path has gone", b.rate(), 4e6, 4e6)
	deliver(1e6, 5*time.Second)
	within(t, "the best of the last ten seconds", b.rate(), 1e6, 1e6)
}
