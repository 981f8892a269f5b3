package rate

import (
	"fmt"
	"math"
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
			p.reports = append(p.reports, report{at: p.now + p.delay, ping: true, newest: x})
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
		MinRTT: p.rtts[0].rtt, MinRTTAge: p.now - p.rtts[0].at, InFlight: p.bytes, MayProbeRTT: !p.rival,
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
				p.within("queue, seconds", p.maxQueue.Seconds(), 0, (20*ms + feedbackEvery + 3*packet).Seconds())
				p.within("queue bound, seconds", p.c.QueueBound().Seconds(), 0.02, 0.02)
				// Once in ten seconds at most, the pipe drains for ProbeRTT.
				granule := 1500 / (200*ms + tc.rtt).Seconds()
				p.within("throughput, Mbit/s", got/mbit, (rate*0.8-granule)/mbit, (rate*1.02+granule)/mbit)
			}
			p.within("share of the link", p.throughput(20*time.Second)/rate, 0.97, 1.005)
		})
	}
}
