package judge

import (
	"testing"

	"github.com/wg-bond/wg-bond/schedulers/equalize"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// TestEqualizedBBR: an inner BBR flow, which keeps no queue and so gets no more
// than the best path otherwise, gets the sum of unlike paths when all its
// packets take as long as those by the slow one. The margins are for changes of
// the algorithms; the run is the same every time.
func TestEqualizedBBR(t *testing.T) {
	s := Unequal()
	s.TCP = tcp.NewBBR
	s.Scheduler = equalize.New
	v, err := Judge(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := v.Bond
	if v.AB < 0.85 || v.AB > 1.02 {
		t.Errorf("aggregation benefit %.3f, want .85 to 1", v.AB)
	}
	// 75 ms of propagation, for acknowledgements are not held; two queues that
	// BBR fills by a quarter while it probes.
	if p := r.Ping.P50; p < 80*ms || p > 130*ms {
		t.Errorf("ping %v, want 80 to 130 ms", p)
	}
	if r.Tunnel.OutOfOrder > 0 {
		t.Errorf("%d packets out of order", r.Tunnel.OutOfOrder)
	}
	if t.Failed() {
		t.Logf("%v", r)
	}
}
