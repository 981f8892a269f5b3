package rate

import (
	"fmt"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// TestSpareIdle: a link that its owner does not use is used nearly whole, with
// hardly a queue.
func TestSpareIdle(t *testing.T) {
	for _, rate := range []float64{2 * mbit, 10 * mbit, 50 * mbit} {
		p := newPipe(t, constant(rate, 40*ms), Params{Spare: true, Feedback: feedbackEvery})
		p.run(3 * time.Second)
		p.maxQueue = 0
		p.within("share of the link", p.throughput(20*time.Second)/rate, 0.93, 1.005)
		most := 3*spareQueue + feedbackEvery + time.Duration(4*packetSize/rate*float64(time.Second))
		if p.maxQueue > most {
			t.Errorf("at %.0f Mbit/s the queue was %v long, at most %v is allowed", rate/mbit, p.maxQueue, most)
		}
	}
}

// TestSpareYields: when another's queue stands in the link, as a download's does
// that fills its buffer, all but a trace is given up, and all is taken again when
// the queue has gone.
func TestSpareYields(t *testing.T) {
	const rate = 10 * mbit
	p := newPipe(t, constant(rate, 40*ms), Params{Spare: true, Feedback: feedbackEvery})
	p.run(3 * time.Second)
	busy := func(d time.Duration) float64 {
		before := p.got.bytes
		for end := p.now + d; p.now < end; p.run(10 * ms) {
			// 100 ms of the owner's packets always wait.
			for p.link.Queued(p.now) < int(rate*(100*ms).Seconds()) && p.link.Push(p.now, 1500, sent{seq: another}) {
			}
		}
		return float64(p.got.bytes-before) / d.Seconds()
	}
	busy(2 * time.Second)
	p.within("share beside the owner", busy(5*time.Second)/rate, 0.001, 0.03)
	p.run(1500 * ms)
	p.within("share a second and a half after", p.throughput(5*time.Second)/rate, 0.90, 1.005)
}

// TestRandomLossAppLimited: who sends less than the path carries, and loses some
// of it by chance, keeps what was measured. A lent path once fell to a fifth in
// four seconds: of a round of 20 packets a lost one was 5 %, and what was sent,
// not what was allowed, was taken for what the path had left.
func TestRandomLossAppLimited(t *testing.T) {
	for _, spare := range []bool{false, true} {
		for _, loss := range []float64{0.01, 0.02} {
			for _, share := range []float64{0.7, 0.4, 0.02} {
				for _, l := range []struct {
					rate float64
					rtt  time.Duration
				}{{5, 76 * ms}, {20, 30 * ms}, {50, 40 * ms}} {
					t.Run(fmt.Sprintf("lent=%v, %v of %s, %v of it lost", spare, share, linkName(l.rate, l.rtt), loss), func(t *testing.T) {
						cfg := constant(l.rate*mbit, l.rtt)
						cfg.Seed, cfg.Changes = 1, []sim.Change{{At: 3 * time.Second, Loss: &loss}}
						p := newPipe(t, cfg, Params{Steady: 20 * ms, Varying: 60 * ms, Feedback: feedbackEvery, Spare: spare})
						p.run(3 * time.Second)
						p.demand = share * l.rate * mbit
						p.run(2 * time.Second)
						for range 20 {
							p.run(500 * ms)
							p.within("rate, Mbit/s", p.c.Rate()/mbit, 0.9*l.rate, 1.1*l.rate)
						}
					})
				}
			}
		}
	}
}

// TestSpareRandomLoss: a busy lent path on which some is lost by chance is used
// nearly whole all the same.
func TestSpareRandomLoss(t *testing.T) {
	for loss, share := range map[float64]float64{0.001: 0.93, 0.01: 0.9, 0.02: 0.85} {
		for _, l := range []struct {
			rate float64
			rtt  time.Duration
		}{{5, 76 * ms}, {20, 30 * ms}, {50, 40 * ms}} {
			t.Run(fmt.Sprintf("%v of %s", loss, linkName(l.rate, l.rtt)), func(t *testing.T) {
				cfg := constant(l.rate*mbit, l.rtt)
				cfg.Loss, cfg.Seed = loss, 1
				p := newPipe(t, cfg, Params{Spare: true, Feedback: feedbackEvery})
				p.run(3 * time.Second)
				p.within("share of what is not lost", p.throughput(20*time.Second)/(l.rate*mbit*(1-loss)), share, 1.01)
			})
		}
	}
}

// TestSpareRecovers: a lent path that is wrongly thought slow, and therefore gets
// nothing or next to nothing, is thought better of within seconds.
func TestSpareRecovers(t *testing.T) {
	for _, demand := range []float64{0, 0.02} {
		p := newPipe(t, constant(5*mbit, 76*ms), Params{Spare: true, Feedback: feedbackEvery})
		p.run(3 * time.Second)
		p.demand = max(demand*5*mbit, 1) // a packet in 25 minutes is none
		p.run(time.Second)
		p.c.spare.rate = 1 * mbit
		p.run(4 * time.Second)
		p.within("rate, Mbit/s", p.c.Rate()/mbit, 3, 5.1)
		p.run(4 * time.Second)
		p.within("rate, Mbit/s", p.c.Rate()/mbit, 4.5, 5.1)
	}
}

// TestSpareSlower: a lent path that has become slower is noticed in as many
// rounds as it takes to give way to an owner's queue.
func TestSpareSlower(t *testing.T) {
	for _, demand := range []float64{0, 10 * mbit} {
		cfg := constant(20*mbit, 30*ms)
		to := 5e6
		cfg.Changes = []sim.Change{{At: 5 * time.Second, Rate: &to}}
		p := newPipe(t, cfg, Params{Spare: true, Feedback: feedbackEvery})
		p.run(4 * time.Second)
		p.demand = demand
		p.run(time.Second)
		n := 0
		for ; n < 100 && p.c.Rate() > 1.1*5*mbit; n++ {
			p.run(30*ms + feedbackEvery)
		}
		p.within("rounds until it is noticed", float64(n), 1, 20)
		p.run(time.Second)
		p.within("share of the new rate", p.throughput(5*time.Second)/(5*mbit), 0.9, 1.01)
	}
}

// TestSpareMemory: the least delay stands for two to four minutes, then what was
// met since counts: the route may have changed.
func TestSpareMemory(t *testing.T) {
	var l leastDelay
	l.offer(0, 30*ms)
	at := time.Duration(0)
	for ; at < spareMemory; at += time.Second {
		l.offer(at, 50*ms)
	}
	if l.value != 30*ms {
		t.Errorf("after %v the least delay is %v, want the 30 ms that were met", at, l.value)
	}
	for end := at + 2*spareMemory; at < end; at += time.Second {
		l.offer(at, 50*ms)
	}
	if l.value != 50*ms {
		t.Errorf("after %v it is still %v", at, l.value)
	}
	l.offer(at, -5*ms) // clocks differ by anything
	if l.value != -5*ms {
		t.Errorf("a delay of −5 ms gave %v", l.value)
	}
}

// TestSpareUnused: while the lender sees that it uses nothing, losses and the
// queues of a link that fades are not its owner's.
func TestSpareUnused(t *testing.T) {
	lossy := constant(5*mbit, 120*ms)
	lossy.Loss, lossy.Seed = 0.01, 1
	fading, err := sim.Cellular{Rate: 8e6, Spread: 0.5, Turn: 2 * time.Second, Grant: 4 * ms, Seed: 1}.Trace()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		link  sim.LinkConfig
		share float64
		gain  float64 // by the lender's word
	}{
		{"lossy", lossy, 0.9, -0.05}, // chance loss is known without, too
		{"fading", sim.LinkConfig{Trace: fading, Delay: 45 * ms, Queue: 750_000}, 0.85, 0.05},
	} {
		t.Run(c.name, func(t *testing.T) {
			var shares [2]float64
			for i, unused := range []bool{false, true} {
				p := newPipe(t, c.link, Params{Spare: true, Unused: unused, Varying: 60 * ms, Feedback: feedbackEvery})
				p.run(3 * time.Second)
				rate := c.link.Rate / 8
				if rate == 0 {
					rate = fading.Rate() / 8
				}
				shares[i] = p.throughput(57*time.Second) / rate
			}
			if shares[1] < c.share || shares[0] > shares[1]-c.gain {
				t.Errorf("of the link %.2f is used, unused by its owner %.2f, want %.2f", shares[0], shares[1], c.share)
			}
		})
	}
}
