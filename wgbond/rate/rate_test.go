package rate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	ms   = time.Millisecond
	mbit = 1e6 / 8 // bytes per second

	feedbackEvery = 10 * ms
	clockAhead    = 1000 * time.Second // the receiver's clock
)

// pipe is a controller that sends over a simulated link, with a receiver that
// reports every ten milliseconds over a free way back.
//
//	demand ─▶ Controller ─▶ sim.Link ─▶ receiver
//	              ▲                        │
//	              └── feedback, delay later ┘
type pipe struct {
	*testing.T
	c     *Controller
	link  *sim.Link[sent]
	delay time.Duration // of the way back, and of the link's propagation
	now   time.Duration

	// demand is what the application offers, bytes per second; 0: always more.
	demand  float64
	offered float64 // bytes, waiting
	since   time.Duration
	// rival is another controller's: it may not be in ProbeRTT with this one.
	rival bool

	pingAt   time.Duration
	seq      uint64
	inFlight []sent
	bytes    int
	lost     int

	got        total // at the receiver
	newest     sent
	arrived    time.Duration
	pending    bool
	reportAt   time.Duration
	reportedAt time.Duration
	came       map[uint64]bool
	reports    []report

	rtts []measured
	// minRTT holds as in package path: ten seconds, and one more.
	probed    int // times in ProbeRTT
	wasProbe  bool
	maxQueue  time.Duration // since it was last set to 0
	queueBits float64       // the link's rate, bit/s
}

type sent struct {
	seq   uint64 // 0: a ping
	at    time.Duration
	size  int
	stamp Stamp
}

// another as sent.seq: a packet of somebody else's.
const another = 1 << 62

type total struct{ packets, bytes uint64 }

type report struct {
	at      time.Duration // when it reaches the sender
	ping    bool          // the answer to one
	made    time.Duration
	got     total
	newest  sent
	arrived time.Duration
}

type measured struct{ at, rtt time.Duration }

func newPipe(t *testing.T, cfg sim.LinkConfig, params Params) *pipe {
	t.Helper()
	link, err := sim.NewLink[sent](cfg)
	if err != nil {
		t.Fatal(err)
	}
	if params == (Params{}) {
		params = Params{Steady: 20 * ms, Varying: 60 * ms, Feedback: feedbackEvery}
	}
	p := &pipe{T: t, link: link, delay: cfg.Delay, came: map[uint64]bool{}, queueBits: cfg.Rate, reportedAt: -time.Second}
	p.c = New(0, params)
	p.measured(2 * p.delay) // a ping has shown that the path works
	return p
}

// constant is a link of rate (bytes per second) and RTT with 200 ms of queue.
func constant(rate float64, rtt time.Duration) sim.LinkConfig {
	return sim.LinkConfig{Rate: rate * 8, Delay: rtt / 2, Queue: int(rate*0.2) + 3000}
}

func (p *pipe) measured(rtt time.Duration) {
	for len(p.rtts) > 0 && p.rtts[len(p.rtts)-1].rtt >= rtt {
		p.rtts = p.rtts[:len(p.rtts)-1]
	}
	p.rtts = append(p.rtts, measured{p.now, rtt})
	for p.now-p.rtts[0].at > 11*time.Second {
		p.rtts = p.rtts[1:]
	}
}

// run advances by d.
func (p *pipe) run(d time.Duration) {
	end := p.now + d
	for {
		p.send()
		next := min(end, p.link.Next(), p.pingAt)
		if p.pending {
			next = min(next, p.reportAt)
		}
		if len(p.reports) > 0 {
			next = min(next, p.reports[0].at)
		}
		if p.bytes < p.c.Window() {
			if p.backlogged() {
				next = min(next, p.c.NextSend(p.now))
			} else {
				next = min(next, p.now+time.Duration((1500-p.offered)/p.demand*1e9)+1)
			}
		}
		p.now = max(next, p.now)
		if p.demand > 0 {
			p.offered += p.demand * (p.now - p.since).Seconds()
		}
		p.since = p.now
		p.arrive()
		if p.pending && p.reportAt <= p.now {
			p.pending = false
			p.reportedAt = p.now
			p.reports = append(p.reports, report{p.now + p.delay, false, p.now, p.got, p.newest, p.arrived})
		}
		for len(p.reports) > 0 && p.reports[0].at <= p.now {
			p.learn(p.reports[0])
			p.reports = p.reports[1:]
		}
		if p.now >= end {
			return
		}
	}
}

func (p *pipe) backlogged() bool { return p.demand == 0 || p.offered >= 1500 }

func (p *pipe) send() {
	if p.now >= p.pingAt {
		p.pingAt = p.now + 500*ms
		p.link.Push(p.now, 80, sent{at: p.now})
	}
	for p.c.MaySend(p.now, p.bytes) {
		if !p.backlogged() {
			p.c.AppLimited(p.bytes)
			return
		}
		p.offered = max(0, p.offered-1500)
		p.seq++
		x := sent{seq: p.seq, at: p.now, size: 1500}
		x.stamp = p.c.Sent(p.now, x.size, p.bytes, wire.ClockOf(p.now+p.delay+clockAhead))
		p.inFlight = append(p.inFlight, x)
		p.bytes += x.size
		p.link.Push(p.now, x.size, x)
		if p.queueBits > 0 {
			p.maxQueue = max(p.maxQueue, time.Duration(float64(p.link.Queued(p.now)*8)/p.queueBits*1e9))
		}
	}
}

func (p *pipe) arrive() {
	for {
		x, size, ok := p.link.Pop(p.now)
		if !ok {
			return
		}
		if x.seq == 0 {
			p.reports = append(p.reports, report{at: p.now + p.delay, ping: true, newest: x, arrived: p.now})
			continue
		}
		if x.seq == another {
			continue
		}
		p.got.packets++
		p.got.bytes += uint64(size)
		p.newest, p.arrived = x, p.now
		p.came[x.seq] = true
		if !p.pending {
			p.pending = true
			p.reportAt = max(p.now, p.reportedAt+feedbackEvery)
		}
	}
}

// learn is what Session does with a feedback.
func (p *pipe) learn(r report) {
	if r.ping {
		p.measured(p.now - r.newest.at)
		p.c.Pinged(p.now, r.newest.at, wire.ClockOf(r.arrived+clockAhead), p.bytes)
		return
	}
	rtt := p.now - r.newest.at - (r.made - r.arrived)
	p.measured(rtt)
	held := p.inFlight[:0]
	for _, x := range p.inFlight {
		switch {
		case p.came[x.seq] && x.seq <= r.newest.seq:
			p.bytes -= x.size
		case x.seq+3 <= r.newest.seq:
			p.bytes -= x.size
			p.lost++
			p.c.Lost(x.size)
		default:
			held = append(held, x)
		}
	}
	p.inFlight = held
	p.c.Delivered(p.now, Delivery{
		Stamp: r.newest.stamp, Bytes: r.got.bytes, Arrived: wire.ClockOf(r.arrived + clockAhead), RTT: rtt,
		MinRTT: p.rtts[0].rtt, EmptyAge: p.now - p.rtts[0].at, InFlight: p.bytes, MayProbeRTT: !p.rival,
	})
	if probe := p.c.ProbingRTT(); probe != p.wasProbe {
		p.wasProbe = probe
		if probe {
			p.probed++
		}
	}
}

// within asserts a figure of a deterministic run.
func (p *pipe) within(what string, got, low, high float64) {
	p.Helper()
	if !(got >= low && got <= high) {
		p.Errorf("%s at %v: %.5g, want %.5g to %.5g (%s, rate %.4g Mbit/s, window %d)", what, p.now, got, low, high,
			p.c.Mode(), p.c.Rate()/mbit, p.c.Window())
	}
}

// throughput runs for d and gives the bytes per second that arrive.
func (p *pipe) throughput(d time.Duration) float64 {
	before := p.got.bytes
	p.run(d)
	return float64(p.got.bytes-before) / d.Seconds()
}

// links are those of the design's scenarios, and some beyond.
var links = []struct {
	rate   float64 // Mbit/s
	rtt    time.Duration
	rounds int // of Startup until the rate is known within 2 %
}{
	{0.2, 500 * ms, 5}, {1, 50 * ms, 3}, {2, 300 * ms, 5}, {3.6, 60 * ms, 3}, {5, 120 * ms, 5},
	{20, 30 * ms, 5}, {50, 20 * ms, 4}, {100, 10 * ms, 6}, {100, 100 * ms, 8}, {300, 20 * ms, 7},
}

func linkName(rate float64, rtt time.Duration) string {
	return fmt.Sprintf("%v Mbit over %v", rate, rtt)
}

// TestStartup: the rate is found within 2 % in so many round trips, the wait
// for feedback included. It can at most treble in each.
func TestStartup(t *testing.T) {
	for _, tc := range links {
		t.Run(linkName(tc.rate, tc.rtt), func(t *testing.T) {
			want := tc.rate * mbit
			p := newPipe(t, constant(want, tc.rtt), Params{})
			n := 0
			for ; n < 50 && math.Abs(p.c.Rate()/want-1) > 0.02; n++ {
				p.run(tc.rtt + feedbackEvery)
			}
			p.within("rounds until the rate is known", float64(n), 1, float64(tc.rounds))
			for range 10 {
				p.run(tc.rtt + feedbackEvery)
				p.within("rate afterwards, Mbit/s", p.c.Rate()/mbit, tc.rate*0.98, tc.rate*1.02)
			}
		})
	}
}

// TestStandingQueue: in Cruise the link is busy and the queue in the network
// within its bound. What the next feedback will report stands beside it.
func TestStandingQueue(t *testing.T) {
	for _, tc := range links {
		t.Run(linkName(tc.rate, tc.rtt), func(t *testing.T) {
			rate := tc.rate * mbit
			p := newPipe(t, constant(rate, tc.rtt), Params{})
			p.run(25 * (tc.rtt + feedbackEvery))
			for range 25 {
				p.maxQueue = 0
				got := p.throughput(200*ms + tc.rtt)
				packet := time.Duration(1500 / rate * 1e9)
				bound := min(20*ms, max(tc.rtt/3, 20*ms/3)).Seconds()
				p.within("queue, seconds", p.maxQueue.Seconds(), 0, bound+(feedbackEvery+3*packet).Seconds())
				p.within("queue bound, seconds", p.c.QueueBound().Seconds(), bound, bound+packet.Seconds())
				// Once in ten seconds at most, the pipe drains for ProbeRTT.
				granule := 1500 / (200*ms + tc.rtt).Seconds()
				p.within("throughput, Mbit/s", got/mbit, (rate*0.75-granule)/mbit, (rate*1.02+granule)/mbit)
			}
			p.within("share of the link", p.throughput(20*time.Second)/rate, 0.97, 1.005)
		})
	}
}

// TestAppLimited: sending less than the path carries does not make it slower.
func TestAppLimited(t *testing.T) {
	for _, share := range []float64{0.7, 0.3, 0.02} {
		p := newPipe(t, constant(20*mbit, 30*ms), Params{})
		p.run(2 * time.Second)
		p.demand = share * 20 * mbit
		for range 40 {
			p.run(500 * ms)
			p.within(fmt.Sprintf("rate at %v of it, Mbit/s", share), p.c.Rate()/mbit, 19.6, 20.4)
		}
		p.demand = 0
		p.within("share at once afterwards", p.throughput(500*ms)/(20*mbit), 0.95, 1.01)
	}
}

// TestAppLimitedFromTheStart: what was sent is known to fit, and the rest is
// still tried as in Startup.
func TestAppLimitedFromTheStart(t *testing.T) {
	p := newPipe(t, constant(20*mbit, 30*ms), Params{})
	p.demand = 4 * mbit
	p.run(5 * time.Second)
	p.within("rate, Mbit/s", p.c.Rate()/mbit, 3.9, 20.4)
	if p.c.Mode() != "startup" {
		t.Errorf("mode %s; the pipe was never full", p.c.Mode())
	}
	p.demand = 0
	p.run(5 * (30*ms + feedbackEvery))
	p.within("rate five rounds later, Mbit/s", p.c.Rate()/mbit, 19.6, 20.4)
}

// TestRateChanges: the controller follows a link that changes its rate, up by a
// quarter every eight rounds. Down it takes the filter's rounds, each as
// long as the queue that the old window makes of the new rate.
func TestRateChanges(t *testing.T) {
	for _, tc := range []struct {
		from, to float64 // Mbit/s
		rtt      time.Duration
		rounds   int // until the rate is known within 2 %, RTT + feedback each
	}{
		{20, 10, 30 * ms, 70}, {20, 5, 30 * ms, 140}, {10, 20, 30 * ms, 30}, {3.6, 7.2, 60 * ms, 30},
		{10, 5, 100 * ms, 55}, {5, 10, 100 * ms, 30}, {10, 40, 40 * ms, 50},
	} {
		t.Run(fmt.Sprintf("%v to %v Mbit over %v", tc.from, tc.to, tc.rtt), func(t *testing.T) {
			cfg := constant(tc.from*mbit, tc.rtt)
			to := tc.to * mbit * 8
			cfg.Changes = []sim.Change{{At: 5 * time.Second, Rate: &to}}
			p := newPipe(t, cfg, Params{})
			p.run(5 * time.Second)
			p.within("rate before, Mbit/s", p.c.Rate()/mbit, tc.from*0.98, tc.from*1.02)
			n := 0
			for ; n < 200 && math.Abs(p.c.Rate()/(tc.to*mbit)-1) > 0.02; n++ {
				p.run(tc.rtt + feedbackEvery)
			}
			p.within("rounds until the new rate is known", float64(n), 1, float64(tc.rounds))
			p.run(2 * time.Second)
			p.queueBits, p.maxQueue = to, 0
			bound := p.c.QueueBound() // the change may have made the path look varying
			p.within("share of the new rate", p.throughput(2*time.Second)/(tc.to*mbit), 0.97, 1.01)
			packet := time.Duration(1500 / (tc.to * mbit) * 1e9)
			// A ProbeRTT that fell into the change has not seen the pipe empty.
			p.within("queue, seconds", p.maxQueue.Seconds(), 0, (bound + feedbackEvery + 3*packet + 10*ms).Seconds())
		})
	}
}

// TestRandomLoss: loss that is no sign of congestion does not collapse the
// window, which it once did: the bound was a share of the window, the window
// of the rate, and the rate of the bound.
func TestRandomLoss(t *testing.T) {
	for loss, share := range map[float64]float64{0.001: 0.95, 0.01: 0.95, 0.05: 0.93, 0.1: 0.85} {
		for _, l := range []struct {
			rate float64
			rtt  time.Duration
		}{{20, 30 * ms}, {5, 120 * ms}, {3.6, 60 * ms}} {
			t.Run(fmt.Sprintf("%v of %s", loss, linkName(l.rate, l.rtt)), func(t *testing.T) {
				cfg := constant(l.rate*mbit, l.rtt)
				cfg.Loss, cfg.Seed = loss, 1
				p := newPipe(t, cfg, Params{})
				p.run(3 * time.Second)
				bdp := l.rate * mbit * l.rtt.Seconds()
				for range 20 {
					p.run(500 * ms)
					if p.c.Mode() != "probe-rtt" {
						p.within("window, BDPs", float64(p.c.Window())/bdp, 0.9*(1-loss), 2.5)
					}
				}
				p.within("share of what is not lost", p.throughput(15*time.Second)/(l.rate*mbit*(1-loss)), share, 1.02)
			})
		}
	}
}

// TestLossBeforeRate: packets that are lost before the rate is known say nothing of
// what the pipe holds. One lost ping before a download once left a window of
// 7.5 kB on 20 Mbit/s, which took two seconds to grow.
func TestLossBeforeRate(t *testing.T) {
	cfg := constant(20*mbit, 30*ms)
	none := 0.0
	cfg.Loss, cfg.Seed, cfg.Changes = 0.2, 1, []sim.Change{{At: 500 * ms, Loss: &none}}
	p := newPipe(t, cfg, Params{})
	p.demand = 0.5 * mbit
	p.run(500 * ms)
	if p.lost == 0 {
		t.Fatal("nothing was lost")
	}
	p.demand = 0
	p.run(300 * ms)
	p.within("share of the link", p.throughput(time.Second)/(20*mbit), 0.95, 1.005)
}

// TestShallowBuffer: a queue of 15 ms cannot hold what the delay bound allows.
// The loss bound keeps the link busy and the losses few.
func TestShallowBuffer(t *testing.T) {
	for _, l := range []struct {
		rate float64
		rtt  time.Duration
	}{{20, 30 * ms}, {5, 120 * ms}, {3.6, 60 * ms}, {100, 20 * ms}} {
		t.Run(linkName(l.rate, l.rtt), func(t *testing.T) {
			rate := l.rate * mbit
			cfg := constant(rate, l.rtt)
			cfg.Queue = int(rate * 0.015)
			p := newPipe(t, cfg, Params{})
			p.run(3 * time.Second)
			sent, lost := p.seq, p.lost
			got := p.throughput(20 * time.Second)
			p.within("share of the link", got/rate, 0.97, 1.005)
			p.within("share lost", float64(p.lost-lost)/float64(p.seq-sent), 0, 0.03)
		})
	}
}

// TestMaxRate: the user's limit holds in every mode, from the first packet.
func TestMaxRate(t *testing.T) {
	params := Params{Steady: 20 * ms, Varying: 60 * ms, Feedback: feedbackEvery, MaxRate: 5 * mbit}
	p := newPipe(t, constant(20*mbit, 30*ms), params)
	for range 200 {
		before := p.bytesSent()
		p.run(100 * ms)
		p.within("sent in 100 ms, bytes", float64(p.bytesSent()-before), 0, 5*mbit*0.1+burstMin+1500)
		p.within("estimate, Mbit/s", p.c.Rate()/mbit, 0, 5)
		p.within("pacing, Mbit/s", p.c.PacingRate()/mbit, 0.1, 5)
	}
	p.within("throughput, Mbit/s", p.throughput(5*time.Second)/mbit, 4.8, 5.01)

	// Before the first RTT, too.
	c := New(0, params)
	if got := c.PacingRate(); got != 5*mbit {
		t.Errorf("pacing at %v before anything is known, want %v", got, 5*mbit)
	}
}

func (p *pipe) bytesSent() uint64 { return p.seq * 1500 }

// TestRestart: the pipe's size is found anew, as in Startup, but not its RTT.
func TestRestart(t *testing.T) {
	p := newPipe(t, constant(20*mbit, 30*ms), Params{})
	p.run(5 * time.Second)
	p.c.Restart(p.now)
	if m, r, w := p.c.Mode(), p.c.Rate(), p.c.Window(); m != "startup" || r != 0 || w != 32*1500 {
		t.Errorf("after Restart: %s, rate %v, window %d", m, r, w)
	}
	p.within("pacing of 32 packets a round trip", p.c.PacingRate(), 32*1500/0.0305, 32*1500/0.03)
	p.run(3 * (30*ms + feedbackEvery))
	// However fast Startup paces: more than there was is not to be planned with.
	if m, r := p.c.Mode(), p.c.PacingRate(); m != "startup" || r < 30*mbit {
		t.Errorf("three rounds after Restart: %s at %v", m, r)
	}
	p.within("prospect, Mbit/s", p.c.Prospect()/mbit, 19, 21)
	p.run(2 * (30*ms + feedbackEvery))
	p.within("rate five rounds later, Mbit/s", p.c.Rate()/mbit, 19.6, 20.4)
	p.run(time.Second)
	p.within("share", p.throughput(5*time.Second)/(20*mbit), 0.98, 1.01)
}

// cruising is a controller in Cruise that has learnt rate and minRTT.
func cruising(now time.Duration, rate float64, minRTT time.Duration) *Controller {
	c := New(now, Params{Steady: 20 * ms, Varying: 60 * ms, Feedback: feedbackEvery})
	c.minRTT = minRTT
	c.filter.offer(0, rate)
	c.enterCruise(now)
	return c
}

// TestProbeRTT walks through its ways in and out.
func TestProbeRTT(t *testing.T) {
	const rate, minRTT = 1e6, 100 * ms // BDP 100 kB
	now := time.Minute
	c := cruising(now, rate, minRTT)
	deliver := func(after, age time.Duration, inFlight int, may bool) string {
		now += after
		c.Delivered(now, Delivery{MinRTT: minRTT, EmptyAge: age, InFlight: inFlight, MayProbeRTT: may})
		return c.Mode()
	}
	for i, step := range []struct {
		after, age time.Duration
		inFlight   int
		may        bool
		want       string
	}{
		{10 * ms, 10 * time.Second, 130e3, true, "cruise"}, // not older than ten seconds
		{10 * ms, 10*time.Second + 1, 130e3, false, "cruise"},
		{10 * ms, 10*time.Second + 1, 130e3, true, "probe-rtt"},
		{10 * ms, 10 * time.Second, 76e3, true, "probe-rtt"},    // 75 kB is the aim
		{10 * ms, 10 * time.Second, 75e3, true, "probe-rtt"},    // drained: a minRTT to go
		{100*ms - 1, 10 * time.Second, 75e3, true, "probe-rtt"}, //
		{1, 11 * time.Second, 75e3, true, "cruise"},             // over
		{10 * ms, 11 * time.Second, 75e3, true, "cruise"},       // not again for the same minimum
		{10*time.Second - 130*ms, 21 * time.Second, 75e3, true, "cruise"},
		{1, 21 * time.Second, 130e3, true, "probe-rtt"}, // ten seconds after the last began
		{10 * ms, 200*ms - 1, 130e3, true, "cruise"},    // met: over at once
		{11 * time.Second, 11 * time.Second, 130e3, true, "probe-rtt"},
		{time.Second - 1, 11 * time.Second, 130e3, true, "probe-rtt"},
		{1, 11 * time.Second, 130e3, true, "cruise"}, // it did not drain within a second
	} {
		if got := deliver(step.after, step.age, step.inFlight, step.may); got != step.want {
			t.Fatalf("step %d, at %v: %s, want %s", i, now, got, step.want)
		}
		if c.ProbingRTT() != (step.want == "probe-rtt") {
			t.Errorf("step %d: ProbingRTT %v", i, c.ProbingRTT())
		}
		if c.ProbingRTT() && c.Window() != 75e3 {
			t.Errorf("step %d: window %d, want three quarters of the BDP", i, c.Window())
		}
	}
}

// TestProbeRTTOneAtATime: while a rival probes, this one does not.
func TestProbeRTTOneAtATime(t *testing.T) {
	p := newPipe(t, constant(3.6*mbit, 60*ms), Params{})
	p.rival = true
	p.run(30 * time.Second)
	if p.probed != 0 {
		t.Errorf("in ProbeRTT %d times", p.probed)
	}
}

// TestWindow: rate × (min RTT + feedback and how late that is + queue bound) + 2
// packets; never twice the BDP and more, never below four packets.
func TestWindow(t *testing.T) {
	for _, tc := range []struct {
		rate   float64
		minRTT time.Duration
		late   time.Duration
		want   int
	}{
		{1e6, 100 * ms, 0, 130e3 + 3000},
		{1e6, 100 * ms, 45 * ms, 175e3 + 3000},
		{1e6, 20 * ms, 0, 36666 + 3000},     // a queue of a third of the least
		{1e6, 5 * ms, 0, 20e3 + 3000},       // 2 × 5 kB + 10 kB of feedback
		{1e6, 5 * ms, 45 * ms, 65e3 + 3000}, // which is late
		{1e5, 10 * ms, 0, 3000 + 3000},
		{1e4, 10 * ms, 0, 6000},
	} {
		c := cruising(0, tc.rate, tc.minRTT)
		c.late = tc.late
		if got := c.Window(); got != tc.want {
			t.Errorf("%v B/s over %v: window %d, want %d", tc.rate, tc.minRTT, got, tc.want)
		}
	}
}

// TestPacing: a bucket of two packets or a millisecond's worth, of which the
// last packet may be overdrawn; the time of the next is exact.
func TestPacing(t *testing.T) {
	const rate = 1.2e6 // 1500 bytes in 1.25 ms
	now := time.Second
	c := cruising(now, rate, 40*ms)
	send := func() { c.Sent(now, 1500, 1500, 0) }
	for i := range 2 {
		if !c.MaySend(now, 0) || c.NextSend(now) != now {
			t.Fatalf("packet %d of the burst must wait until %v", i+1, c.NextSend(now))
		}
		send()
	}
	if c.MaySend(now, 0) {
		t.Fatal("a third packet may leave at once")
	}
	if got := c.NextSend(now); got != now+time.Microsecond {
		t.Fatalf("after the burst, next at %v: the bucket is just empty, a microsecond fills it", got-now)
	}
	now += time.Microsecond
	send() // overdraws by 1498.8 bytes
	// 1499.8 bytes until there is one in the bucket.
	if got, want := c.NextSend(now), now+1249833*time.Nanosecond; got != want {
		t.Fatalf("next at %v, want %v", got-now, want-now)
	}
	start := now
	for i := range 1000 {
		next := c.NextSend(now)
		if c.MaySend(next-2*time.Microsecond, 0) {
			t.Fatalf("packet %d may leave before its time", i)
		}
		if now = next; !c.MaySend(now, 0) {
			t.Fatalf("packet %d may not leave at its time", i)
		}
		send()
	}
	if got := now - start; got < 1249*ms || got > 1251*ms {
		t.Errorf("1000 packets took %v, want 1.25 s", got)
	}

	// What was not used is lost but for the bucket.
	now += time.Minute
	burst := 0
	for ; c.MaySend(now, 0); burst++ {
		send()
	}
	if burst != 2 {
		t.Errorf("%d packets at once after a pause", burst)
	}
	if c.MaySend(now+time.Second, c.Window()) {
		t.Error("may send beyond the window")
	}
	if !c.MaySend(now+time.Second, c.Window()-1) {
		t.Error("may not send though the window has room")
	}
}

// TestPacingBursts: at high rates a burst is a millisecond's worth.
func TestPacingBursts(t *testing.T) {
	for _, tc := range []struct {
		rate  float64
		burst int
	}{{1e5, 2}, {3e6, 2}, {3.1e6, 3}, {15e6, 10}, {150e6, 100}} {
		now := time.Second
		c := cruising(now, tc.rate, 40*ms)
		now += time.Second
		n := 0
		for ; c.MaySend(now, 0); n++ {
			c.Sent(now, 1500, 0, 0)
		}
		if n != tc.burst {
			t.Errorf("%v B/s: a burst of %d packets, want %d", tc.rate, n, tc.burst)
		}
	}
}

// TestUnpaced: before the first RTT is known, 32 packets may leave at once.
func TestUnpaced(t *testing.T) {
	c := New(0, Params{Steady: 20 * ms, Feedback: feedbackEvery})
	n := 0
	for ; c.MaySend(0, n*1500); n++ {
		c.Sent(0, 1500, n*1500, 0)
	}
	if n != 32 {
		t.Errorf("%d packets, want 32", n)
	}
	if got := c.NextSend(0); got != 0 {
		t.Errorf("NextSend %v: only the window holds it back", got)
	}
}

// TestSample: what a delivery says of the rate.
func TestSample(t *testing.T) {
	const at = wire.Clock(1e9)
	for _, tc := range []struct {
		name string
		d    Delivery
		want float64
	}{
		{"by the receiver's clock", Delivery{Stamp: Stamp{deliveredAt: at, delivered: 5000}, Bytes: 105000, Arrived: at + 100000}, 1e6},
		{"by the sender's, if that took longer", Delivery{Stamp: Stamp{deliveredAt: at, firstSent: ms, sent: 201 * ms}, Bytes: 100000, Arrived: at + 100000}, 0.5e6},
		{"too short", Delivery{Stamp: Stamp{deliveredAt: at}, Bytes: 100000, Arrived: at + 39999, MinRTT: 40 * ms}, 2e5},
		{"just long enough", Delivery{Stamp: Stamp{deliveredAt: at}, Bytes: 100000, Arrived: at + 40000, MinRTT: 40 * ms}, 2.5e6},
		{"without a beginning", Delivery{Bytes: 100000, Arrived: at}, 2e5},
		{"nothing new", Delivery{Stamp: Stamp{deliveredAt: at, delivered: 7}, Bytes: 7, Arrived: at + 100000}, 2e5},
		{"a clock that stands", Delivery{Stamp: Stamp{deliveredAt: at}, Bytes: 100000, Arrived: at}, 2e5},
		{"app-limited, more", Delivery{Stamp: Stamp{deliveredAt: at, appLimited: true}, Bytes: 100000, Arrived: at + 100000}, 1e6},
		{"app-limited, less", Delivery{Stamp: Stamp{deliveredAt: at, appLimited: true}, Bytes: 1000, Arrived: at + 100000}, 2e5},
	} {
		c := New(0, Params{})
		c.filter.offer(0, 2e5) // in round 0; twenty rounds later a lower one would count
		c.round = 20
		if c.sample(tc.d); c.Rate() != tc.want {
			t.Errorf("%s: rate %v, want %v", tc.name, c.Rate(), tc.want)
		}
	}
}

// TestMaxFilterModel compares the filter with a list of all that was offered.
func TestMaxFilterModel(t *testing.T) {
	type sample struct {
		round uint64
		rate  float64
	}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var f maxFilter
		var all []sample
		round, step, values := uint64(0), rng.IntN(4), rng.IntN(30)+1
		for i := range 500 {
			if rng.IntN(3) > 0 {
				round += rng.Uint64N(uint64(step) + 1)
			}
			if rng.IntN(100) == 0 {
				round += rng.Uint64N(30)
			}
			r := float64(rng.IntN(values))
			f.offer(round, r)
			all = append(all, sample{round, r})
			want := 0.0
			for _, s := range all {
				if round-s.round < filterRounds {
					want = max(want, s.rate)
				}
			}
			if got := f.max(); got != want {
				t.Fatalf("seed %d, sample %d in round %d: %v, want %v", seed, i, round, got, want)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	c := cruising(0, 1e6, 40*ms)
	now, bytes := time.Duration(0), uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now = c.NextSend(now)
		if !c.MaySend(now, 1500) {
			t.Fatal("may not send at its time")
		}
		s := c.Sent(now, 1500, 1500, 0)
		bytes += 1500
		c.Delivered(now, Delivery{Stamp: s, Bytes: bytes, Arrived: wire.ClockOf(now), RTT: 40 * ms, MinRTT: 40 * ms})
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkSend(b *testing.B) {
	c := cruising(0, 1e6, 40*ms)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		if now = c.NextSend(now); c.MaySend(now, 1500) {
			c.Sent(now, 1500, 1500, 0)
		}
	}
}

// TestStartupBurst: before the RTT is known 32 packets leave at once. That most
// of them are lost in a shallow buffer does not end Startup, or the rate would
// be sought from a tenth of it, a quarter every eight rounds.
func TestStartupBurst(t *testing.T) {
	cfg := constant(5*mbit, 120*ms)
	cfg.Queue = int(5 * mbit * 0.015)
	p := newPipe(t, cfg, Params{})
	p.run(200 * ms)
	p.within("packets lost of the first burst", float64(p.link.Stats().Dropped.Queue), 20, 32)
	p.run(time.Second)
	p.within("rate after nine round trips, Mbit/s", p.c.Rate()/mbit, 4.9, 5.1)
}

// TestLateTimer: a pacer asked late gives what it would have given meanwhile,
// if a packet waited, up to catchUp; and nothing extra if none did.
func TestLateTimer(t *testing.T) {
	const rate = 2.5e6 // bytes/s
	ready := func() *Controller {
		c := New(0, Params{MaxRate: rate})
		c.minRTT = 10 * time.Millisecond
		return c
	}
	// send sends what the pacer lets go at now.
	send := func(c *Controller, now time.Duration) (n int) {
		for c.MaySend(now, 0) {
			c.Sent(now, 1500, 1500, 0)
			n += 1500
		}
		return n
	}
	for _, tc := range []struct {
		late time.Duration
		want float64 // bytes
	}{
		{time.Millisecond, rate * 0.001},
		{5 * time.Millisecond, rate * 0.005},
		{catchUp, rate * catchUp.Seconds()},
		{50 * time.Millisecond, rate * catchUp.Seconds()},
	} {
		c := ready()
		send(c, 0)
		got := float64(send(c, tc.late))
		if math.Abs(got-tc.want) > 1500 {
			t.Errorf("%v late: %v bytes at once, want %v", tc.late, got, tc.want)
		}
		// Nothing waits: after a pause there is one plain burst.
		c = ready()
		c.Sent(0, 1500, 1500, 0)
		if got := send(c, 50*time.Millisecond); got > burstMin+1500 {
			t.Errorf("after a pause: %d bytes at once, want %d", got, burstMin)
		}
	}
}
