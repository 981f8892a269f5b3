// Package spare decides how much of a lent link its owner leaves: from what the
// device carried and what of it was borrowed, without touching a packet.
//
//	device's counter ── total ─┐
//	                           ├─▶ Meter ─▶ ceiling for all borrowers together
//	forwarded by us ─── lent ──┘
//
// One Meter watches one direction. What the owner uses is total − lent. It
// cannot be seen what the owner would use if we used less, so a Meter makes
// room and looks whether it is taken:
//
//	capacity ─────────────────────────────────────────────
//	           margin       ▲ large while the owner's use rises, small when it
//	         ───────────    ▼ has not risen for a while
//	           ceiling of the borrowers
//	         ───────────
//	           the owner's use
//
// An owner who wants all thus gets it within a second or two, by growing into the
// margin again and again; one who wants a steady part keeps that, and borrowers
// have nearly all the rest. The capacity is the most that was seen of late; now
// and then a borrower may try whether there is more. While the owner uses
// nothing, there is no ceiling, and the borrowers are told why: rate control at the
// sender's end (package rate) keeps a steady link's queue short in any case, and
// yields to the owner's before a Meter notices anything.
package spare

import (
	"math"
	"slices"
	"time"
)

// Interval is the time between two calls of Meter.Read.
const Interval = 100 * time.Millisecond

// None is the ceiling while the owner uses nothing.
const None = math.MaxUint64

const (
	// The owner's use is the median of so many readings, of the more if that is
	// more. One who stops for half a second uses no less, and one who then catches
	// up no more: BBR sends next to nothing for 0.2 to 0.4 s every ten seconds, to
	// see the path without a queue (ProbeRTT), and what it was to send meanwhile
	// comes at once. Beside an owner of half, each cost the borrower more than a
	// second of its own half.
	few, many = 5, 11
	// After so long without a reading those before count no more.
	gap = few * Interval
	// One of whom so many readings showed nothing has ended: ProbeRTT sends four
	// packets a round trip, and is shorter on most paths.
	ended = 4
	// The two counters are not read at one moment: what the device has counted and
	// the forwarder not yet, up to slip bytes, is the owner's in one reading, and
	// taken off the next. On 3.6 Mbit/s one packet would be a use to be heeded, and
	// cost the borrower three tenths of the link for 100 ms, once a second.
	slip = 16 * 1500

	// An owner who uses less than the larger of these leaves all: mail that is
	// looked for, a chat.
	idleShare = 0.03  // of the capacity
	idleRate  = 8_000 // bytes per second

	// Less than this is nothing: a borrower's session control alone was as much.
	leastShare = 0.03 // of the capacity

	marginMost  = 0.25 // of the capacity
	marginLeast = 0.02
	// An owner who uses fullShare of the capacity wants all of it. The most of
	// thirty seconds is a few hundredths more than the others of them, and those
	// lent to no end: an owner's BBR takes what it has not for a rate that it had,
	// and its ping rose by 25 ms for 2 % of the link.
	fullShare  = 0.9 // of the capacity
	marginFull = 0.06
	marginFall = 0.85 // in each interval without a rise
	rise       = 0.1  // of the owner's usual use is a rise …
	riseLeast  = 0.02 // … if it is this much of the capacity
	usualGain  = 0.1

	borrowedGain = 0.3

	memory = 30 // seconds for which a second's traffic counts for the capacity

	// A push lets borrowers try for a second whether there is more.
	pushFirst, pushNext = 0.1, 0.25 // of the capacity
	pushFor             = time.Second
	pushGain            = 0.05 // of the capacity must be gained by it
	pushAfter           = time.Second
	pushAtMost          = 16 * time.Second // the wait doubles with each that gained nothing
	// Beside an owner who wants all they are rare: it shows itself what the link
	// carries, but for one who never wants more than a part of it, all along.
	pushFull, pushFullMost = 30 * time.Second, 4 * time.Minute
)

// Meter watches one direction of a link. The zero value is ready.
type Meter struct {
	begun       bool
	at          time.Duration
	total, lent uint64
	ahead       float64 // what was taken for the owner's and was not, bytes; at most slip

	uses          [many]float64 // the latest, of the owner, bytes per second
	reads         int           // how many there were
	quiet         int           // the latest of them that showed nothing
	own, borrowed float64       // smoothed, bytes per second
	usual         float64       // what own was of late
	margin        float64       // bytes per second
	ceiling       float64       // as told last; < 0: none

	second   time.Duration // the time of this second's traffic so far
	carried  uint64        // in it
	seconds  [memory]float64
	nth      int
	capacity float64

	push      float64 // bytes per second
	pushBegan time.Duration
	pushed    float64       // the capacity before
	pushAt    time.Duration // when the next may begin
	pushWait  time.Duration
}

// Own is what the owner uses, bytes per second.
func (m *Meter) Own() float64 { return m.own }

// Capacity is the most that the link carried of late, bytes per second.
func (m *Meter) Capacity() float64 { return m.capacity }

// Read takes in the device's counter of bytes and how many of them were
// borrowed, both since whenever, every Interval. It returns what borrowers may
// use together, bytes per second; None if there is no limit.
func (m *Meter) Read(now time.Duration, total, lent uint64) uint64 {
	was := *m
	m.at, m.total, m.lent = now, total, lent
	elapsed := now - was.at
	if !m.begun || elapsed <= 0 || total < was.total || lent < was.lent {
		m.begun = true
		m.ceiling = -1
		return None // the first, or the counter began anew
	}
	in := float64(total - was.total)
	borrowed := float64(lent - was.lent)
	own := in - borrowed - was.ahead
	m.ahead = min(max(-own, 0), slip)
	own = max(own, 0) / elapsed.Seconds()
	borrowed /= elapsed.Seconds()
	if elapsed > gap {
		m.reads = 0 // nobody looked meanwhile
	}
	m.learn(own)
	m.borrowed += borrowedGain * (borrowed - m.borrowed)
	m.measure(elapsed, total-was.total)

	if m.own <= m.idle() {
		m.usual, m.margin, m.push, m.pushWait = m.own, 0, 0, 0
		m.ceiling = -1
		return None
	}
	m.reserve()
	m.tryMore(now)
	m.ceiling = m.capacity + m.push - m.own - m.margin
	if m.ceiling < leastShare*m.capacity {
		m.ceiling = 0
	}
	return uint64(m.ceiling)
}

// idle is the most that an owner uses who leaves all, bytes per second.
func (m *Meter) idle() float64 { return max(idleRate, idleShare*m.capacity) }

// learn takes in how much the owner used since the reading before.
func (m *Meter) learn(own float64) {
	if m.quiet++; own > m.idle() {
		m.quiet = 0
	}
	if m.quiet >= ended {
		m.reads = 0
	}
	m.uses[m.reads%many] = own
	m.reads++
	m.own = max(m.median(few), m.median(many))
}

// median is that of the latest n readings of the owner's use, the lower of two in
// the middle. One reading alone says as much of when it was made.
func (m *Meter) median(n int) float64 {
	var latest [many]float64
	n = min(n, m.reads)
	for i := range n {
		latest[i] = m.uses[(m.reads-1-i)%many]
	}
	if n < 2 {
		return 0
	}
	slices.Sort(latest[:n])
	return latest[(n-1)/2]
}

// measure finds the capacity: of means over a second, for a burst into a modem's
// buffer is no measure of what its link carries.
func (m *Meter) measure(elapsed time.Duration, carried uint64) {
	m.second += elapsed
	m.carried += carried
	if m.second < time.Second-Interval/2 {
		return
	}
	m.seconds[m.nth] = float64(m.carried) / m.second.Seconds()
	m.nth = (m.nth + 1) % memory
	m.second, m.carried = 0, 0
	m.capacity = 0
	for _, s := range m.seconds {
		m.capacity = max(m.capacity, s)
	}
}

// reserve sets the margin.
func (m *Meter) reserve() {
	if m.own > m.usual*(1+rise) && m.own > m.usual+riseLeast*m.capacity {
		m.usual = m.own
		m.margin = marginMost * m.capacity
		return
	}
	m.usual += usualGain * (m.own - m.usual)
	switch {
	case !m.full():
		m.margin = max(m.margin*marginFall, marginLeast*m.capacity)
	case m.push > 0:
		m.margin = marginLeast * m.capacity // else too little would be gained to see it
	default:
		m.margin = max(m.margin*marginFall, marginFull*m.capacity)
	}
}

func (m *Meter) full() bool { return m.own >= fullShare*m.capacity }

// tryMore begins and ends pushes, while borrowers use what they may; next to
// nothing is not worth their while.
func (m *Meter) tryMore(now time.Duration) {
	switch {
	case m.push > 0 && now-m.pushBegan < pushFor:
	case m.push > 0 && m.capacity > m.pushed*(1+pushGain):
		m.begin(now, pushNext)
		m.pushWait = 0
	case m.push > 0:
		m.push = 0
		least, most := pushAfter, pushAtMost
		if m.full() {
			least, most = pushFull, pushFullMost
		}
		m.pushWait = max(least, min(2*m.pushWait, most))
		m.pushAt = now + m.pushWait
	case m.full() && m.pushWait < pushFull:
		m.pushWait = pushFull
		m.pushAt = now + m.pushWait
	case m.ceiling >= 0 && m.borrowed > 0 && (m.borrowed >= 0.7*m.ceiling || m.ceiling < idleRate) && now >= m.pushAt:
		m.begin(now, pushFirst)
	}
}

func (m *Meter) begin(now time.Duration, share float64) {
	m.push, m.pushBegan, m.pushed = share*m.capacity, now, m.capacity
}
