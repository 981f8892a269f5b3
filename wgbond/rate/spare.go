package rate

import (
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// How a path is used that is lent. What its owner sends there shows as a queue
// that is not ours, long before it shows as loss.
const (
	spareQueue = 6 * time.Millisecond // above the least one-way delay: whose it is does not matter, we give way
	// sparePackets' time at the path's rate is queue, too, that nobody can
	// avoid: a packet of ours behind one of the owner's.
	sparePackets = 2

	// A round has as many samples at least, unless it lasts so long.
	spareSamples = 4
	spareRound   = 500 * time.Millisecond

	spareCut     = 0.25 // of the rate, at most, is given up in a round
	spareStep    = 0.03 // by which the rate grows in a round after a cut, twice that in the next, and so on …
	spareStepMax = 0.08 // … up to this …
	spareStepLow = 0.7  // … or to this, far below the largest rate known
	spareLeast   = 0.02 // of the largest rate known: with that the path is still measured
	spareMost    = 1.25 // of it
	// spareFreed of it is begun with when the lender says that its owner has
	// ended: from spareLeast it took another second.
	spareFreed = 0.25
	// spareLost is what may be lost by chance in a round, bytes: of a round of 30
	// packets a single one is more than lossBound.
	spareLost = 2 * packetSize
	// spareMin is 2 packets a second.
	spareMin = 2 * packetSize

	// spareMemory is how long the least one-way delay stands. The owner's queue
	// may stand for as long without being taken for the path's own delay; two
	// clocks that differ by 20 parts in a million put it wrong by 2 ms meanwhile
	// (LEDBAT, RFC 6817, remembers ten minutes and warns of the same).
	spareMemory = 2 * time.Minute

	// spareVarying is how much an unused path must vary to be used like one's own.
	spareVarying = 0.4
)

// yields reports whether any queue on the path counts as its owner's. On a link
// that fades there is always one above the least delay that was ever met; while the
// lender says that its owner uses nothing, it is ours.
func (c *Controller) yields() bool {
	return c.p.Spare && !(c.p.Unused && c.Varying() >= spareVarying)
}

// spare is the part of a Controller that uses a path only as far as its owner
// leaves it idle. It follows LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): the
// rate grows while the one-way delay says that the path's queue is empty, and is
// cut in proportion to how much it is not, once a round.
//
//	one-way delay − its least    0 ─────── spareQueue ─────── 2 × spareQueue ──▶
//	rate, each round             × (1+step), step rises   × 1 … ¾        × ¾
//
// With less to send than is allowed it grows, too, but to no more than the path
// was known to carry; and by pings if there is nothing to send at all. For a path
// that was once thought slow gets nothing, and could not show that it is free.
type spare struct {
	rate        float64 // allowed, bytes per second; 0: not known yet
	step        float64
	least       leastDelay
	ended       wire.Clock    // the round before
	bytes       uint64        // delivered in this round
	samples     int           // in this round
	owd, jitter time.Duration // the latest; how much it varies from one packet to the next
	round       time.Duration // the least one-way delay of this round, less least; < 0: none
	highest     time.Duration // the highest, likewise
}

// leastDelay is the minimum of the last spareMemory to half of it again.
type leastDelay struct {
	value, recent time.Duration // of the half before and of this one
	from          time.Duration // of this half
	set           bool
}

func (l *leastDelay) offer(now, d time.Duration) {
	switch {
	case !l.set:
		*l = leastDelay{value: d, recent: d, from: now, set: true}
	case now-l.from > spareMemory:
		l.value, l.recent, l.from = min(l.recent, d), d, now
	default:
		l.value, l.recent = min(l.value, d), min(l.recent, d)
	}
}

// delivered takes in the one-way delay of a delivery.
func (s *spare) delivered(now time.Duration, d Delivery) {
	owd := time.Duration(d.Arrived)*time.Microsecond - d.Stamp.sent
	s.least.offer(now, owd)
	if q := owd - s.least.value; s.round < 0 || q < s.round {
		s.round = q
	}
	s.highest = max(s.highest, owd-s.least.value)
	if s.samples++; s.owd != 0 { // RFC 3550, 6.4.1
		s.jitter += ((owd - s.owd).Abs() - s.jitter) / 16
	}
	s.owd = owd
}

// slack is what jitter may make of a delay without its being a queue.
func (s *spare) slack() time.Duration { return min(s.jitter, spareQueue) }

// bound is the queue above which the path is somebody else's, at a rate in
// bytes per second.
func (s *spare) bound(rate float64) time.Duration {
	queue := spareQueue + s.slack()
	if rate == 0 {
		return queue
	}
	return queue + time.Duration(sparePackets*packetSize/rate*float64(time.Second))
}

// follow is endRound while the path is used like one's own: if its owner comes,
// the rate to begin with is the one that it has now.
func (s *spare) follow(arrived wire.Clock, rate float64) {
	s.rate, s.step = rate, spareStep
	s.ended, s.round, s.highest, s.samples, s.bytes = arrived, -1, 0, 0, 0
}

// roundTold is what a Controller tells of a round.
type roundTold struct {
	arrived wire.Clock // at its end
	bytes   uint64     // delivered
	lossy   bool
	idle    bool    // less was sent than allowed
	known   float64 // the largest rate that there was, bytes per second
	most    float64 // that may be allowed without being used
}

// endRound sets the rate for the next round.
func (s *spare) endRound(r roundTold) {
	s.bytes += r.bytes
	arrived, known := r.arrived, r.known
	if s.samples < spareSamples && arrived-s.ended < wire.ClockOf(spareRound) {
		return // too few to tell a queue from jitter
	}
	// Of the whole round, for a single sample says as much of the machines' timers
	// as of the path.
	reached := 0.0
	if s.ended > 0 && arrived > s.ended {
		reached = float64(s.bytes) / (time.Duration(arrived-s.ended) * time.Microsecond).Seconds()
	}
	queue, bound := s.round, s.bound(known)
	// What a full queue drops comes beside what had to wait in it.
	lossy := r.lossy && s.highest > bound
	s.ended, s.round, s.highest, s.samples, s.bytes = arrived, -1, 0, 0, 0
	if s.rate == 0 {
		s.rate = known
	}
	if queue < 0 {
		return
	}
	full := !r.idle || reached > 0.7*s.rate
	switch {
	case queue > bound || lossy:
		if reached > 0 && (full || queue > bound) {
			s.rate = min(s.rate, reached)
		}
		over := 1.0
		if queue <= 2*bound && !lossy {
			over = float64(queue-bound) / float64(bound)
		}
		s.rate *= 1 - spareCut*over
		s.step = spareStep
	case queue > bound/2:
	case full:
		s.grow(known, spareMost*known)
	default:
		s.grow(known, r.most)
	}
	s.rate = max(s.rate, spareLeast*known, spareMin)
}

// pinged takes in the one-way delay of a ping on a path that carries nothing.
func (s *spare) pinged(now, owd time.Duration, known, most float64) {
	s.least.offer(now, owd)
	if owd-s.least.value <= s.bound(known)/2 {
		s.grow(known, most)
	}
}

// grow raises the rate by a step, but not above most.
func (s *spare) grow(known, most float64) {
	least, steps := spareStep, spareStepMax
	if s.rate < known/2 {
		least, steps = spareStepMax, spareStepLow
	}
	step := min(max(s.step, least), steps)
	s.rate = max(s.rate, min(s.rate*(1+step), most))
	s.step = 2 * step
}
