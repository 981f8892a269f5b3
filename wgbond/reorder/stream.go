package reorder

import (
	"math"
	"math/bits"
	"time"
)

const (
	// minRing is the number of slots a stream starts with; it doubles up to
	// Window when counters lie further apart.
	minRing = 256
	// history is how many counters behind the head a late packet can be told
	// from a duplicate.
	history = 8192

	none    = -1
	unknown = math.MaxUint64 // a stream's end before it is announced
)

// slot holds one waiting packet. A slot's number is its counter modulo the
// ring's size; the counters of a ring are those from head to head+size.
type slot struct {
	pkt     []byte
	again   [][]byte // the same datagram once more: they go on behind pkt
	arrived time.Duration
	// passed is when every live path had brought something newer than the
	// counters below this packet; it means something while counter ≤
	// stream.passed.
	passed time.Duration
	// Neighbours in order of arrival, slot numbers.
	prev, next int32
}

// stream is one key pair: the next counter expected and the packets beyond it.
type stream struct {
	index, ordinal uint32

	head uint64 // the lowest counter that may still go on in order
	end  uint64 // no counter from here on will come
	// fed is when a packet or a void last came for the head itself: while
	// the head is fed the stream moves, and what waits above is no gap of its.
	fed time.Duration

	slots []slot
	have  []uint64 // a bit per slot: a packet waits in it
	gone  []uint64 // a bit per slot: nothing to wait for (void, or went on alone)
	held  int
	top   uint64 // above every counter of have and gone
	// lowest is the lowest waiting counter while held > 0.
	lowest uint64
	// The first and the last slot in order of arrival.
	oldest, newest int32

	// passed is the counter that every live path had got to when last looked;
	// tail is since when it has been at the end, if tailPassed.
	passed     uint64
	tailPassed bool
	tail       time.Duration

	// missed has a bit for each of the last `history` counters below head
	// that had not come when its place was given up.
	missed [history / 64]uint64
}

// reset readies a stream, new or used, for a key pair.
func (s *stream) reset(now time.Duration, index, ordinal uint32, head uint64) {
	if s.slots == nil {
		s.slots = make([]slot, minRing)
		s.have = make([]uint64, minRing/64)
		s.gone = make([]uint64, minRing/64)
	}
	clear(s.gone)
	clear(s.missed[:])
	s.index, s.ordinal = index, ordinal
	s.head, s.end, s.fed = head, unknown, now
	s.top, s.oldest, s.newest = head, none, none
	s.passed, s.tailPassed = 0, false
}

func (s *stream) slot(c uint64) int32 { return int32(c & uint64(len(s.slots)-1)) }

// counter is the counter of a slot.
func (s *stream) counter(i int32) uint64 {
	return s.head + (uint64(i)-s.head)&uint64(len(s.slots)-1)
}

func test(m []uint64, i int32) bool { return m[i>>6]>>(i&63)&1 != 0 }
func set(m []uint64, i int32)       { m[i>>6] |= 1 << (i & 63) }
func unset(m []uint64, i int32)     { m[i>>6] &^= 1 << (i & 63) }

// fit grows the ring until it has a slot for c, head ≤ c < head+Window.
func (s *stream) fit(c uint64) {
	size := len(s.slots)
	for c-s.head >= uint64(size) {
		size *= 2
	}
	if size == len(s.slots) {
		return
	}
	old := *s
	s.slots = make([]slot, size)
	s.have = make([]uint64, size/64)
	s.gone = make([]uint64, size/64)
	s.oldest, s.newest = none, none
	for i := old.oldest; i != none; i = old.slots[i].next {
		c := old.counter(i)
		j := s.slot(c)
		s.slots[j] = old.slots[i]
		set(s.have, j)
		s.link(j)
	}
	for c := old.head; c < old.top; c++ {
		if test(old.gone, old.slot(c)) {
			set(s.gone, s.slot(c))
		}
	}
}

// link puts slot i at the end of the order of arrival.
func (s *stream) link(i int32) {
	s.slots[i].prev, s.slots[i].next = s.newest, none
	if s.newest == none {
		s.oldest = i
	} else {
		s.slots[s.newest].next = i
	}
	s.newest = i
}

// put makes pkt wait in the free place of c.
func (s *stream) put(now time.Duration, c uint64, pkt []byte) {
	s.fit(c)
	i := s.slot(c)
	e := &s.slots[i]
	e.pkt, e.arrived = pkt, now
	if c <= s.passed {
		// The counters below were passed already: when, the next packet
		// above knows, if it was passed too.
		e.passed = now
		if n, ok := s.heldFrom(c+1, s.top); ok && n <= s.passed {
			e.passed = s.slots[s.slot(n)].passed
		}
	}
	set(s.have, i)
	s.link(i)
	if s.held == 0 || c < s.lowest {
		s.lowest = c
	}
	s.held++
	s.top = max(s.top, c+1)
}

// take removes the packet of c, which waits.
func (s *stream) take(c uint64) []byte {
	i := s.slot(c)
	e := &s.slots[i]
	if e.prev == none {
		s.oldest = e.next
	} else {
		s.slots[e.prev].next = e.next
	}
	if e.next == none {
		s.newest = e.prev
	} else {
		s.slots[e.next].prev = e.prev
	}
	pkt := e.pkt
	e.pkt = nil
	unset(s.have, i)
	s.held--
	if s.held > 0 && c == s.lowest {
		s.lowest, _ = s.heldFrom(c+1, s.top)
	}
	return pkt
}

// heldFrom is the lowest waiting counter from c on and below limit ≤ top.
func (s *stream) heldFrom(c, limit uint64) (uint64, bool) {
	for c < limit {
		i := s.slot(c)
		if w := s.have[i>>6] >> (i & 63); w != 0 {
			// Where the ring's two ends share this word, the bit may be a
			// counter's near head; the sum is then top or more.
			c += uint64(bits.TrailingZeros64(w))
			return c, c < limit
		}
		c += 64 - uint64(i&63)
	}
	return 0, false
}

// void marks the counters from ≤ c < to, all within the window, as gone and
// returns how many were still awaited.
func (s *stream) void(from, to uint64) (n uint64) {
	if from >= to {
		return 0
	}
	s.fit(to - 1)
	for c := from; c < to; c++ {
		if i := s.slot(c); !test(s.have, i) && !test(s.gone, i) {
			set(s.gone, i)
			n++
		}
	}
	s.top = max(s.top, to)
	return n
}

// step moves the head over a counter that has come, or will never.
func (s *stream) step() {
	i := s.slot(s.head)
	unset(s.gone, i)
	h := s.head % history
	s.missed[h>>6] &^= 1 << (h & 63)
	s.head++
	s.top = max(s.top, s.head)
}

// skip moves the head to c, below which nothing waits; what did not come
// until now is missed. It reports whether anything was.
func (s *stream) skip(c uint64) (missed bool) {
	if c-s.head >= history {
		// Everything in the history is overwritten.
		for i := range s.missed {
			s.missed[i] = math.MaxUint64
		}
		missed = true
		for h := s.head; h < min(c, s.top); h++ {
			i := s.slot(h)
			if test(s.gone, i) && c-h <= history {
				s.missed[h%history>>6] &^= 1 << (h % history & 63)
			}
			unset(s.gone, i)
		}
		s.head = c
	}
	for s.head < c {
		i := s.slot(s.head)
		h := s.head % history
		if test(s.gone, i) {
			s.missed[h>>6] &^= 1 << (h & 63)
		} else {
			s.missed[h>>6] |= 1 << (h & 63)
			missed = true
		}
		unset(s.gone, i)
		s.head++
	}
	s.top = max(s.top, s.head)
	return missed
}

// wasMissed reports whether c, below the head, had its place given up, and
// marks it as come.
func (s *stream) wasMissed(c uint64) bool {
	if s.head-c > history {
		return true
	}
	h := c % history
	was := s.missed[h>>6]>>(h&63)&1 != 0
	s.missed[h>>6] &^= 1 << (h & 63)
	return was
}

// stamp notes that every live path has now got to counter m.
func (s *stream) stamp(now time.Duration, m uint64) {
	if m > s.passed && s.held > 0 {
		limit := min(m, s.top-1) + 1
		for c, ok := s.heldFrom(max(s.passed+1, s.lowest), limit); ok; c, ok = s.heldFrom(c+1, limit) {
			s.slots[s.slot(c)].passed = now
		}
	}
	s.passed = m
	if m < s.end {
		s.tailPassed = false
	} else if !s.tailPassed {
		s.tailPassed, s.tail = true, now
	}
}
