package path

import "time"

const (
	// BaseSize is what every path is hoped to carry, UDP payload bytes: an
	// IPv6 packet of the least MTU there is (RFC 8200, section 5), 1280 bytes.
	BaseSize = 1280 - 48
	// leastSize is the same for IPv4, where the least is 576 (RFC 791).
	leastSize = 576 - 28
	// firstTop is asked for before the tunnel's need is known: what wg-quick's
	// tunnel MTU on a path of 1500 bytes, 1420, makes of a full packet.
	firstTop = 1420 + 32

	// A size has failed when so many probes of it in a row vanished, each
	// though what was sent behind it arrived. Random loss of 1 % does that once
	// in a million.
	mtuTries = 3
	// mtuGrace is what a probe may be late behind what was sent after it: paths
	// shuffle a little, and the answers may take different ways.
	mtuGrace = 25 * time.Millisecond
	// mtuUnanswered is when to ask again if nothing at all came back.
	mtuUnanswered = time.Second
	// mtuInterval is when a known size is asked for again, as RFC 8899 has it
	// (PMTU_RAISE_TIMER).
	mtuInterval = 10 * time.Minute
	// mtuDoubt is how many data messages must be lost, and none so large
	// arrive, for the path to be suspected of being a black hole;
	// mtuDoubtEvery how often at most that leads to a question.
	mtuDoubt      = 4
	mtuDoubtEvery = time.Second
)

// MTU searches for the largest UDP payload that a path carries in our sending
// direction, bytes, with padded probes. What is known is two marks on the line
// of sizes:
//
//	0             fits                     fails         top
//	├───────────────┼────────────?───────────┼─────────────┤
//	     arrives         yet to be asked        vanishes
//
// The top is what the tunnel needs. Almost every path carries that, so it is
// asked for first, and taken for granted until it fails:
//
//	0                                                     top  fails
//	├──────────────────────────────?───────────────────────▲─────┤
//
// Then the path is held to a size that should pass everywhere, which is asked
// for next, and from there on the middle, until the marks meet:
//
//	0                   1232                              top=fails
//	├─────────────────────▲───────────────────?─────────────┤
//	├─────────────────────┼─────────────────▲───────────────┤
//	                     fits                             fails
//
// Every probe has a small companion sent right behind it. Only a probe whose
// companion arrived can have vanished for its size; it is sent three times. So
// the search takes a few round trips a question, on a path that loses packets
// too, and a path that carries nothing at all is not misjudged.
//
// Data messages that arrive prove as much as probes. When the large ones are
// lost while smaller ones arrive, the path is asked whether it still carries
// what it did.
//
// An MTU does no sending: its owner calls Step when Next has come, sends a
// probe of the size that Step returns and then its companion, and says what
// became of them. Source for the manner: RFC 8899.
type MTU struct {
	top   int // the largest size of interest
	limit int // the interface's; 0: unknown
	fits  int // the largest that arrived; 0: none yet
	fails int // the smallest that vanished; top+1: none
	// assumed: nothing has failed, the top is taken for granted.
	assumed bool

	next      time.Duration // when Step is due
	probe     int           // size under way; 0: none
	overtaken bool          // its companion has arrived
	misses    int           // of this size, in a row
	verify    bool          // the next question is whether Carries still holds

	lost      int // data messages in a row, of lostSize or more
	lostSize  int
	doubtedAt time.Duration
}

// NewMTU begins a search, with a probe due at once. limit is the largest UDP
// payload that the interface carries, bytes; 0: unknown.
func NewMTU(now time.Duration, limit int) *MTU {
	m := &MTU{assumed: true, next: now, top: firstTop, fails: firstTop + 1, doubtedAt: now - mtuDoubtEvery}
	m.Limit(now, limit)
	return m
}

// Carries is the largest payload to send by the path.
func (m *MTU) Carries() int {
	switch {
	case m.assumed:
		return m.top
	case m.fits > 0:
		return m.fits
	case m.fails > BaseSize:
		return BaseSize
	}
	return min(leastSize, m.fails-1)
}

// Known reports whether Carries is what the path was seen to carry and not to
// exceed, or to be all that is needed.
func (m *MTU) Known() bool { return m.fits > 0 && m.fits >= m.fails-1 }

// Need tells that a datagram of size wants to be sent. A size above all before
// is taken for granted, and asked for at once, if nothing smaller failed.
func (m *MTU) Need(now time.Duration, size int) {
	if m.limit > 0 {
		size = min(size, m.limit)
	}
	if size > m.top {
		m.raise(now, size)
	}
}

func (m *MTU) raise(now time.Duration, top int) {
	if m.fails > m.top {
		m.fails = top + 1
		m.assumed = true
		m.again(now)
	}
	m.top = top
}

// Limit tells what the interface carries; 0: unknown.
func (m *MTU) Limit(now time.Duration, limit int) {
	m.limit = limit
	if limit <= 0 || limit >= m.top {
		return
	}
	m.top = limit
	m.fits, m.fails = min(m.fits, limit), min(m.fails, limit+1)
	m.again(now)
}

// Next is when Step is due.
func (m *MTU) Next() time.Duration {
	if m.doubts() {
		return min(m.next, m.doubtedAt+mtuDoubtEvery)
	}
	return m.next
}

func (m *MTU) doubts() bool { return m.lost >= mtuDoubt && m.probe == 0 && !m.verify }

// Step does what is due, and returns the size of the probe to send now; 0:
// none.
func (m *MTU) Step(now time.Duration) (probe int) {
	if now < m.Next() {
		return 0
	}
	if m.doubts() {
		m.doubtedAt = now
		m.lost, m.verify = 0, true
	}
	if m.probe > 0 && m.overtaken {
		m.vanished(now)
	}
	size := m.ask(now)
	if size == 0 {
		m.next = now + mtuInterval
		return 0
	}
	m.probe, m.overtaken = size, false
	m.next = now + mtuUnanswered
	return size
}

// ask is the size to ask for next; 0: nothing until mtuInterval has passed.
func (m *MTU) ask(now time.Duration) int {
	switch {
	case m.verify:
		return m.Carries()
	case m.fits >= m.fails-1:
		if now < m.next {
			return 0 // just found
		}
		return min(m.fails, m.top) // does it carry more by now, or still all?
	case m.fails > m.top:
		return m.top
	case m.fits > 0:
		return (m.fits + m.fails) / 2
	case m.fails > BaseSize:
		return BaseSize
	case m.fails > leastSize:
		return leastSize
	}
	return 0
}

// again makes a question due now, and forgets the one under way.
func (m *MTU) again(now time.Duration) {
	m.probe, m.misses, m.overtaken, m.next = 0, 0, false, now
}

// Arrived tells that a probe, or a data message, of size arrived.
func (m *MTU) Arrived(now time.Duration, size int) {
	if m.lost > 0 && size >= m.lostSize {
		m.lost = 0
	}
	if size >= m.Carries() {
		m.verify = false
	}
	known := m.Known()
	if size > m.fits {
		m.fits = min(size, m.top)
		if m.fails <= size {
			m.fails = m.top + 1 // it did not; now it does
		}
		if m.fits >= m.top {
			m.assumed = false
		}
	}
	answered := m.probe > 0 && size >= m.probe
	if answered {
		m.again(now)
	}
	if m.Known() && m.probe == 0 && (answered || !known || size >= m.top) {
		m.next = now + mtuInterval
	}
}

// Overtaken tells that a companion arrived whose probe, of size, did not.
func (m *MTU) Overtaken(now time.Duration, size int) {
	if m.probe == size && !m.overtaken {
		m.overtaken = true
		m.next = now + mtuGrace
	}
}

// vanished takes the probe under way for lost.
func (m *MTU) vanished(now time.Duration) {
	size := m.probe
	m.probe, m.overtaken = 0, false
	if m.misses++; m.misses < mtuTries {
		m.next = now
		return
	}
	m.fail(now, size)
}

// TooLong tells that the socket refused a datagram of size.
func (m *MTU) TooLong(now time.Duration, size int) {
	if size <= m.top && size < m.fails {
		m.fail(now, size)
	}
}

func (m *MTU) fail(now time.Duration, size int) {
	m.assumed, m.verify, m.lost = false, false, 0
	m.fails = min(m.fails, size)
	if m.fits >= size {
		m.fits = 0 // it did; it does no longer
	}
	m.again(now)
	if m.Known() {
		m.next = now + mtuInterval
	}
}

// Lost tells that a data message of size was lost.
func (m *MTU) Lost(size int) {
	if size <= leastSize {
		return
	}
	if m.lost == 0 || size < m.lostSize {
		m.lostSize = size
	}
	m.lost++
}

// Silent tells that the path carries nothing at the moment: no answer is to be
// expected. If large data messages were lost with it, they may have been the
// reason, so it is asked when it works again.
func (m *MTU) Silent(now time.Duration) {
	m.verify = m.verify || m.lost > 0
	m.lost = 0
	if m.verify || m.probe > 0 {
		m.again(now)
	}
}
