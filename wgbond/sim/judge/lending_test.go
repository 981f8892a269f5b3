package judge

import (
	"fmt"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// TestLending: the owner of a lent link keeps its rate and its delay, and the
// borrower gets nearly all of what the owner leaves. Figures reached when this
// was written: kept .996 or more of the rate, 3 ms more of ping; taken .97 of an
// idle link, .95 to .97 beside a call that takes half, .90 to .93 of the fifteen
// seconds after the owner's transfer has ended, changes included.
func TestLending(t *testing.T) {
	if testing.Short() {
		t.Skip("ten seconds of computing")
	}
	for _, c := range []struct {
		up, bbr bool
		queue   time.Duration
	}{{false, false, 100 * ms}, {false, true, 300 * ms}, {true, false, 300 * ms}, {true, true, 100 * ms}} {
		with := func(s Scenario) Scenario {
			s = bonded(s)
			s.Upload = c.up
			if c.bbr {
				s.Owner.TCP = tcp.NewBBR
			}
			return s
		}
		name := fmt.Sprintf("up=%v bbr=%v queue=%v", c.up, c.bbr, c.queue)
		t.Run(name+"/busy", func(t *testing.T) {
			t.Parallel()
			r := mustRun(t, with(LendingBusy(c.queue))).Owner
			before, _ := r.Rates(5*time.Second, 20*time.Second)
			during, _ := r.Rates(20*time.Second, 40*time.Second)
			after, _ := r.Rates(40*time.Second, 60*time.Second)
			if alone := min(before, after); during < 0.98*alone {
				t.Errorf("the owner had %.2f Mbit/s, then %.2f with a borrower, then %.2f", before/mbit, during/mbit, after/mbit)
			}
			rise := r.PingsIn(20*time.Second, 40*time.Second).P50 - r.PingsIn(5*time.Second, 20*time.Second).P50
			if rise > 6*ms {
				t.Errorf("the owner's ping rose by %v", rise)
			}
			// A hundredth is what BBR's pacing leaves; with more its queue grows. The
			// first three seconds are for finding out, and what comes then and now tries
			// whether there is more.
			if _, lent := r.Rates(23*time.Second, 29*time.Second); lent > 0.02*mbit {
				t.Errorf("beside an owner of all %.3f Mbit/s were lent", lent/mbit)
			}
		})
		t.Run(name+"/spare", func(t *testing.T) {
			t.Parallel()
			r := mustRun(t, with(LendingSpare(c.queue))).Owner
			for _, p := range []struct {
				from, to time.Duration
				share    float64
				ping     time.Duration // most of its mean: 40 ms are the path's own
			}{
				{2 * time.Second, 15 * time.Second, 0.95, 50 * ms},
				{15 * time.Second, 30 * time.Second, 0.92, 55 * ms},
				// .84 to .92 under changes that mean nothing: when CUBIC was cut last.
				{45 * time.Second, 60 * time.Second, 0.83, 55 * ms},
			} {
				owner, lent := r.Rates(p.from, p.to)
				if share := lent / (10*mbit - owner); share < p.share {
					t.Errorf("%v to %v: the owner had %.2f Mbit/s of 10, the borrower %.2f, which is %.2f of the rest, want %.2f",
						p.from, p.to, owner/mbit, lent/mbit, share, p.share)
				}
				if ping := r.PingsIn(p.from, p.to).Mean; ping > p.ping {
					t.Errorf("%v to %v: the owner's ping was %v, at most %v is allowed", p.from, p.to, ping, p.ping)
				}
			}
			if owner, _ := r.Rates(31*time.Second, 45*time.Second); owner < 0.93*9.63*mbit {
				t.Errorf("a transfer that the owner began beside the borrower had %.2f Mbit/s, 9.63 alone", owner/mbit)
			}
		})
	}
}

// TestLendingBlind: without the relay's word the owner's BBR, which keeps no
// queue to be seen, loses more than with it.
func TestLendingBlind(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of computing")
	}
	var lost [2]time.Duration
	for i, blind := range []bool{false, true} {
		s := bonded(LendingBusy(100 * ms))
		s.Owner.TCP, s.Owner.Blind = tcp.NewBBR, blind
		r := mustRun(t, s).Owner
		lost[i] = r.PingsIn(20*time.Second, 40*time.Second).P50 - r.PingsIn(5*time.Second, 20*time.Second).P50
	}
	if lost[0] >= lost[1] {
		t.Errorf("with the relay's word the ping rose by %v, without it by %v", lost[0], lost[1])
	}
}
