package feedback

import (
	"math"
	"math/bits"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// historyBits is how many counters of a key pair are remembered. It is a
	// little more than WireGuard's replay window of 8128: what is older is of
	// no use to the sender.
	historyBits = 8192
	historyMask = historyBits - 1

	// reportBelow is how far below the lowest missing counter a report begins.
	reportBelow = historyBits / 8

	// maxPairs is how many key pairs are tracked: the current one, the one
	// before, and one that data named before its announcement came.
	maxPairs = 3

	// maxCounter is one more than the highest counter that WireGuard sends
	// (REJECT_AFTER_MESSAGES, whitepaper 6.1). Those above are forged, and
	// would run over our own sums.
	maxCounter = 1<<64 - 1<<13 - 1

	// reportRepeats is in how many feedbacks news is repeated, so that the
	// loss of one costs nothing.
	reportRepeats = 3
)

// Receiver keeps the history of what arrived in one direction of a session.
// The zero value is ready.
type Receiver struct {
	paths [schedulers.MaxPaths]arrivals
	pairs [maxPairs]received

	news  int           // packets since the last Report
	bytes int           // in them
	since time.Duration // when the first of them arrived

	ranges  []wire.Range
	reports []wire.PathReport
	keys    []wire.KeyPairReport
	starts  []int // index into ranges where each key pair's begin
}

// arrivals is what came by one path.
type arrivals struct {
	packets, bytes uint64
	index          uint32
	ordinal        uint32
	last           uint64 // of the newest packet
	ordered        uint64 // of the newest that is kept in order
	at             time.Duration
	repeats        int
}

// received is what came of one key pair, by any path.
type received struct {
	used    bool
	index   uint32
	ordinal uint32 // 0: not announced
	low     uint64 // lowest counter not known to have come, within the window
	high    uint64 // highest counter that came, plus one
	far     uint64 // a counter beyond the window, not yet believed
	bitmap  [historyBits / 64]uint64

	// lately has the lowest counters that came: since the last Report, in the
	// period before, and so on.
	lately [reportRepeats]uint64
}

// KeyPair begins a key pair: the sender announced it. Counters below first
// will not come; a higher first than before says so of more.
func (r *Receiver) KeyPair(index, ordinal uint32, first uint64) {
	if p := r.pair(index); p != nil {
		announced := p.ordinal > 0
		if !announced {
			p.ordinal = ordinal
		}
		switch {
		case p.high > first && p.high-first > 4*historyBits:
			r.recover(p, first)
		case announced:
			p.floor(first)
		default:
			p.low = min(p.low, max(first, p.high-min(p.high, historyBits)))
			p.advance()
		}
		return
	}
	p := r.oldest()
	*p = received{used: true, index: index, ordinal: ordinal}
	p.begin(first)
}

// Void notes that the sender will not send some counters, so that reports need
// not go on about them. It may well run ahead of the data before it, but does
// not move the window: what the sender drops because its own is full must not
// push out what it holds.
func (r *Receiver) Void(index uint32, from, to uint64) {
	p := r.pair(index)
	if p == nil || to > p.high+historyBits/2 {
		return
	}
	for c := max(from, p.low); c < to && c < max(p.high, p.low+historyBits-reportBelow); c++ {
		p.add(c)
	}
}

// recover begins a key pair anew at first. The sender holds packets from first
// on and at most a History's capacity of them, so counters that are windows
// ahead of it were forged (two near each other, or one before the
// announcement), and all real ones have fallen below the window since.
func (r *Receiver) recover(p *received, first uint64) {
	*p = received{used: true, index: p.index, ordinal: p.ordinal}
	p.begin(first)
	for id := range r.paths {
		if a := &r.paths[id]; a.index == p.index {
			a.last, a.ordered = min(a.last, first), min(a.ordered, first)
		}
	}
}

// floor says that nothing below first is missed any more.
func (p *received) floor(first uint64) {
	p.low = max(p.low, min(first, p.high))
	p.advance()
}

func (p *received) advance() {
	for p.low < p.high && p.has(p.low) {
		p.low++
	}
}

func (p *received) begin(first uint64) {
	p.low, p.high = first, first
	for i := range p.lately {
		p.lately[i] = math.MaxUint64
	}
}

func (r *Receiver) pair(index uint32) *received {
	for i := range r.pairs {
		if p := &r.pairs[i]; p.used && p.index == index {
			return p
		}
	}
	return nil
}

// oldest is the slot for a new key pair: a free one, the unannounced one, or
// the one of the lowest ordinal. So data that names made-up key pairs never
// displaces an announced one for more than its announcement.
func (r *Receiver) oldest() *received {
	best := &r.pairs[0]
	for i := range r.pairs {
		p := &r.pairs[i]
		if !p.used {
			return p
		}
		if p.ordinal < best.ordinal {
			best = p
		}
	}
	return best
}

// Data notes the arrival of a data message; size counts the whole IP packet.
// One with a counter that WireGuard never sends is ignored.
func (r *Receiver) Data(now time.Duration, path schedulers.PathID, index uint32, counter uint64, size int) {
	r.data(now, path, index, counter, size, false)
}

// Express is Data for one that may have been sent ahead of lower counters.
func (r *Receiver) Express(now time.Duration, path schedulers.PathID, index uint32, counter uint64, size int) {
	r.data(now, path, index, counter, size, true)
}

func (r *Receiver) data(now time.Duration, path schedulers.PathID, index uint32, counter uint64, size int, express bool) {
	if counter >= maxCounter {
		return
	}
	p := r.pair(index)
	if p == nil {
		p = r.provisional()
		*p = received{used: true, index: index}
		p.begin(counter)
	}
	believed := p.add(counter)
	a := &r.paths[path]
	a.packets++
	a.bytes += uint64(size)
	newest := a.ordered // what is kept in order follows only such
	if express {
		newest = a.last
	}
	switch {
	case a.packets == 1 || (a.index != index && p.ordinal >= a.ordinal && believed):
		a.index, a.ordinal, a.last, a.ordered, a.at = index, p.ordinal, counter, 0, now
	case a.index == index && counter > newest && believed:
		a.last, a.at, a.ordinal = counter, now, p.ordinal
	}
	if !express && a.last == counter {
		a.ordered = counter
	}
	a.repeats = reportRepeats
	if r.news == 0 {
		r.since, r.bytes = now, 0
	}
	r.news++
	r.bytes += size
}

// provisional is the one slot for a key pair that was not announced.
func (r *Receiver) provisional() *received {
	for i := range r.pairs {
		if p := &r.pairs[i]; p.used && p.ordinal == 0 {
			return p
		}
	}
	return r.oldest()
}

// add notes a counter. It returns false for one far above all others: a
// forged one, or the first after a great loss. A second one near it is
// believed.
func (p *received) add(c uint64) bool {
	switch {
	case c >= p.high:
		if c-p.high >= historyBits/2 && (c < p.far || c-p.far >= historyBits/2) {
			p.far = c
			return false
		}
		if p.high-p.low > historyMask || c-p.low > historyMask {
			p.slide(c)
		}
		for i := p.high; i < c; i++ { // amortised: once per counter
			p.clear(i)
		}
		p.set(c)
		p.high = c + 1
	case c >= p.low || p.high-c <= historyBits:
		p.set(c)
	default:
		return true // too old to tell of
	}
	p.lately[0] = min(p.lately[0], c)
	if c < p.low && p.high-c <= historyBits {
		return true // a provisional pair that began in mid-stream
	}
	p.advance()
	return true
}

// slide moves the window's low end up so that c fits.
func (p *received) slide(c uint64) {
	low := c - historyMask
	if low > p.high {
		// All of the window is new: forget what was.
		p.bitmap = [historyBits / 64]uint64{}
		p.high = low
	}
	p.low = max(p.low, low)
}

func (p *received) set(c uint64)      { p.bitmap[c&historyMask/64] |= 1 << (c % 64) }
func (p *received) clear(c uint64)    { p.bitmap[c&historyMask/64] &^= 1 << (c % 64) }
func (p *received) has(c uint64) bool { return p.bitmap[c&historyMask/64]&(1<<(c%64)) != 0 }

// Pending is the number of data messages since the last Report, their bytes and
// the time when the first of them arrived.
func (r *Receiver) Pending() (packets, bytes int, since time.Duration) {
	return r.news, r.bytes, r.since
}

// Report fills f with what arrived so far and begins a new reporting period.
// The slices in f are the Receiver's, valid until the next Report.
func (r *Receiver) Report(now time.Duration, f *wire.Feedback) {
	r.news = 0
	r.reports, r.keys = r.reports[:0], r.keys[:0]
	r.ranges, r.starts = r.ranges[:0], r.starts[:0]
	for id := range r.paths {
		a := &r.paths[id]
		if a.repeats == 0 {
			continue
		}
		a.repeats--
		r.reports = append(r.reports, wire.PathReport{
			Path: uint8(id), Index: a.index, Last: a.last,
			Arrived: wire.ClockOf(a.at), Packets: a.packets, Bytes: a.bytes,
		})
	}
	for _, i := range r.newestFirst() {
		p := &r.pairs[i]
		if !p.used || p.high == p.low && p.high == 0 {
			continue
		}
		r.starts = append(r.starts, len(r.ranges))
		r.ranges = p.appendRanges(r.ranges)
		r.keys = append(r.keys, wire.KeyPairReport{
			Index: p.index, Span: wire.Range{From: p.from(), To: p.high},
		})
		copy(p.lately[1:], p.lately[:])
		p.lately[0] = math.MaxUint64
	}
	// The ranges have stopped moving: hand out their parts.
	for i := range r.keys {
		end := len(r.ranges)
		if i+1 < len(r.starts) {
			end = r.starts[i+1]
		}
		r.keys[i].Received = r.ranges[r.starts[i]:end]
	}
	f.Sent, f.Paths, f.KeyPairs = wire.ClockOf(now), r.reports, r.keys
}

// newestFirst is the order in which key pairs are reported: what does not fit
// into a message is cut off at the end, and must not be the current one.
// Those that were not announced come last.
func (r *Receiver) newestFirst() (order [maxPairs]int) {
	for i := range order {
		j := i
		for ; j > 0 && r.pairs[order[j-1]].ordinal < r.pairs[i].ordinal; j-- {
			order[j] = order[j-1]
		}
		order[j] = i
	}
	return order
}

// from is where a report's span begins: some way below the lowest missing
// counter, and below all that came lately. So what an earlier, lost feedback
// would have said is said again, and what filled the lowest hole is said at all.
func (p *received) from() uint64 {
	from := p.low - min(p.low, reportBelow)
	for _, c := range p.lately {
		from = min(from, c)
	}
	return max(from, p.high-min(p.high, historyBits))
}

func (p *received) appendRanges(out []wire.Range) []wire.Range {
	for c := p.from(); c < p.high; {
		if !p.has(c) {
			c = p.next(c, false)
			continue
		}
		end := p.next(c, true)
		out = append(out, wire.Range{From: c, To: end})
		c = end
	}
	return out
}

// next is the first counter at or after c whose bit differs from is, at most
// high. It looks at a word at a time.
func (p *received) next(c uint64, is bool) uint64 {
	for c < p.high {
		w := p.bitmap[c&historyMask/64] >> (c % 64)
		if is {
			w = ^w
		}
		if n := uint64(bits.TrailingZeros64(w)); n < 64-c%64 {
			return min(c+n, p.high)
		}
		c += 64 - c%64
	}
	return p.high
}

// Announced reports whether the key pair was announced and is still tracked.
func (r *Receiver) Announced(index uint32) bool {
	p := r.pair(index)
	return p != nil && p.ordinal > 0
}

// Forget begins anew, for a peer that has begun anew.
func (r *Receiver) Forget() { *r = Receiver{} }

// Hole reports whether something is missing below what came.
func (r *Receiver) Hole() bool {
	for i := range r.pairs {
		if p := &r.pairs[i]; p.used && p.low < p.high {
			return true
		}
	}
	return false
}

// PathGone forgets what came by a path: its number may be given to another,
// whose totals begin at zero.
func (r *Receiver) PathGone(id schedulers.PathID) { r.paths[id] = arrivals{} }
