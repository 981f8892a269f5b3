package rate

import "time"

// How a path is used that is lent. What its owner sends there shows as a queue
// that is not ours, long before it shows as loss.
const (
	spareQueue = 6 * time.Millisecond // above the least one-way delay: whose it is does not matter, we give way
	// sparePackets' time at the path's rate is queue, too, that nobody can
	// avoid: a packet of ours behind one of the owner's.
	sparePackets = 2

	spareCut     = 0.25 // of the rate, at most, is given up in a round
	spareStep    = 0.03 // by which the rate grows in a round after a cut, twice that in the next, and so on …
	spareStepMax = 0.08 // … up to this …
	spareStepLow = 0.7  // … or to this, far below the largest rate known
	spareLeast   = 0.01 // of the largest rate known: with that the path is still measured
	spareMost    = 1.25 // of it
	// spareMin is 2 packets a second.
	spareMin = 2 * packetSize

	// spareMemory is how long the least one-way delay stands. The owner's queue
	// may stand for as long without being taken for the path's own delay; two
	// clocks that differ by 20 parts in a million put it wrong by 2 ms meanwhile
	// (LEDBAT, RFC 6817, remembers ten minutes and warns of the same).
	spareMemory = 2 * time.Minute
)

// spare is the part of a Controller that uses a path only as far as its owner
// leaves it idle. It follows LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): the
// rate grows while the one-way delay says that the path's queue is empty, and is
// cut in proportion to how much it is not, once a round.
//
//	one-way delay − its least    0 ─────── spareQueue ─────── 2 × spareQueue ──▶
//	rate, each round             × (1+step), step rises   × 1 … ½        × ½
type spare struct {
	rate  float64 // allowed, bytes per second; 0: not known yet
	step  float64
	least leastDelay
	round time.Duration // the least one-way delay of this round, less least; < 0: none
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
}

// bound is the queue above which the path is somebody else's, at a rate in
// bytes per second.
func (s *spare) bound(rate float64) time.Duration {
	if rate == 0 {
		return spareQueue
	}
	return spareQueue + time.Duration(sparePackets*packetSize/rate*float64(time.Second))
}

// endRound sets the rate for the next round. reached is what was delivered of
// late, known the largest rate there was, bytes per second; full: as much was
// sent as allowed.
func (s *spare) endRound(reached, known, loss float64, full bool) {
	queue := s.round
	s.round = -1
	if s.rate == 0 {
		s.rate = known
	}
	if queue < 0 {
		return
	}
	bound := s.bound(known)
	switch {
	case queue > bound || loss > lossBound:
		if reached > 0 {
			s.rate = min(s.rate, reached)
		}
		over := 1.0
		if queue <= 2*bound && loss <= lossBound {
			over = float64(queue-bound) / float64(bound)
		}
		s.rate *= 1 - spareCut*over
		s.step = spareStep
	case queue > bound/2 || !full:
	default:
		least, most := spareStep, spareStepMax
		if s.rate < known/2 {
			least, most = spareStepMax, spareStepLow
		}
		step := min(max(s.step, least), most)
		s.rate = min(s.rate*(1+step), spareMost*known)
		s.step = 2 * step
	}
	s.rate = max(s.rate, spareLeast*known, spareMin)
}
