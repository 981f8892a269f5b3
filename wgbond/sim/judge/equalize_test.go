package judge

import (
	"testing"
	"time"

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
	if n := r.Client.OutOfOrder; n > 0 {
		t.Errorf("%d packets out of order", n)
	}
	if t.Failed() {
		t.Logf("%v", r)
	}
}

// TestAuto: earliest, but an inner BBR flow that leaves the slow path idle gets
// the sum after some twenty seconds of a minute, without a dip before; CUBIC,
// which does not need it, sees no difference.
func TestAuto(t *testing.T) {
	s := Unequal()
	for _, c := range []struct {
		name      string
		tcp       func(int) tcp.Control
		time      time.Duration
		low, high float64 // of auto's goodput over earliest's
	}{{"bbr", tcp.NewBBR, time.Minute, 1.12, 1.25}, {"cubic", tcp.NewCubic, 20 * time.Second, 0.97, 1.2}} {
		s.TCP, s.Time = c.tcp, c.time
		s.Scheduler = equalize.NewAuto
		auto := mustRun(t, s)
		near := mustRun(t, bonded(s))
		if f := auto.Goodput / near.Goodput; f < c.low || f > c.high {
			t.Errorf("%s: %.3f × earliest, want %g to %g\n%v", c.name, f, c.low, c.high, auto)
		}
		// BBR's own search for its round trip costs a fifth of a second.
		if a, n := worstSecond(auto), worstSecond(near); c.name == "bbr" && a < 0.9*n {
			t.Errorf("bbr: one second had but %.1f Mbit/s; with earliest alone none less than %.1f", a, n)
		}
	}
}

// worstSecond is the least that a second brought, Mbit/s, from the sixth on.
func worstSecond(r *Report) float64 {
	const bins = int(time.Second / binWidth)
	lowest := int64(1 << 62)
	for at := 6 * bins; at+bins <= len(r.Bins); at++ {
		sum := int64(0)
		for _, b := range r.Bins[at : at+bins] {
			sum += b
		}
		lowest = min(lowest, sum)
	}
	return float64(lowest) * 8 / mbit
}
