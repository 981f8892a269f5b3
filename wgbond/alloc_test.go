package wgbond

import "testing"

// TestNoAllocationsPerPacket: data packets allocate nothing on their way from
// Send to Deliver. What is left is for control messages, some for a hundred
// packets.
func TestNoAllocationsPerPacket(t *testing.T) {
	x := newTraffic(t, 2)
	from := x.delivered
	const runs, steps = 5, 1000
	allocs := testing.AllocsPerRun(runs, func() {
		for range steps {
			x.step()
		}
	})
	packets := float64(x.delivered-from) / (runs + 1) // AllocsPerRun warms up with one
	t.Logf("%.0f allocations for %.0f packets", allocs, packets)
	if packets < 5000 || x.disorder > 0 {
		t.Errorf("%.0f packets a run, %d out of order", packets, x.disorder)
	}
	if allocs/packets >= 0.05 {
		t.Errorf("%v allocations a data packet", allocs/packets)
	}
}
