package sim

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"
)

// Never is the virtual time of an event that will not come.
const Never = time.Duration(math.MaxInt64)

// Link is one direction of one hop. It is not safe for concurrent use, and
// the time it is told must not fall.
//
// A link serves in the order of arrival and its configuration is known to the
// end, so a packet's fate is decided when it is pushed: Push computes when
// its serialisation begins, when it ends and when it arrives. There are no
// internal events; Next is always the exact time of an arrival.
type Link[P any] struct {
	settings  []setting // by time; what changes but the service itself
	phases    []phase   // by time; who serves, and how fast
	reorder   bool
	overtaken *Overtaken
	rng       *rand.Rand

	// The server at the end of its work so far.
	free    time.Duration // when the last packet's serialisation ends
	phase   int           // the phase of free
	epoch   time.Duration // constant rate: where sent counts from
	sent    uint64        // bits sent since epoch by the time free
	epochIn int           // the phase that epoch belongs to; -1: none
	player  tracePlayer   // trace: the next opportunity that is untouched
	credit  int           // trace: bits left of the opportunity at free

	pushed   int  // index in settings at the time of the last Push
	finished int  // index in settings at the time free
	inBurst  bool // Gilbert-Elliott state

	waiting ring[waiting] // pushed, serialisation not begun
	queued  int           // bytes in waiting
	flying  flight[P]     // serialised or going to be; will arrive
	last    time.Duration // newest arrival given out, to keep the order

	stats Stats
}

type waiting struct {
	begins time.Duration
	size   int
}

// Stats counts what a link did. Sizes are bytes of whole IP packets.
type Stats struct {
	Pushed         uint64 // packets offered
	Delivered      uint64 // packets popped
	DeliveredBytes uint64
	MaxQueue       int // most bytes that ever waited
	Dropped        Drops
}

// Drops counts dropped packets by reason.
type Drops struct {
	MTU    uint64 // larger than LinkConfig.MTU
	Queue  uint64 // no room in the queue
	Outage uint64 // no room in the queue, during an outage
	Loss   uint64 // random loss, LinkConfig.Loss
	Burst  uint64 // burst loss, LinkConfig.Burst
}

// NewLink makes a link. An error names the field, its value and what would
// be right.
func NewLink[P any](cfg LinkConfig) (*Link[P], error) {
	settings, phases, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	return &Link[P]{
		settings:  settings,
		phases:    phases,
		reorder:   cfg.Reorder,
		overtaken: cfg.Overtaken,
		rng:       rand.New(rand.NewPCG(cfg.Seed, 0x6c696e6b)),
		epochIn:   -1,
	}, nil
}

// Push offers a packet of size bytes (the whole IP packet). False: it is
// dropped, here or later on its way, and counted by reason; p stays the
// caller's. A packet lost on the air still takes its share of the rate.
func (l *Link[P]) Push(now time.Duration, size int, p P) bool {
	l.stats.Pushed++
	l.settle(now)
	for l.pushed+1 < len(l.settings) && l.settings[l.pushed+1].from <= now {
		l.pushed++
	}
	if mtu := l.settings[l.pushed].mtu; mtu > 0 && size > mtu {
		l.stats.Dropped.MTU++
		return false
	}
	atOnce, down := l.idle(now)
	if limit := l.settings[l.pushed].queue; !atOnce && limit > 0 && l.queued+size > limit {
		if down {
			l.stats.Dropped.Outage++
		} else {
			l.stats.Dropped.Queue++
		}
		return false
	}
	begins := l.serve(now, size)
	if begins > now {
		l.waiting.push(waiting{begins, size})
		l.queued += size
		l.stats.MaxQueue = max(l.stats.MaxQueue, l.queued)
	}

	for l.finished+1 < len(l.settings) && l.settings[l.finished+1].from <= l.free {
		l.finished++
	}
	s := &l.settings[l.finished]
	if s.loss > 0 && l.rng.Float64() < s.loss {
		l.stats.Dropped.Loss++
		return false
	}
	if s.burst != nil && l.burstLoss(s.burst) {
		l.stats.Dropped.Burst++
		return false
	}
	arrives := add(l.free, s.delay)
	if s.jitter > 0 {
		arrives = add(arrives, time.Duration(l.rng.Int64N(int64(s.jitter)+1)))
	}
	if !l.reorder {
		l.last = max(l.last, arrives)
		arrives = l.last
	}
	if o := l.overtaken; o != nil && l.rng.Float64() < o.Share {
		arrives = add(arrives, o.Late) // and l.last stays: it holds up nobody
	}
	if l.reorder || l.overtaken != nil {
		l.flying.insert(arrives, size, p)
	} else {
		l.flying.append(arrives, size, p)
	}
	return true
}

// Pop takes the next packet whose arrival is not after now, in the order of
// arrival; ok is false if there is none.
func (l *Link[P]) Pop(now time.Duration) (p P, size int, ok bool) {
	l.settle(now)
	if l.flying.next() > now || now == Never {
		return p, 0, false
	}
	p, size = l.flying.pop()
	l.stats.Delivered++
	l.stats.DeliveredBytes += uint64(size)
	return p, size, true
}

// Next is the time of the next arrival, or Never.
func (l *Link[P]) Next() time.Duration { return l.flying.next() }

// Queued is the number of bytes that wait at now; it excludes the packet
// being serialised.
func (l *Link[P]) Queued(now time.Duration) int {
	l.settle(now)
	return l.queued
}

// Stats tells what the link did so far. A loss is counted when the packet is
// pushed.
func (l *Link[P]) Stats() Stats { return l.stats }

// settle takes the packets whose serialisation has begun out of the queue.
func (l *Link[P]) settle(now time.Duration) {
	for l.waiting.size > 0 && l.waiting.front().begins <= now {
		l.queued -= l.waiting.pop().size
	}
}

// idle tells whether a packet pushed now would be on the wire at once, and
// whether the link is in an outage.
func (l *Link[P]) idle(now time.Duration) (atOnce, down bool) {
	i := l.phase
	for i+1 < len(l.phases) && l.phases[i+1].from <= now {
		i++
	}
	// The server may have planned past now; step back to the phase of now.
	for l.phases[i].from > now {
		i--
	}
	ph := &l.phases[i]
	return l.free <= now && !ph.down && ph.trace == nil, ph.down
}

// serve books the next size bytes of the server for a packet pushed now. It
// returns when the serialisation begins and leaves its end in l.free.
func (l *Link[P]) serve(now time.Duration, size int) (begins time.Duration) {
	rem := uint64(size) * 8
	begins = Never
	t := max(now, l.free)
	if t > l.free {
		l.epochIn = -1 // idle in between: what was sent no longer counts
	}
	begun := false
	for {
		if t == Never {
			l.free = Never
			return begins
		}
		for l.phase+1 < len(l.phases) && l.phases[l.phase+1].from <= t {
			l.phase++
		}
		ph, end := &l.phases[l.phase], l.phaseEnd()
		switch {
		case ph.down:
			t = end

		case ph.trace != nil:
			whole := rem
			if !begun {
				whole += 8 * TraceOverhead
			}
			first, left := l.spend(now, t, end, whole)
			if first != Never {
				begins, begun, rem = min(begins, first), true, left
			}
			if begun && rem == 0 {
				return begins
			}
			t = end

		case ph.rate == 0:
			l.free = t
			return min(begins, t)

		default:
			begins, begun = min(begins, t), true
			if l.epochIn != l.phase {
				l.epoch, l.sent, l.epochIn = t, 0, l.phase
			}
			if done := add(l.epoch, duration(l.sent+rem, ph.rate)); done <= end {
				l.sent += rem
				l.free = done
				return begins
			}
			// The phase ends in mid-packet: the rest goes at the next one's pace.
			if through := sentBits(end-l.epoch, ph.rate); through > l.sent {
				rem -= through - l.sent
			}
			t = end
		}
	}
}

// spend uses opportunities between from and end for rem bits of a packet
// pushed now. It returns when the first was used and how many bits are left
// at the end of the phase.
func (l *Link[P]) spend(now, from, end time.Duration, rem uint64) (first time.Duration, left uint64) {
	first = Never
	ph := &l.phases[l.phase]
	if l.player.trace != ph.trace || l.player.base != ph.base {
		l.player = tracePlayer{trace: ph.trace, base: ph.base}
		l.credit = 0
	}
	// What is left of the last opportunity serves only those that were
	// waiting when it came: a packet pushed at that very moment is too late.
	if l.credit > 0 && l.free > now && l.free >= ph.from {
		first = l.free
		used := min(uint64(l.credit), rem)
		l.credit -= int(used)
		rem -= used
		if rem == 0 {
			return first, 0
		}
	}
	l.credit = 0
	l.player.seek(max(now, from-1, ph.from-1))
	for ; rem > 0; l.player.step() {
		at := l.player.time()
		if at >= end {
			return first, rem
		}
		first = min(first, at)
		used := min(8*OpportunitySize, rem)
		rem -= used
		l.credit = 8*OpportunitySize - int(used)
		l.free = at
	}
	return first, 0
}

func (l *Link[P]) phaseEnd() time.Duration {
	if l.phase+1 < len(l.phases) {
		return l.phases[l.phase+1].from
	}
	return Never
}

func (l *Link[P]) burstLoss(g *GilbertElliott) bool {
	change, loss := g.ToBad, g.LossGood
	if l.inBurst {
		change = g.ToGood
	}
	if l.rng.Float64() < change {
		l.inBurst = !l.inBurst
	}
	if l.inBurst {
		loss = g.LossBad
	}
	return l.rng.Float64() < loss
}

// add is a + b that stops at Never; b must not be negative.
func add(a, b time.Duration) time.Duration {
	if a > Never-b {
		return Never
	}
	return a + b
}

// duration is how long n bits take at rate bit/s, rounded up.
func duration(n, rate uint64) time.Duration {
	hi, lo := bits.Mul64(n, uint64(time.Second))
	if hi >= rate {
		return Never
	}
	q, r := bits.Div64(hi, lo, rate)
	if r > 0 {
		q++
	}
	if q > uint64(Never) {
		return Never
	}
	return time.Duration(q)
}

// sentBits is how many whole bits leave in d at rate bit/s.
func sentBits(d time.Duration, rate uint64) uint64 {
	hi, lo := bits.Mul64(uint64(d), rate)
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	return q
}
