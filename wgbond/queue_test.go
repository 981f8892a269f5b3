package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// TestQueueBound: the send queue is full when one path falls silent, then the
// other, and what was bound to them or under way comes back to it. It stays within
// its bound all the same: the newest packets go, and are counted.
func TestQueueBound(t *testing.T) {
	dark := func(from, to time.Duration) []sim.Outage { return []sim.Outage{{From: from, To: to}} }
	w := newWorld(t, 1,
		pathSpec{down: 100 * mbit, up: 100 * mbit, delay: 40 * ms, outages: dark(4*time.Second, 5*time.Second)},
		pathSpec{down: 200 * mbit, up: 100 * mbit, delay: 40 * ms, outages: dark(3900*ms, 6*time.Second)})
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 500*mbit, 1452, 16, 5*time.Second)
	full, most := 0, 0
	for w.now < 9*time.Second {
		w.run(ms)
		most = max(most, w.server.Status(w.now+w.serverClock).Queue)
		if w.now < 3900*ms {
			full = most
		}
	}
	within(t, "bytes in the send queue before", float64(full), queueBytes-2000, queueBytes)
	within(t, "bytes in the send queue", float64(most), queueBytes-2000, queueBytes) // 4.46 MB without fitQueue
	st := w.server.Status(w.now + w.serverClock)
	within(t, "bytes in it at the end", float64(st.Queue), 0, 0)
	// All but what was sent is among the drops; what was sent may be, too, once
	// given up, and a copy that tried a path came twice.
	dropped := uint64(0)
	for _, why := range []dropReason{dropQueueFull, dropCoDel, dropRepairTries, dropRepairLate, dropRepairBudget} {
		dropped += st.Drops[dropNames[why]]
	}
	within(t, "packets that came or were counted as dropped, of all", float64(uint64(len(f.order))+dropped)/float64(f.next), 1, 1.02)
	if t.Failed() {
		report(t, w, f)
	}
}
