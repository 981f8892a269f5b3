package rate

import (
	"testing"
	"time"
)

// TestHint: once data has come back, a hint that fits the round trip gives the plan
// its rate and the path up to twice its first window; whatever it says, the same
// rate is found.
func TestHint(t *testing.T) {
	for _, c := range []struct {
		name     string
		rate     float64 // that is told, Mbit/s; the link has 100 at 60 ms, so holds 750 kB
		rtt      time.Duration
		window   int // then
		prospect float64
		believed bool
	}{
		{"right", 100, 60 * ms, 96_000, 100, true},
		{"too high", 1000, 60 * ms, 96_000, 1000, true},
		{"half of it fills less", 20, 60 * ms, 75_000, 20, true},
		{"no less than without", 1, 60 * ms, 48_000, 6.4, true},
		{"of a far network", 100, 121 * ms, 48_000, 0, false},
		{"of a near network", 100, 29 * ms, 48_000, 0, false},
		{"none", 0, 60 * ms, 48_000, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPipe(t, constant(100*mbit, 60*ms), Params{})
			p.c.Suppose(c.rate*mbit, c.rtt)
			p.demand = 0.5 * mbit // a packet every 24 ms
			if w := p.c.Window(); w != 48_000 || p.c.Prospect() != 0 {
				t.Errorf("before data came the window is %d and %.2f Mbit/s are planned with", w, p.c.Prospect()/mbit)
			}
			p.run(75*ms + 30*ms) // one has come back
			p.within("window", float64(p.c.Window()), float64(c.window), float64(c.window))
			p.within("prospect, Mbit/s", p.c.Prospect()/mbit, .99*c.prospect, c.prospect)
			if p.c.Believes() != c.believed {
				t.Errorf("believed: %v", p.c.Believes())
			}
			p.demand = 0
			p.run(7 * (60*ms + feedbackEvery))
			p.within("rate seven rounds later, Mbit/s", p.c.Rate()/mbit, 98, 102)
			if p.maxQueue > 240*ms || p.lost > 0 {
				t.Errorf("a queue of %v, %d lost", p.maxQueue, p.lost)
			}
			p.run(5 * time.Second)
			if p.c.Believes() || p.c.Mode() != "cruise" {
				t.Errorf("in %s the hint is believed: %v", p.c.Mode(), p.c.Believes())
			}
			p.within("share", p.throughput(5*time.Second)/(100*mbit), 0.98, 1.01)
		})
	}
}

// TestHintTakenBack: a path that has become slower shows it by its queue, or by
// loss where it holds none, and one that has become faster by what it delivers,
// within three round trips; that costs a bounded queue.
func TestHintTakenBack(t *testing.T) {
	const rtt = 50 * ms
	for _, c := range []struct {
		name        string
		rate, hint  float64 // Mbit/s
		queue, most int     // of the link, and of it used; bytes
	}{
		{"slower", 2, 20, 100_000, 90_000}, // 62.5 kB may be under way by the hint
		{"slower, with a short queue", 2, 20, 20_000, 20_000},
		{"faster", 20, 2, 500_000, 260_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := constant(c.rate*mbit, rtt)
			cfg.Queue = c.queue
			p := newPipe(t, cfg, Params{})
			p.c.Suppose(c.hint*mbit, rtt)
			p.run(rtt + 15*ms)
			if !p.c.Believes() {
				t.Error("not believed at first")
			}
			p.run(3 * (rtt + feedbackEvery))
			if p.c.Believes() {
				t.Errorf("believed after three round trips more, at %.2f Mbit/s", p.c.Rate()/mbit)
			}
			if used := p.link.Stats().MaxQueue; used > c.most {
				t.Errorf("a queue of %d bytes, at most %d are wanted", used, c.most)
			}
			p.run(2 * time.Second)
			p.within("share", p.throughput(5*time.Second)/(c.rate*mbit), 0.97, 1.01)
		})
	}
}

// TestHintAndRestart: what the path itself had shown counts more; a hint that
// is told after an outage more again.
func TestHintAndRestart(t *testing.T) {
	p := newPipe(t, constant(20*mbit, 30*ms), Params{})
	p.c.Suppose(40*mbit, 30*ms)
	p.c.Restart(p.now) // its first coming to life
	p.demand = 0.5 * mbit
	p.run(60 * ms)
	if !p.c.Believes() {
		t.Error("forgotten before anything was measured")
	}
	p.demand = 0
	p.run(3 * time.Second)
	p.c.Restart(p.now)
	if p.within("prospect, Mbit/s", p.c.Prospect()/mbit, 19, 21); p.c.Believes() {
		t.Error("believed in place of what was measured")
	}
	p.c.Suppose(10*mbit, 30*ms)
	p.run(20 * ms)
	p.c.Suppose(0, 0)
	if p.c.Believes() || p.c.prior != 0 {
		t.Error("in another network, of which nothing is known, something is")
	}
}
