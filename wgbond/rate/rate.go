// Package rate decides how fast one path may send.
//
// The controller is a BBR of the delay-capped kind: it estimates the path's
// delivery rate from the peer's feedback, paces a little around it, and bounds
// what is in flight so that the queue it keeps standing in the network stays
// within a bound of its own:
//
//	window = rate × (min RTT + feedback interval and delay + queue bound) + 2 packets
//
// Keeping every path's queue short is what makes the bond's own send queue the
// one real queue, where CoDel watches it.
//
//	        full pipe, delay or loss            in flight ≤ BDP
//	Startup ───────────────────────▶ Drain ─────────────────────▶ Cruise ◀──┐
//	  ▲                                                             │       │
//	  └── Restart (path came back)                  min RTT is old  ▼       │
//	                                                             ProbeRTT ──┘
//
// Rate samples come from the receiver's clock, so that feedback batching does
// not distort them: the bytes that arrived between two of the receiver's
// time-stamps. All sizes are whole IP packets, bytes; rates bytes per second.
//
// Sources: N. Cardwell et al., draft-ietf-ccwg-bbr (delivery-rate sampling,
// the gains, the filter lengths); the delay cap, the delay exit of Startup and
// the loss bound come from our own simulations (docs/decisions).
package rate

import (
	"cmp"
	"math"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	startupGain = 2.885 // 2/ln 2: doubles the rate each round
	drainGain   = 1 / startupGain

	filterRounds  = 20                     // of the delivery-rate maximum; 10 cost 1 % on steady links, more on varying ones
	fullPipeGain  = 1.25                   // growth that a round must show to stay in Startup
	fullPipeWait  = 5                      // rounds without it
	fullPipeLost  = 6 * packetSize         // lost in a round, bytes; less may be chance
	startupDelay  = 250 * time.Millisecond // of queue, which ends Startup at once: the round would take as long
	probeRTTAfter = 10 * time.Second       // age of the minimum that asks for ProbeRTT
	drainDeepAge  = 5 * time.Second        // age that asks for a deeper drain in Cruise
	probeRTTFor   = 50 * time.Millisecond  // at least, once the pipe is drained
	probeRTTShare = 0.75                   // of the BDP is what ProbeRTT keeps in flight
	probeRTTMax   = time.Second            // in all, if the pipe does not drain
	minRTTFresh   = 200 * time.Millisecond // a minimum met so lately ends ProbeRTT

	lossBound = 0.02 // per round; above it the window shrinks
	lossCut   = 0.85
	lossRaise = 1.05

	minPackets = 4    // in flight, always allowed
	packetSize = 1500 // bytes; the unit of it
	burstTime  = time.Millisecond
	burstMin   = 2 * packetSize // a pacing burst is never smaller
	// A timer that goes off late, or a writer that comes late, on a busy machine by
	// milliseconds, must not cost rate: as much is caught up with at once.
	catchUp = 10 * time.Millisecond
)

// cycle holds the pacing gains of Cruise, each for one min RTT.
var cycle = [...]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

type mode uint8

const (
	startup mode = iota
	drain
	cruise
	probeRTT
)

func (m mode) String() string {
	return [...]string{"startup", "drain", "cruise", "probe-rtt"}[m]
}

// Params are a controller's settings.
type Params struct {
	// Steady and Varying bound the standing queue that the controller may keep
	// in the network: on a path whose rate is steady, and on one whose rate
	// varies as a cellular link's does, where only a queue keeps the link busy
	// when it quickens.
	Steady, Varying time.Duration
	// Feedback is the peer's usual time between two feedbacks.
	Feedback time.Duration
	// MaxRate is the user's limit, bytes per second; 0: none.
	MaxRate float64
	// First is what may be in flight until the pipe was full once, bytes; 0:
	// as much as on a path than which none is nearer (schedulers.ColdWindow).
	First int
	// Spare: the path is lent. Only what its owner does not use is used, and
	// none of the cycle's probing with a queue.
	Spare bool
	// Unused: the lender sees that its owner uses nothing. What is lost then and
	// what a varying path delays is the path's own, see Controller.yields.
	Unused bool
}

// Stamp is what the controller wants to know again when a packet is reported
// delivered. It travels with the packet's record.
type Stamp struct {
	delivered   uint64        // bytes delivered when the packet was sent
	deliveredAt wire.Clock    // receiver's clock at that delivery
	firstSent   time.Duration // when the packet delivered then had been sent
	sent        time.Duration
	appLimited  bool
}

// Controller is one path's rate control. The zero value is not ready; use New.
type Controller struct {
	p    Params
	mode mode

	// The path's delivery so far, as of the newest report.
	delivered   uint64
	deliveredAt wire.Clock
	firstSent   time.Duration

	// blind: packets were taken back without a report of what became of them, so
	// delivered is behind, and no sample may begin there.
	blind bool

	// appLimitedUntil is the delivered count up to which packets were sent
	// with less than the path could carry.
	appLimitedUntil uint64

	filter maxFilter
	prior  float64 // what filter held before Restart, bytes per second
	hint   hint
	latest float64 // rate sample
	minRTT time.Duration
	late   time.Duration // see Delivery.Late
	vary   variation

	round         uint64
	roundEnd      uint64 // delivered count that ends the round
	roundMinRTT   time.Duration
	roundMaxRTT   time.Duration
	roundBytes    uint64 // delivered in this round
	roundLost     uint64
	fullRate      float64
	fullRounds    int
	cycleIndex    int
	cycleStart    time.Duration
	probeRTTAt    time.Duration // when it last began
	probeRTTUntil time.Duration
	drained       bool    // in ProbeRTT: the pipe is as empty as wanted
	inFlightHi    float64 // loss bound on the window, bytes; 0: none

	tokens   float64 // pacer, bytes; may be negative
	tokensAt time.Duration
	waited   bool // a packet waits, for tokens or its writer: what comes late is not lost

	spare spare
}

// New makes a controller for a path of which nothing is known.
func New(now time.Duration, p Params) *Controller {
	return &Controller{p: p, tokensAt: now, tokens: burstMin, spare: spare{round: -1}}
}

// SetParams changes the settings.
func (c *Controller) SetParams(p Params) { c.p = p }

// Restart forgets the pipe's size but not its round-trip time: the path came
// back from an outage, and may have changed.
func (c *Controller) Restart(now time.Duration) {
	*c = Controller{
		p: c.p, minRTT: c.minRTT, vary: c.vary,
		delivered: c.delivered, deliveredAt: c.deliveredAt, firstSent: c.firstSent,
		blind: c.blind, roundEnd: c.delivered, tokensAt: now, tokens: burstMin,
		prior: cmp.Or(c.filter.max(), c.prior), hint: c.hint, spare: spare{round: -1},
	}
}

// Forget forgets what the path carries, too: nothing has shown that for long.
func (c *Controller) Forget(now time.Duration) {
	least := c.spare.least
	c.Restart(now)
	c.prior, c.hint, c.spare.least = 0, hint{}, least
}

// Sent accounts for a packet of size bytes that goes out now while inFlight
// bytes are unacknowledged. expect is the receiver's clock at which the packet
// would arrive over an empty path, 0 if unknown.
func (c *Controller) Sent(now time.Duration, size, inFlight int, expect wire.Clock) Stamp {
	c.refill(now)
	c.tokens -= float64(size)
	if inFlight == 0 {
		// A new flight: time that passed in idleness is no one's rate.
		c.firstSent = now
		c.deliveredAt = expect
	}
	deliveredAt := c.deliveredAt
	if c.blind {
		deliveredAt = 0
	}
	return Stamp{
		delivered: c.delivered, deliveredAt: deliveredAt,
		firstSent: c.firstSent, sent: now,
		appLimited: c.appLimitedUntil > 0 || c.yields() && c.Rate() < c.filter.max(),
	}
}

// Freed tells that a lent path's owner, who left nothing, leaves something now.
func (c *Controller) Freed() {
	if c.spare.rate > 0 {
		c.spare.rate = max(c.spare.rate, spareFreed*c.filter.max())
	}
}

// allowable is the most that a lent path may be allowed without using it.
func (c *Controller) allowable() float64 {
	return min(c.filter.max(), cmp.Or(c.p.MaxRate, c.filter.max()))
}

// Pinged takes in that a ping, sent at sent, came to the peer at arrived (its
// clock), with inFlight bytes unacknowledged.
func (c *Controller) Pinged(now, sent time.Duration, arrived wire.Clock, inFlight int) {
	if c.yields() && c.spare.rate > 0 && inFlight == 0 {
		c.spare.pinged(now, time.Duration(arrived)*time.Microsecond-sent, c.filter.max(), c.allowable())
	}
}

// Delivery is what a feedback says of the path.
type Delivery struct {
	Stamp   Stamp      // of the newest packet reported on this path
	Bytes   uint64     // delivered on the path in all, with that packet
	Arrived wire.Clock // receiver's clock when it arrived
	// RTT is its round-trip time without the feedback's wait, and without what
	// delayed the feedback on its way back; 0: not measured.
	RTT      time.Duration
	MinRTT   time.Duration // the path's
	EmptyAge time.Duration // since the path last held no queue
	// Late is by how much feedback is delayed on its way back. What was delivered
	// meanwhile counts as in flight, but fills no queue of this path.
	Late     time.Duration
	InFlight int // bytes unacknowledged after this feedback
	// MayProbeRTT: no other path of the session probes its RTT now.
	MayProbeRTT bool
}

// Delivered takes in a feedback with news of the path.
func (c *Controller) Delivered(now time.Duration, d Delivery) {
	c.minRTT, c.late = d.MinRTT, d.Late
	if d.RTT > 0 && (c.roundMinRTT == 0 || d.RTT < c.roundMinRTT) {
		c.roundMinRTT = d.RTT
	}
	c.roundMaxRTT = max(c.roundMaxRTT, d.RTT)
	c.roundBytes += d.Bytes - c.delivered
	c.sample(d)
	c.judgeHint(d)
	c.spare.delivered(now, d)
	if late := d.RTT > c.minRTT+startupDelay || c.yields() && c.spare.round > c.spare.bound(c.filter.max()); late && c.mode == startup && c.filter.max() > 0 {
		c.mode = drain // a round would end too late
	}
	queued := c.minRTT + max(10*time.Millisecond, c.minRTT/4)
	// A few small packets say nothing of the rate, however late they are.
	few := int(d.Bytes-c.delivered)+d.InFlight < minPackets*packetSize
	c.vary.add(d, c.p.Spare && !c.p.Unused || c.mode != cruise || c.appLimitedUntil > 0 && (few || d.RTT <= queued))
	c.delivered, c.deliveredAt, c.firstSent, c.blind = d.Bytes, d.Arrived, d.Stamp.sent, false
	if c.appLimitedUntil > 0 && c.delivered > c.appLimitedUntil {
		c.appLimitedUntil = 0
	}
	if d.Stamp.delivered >= c.roundEnd {
		c.endRound(d)
	}
	c.step(now, d)
}

// sample derives a delivery rate and offers it to the filter.
func (c *Controller) sample(d Delivery) {
	s := d.Stamp
	if s.deliveredAt == 0 || d.Arrived <= s.deliveredAt || d.Bytes <= s.delivered {
		return
	}
	elapsed := time.Duration(d.Arrived-s.deliveredAt) * time.Microsecond
	elapsed = max(elapsed, s.sent-s.firstSent)
	if elapsed < d.MinRTT {
		return // too short to tell a rate from a burst
	}
	r := float64(d.Bytes-s.delivered) / elapsed.Seconds()
	c.latest = r
	if !s.appLimited || r > c.filter.max() {
		c.filter.offer(c.round, r)
	}
}

func (c *Controller) endRound(d Delivery) {
	loss := 0.0
	if total := c.roundLost + c.roundBytes; total > 0 {
		loss = float64(c.roundLost) / float64(total)
	}
	c.boundLoss(loss)
	if c.mode == startup {
		c.checkFull(loss, d)
	} else if c.yields() {
		c.spare.endRound(roundTold{
			arrived: d.Arrived, bytes: c.roundBytes, idle: c.appLimitedUntil > 0, known: c.filter.max(), most: c.allowable(),
			lossy: loss > lossBound && c.roundLost > spareLost && !c.p.Unused, // else nobody's doing
		})
	} else if c.p.Spare {
		c.spare.follow(d.Arrived, c.Recent())
	}
	c.round++
	c.roundEnd = c.delivered
	c.roundMinRTT, c.roundMaxRTT, c.roundBytes, c.roundLost = 0, 0, 0, 0
}

// checkFull ends Startup: growth has stopped, or a queue or loss shows that
// the pipe is full.
func (c *Controller) checkFull(loss float64, d Delivery) {
	r := c.filter.max()
	if r == 0 {
		return
	}
	queued := c.startupQueue()
	if r > c.fullRate*fullPipeGain {
		c.fullRate, c.fullRounds = r, 0
	} else if !d.Stamp.appLimited && c.appLimitedUntil == 0 || c.roundMaxRTT > queued {
		// With less than the path can carry, no growth says nothing; unless it
		// queues, as it does under bursts. Nor does a flight that broke off.
		c.fullRounds++
	}
	// Loss in a round that still grew is that of a burst, not of a full pipe.
	lossy := loss > lossBound && c.roundLost >= fullPipeLost && c.fullRounds > 0
	if c.fullRounds >= fullPipeWait || c.roundMinRTT > queued || lossy {
		c.mode = drain
	}
}

// startupQueue is the round-trip time that shows a queue in Startup.
func (c *Controller) startupQueue() time.Duration {
	return c.minRTT + max(10*time.Millisecond, c.minRTT/2)
}

// fullWindow keeps the pipe just full. Below that no loss shrinks the window: else
// loss that is no sign of congestion would shrink it, the window the rate, and so
// on down; and what was lost before the rate was known would bound it by nothing.
func (c *Controller) fullWindow() float64 { return c.bdp() + c.feedbackBytes() + 2*packetSize }

// boundLoss keeps the window under what a shallow buffer can take.
func (c *Controller) boundLoss(loss float64) {
	switch {
	case loss > lossBound:
		w := float64(c.delayWindow())
		if c.inFlightHi > 0 {
			w = min(w, c.inFlightHi)
		}
		c.inFlightHi = max(w*lossCut, c.fullWindow())
	case c.inFlightHi > 0:
		c.inFlightHi *= lossRaise
		if c.inFlightHi > 2*float64(c.delayWindow()) {
			c.inFlightHi = 0
		}
	}
}

func (c *Controller) step(now time.Duration, d Delivery) {
	switch c.mode {
	case drain:
		if float64(d.InFlight) <= c.bdp()+c.feedbackBytes() {
			c.enterCruise(now)
		}
	case cruise:
		c.stepCycle(now, d)
		// Not twice for one minimum: if the drained pipe does not meet it, it
		// has risen, and will be forgotten.
		if !c.yields() && d.EmptyAge > probeRTTAfter && now-c.probeRTTAt > probeRTTAfter && d.MayProbeRTT {
			c.mode = probeRTT
			c.probeRTTAt = now
			c.probeRTTUntil = now + probeRTTMax
			c.drained = false
			c.AppLimited(d.InFlight)
		}
	case probeRTT:
		// What ProbeRTT lets through is no measure of what the path can carry.
		c.AppLimited(d.InFlight)
		if !c.drained && d.InFlight <= c.Window() {
			c.drained = true
			c.probeRTTUntil = now + max(probeRTTFor, c.minRTT)
		}
		if now >= c.probeRTTUntil || d.EmptyAge < minRTTFresh {
			c.enterCruise(now)
		}
	}
}

// enterCruise begins level: the pipe is just full, or just drained.
func (c *Controller) enterCruise(now time.Duration) {
	if c.spare.rate == 0 {
		c.spare.rate = max(c.filter.max(), spareMin)
	}
	c.mode, c.cycleIndex, c.cycleStart = cruise, 2, now
}

func (c *Controller) stepCycle(now time.Duration, d Delivery) {
	over := now-c.cycleStart > c.minRTT
	switch cycle[c.cycleIndex] {
	case 0.75:
		if d.EmptyAge > drainDeepAge {
			// Let the queue run empty once, to meet the minimum again without
			// a ProbeRTT.
			over = now-c.cycleStart > 8*c.minRTT
		}
		over = over || float64(d.InFlight) <= c.bdp()+c.feedbackBytes()
	case 1.25:
		// Long enough that the extra packets were answered.
		over = over && now-c.cycleStart > c.minRTT+c.p.Feedback
	}
	if over {
		c.cycleIndex = (c.cycleIndex + 1) % len(cycle)
		c.cycleStart = now
	}
}

// TakenBack tells that the packets in flight were taken for lost because
// nothing was reported, not because the report said so.
func (c *Controller) TakenBack() { c.blind = true }

// Reported takes in a report whose packet tells nothing of the path's rate: it
// was sent more than once. bytes and arrived are as in Delivery.
func (c *Controller) Reported(bytes uint64, arrived wire.Clock) {
	c.roundBytes += bytes - min(bytes, c.delivered)
	c.delivered, c.deliveredAt, c.blind = bytes, arrived, false
}

// Lost accounts for bytes that were declared lost on the path.
func (c *Controller) Lost(bytes int) { c.roundLost += uint64(bytes) }

// AppLimited tells that the path could send now and nothing waits for it.
func (c *Controller) AppLimited(inFlight int) {
	c.appLimitedUntil = max(c.delivered+uint64(inFlight), 1)
}

// Sample is the latest delivery-rate sample, bytes per second; 0: none yet.
func (c *Controller) Sample() float64 { return c.latest }

// Starting reports whether the pipe's size is yet to be found.
func (c *Controller) Starting() bool { return c.mode == startup }

// ProbingRTT reports whether the path is in ProbeRTT.
func (c *Controller) ProbingRTT() bool { return c.mode == probeRTT }

// Rate is the estimated delivery rate, bytes per second; 0 while unknown.
func (c *Controller) Rate() float64 { return c.limit(c.filter.max()) }

// Prospect is the rate to plan with, bytes per second: the estimate, but while
// the pipe has never been full what the controller is about to try. A plan made
// with the estimate of a path that is just starting would send a short transfer
// over a slower path instead.
func (c *Controller) Prospect() float64 {
	if c.mode == startup && c.filter.max() > 0 && c.fullRounds == 0 {
		if c.Believes() {
			return max(min(c.supposed(), c.PacingRate()), c.Rate())
		}
		r := c.PacingRate()
		if c.prior > 0 {
			// What came back is at best as it was. Where the inner flow never
			// fills the pipe, Startup does not end, and all would go by this
			// path: an inner BBR was kept to one path's rate for half a minute.
			r = min(r, max(c.prior, c.filter.max()))
		}
		return r
	}
	if c.filter.max() == 0 {
		if c.Believes() {
			return c.supposed()
		}
		return c.limit(c.prior)
	}
	return c.Rate()
}

// limit applies to a rate the user's limit, and what is spare.
func (c *Controller) limit(r float64) float64 {
	if c.p.MaxRate > 0 {
		r = min(r, c.p.MaxRate)
	}
	if c.yields() && c.spare.rate > 0 {
		r = min(r, c.spare.rate)
	}
	return r
}

// Recent is the rate that the path delivered of late, bytes per second: on a
// varying path less than Rate, which is a maximum; 0 while unknown.
func (c *Controller) Recent() float64 {
	if c.vary.windows[0] == 0 || c.Varying() == 0 {
		return cmp.Or(c.Rate(), c.prior)
	}
	return min(c.Rate(), c.vary.recent())
}

// Mode names the controller's state, for people.
func (c *Controller) Mode() string { return c.mode.String() }

// QueueBound is the standing queue that the controller may keep now. Beside a
// short round trip a long queue is not worth its delay, and not needed.
func (c *Controller) QueueBound() time.Duration {
	if c.yields() {
		return spareQueue/2 + c.spare.slack()
	}
	steady := min(c.p.Steady, max(c.minRTT/3, c.p.Steady/3))
	return steady + time.Duration(c.Varying()*float64(c.p.Varying-steady))
}

// Varying tells how much the path's rate varies: 0 for a steady one, 1 for one
// that varies like a cellular link or more.
func (c *Controller) Varying() float64 {
	return max(0, min(1, (c.vary.deviation-steadyDeviation)/(varyingDeviation-steadyDeviation)))
}

func (c *Controller) bdp() float64 { return c.Rate() * c.minRTT.Seconds() }

// feedbackBytes is what was delivered of that in flight, but is not reported yet.
func (c *Controller) feedbackBytes() float64 { return c.Rate() * (c.p.Feedback + c.late).Seconds() }

// delayWindow bounds what is in flight by the queue it would keep standing.
func (c *Controller) delayWindow() int {
	r := c.Rate()
	r -= c.Varying() * (r - c.Recent())
	w := r*(c.minRTT+c.late+c.p.Feedback+c.QueueBound()).Seconds() + 2*packetSize
	w = min(w, 2*c.bdp()+c.feedbackBytes()+2*packetSize)
	return int(max(w, minPackets*packetSize))
}

// Window is the number of bytes that may be in flight.
func (c *Controller) Window() int {
	switch c.mode {
	case startup:
		return int(max(startupGain*c.bdp()+c.feedbackBytes(), c.firstWindow()))
	case probeRTT:
		return int(max((c.bdp()+c.Rate()*c.late.Seconds())*probeRTTShare, minPackets*packetSize))
	}
	w := c.delayWindow()
	if c.inFlightHi > 0 {
		w = min(w, int(max(c.inFlightHi, c.fullWindow())))
	}
	return w
}

// PacingRate is how fast packets may leave, bytes per second; 0: unpaced.
func (c *Controller) PacingRate() float64 {
	r := c.filter.max()
	switch c.mode {
	case startup:
		if c.minRTT == 0 {
			return c.p.MaxRate
		}
		// The inner flow's own slow start must not meet a slower one of ours.
		r = max(r*startupGain, c.firstWindow()/c.minRTT.Seconds())
	case drain:
		r *= drainGain
	case cruise:
		if c.yields() && c.spare.rate > 0 {
			r = c.spare.rate // which may be more than was ever delivered
			break
		}
		// When a varying path quickens, the window, not the pacer, is to hold
		// it back: there the window follows what was delivered.
		r *= cycle[c.cycleIndex] + c.Varying()
	}
	return c.limit(r)
}

func (c *Controller) refill(now time.Duration) {
	r := c.PacingRate()
	burst := max(burstMin, r*burstTime.Seconds())
	if c.waited {
		burst = max(burst, r*catchUp.Seconds())
	}
	if r == 0 {
		c.tokens = burst
	} else {
		// What was caught up stays until it is spent.
		c.tokens = max(c.tokens, min(burst, c.tokens+r*(now-c.tokensAt).Seconds()))
	}
	c.tokensAt = now
}

// MaySend reports whether a packet may leave now with inFlight bytes
// unacknowledged. A packet may overdraw the pacer's bucket; the next waits.
func (c *Controller) MaySend(now time.Duration, inFlight int) bool {
	if inFlight >= c.Window() {
		return false
	}
	c.refill(now)
	c.waited = c.tokens <= 0
	return !c.waited
}

// Waits tells that a packet which MaySend let go waits for the path's writer.
func (c *Controller) Waits() { c.waited = true }

// NextSend is when the pacer will let the next packet go, not before now. It
// does not look at the window, which only feedback opens.
func (c *Controller) NextSend(now time.Duration) time.Duration {
	c.refill(now)
	if c.tokens > 0 {
		return now
	}
	wait := time.Duration((1 - c.tokens) / c.PacingRate() * float64(time.Second))
	return now + max(wait, time.Microsecond)
}

const (
	varyWindow       = 100 * time.Millisecond // of one sample of the rate
	steadyDeviation  = 0.1                    // relative mean deviation of a steady path's samples: quantisation
	varyingDeviation = 0.35                   // and of a cellular one's
)

// variation follows how much the rate at which a busy path delivers varies.
type variation struct {
	bytes     uint64     // at the window's begin
	at        wire.Clock // 0: no window is open
	mean      float64
	windows   [3]float64 // the latest, newest first
	deviation float64    // relative; smoothed over some ten windows
}

// add takes in a delivery; idle: the path was not just full meanwhile, so that
// its rate went by what was sent.
func (v *variation) add(d Delivery, idle bool) {
	switch {
	case idle:
		v.at = 0
	case v.at == 0:
		v.at, v.bytes = d.Arrived, d.Bytes
	case d.Arrived >= v.at+wire.ClockOf(varyWindow):
		r := float64(d.Bytes-v.bytes) / float64(d.Arrived-v.at)
		v.at, v.bytes = d.Arrived, d.Bytes
		v.windows[0], v.windows[1], v.windows[2] = r, v.windows[0], v.windows[1]
		if v.mean == 0 {
			v.mean = r
			return
		}
		v.deviation += (min(math.Abs(r/v.mean-1), 1) - v.deviation) / 16
		v.mean += (r - v.mean) / 8
	}
}

// recent is the highest rate of the last windows, bytes per second.
func (v *variation) recent() float64 { return max(v.windows[0], v.windows[1], v.windows[2]) * 1e6 }

// maxFilter is the maximum over the last filterRounds rounds: a deque of
// falling values, each with the round it came in.
type maxFilter struct {
	v [filterRounds + 1]struct {
		round uint64
		rate  float64
	}
	n int
}

func (f *maxFilter) max() float64 {
	if f.n == 0 {
		return 0
	}
	return f.v[0].rate
}

func (f *maxFilter) offer(round uint64, r float64) {
	for f.n > 0 && f.v[f.n-1].rate <= r {
		f.n--
	}
	old := 0
	for old < f.n && round-f.v[old].round >= filterRounds {
		old++
	}
	if old > 0 {
		f.n = copy(f.v[:], f.v[old:f.n])
	}
	if f.n > 0 && f.v[f.n-1].round == round {
		return // a larger sample of the same round stands
	}
	f.v[f.n].round, f.v[f.n].rate = round, r
	f.n++
}
