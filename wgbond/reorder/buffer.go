package reorder

import (
	"bytes"
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const (
	// Window is how far a packet's counter may lie ahead of the next expected
	// one to be put in order. It is twice WireGuard's replay window: packets
	// in order do not need that one, only late ones do.
	Window = 16384
	// MaxPackets is the largest Params.MaxPackets: WireGuard's replay window
	// (8128) less what may be under way behind the buffer.
	MaxPackets = 8000
	// MaxDeadline is the longest Deadline that is followed.
	MaxDeadline = 5 * time.Second
	// MaxKeyPairs is how many key pairs are put in order at a time. WireGuard
	// has two in use around a rekey.
	MaxKeyPairs = 4
	// Never is what Next returns when time alone will release nothing.
	Never = time.Duration(math.MaxInt64)

	// healAfter is how many packets in a row below a path's newest show that
	// the newest was false. Repairs come below it too, but not so many without
	// a new packet between.
	healAfter = 32
	// maxCounter is beyond any counter WireGuard uses (2^64 - 2^13 - 1 at
	// most), far enough from the end that sums do not overflow.
	maxCounter = math.MaxUint64 - 4*Window
)

// Params sets a Buffer's limits. The zero value of each field stands for its
// default.
type Params struct {
	// Hold is how long a gap that every live path has passed is still waited
	// for; the sender may Tune it. Default 0: not at all.
	Hold time.Duration
	// Deadline is the longest time that a packet waits; the sender may Tune
	// it. Default 1 s: shorter ones than the paths' skew destroy the order.
	Deadline time.Duration
	// Silence is for how long a path is taken to be alive after it was last
	// heard. Default 1 s.
	Silence time.Duration
	// Express is the size up to which a packet goes on at once, whatever it
	// passes, and tells nothing of its path: the sender may have sent it ahead.
	// Default 0: none does.
	Express int
	// MaxPackets and MaxBytes bound what is held; bytes are the capacities of
	// the packets' buffers. Defaults: the constant MaxPackets, and as many
	// buffers of 2048 bytes.
	MaxPackets, MaxBytes int
	// Budget bounds what this buffer and others hold together. Default: nothing
	// does.
	Budget *Budget
}

// Budget is a bound of what several buffers hold together. It may be shared by
// buffers of several goroutines.
type Budget struct {
	most int64
	held atomic.Int64
}

// NewBudget makes a bound of so many bytes, counted as Params.MaxBytes are.
func NewBudget(bytes int) *Budget { return &Budget{most: int64(bytes)} }

// Held is what is held now, bytes.
func (g *Budget) Held() int { return int(g.held.Load()) }

// hold notes bytes held, or with a negative number handed on.
func (g *Budget) hold(bytes int) {
	if g != nil {
		g.held.Add(int64(bytes))
	}
}

func (g *Budget) spent() bool { return g != nil && g.held.Load() > g.most }

// position is a place in the order of all packets of a session.
type position struct {
	ordinal uint64 // key pair's ordinal + 1; 0: nothing yet
	next    uint64 // nothing below this counter, or of an older key pair, comes any more
}

func (p position) less(q position) bool {
	return p.ordinal < q.ordinal || p.ordinal == q.ordinal && p.next < q.next
}

// path is what is known of one path.
type path struct {
	heard time.Duration // last; means something if its bit in Buffer.known is set
	pos   position
	// below counts the packets in a row that came from below pos.
	below int
	// far is since when the path brings only counters far from what is
	// expected; means something if isFar.
	isFar bool
	far   time.Duration
}

// early remembers a key pair whose packets came before its announcement.
type early struct {
	used  bool
	index uint32
	next  [schedulers.MaxPaths]uint64 // above the highest counter by path; 0: none
}

// Buffer is the reorder buffer of one session.
type Buffer struct {
	p     Params
	now   time.Duration // of the latest call
	paths [schedulers.MaxPaths]path
	known uint32 // a bit for each path that was heard
	live  uint32 // a bit for each path that carries data, says the sender

	// streams holds the announced key pairs that are not finished, the
	// oldest first. Only the first one's packets go on in order; the others'
	// wait.
	streams []*stream
	// spare holds finished streams for use again.
	spare []*stream
	// closed is one more than the highest ordinal finished, or 0.
	closed uint64
	// finished has the receiver indices finished last, early those not
	// announced yet that came last; both are overwritten in turn.
	finished   [MaxKeyPairs]uint64 // index + 1; 0: none
	finishedAt int
	early      [MaxKeyPairs]early
	earlyAt    int

	ready [][]byte // handed on, waiting for Release
	held  int      // packets waiting in streams
	bytes int      // capacity of their buffers
	stats Stats
}

// New makes an empty buffer. Until the first Tune every path counts as one
// that carries data.
func New(p Params) *Buffer {
	if p.Deadline <= 0 {
		p.Deadline = time.Second
	}
	if p.Silence <= 0 {
		p.Silence = time.Second
	}
	if p.MaxPackets <= 0 || p.MaxPackets > MaxPackets {
		p.MaxPackets = MaxPackets
	}
	if p.MaxBytes <= 0 {
		p.MaxBytes = p.MaxPackets * 2048
	}
	p.Hold = max(p.Hold, 0)
	p.Deadline = min(p.Deadline, MaxDeadline)
	return &Buffer{p: p, live: math.MaxUint32}
}

// KeyPair announces, on the sender's authority, that data messages with this
// receiver index are to be put in order: after those of all lower ordinals,
// from counter first on. To announce a key pair again is harmless; a higher
// first then means that nothing below it will come.
//
// If packets of the key pair came, and went on, before it was announced, the
// order begins after the highest of them.
func (b *Buffer) KeyPair(now time.Duration, index, ordinal uint32, first uint64) {
	b.now = now
	if s := b.lookup(index); s != nil {
		if s.ordinal == ordinal {
			if first > s.head && first < maxCounter {
				b.voidTo(s, first)
			}
			b.advance()
			return
		}
		if ordinal < s.ordinal {
			return // an old announcement, come late
		}
		// WireGuard chose the same index again.
		for b.lookup(index) != nil {
			b.stats.GapsForced++
			b.finish(b.streams[0], true)
		}
	}
	if uint64(ordinal) < b.closed || first >= maxCounter {
		return
	}
	for _, s := range b.streams {
		if s.ordinal == ordinal {
			return // a sender gives no two key pairs the same
		}
	}
	if len(b.streams) == MaxKeyPairs {
		if ordinal < b.streams[0].ordinal {
			return
		}
		b.stats.GapsForced++
		b.finish(b.streams[0], true)
	}
	var s *stream
	if n := len(b.spare); n > 0 {
		s, b.spare = b.spare[n-1], b.spare[:n-1]
	} else {
		s = new(stream)
	}
	s.reset(now, index, ordinal, b.adopt(index, ordinal, first))
	at := len(b.streams)
	for at > 0 && b.streams[at-1].ordinal > ordinal {
		at--
	}
	b.streams = append(b.streams, nil)
	copy(b.streams[at+1:], b.streams[at:])
	b.streams[at] = s
	b.advance()
}

// KeyPairEnd announces that no counter at or above end will come with index.
func (b *Buffer) KeyPairEnd(now time.Duration, index uint32, end uint64) {
	b.now = now
	if s := b.lookup(index); s != nil {
		s.end = min(s.end, end)
		s.tailPassed = s.tailPassed && s.passed >= s.end
	}
	b.advance()
}

// Packet takes one data message that came by path id, with the receiver index
// and counter that it bears. It takes ownership of pkt until Release gives it
// back.
func (b *Buffer) Packet(now time.Duration, id schedulers.PathID, index uint32, counter uint64, pkt []byte) {
	b.now = now
	b.hear(id)
	s := b.lookup(index)
	switch {
	case s == nil && b.wasFinished(index):
		b.stats.Late++
		b.ready = append(b.ready, pkt)
	case s == nil:
		b.remember(id, index, counter)
		b.stats.Unannounced++
		b.ready = append(b.ready, pkt)
	default:
		b.place(s, id, counter, pkt)
	}
	b.advance()
}

// place puts a packet of an announced key pair where it belongs.
func (b *Buffer) place(s *stream, id schedulers.PathID, c uint64, pkt []byte) {
	if c-s.head >= Window && c > s.head && s.held == 0 && s == b.streams[0] && c < maxCounter {
		// Nothing waits. What every live path has passed need not be
		// expected any more.
		if m := min(b.passed(s), c); m > s.head {
			s.skip(m)
		}
	}
	switch {
	case c >= s.end || c >= maxCounter:
		b.stats.TooFar++
		b.ready = append(b.ready, pkt)
	case c >= s.head && c-s.head >= Window, c < s.head && s.head-c > Window:
		if c > s.head {
			b.stats.TooFar++
		} else {
			b.stats.Late++
		}
		b.ready = append(b.ready, pkt)
		b.astray(s, id, c)
	case c < s.head:
		if len(pkt) > b.p.Express {
			b.progress(s, id, c)
		}
		if s.wasMissed(c) {
			b.stats.Late++
		} else {
			b.stats.Duplicate++
		}
		b.ready = append(b.ready, pkt)
	case len(pkt) <= b.p.Express:
		b.express(s, c, pkt)
	default:
		b.progress(s, id, c)
		b.await(s, c, pkt)
	}
}

// express hands on a packet whose turn does not matter. Its place is void then.
func (b *Buffer) express(s *stream, c uint64, pkt []byte) {
	b.ready = append(b.ready, pkt)
	if s.void(c, c+1) == 0 {
		b.stats.Duplicate++
		return
	}
	b.stats.Express++
	if c == s.head {
		s.fed = b.now
	}
}

// await takes a packet whose turn is now or later.
func (b *Buffer) await(s *stream, c uint64, pkt []byte) {
	if c < s.top {
		if i := s.slot(c); test(s.have, i) || test(s.gone, i) {
			if e := &s.slots[i]; test(s.have, i) && len(e.again) < schedulers.MaxPaths && bytes.Equal(e.pkt, pkt) {
				// A copy by another path. Passed on now, it would be the
				// one that WireGuard takes, ahead of its turn.
				e.again = append(e.again, pkt)
				b.hold(cap(pkt))
				return
			}
			b.stats.Duplicate++
			b.ready = append(b.ready, pkt)
			return
		}
		b.stats.Filled++
	}
	if c == s.head {
		s.fed = b.now
		if s == b.streams[0] {
			b.stats.InOrder++
			b.ready = append(b.ready, pkt)
			s.step()
			return
		}
	}
	b.look(s)
	s.put(b.now, c, pkt)
	b.held++
	b.hold(cap(pkt))
}

// hold notes bytes held, or with a negative number handed on, here and in all.
func (b *Buffer) hold(bytes int) {
	b.bytes += bytes
	b.p.Budget.hold(bytes)
}

// Void announces that the counters from ≤ c < to of index will not come.
func (b *Buffer) Void(now time.Duration, index uint32, from, to uint64) {
	b.now = now
	if s := b.lookup(index); s != nil && from < to && to < maxCounter {
		if from <= s.head {
			b.voidTo(s, to)
		} else if from-s.head < Window {
			b.stats.Voided += s.void(from, min(to, s.head+Window))
		}
	}
	b.advance()
}

// voidTo marks all that is still awaited below to as void.
func (b *Buffer) voidTo(s *stream, to uint64) {
	if to <= s.head {
		return
	}
	s.fed = b.now
	if n := to - s.head; n > Window && s.held == 0 {
		b.stats.Voided += n
		s.skip(to)
		return
	}
	b.stats.Voided += s.void(s.head, min(to, s.head+Window))
}

// Marker announces, on the sender's authority, that path id will bring
// nothing of index below the counter below any more.
func (b *Buffer) Marker(now time.Duration, id schedulers.PathID, index uint32, below uint64) {
	b.now = now
	b.hear(id)
	if s := b.lookup(index); s != nil && below < maxCounter {
		p := &b.paths[id]
		p.isFar = false
		if pos := (position{uint64(s.ordinal) + 1, below}); p.pos.less(pos) {
			p.pos, p.below = pos, 0
		}
	}
	b.advance()
}

// Heard tells that something authentic came by path id, so that it is alive
// even if it brings no data.
func (b *Buffer) Heard(now time.Duration, id schedulers.PathID) {
	b.now = now
	b.hear(id)
	b.advance()
}

// Tune sets what only the sender can know: how long a gap that every live
// path has passed is still worth waiting for, how long any gap is, and, a bit
// for each, which paths carry data. A Deadline of 0 leaves it as it is.
func (b *Buffer) Tune(now, hold, deadline time.Duration, live uint32) {
	b.now = now
	b.p.Hold = max(hold, 0)
	if deadline > 0 {
		b.p.Deadline = min(deadline, MaxDeadline)
	}
	b.live = live
	b.advance()
}

// PathGone tells that path id was withdrawn: nothing more is expected of it
// until it is heard again.
func (b *Buffer) PathGone(now time.Duration, id schedulers.PathID) {
	b.now = now
	b.known &^= 1 << id
	b.paths[id].below, b.paths[id].isFar = 0, false
	b.advance()
}

// Release appends to out what may go on by now, in order, and gives its
// ownership to the caller.
func (b *Buffer) Release(now time.Duration, out [][]byte) [][]byte {
	b.now = now
	b.advance()
	out = append(out, b.ready...)
	clear(b.ready)
	b.ready = b.ready[:0]
	return out
}

// Next is when Release should be called though nothing came: 0 if something
// is ready now, Never if time alone will release nothing. It may change with
// every other call.
func (b *Buffer) Next() time.Duration {
	if len(b.ready) > 0 {
		return 0
	}
	if b.held == 0 {
		return Never
	}
	_, _, t := b.front()
	t += b.p.Deadline
	s := b.streams[0]
	target, since := b.barrier(s)
	if m := b.passed(s); m >= target {
		return min(t, since+b.p.Hold)
	}
	// The paths that hold it up may fall silent first.
	var silent time.Duration
	for l := b.alive(); l != 0; l &= l - 1 {
		p := &b.paths[bits.TrailingZeros32(l)]
		if b.limit(s, p) < target {
			silent = max(silent, p.heard+b.p.Silence)
		}
	}
	return min(t, silent)
}

// Gap is a run of counters that later packets wait for.
type Gap struct {
	Index uint32
	// From ≤ c < To has not come, with the exception of what is void. To is
	// From if only packets of a newer key pair wait and the end is unknown.
	From, To uint64
	// Since is when the first of the packets that wait now came.
	Since time.Duration
}

// Gap returns the lowest gap, and false if nothing waits.
func (b *Buffer) Gap() (Gap, bool) {
	if b.held == 0 {
		return Gap{}, false
	}
	s := b.streams[0]
	g := Gap{Index: s.index, From: s.head, To: s.head}
	if s.held > 0 {
		g.To = s.lowest
	} else if s.end != unknown {
		g.To = s.end
	}
	_, _, g.Since = b.front()
	return g, true
}

// Missing is how many packets of a gap that Gap returned now have not come:
// without those that went ahead (Params.Express) and those that are void.
func (b *Buffer) Missing(g Gap) uint64 {
	s, n := b.streams[0], g.To-g.From
	for c := g.From; c < min(g.To, s.top); c++ {
		if test(s.gone, s.slot(c)) {
			n--
		}
	}
	return n
}

// Held is the number of packets and of their buffers' bytes that wait.
func (b *Buffer) Held() (packets, bytes int) { return b.held, b.bytes }

// Stats returns the counts since New.
func (b *Buffer) Stats() Stats { return b.stats }

func (b *Buffer) lookup(index uint32) *stream {
	for _, s := range b.streams {
		if s.index == index {
			return s
		}
	}
	return nil
}

func (b *Buffer) hear(id schedulers.PathID) {
	b.paths[id].heard = b.now
	b.known |= 1 << id
}

// progress notes what a packet within the window tells of its path.
func (b *Buffer) progress(s *stream, id schedulers.PathID, c uint64) {
	p := &b.paths[id]
	p.isFar = false
	pos := position{uint64(s.ordinal) + 1, c + 1}
	if p.pos.less(pos) {
		p.pos, p.below = pos, 0
		return
	}
	if p.below++; p.below == healAfter {
		p.pos, p.below = pos, 0
	}
}

// astray notes a packet far from what s expects. If every live path has
// brought nothing else for Deadline, the stream starts anew there.
func (b *Buffer) astray(s *stream, id schedulers.PathID, c uint64) {
	p := &b.paths[id]
	if !p.isFar {
		p.isFar, p.far = true, b.now
	}
	for l := b.alive(); l != 0; l &= l - 1 {
		p := &b.paths[bits.TrailingZeros32(l)]
		if !p.isFar || b.now-p.far < b.p.Deadline {
			return
		}
	}
	for s.held > 0 {
		b.hand(s, s.lowest)
		b.stats.Held++
	}
	end := s.end
	s.reset(b.now, s.index, s.ordinal, c+1)
	s.end = end
	b.stats.Restarts++
	for i := range b.paths {
		p := &b.paths[i]
		p.isFar, p.below = false, 0
		if p.pos.ordinal == uint64(s.ordinal)+1 {
			p.pos.next = 0
		}
	}
	p.pos = position{uint64(s.ordinal) + 1, c + 1}
}

// alive has a bit for each path that carries data and was heard lately.
func (b *Buffer) alive() (live uint32) {
	for l := b.live & b.known; l != 0; l &= l - 1 {
		if i := bits.TrailingZeros32(l); b.now-b.paths[i].heard < b.p.Silence {
			live |= 1 << i
		}
	}
	return live
}

// limit is the lowest counter of s that may still come by p.
func (b *Buffer) limit(s *stream, p *path) uint64 {
	switch ordinal := uint64(s.ordinal) + 1; {
	case p.pos.ordinal > ordinal:
		return math.MaxUint64
	case p.pos.ordinal == ordinal:
		return p.pos.next
	}
	return 0
}

// passed is the lowest counter of s that may still come by any live path.
func (b *Buffer) passed(s *stream) uint64 {
	m := uint64(math.MaxUint64)
	for l := b.alive(); l != 0; l &= l - 1 {
		m = min(m, b.limit(s, &b.paths[bits.TrailingZeros32(l)]))
	}
	return m
}

// look notes in s how far the live paths have got.
func (b *Buffer) look(s *stream) { s.stamp(b.now, b.passed(s)) }

// barrier is the counter that all live paths must get to for the first gap of
// s to be over, and since when they have (if they have).
func (b *Buffer) barrier(s *stream) (target uint64, since time.Duration) {
	if s.held > 0 {
		return s.lowest, s.slots[s.slot(s.lowest)].passed
	}
	return s.end, s.tail
}

// front is the packet that has waited longest.
func (b *Buffer) front() (s *stream, c uint64, arrived time.Duration) {
	for _, t := range b.streams {
		if t.held > 0 {
			if at := t.slots[t.oldest].arrived; s == nil || at < arrived {
				s, arrived = t, at
			}
		}
	}
	return s, s.counter(s.oldest), arrived
}

// advance hands on all that may go on at b.now.
func (b *Buffer) advance() {
	if b.held > 0 {
		for _, s := range b.streams {
			b.look(s)
		}
	}
	for len(b.streams) > 0 {
		s := b.streams[0]
		b.drain(s)
		if s.head >= s.end {
			b.finish(s, false)
			continue
		}
		if b.held == 0 {
			return
		}
		if b.held > b.p.MaxPackets || b.bytes > b.p.MaxBytes || b.p.Budget.spent() {
			b.giveUp(s, &b.stats.GapsForced)
			continue
		}
		if target, since := b.barrier(s); s.passed >= target && b.now-since >= b.p.Hold {
			b.giveUp(s, &b.stats.GapsPassed)
			continue
		}
		t, c, arrived := b.front()
		if b.now-arrived < b.p.Deadline {
			return
		}
		if b.now-s.fed >= b.p.Deadline {
			b.giveUp(s, &b.stats.GapsDeadline)
			continue
		}
		// The stream moves, only far below this packet.
		b.hand(t, c)
		t.void(c, c+1)
		b.stats.Expired++
	}
}

// drain hands on what is in order at the head of s.
func (b *Buffer) drain(s *stream) {
	for s.head < s.top {
		i := s.slot(s.head)
		if test(s.have, i) {
			b.hand(s, s.head)
			b.stats.Held++
		} else if !test(s.gone, i) {
			return
		}
		s.step()
	}
}

// giveUp ends the first gap of s, the oldest stream, and counts it.
func (b *Buffer) giveUp(s *stream, reason *uint64) {
	*reason++
	if s.held == 0 {
		b.finish(s, true)
		return
	}
	s.skip(s.lowest)
}

// hand hands on the waiting packet of counter c; the caller counts it.
func (b *Buffer) hand(s *stream, c uint64) {
	e := &s.slots[s.slot(c)]
	b.stats.HeldFor += b.now - e.arrived
	again := e.again
	e.again = again[:0]
	pkt := s.take(c)
	b.held--
	b.hold(-cap(pkt))
	b.ready = append(b.ready, pkt)
	for i, pkt := range again {
		b.hold(-cap(pkt))
		b.stats.Duplicate++
		b.ready = append(b.ready, pkt)
		again[i] = nil
	}
}

// finish closes s, the oldest stream. What it still holds goes on: in order,
// with the gaps between (if early), or as beyond the end.
func (b *Buffer) finish(s *stream, early bool) {
	for s.held > 0 {
		b.hand(s, s.lowest)
		if early {
			b.stats.Held++
		} else {
			b.stats.TooFar++
		}
	}
	n := copy(b.streams, b.streams[1:])
	b.streams[n] = nil
	b.streams = b.streams[:n]
	b.spare = append(b.spare, s)
	b.closed = uint64(s.ordinal) + 1
	b.finished[b.finishedAt] = uint64(s.index) + 1
	b.finishedAt = (b.finishedAt + 1) % len(b.finished)
}

func (b *Buffer) wasFinished(index uint32) bool {
	for _, f := range b.finished {
		if f == uint64(index)+1 {
			return true
		}
	}
	return false
}

// remember notes a packet of a key pair that is not announced.
func (b *Buffer) remember(id schedulers.PathID, index uint32, c uint64) {
	if c >= maxCounter {
		return
	}
	for i := range b.early {
		if e := &b.early[i]; e.used && e.index == index {
			e.next[id] = max(e.next[id], c+1)
			return
		}
	}
	e := &b.early[b.earlyAt]
	b.earlyAt = (b.earlyAt + 1) % len(b.early)
	*e = early{used: true, index: index}
	e.next[id] = c + 1
}

// adopt returns where the order of a newly announced key pair begins, and
// takes over what is known of its early packets.
func (b *Buffer) adopt(index, ordinal uint32, first uint64) uint64 {
	head := first
	for i := range b.early {
		e := &b.early[i]
		if !e.used || e.index != index {
			continue
		}
		e.used = false
		for id, next := range e.next {
			// What lies too far ahead is forged, or of no use.
			if next > 0 && next-1 < first+Window {
				head = max(head, next)
				if pos := (position{uint64(ordinal) + 1, next}); b.paths[id].pos.less(pos) {
					b.paths[id].pos, b.paths[id].below = pos, 0
				}
			}
		}
	}
	for i := range b.finished {
		if b.finished[i] == uint64(index)+1 {
			b.finished[i] = 0 // WireGuard chose the same index again
		}
	}
	return head
}

// Forget begins anew, for a sender that has begun anew: its ordinals start
// again. What waits goes on at once, in order.
func (b *Buffer) Forget(now time.Duration) {
	b.now = now
	for len(b.streams) > 0 {
		b.finish(b.streams[0], true)
	}
	*b = Buffer{p: b.p, now: now, live: math.MaxUint32, spare: b.spare, ready: b.ready, stats: b.stats}
}
