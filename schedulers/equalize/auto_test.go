package equalize

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// traffic shows a scheduler a snapshot every 25 ms of 20 Mbit/s, 30 ms beside
// 5 Mbit/s, 120 ms, which carry so many Mbit/s.
type traffic struct {
	auto       schedulers.Scheduler
	now        time.Duration
	seq        uint64
	sent       [2]float64
	fast, slow float64
	plan       schedulers.Plan
}

func (x *traffic) run(d time.Duration) {
	const tick = 25 * time.Millisecond
	for end := x.now + d; x.now < end; {
		x.now += tick
		x.seq++
		x.sent[0] += x.fast * mbit * tick.Seconds()
		x.sent[1] += x.slow * mbit * tick.Seconds()
		a, b := link(0, 20, 30), link(1, 5, 120)
		a.Sent, b.Sent = uint64(x.sent[0]), uint64(x.sent[1])
		x.plan = schedulers.Plan{}
		x.auto.Plan(&schedulers.Snapshot{Seq: x.seq, Now: x.now, Largest: 1452, Paths: []schedulers.Path{a, b}}, &x.plan)
	}
}

// until runs until the fast path's packets are held for as long as that, and
// returns the time it took.
func (x *traffic) until(ms float64) time.Duration {
	from := x.now
	for x.held() != ms && x.now-from < time.Hour {
		x.run(25 * time.Millisecond)
	}
	return x.now - from
}

// held is how long the fast path's packets are held, ms.
func (x *traffic) held() float64 { return x.plan.Hold[0].Seconds() * 1e3 }

func (x *traffic) within(t *testing.T, when string, low, high float64) {
	t.Helper()
	if h := x.held(); h < low || h > high {
		t.Errorf("%s: held %.1f ms, want %g to %g", when, h, low, high)
	}
}

// began starts a flow that fills the fast path alone, until the delays are
// equal.
func began(t *testing.T) *traffic {
	t.Helper()
	x := &traffic{auto: NewAuto(), now: time.Hour, fast: 19}
	x.run(window)
	x.within(t, "at first", 0, 0)
	x.run(25 * time.Millisecond)
	from := x.now
	// 30 ms × (1.7^(t/10 s) − 1), which is 45 ms after 17.3 s.
	for _, c := range []struct{ after, ms float64 }{{5, 9.1}, {10, 21}, {15, 36.5}} {
		x.run(from + time.Duration(c.after*1e9) - x.now)
		x.within(t, "while it grows", c.ms-.5, c.ms+.5)
	}
	if d := x.until(45); d < 2200*time.Millisecond || d > 2350*time.Millisecond {
		t.Errorf("equal %v after 15 s", d)
	}
	return x
}

// TestAutoPays: a flow that then fills both paths keeps them equal, until it
// ends or needs but one of them.
func TestAutoPays(t *testing.T) {
	x := began(t)
	x.fast, x.slow = 19, 4.5
	x.run(time.Minute)
	x.within(t, "while it pays", 45, 45)
	x.fast, x.slow = 8, 2
	if d := x.until(0); d > window {
		t.Errorf("one path is enough, which it took %v to see", d)
	}
	x.fast, x.slow = 19, 0
	x.run(waitShort - 25*time.Millisecond)
	x.within(t, "soon again one is idle", 0, 0)
	x.until(45)              // another attempt
	x.now += 3 * time.Second // nothing sent
	x.run(25 * time.Millisecond)
	x.within(t, "after a pause", 0, 0)
}

// TestAutoDoesNotPay: a flow that has no more to send is left alone for a
// minute, then for two.
func TestAutoDoesNotPay(t *testing.T) {
	x := began(t)
	for _, rest := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		if d := x.until(0); d != settle {
			t.Errorf("given up after %v, want %v", d, settle)
		}
		x.run(rest - 25*time.Millisecond)
		x.within(t, "at rest", 0, 0)
		if d := x.until(45); d > 17500*time.Millisecond {
			t.Errorf("the next attempt takes %v", d)
		}
	}
}

// TestAutoSpills: where both paths are used, or one does not have enough to do,
// nothing is done.
func TestAutoSpills(t *testing.T) {
	for _, c := range [][2]float64{{19, 3}, {15, 0}, {5, 4}} {
		x := &traffic{auto: NewAuto(), now: time.Hour, fast: c[0], slow: c[1]}
		x.run(time.Minute)
		x.within(t, "never", 0, 0)
	}
}
