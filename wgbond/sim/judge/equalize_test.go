package judge

import (
	"fmt"
	"slices"
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
	// 75 ms of propagation, for acknowledgements are not held; pings pass the queue.
	if p := r.Ping.P50; p < 75*ms || p > 90*ms {
		t.Errorf("ping %v, want 75 to 90 ms", p)
	}
	if n := r.Client.OutOfOrder; n > 0 {
		t.Errorf("%d packets out of order", n)
	}
	if t.Failed() {
		t.Logf("%v", r)
	}
}

// TestEqualizedSoon: the same holds for a transfer that begins as soon as the
// paths are there, with what a real kernel adds: segments come in trains, and the
// slow path is lent. There the sender took the unheld answer to its SYN for the
// round trip, trains went by the paths in turn whatever their rates, and once the
// near path had carried all it could without ever having been full, what it would
// have tried next made the slow one seem worth too little: AB −.5 to −.2.
func TestEqualizedSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("ten seconds of computing")
	}
	s := bulk("equalised", steady("fast", 20, 30*ms), steady("slow", 5, 120*ms))
	s.TCP, s.Ping = tcp.NewBBR, 50*ms
	s.Time, s.Warmup = 8*time.Second, 3*time.Second
	alone := []float64{goodput(t, s.Stock(0)), goodput(t, s.Stock(1))}
	s.Scheduler = equalize.New
	for _, settle := range []time.Duration{300 * ms, 400 * ms, 700 * ms, 3 * time.Second} {
		for kind := range 4 {
			s := s
			s.Settle, s.Trains = settle, kind&1 != 0
			s.Paths = slices.Clone(s.Paths)
			s.Paths[1].Config.Lent = kind&2 != 0
			t.Run(fmt.Sprintf("after=%v/trains=%v/lent=%v", settle, s.Trains, s.Paths[1].Config.Lent), func(t *testing.T) {
				t.Parallel()
				r := mustRun(t, s)
				if ab := Benefit(r.Goodput/mbit, alone...); ab < .8 {
					t.Errorf("aggregation benefit %.2f, at least .8 is required; Mbit/s by the second %.1f\n%v", ab, byTheSecond(r), r)
				}
			})
		}
	}
}

// byTheSecond is what each second brought, Mbit/s.
func byTheSecond(r *Report) (rates []float64) {
	for at := time.Second; at <= time.Duration(len(r.Bins))*binWidth; at += time.Second {
		rates = append(rates, r.Rate(at-time.Second, at)/mbit)
	}
	return rates
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
