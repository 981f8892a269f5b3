package shim

import (
	"net/netip"
	"testing"
	"time"
)

func newFlows() *flows {
	return &flows{byPeer: make(map[netip.AddrPort]*flow), bySource: make(map[netip.Prefix]int)}
}

// flowOf is the flow of a source's n-th client.
func flowOf(src, n int, proven bool, used time.Duration) *flow {
	addr := netip.AddrFrom4([4]byte{198, 18, byte(src >> 8), byte(src)})
	f := &flow{peer: netip.AddrPortFrom(addr, uint16(n+1)), source: source(addr)}
	f.proven.Store(proven)
	f.used.Store(int64(used))
	return f
}

func TestFlowsAreBounded(t *testing.T) {
	table := newFlows()
	for src := range maxFlows * 3 { // a flood from ever new addresses
		if _, ok := table.add(flowOf(src, 0, false, time.Duration(src))); !ok {
			t.Fatalf("flow %d was refused, though unproven ones were there to make room", src)
		}
		if n := table.len(); n > maxFlows {
			t.Fatalf("%d flows, more than %d", n, maxFlows)
		}
	}
}

func TestFlowsProvenSurviveFlood(t *testing.T) {
	table := newFlows()
	good := flowOf(0, 0, true, 0) // older than any other
	table.add(good)
	for src := 1; src < maxFlows*2; src++ {
		if evicted, _ := table.add(flowOf(src, 0, false, time.Duration(src))); evicted == good {
			t.Fatalf("after %d flows of a flood, a client that WireGuard knows had to leave", src)
		}
	}
	if table.get(good.peer) != good {
		t.Error("the good flow is gone")
	}
}

func TestFlowsPerSource(t *testing.T) {
	table := newFlows()
	for n := range maxFlowsPerSource {
		table.add(flowOf(1, n, true, 0))
	}
	if _, ok := table.add(flowOf(1, maxFlowsPerSource, true, 0)); ok {
		t.Errorf("a source got more than %d flows", maxFlowsPerSource)
	}
	if _, ok := table.add(flowOf(2, 0, true, 0)); !ok {
		t.Error("another source was refused for it")
	}
}

// A full table of proven flows makes room for a newcomer at the cost of the
// source that has most, and of nobody who has as little as the newcomer.
func TestFlowsFairness(t *testing.T) {
	table := newFlows()
	table.add(flowOf(0, 0, true, 0)) // the longest silent
	for src := 1; table.len() < maxFlows; src++ {
		for n := 0; n < maxFlowsPerSource && table.len() < maxFlows; n++ {
			table.add(flowOf(src, n, true, time.Duration(n+1)))
		}
	}
	greedy := flowOf(1, 0, true, 0).source
	evicted, ok := table.add(flowOf(9999, 0, true, 0))
	if !ok || evicted == nil || table.bySource[evicted.source] < maxFlowsPerSource-1 {
		t.Fatalf("evicted %+v, want a flow of a source with %d, as %v", evicted, maxFlowsPerSource, greedy)
	}

	table = newFlows()
	for src := range maxFlows {
		table.add(flowOf(src, 0, true, 0))
	}
	if _, ok := table.add(flowOf(9999, 0, true, 0)); ok {
		t.Error("a newcomer displaced a source that had no more than itself")
	}
}

func TestFlowsExpire(t *testing.T) {
	table := newFlows()
	table.add(flowOf(1, 0, true, 0))
	table.add(flowOf(2, 0, false, 0))
	if gone := table.expire(unprovenLife); len(gone) != 0 {
		t.Errorf("%d flows expired at %v, want none", len(gone), unprovenLife)
	}
	if gone := table.expire(unprovenLife + 1); len(gone) != 1 || gone[0].proven.Load() {
		t.Errorf("expired after %v: %d flows, want the unproven one", unprovenLife, len(gone))
	}
	if gone := table.expire(flowLife + 1); len(gone) != 1 || table.len() != 0 || len(table.bySource) != 0 {
		t.Errorf("after %v, %d expired and %d are left, of %d sources; want 1, 0, 0", flowLife, len(gone), table.len(), len(table.bySource))
	}
}
