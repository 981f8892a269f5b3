package tcp

import (
	"math"
	"time"
)

// BBR v1's constants, as in Linux's net/ipv4/tcp_bbr.c.
const (
	bbrHighGain   = 2.885 // 2/ln 2: doubles the rate each round
	bbrWindowGain = 2
	bbrRounds     = 10 // the bandwidth filter's window
	bbrMinWindow  = 4
	bbrMargin     = 0.99 // pace a little below the estimate
	bbrQuantum    = 6    // three sends of two segments beyond the BDP
	bbrMinRTTLife = 10 * time.Second
	bbrProbeRTT   = 200 * time.Millisecond
	bbrExtraLimit = 100 * time.Millisecond // of bandwidth, for aggregated ACKs
	bbrExtraLife  = 5                      // rounds
)

var bbrCycle = [...]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

type bbrMode uint8

const (
	bbrStartup bbrMode = iota
	bbrDrain
	bbrProbeBW
	bbrProbingRTT
)

// bbr is BBR v1 without the long-term (policer) model. Where Linux draws the
// first phase of the gain cycle at random it always takes the third. Rates are
// segments per second.
type bbr struct {
	mode    bbrMode
	cwnd    int
	initial int
	pacing  float64

	rates      [bbrRounds]float64 // best sample of each of the last rounds
	round      int
	roundEnd   uint64 // delivered at which the round ends
	roundStart bool

	minRTT   time.Duration
	minRTTAt time.Duration
	probeEnd time.Duration // 0: the flight is not yet down
	probed   bool          // a round has passed since
	dull     uint64        // samples of what was sent before it was delivered are too low

	fullRate  float64
	fullCount int
	full      bool // the pipe

	phase   int
	phaseAt time.Duration

	prior        int   // window before recovery or ProbeRTT
	was          State // at the previous ack
	conservation bool  // first round of recovery: one out for one in

	extra      [2]int // most segments acknowledged beyond the estimate, two windows
	extraIndex int
	extraRound int
	epochAcked int
	epochAt    time.Duration
}

// NewBBR makes a BBR v1 control.
func NewBBR(initialWindow int) Control {
	return &bbr{cwnd: initialWindow, initial: initialWindow, prior: initialWindow}
}

func (b *bbr) Sent(time.Duration, int) {}

func (b *bbr) rate() float64 {
	best := 0.0
	for _, r := range b.rates {
		best = max(best, r)
	}
	return best
}

// flight is the flight that gain times the estimated BDP needs.
func (b *bbr) flight(rate, gain float64) int {
	if b.minRTT == 0 {
		return b.initial
	}
	n := int(math.Ceil(rate*b.minRTT.Seconds()*gain)) + bbrQuantum
	n = (n + 1) &^ 1
	if b.mode == bbrProbeBW && b.phase == 0 {
		n += 2
	}
	return n
}

func (b *bbr) Ack(a *Ack) {
	b.measure(a)
	b.aggregation(a)
	b.cycle(a)
	b.pipe(a)
	b.roundTrip(a)

	rate := b.rate()
	var pace, window float64
	switch b.mode {
	case bbrStartup:
		pace, window = bbrHighGain, bbrHighGain
	case bbrDrain:
		pace, window = 1/bbrHighGain, bbrHighGain
	case bbrProbeBW:
		pace, window = bbrCycle[b.phase], bbrWindowGain
	case bbrProbingRTT:
		pace, window = 1, 1
	}
	if b.pacing == 0 && a.MinRTT > 0 {
		b.pacing = bbrHighGain * float64(b.initial) / a.MinRTT.Seconds()
	}
	if p := rate * pace * bbrMargin; p > 0 && (b.full || p > b.pacing) {
		b.pacing = p
	}
	b.window(a, rate, window)
}

// measure takes the bandwidth sample and counts rounds.
func (b *bbr) measure(a *Ack) {
	b.roundStart = false
	if a.Interval == 0 {
		return
	}
	if a.PriorDelivered >= b.roundEnd {
		b.roundEnd = a.Delivered
		b.round++
		b.rates[b.round%bbrRounds] = 0
		b.roundStart, b.conservation = true, false
	}
	sample := float64(a.Delivered-a.PriorDelivered) / a.Interval.Seconds()
	if limited := a.AppLimited || a.PriorDelivered < b.dull; !limited || sample >= b.rate() {
		i := b.round % bbrRounds
		b.rates[i] = max(b.rates[i], sample)
	}
}

// aggregation estimates how many acknowledgements come at once beyond the
// estimated rate, so that the window allows for the silence in between.
func (b *bbr) aggregation(a *Ack) {
	if a.Acked == 0 || a.Interval == 0 {
		return
	}
	if b.roundStart {
		if b.extraRound++; b.extraRound >= bbrExtraLife {
			b.extraRound, b.extraIndex = 0, 1-b.extraIndex
			b.extra[b.extraIndex] = 0
		}
	}
	expected := int(b.rate() * (a.Now - b.epochAt).Seconds())
	if b.epochAcked <= expected {
		b.epochAcked, b.epochAt, expected = 0, a.Now, 0
	}
	b.epochAcked += a.Acked
	b.extra[b.extraIndex] = max(b.extra[b.extraIndex], min(b.epochAcked-expected, b.cwnd))
}

func (b *bbr) cycle(a *Ack) {
	if b.mode != bbrProbeBW {
		return
	}
	full := a.Now-b.phaseAt > b.minRTT
	switch gain := bbrCycle[b.phase]; {
	case gain > 1:
		full = full && (a.Lost > 0 || a.Before >= b.flight(b.rate(), gain))
	case gain < 1:
		full = full || a.Before <= b.flight(b.rate(), 1)
	}
	if full {
		b.phase = (b.phase + 1) % len(bbrCycle)
		b.phaseAt = a.Now
	}
}

// pipe decides whether Startup and Drain are over.
func (b *bbr) pipe(a *Ack) {
	if !b.full && b.roundStart && !a.AppLimited {
		if rate := b.rate(); rate >= b.fullRate*1.25 {
			b.fullRate, b.fullCount = rate, 0
		} else if b.fullCount++; b.fullCount >= 3 {
			b.full = true
		}
	}
	if b.mode == bbrStartup && b.full {
		b.mode = bbrDrain
	}
	if b.mode == bbrDrain && a.InFlight <= b.flight(b.rate(), 1) {
		b.mode, b.phase, b.phaseAt = bbrProbeBW, 2, a.Now
	}
}

// roundTrip keeps the lowest RTT, and empties the pipe when it is old.
func (b *bbr) roundTrip(a *Ack) {
	if b.minRTT == 0 && a.MinRTT > 0 {
		b.minRTT, b.minRTTAt = a.MinRTT, a.Now // the handshake's, as bbr_init takes it
	}
	expired := b.minRTT > 0 && a.Now > b.minRTTAt+bbrMinRTTLife
	if a.RTT > 0 && (b.minRTT == 0 || a.RTT <= b.minRTT || expired) {
		b.minRTT, b.minRTTAt = a.RTT, a.Now
	}
	if expired && b.mode != bbrProbingRTT {
		b.save()
		b.mode = bbrProbingRTT
		b.probeEnd = 0
	}
	if b.mode != bbrProbingRTT {
		return
	}
	b.dull = a.Delivered + uint64(a.InFlight)
	if b.probeEnd == 0 {
		if a.InFlight <= bbrMinWindow {
			b.probeEnd, b.probed = a.Now+bbrProbeRTT, false
			b.roundEnd = a.Delivered
		}
		return
	}
	b.probed = b.probed || b.roundStart
	if b.probed && a.Now > b.probeEnd {
		b.minRTTAt = a.Now
		b.cwnd = max(b.cwnd, b.prior)
		b.mode = bbrStartup
		if b.full {
			b.mode, b.phase, b.phaseAt = bbrProbeBW, 2, a.Now
		}
	}
}

func (b *bbr) window(a *Ack, rate, gain float64) {
	was := b.was
	b.was = a.State
	if a.Lost > 0 {
		b.cwnd = max(b.cwnd-a.Lost, 1)
	}
	switch {
	case a.State == Recovery && was != Recovery:
		b.conservation = true
		b.roundEnd = a.Delivered
		b.cwnd = a.InFlight + a.Acked
	case a.State == Open && was != Open:
		b.cwnd = max(b.cwnd, b.prior)
		b.conservation = false
	}
	switch {
	case a.Acked == 0:
	case b.conservation:
		b.cwnd = max(b.cwnd, a.InFlight+a.Acked)
	default:
		target := b.flight(rate, gain)
		if b.full {
			target += min(max(b.extra[0], b.extra[1]), int(rate*bbrExtraLimit.Seconds()))
			b.cwnd = min(b.cwnd+a.Acked, target)
		} else if b.cwnd < target || a.Delivered < uint64(b.initial) {
			b.cwnd += a.Acked
		}
		b.cwnd = max(b.cwnd, bbrMinWindow)
	}
	if b.mode == bbrProbingRTT {
		b.cwnd = min(b.cwnd, bbrMinWindow)
	}
}

// save remembers the window to return to.
func (b *bbr) save() {
	if b.was == Open && b.mode != bbrProbingRTT {
		b.prior = b.cwnd
	} else {
		b.prior = max(b.prior, b.cwnd)
	}
}

func (b *bbr) Recovery(time.Duration, int) { b.save() }
func (b *bbr) Recovered(time.Duration)     {}

func (b *bbr) Timeout(time.Duration) {
	b.save()
	b.cwnd, b.was = 1, Loss
	b.fullRate = 0
}

func (b *bbr) Undo(time.Duration) { b.fullRate, b.fullCount = 0, 0 }

func (b *bbr) Window() int         { return b.cwnd }
func (b *bbr) PacingRate() float64 { return b.pacing }
