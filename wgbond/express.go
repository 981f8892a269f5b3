package wgbond

import (
	"github.com/wg-bond/wg-bond/wgbond/codel"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// The smallest data messages are not kept in order: what they carry (inner
// acknowledgements, connection requests, pings, DNS, keystrokes) gains much by
// being early and loses nothing by passing others. They go ahead of the rest at
// the sender, and straight on at the receiver (reorder.Params.Express), or with the
// delay of all that came by their path (equalize.go), so
// beside a bulk flow their delay is that of the fastest path alone, and not that
// of the send queue and of the slowest path's packets.
//
//	≤ wire.ExpressSize ─▶ express ─┐
//	                               ├─▶ path's queue: express first ─▶
//	other data ─────────▶ queue ───┘
//
// WireGuard takes them: its replay window is 8128 counters. A TCP flow takes
// them too, unless one is the end of a burst of its own: then RACK (RFC 8985)
// holds the burst for lost. The bound is so low that this is rare.

// expressShare bounds what a flood of small messages takes before others: they
// get half while both wait. Bytes.
const expressShare = 32 << 10

// expressed reports whether a data message is not kept in order.
func expressed(pkt []byte) bool { return len(pkt) <= wire.ExpressSize }

func (s *Session) isExpress(w waiting) bool {
	p := s.hist.Get(w.Handle)
	return p == nil || expressed(p.Buf)
}

// expressMay reports whether it is the express queue's turn.
func (s *Session) expressMay() bool { return s.expressDebt < expressShare || s.queue.len() == 0 }

// owe notes that size bytes from q were bound.
func (s *Session) owe(q *sendQueue, size int) {
	if q == &s.express {
		s.expressDebt = min(s.expressDebt+size, 2*expressShare)
	} else {
		s.expressDebt = max(s.expressDebt-size, 0)
	}
}

// waiting reports whether anything waits for a path.
func (s *Session) waiting() bool { return s.queue.len() > 0 || s.express.len() > 0 }

// pressed reports whether packets wait at a path, so that whatever else is sent
// comes before them. While a path is starting, what is reported is worth that.
func (s *Session) pressed() bool {
	queued := 0
	for _, l := range s.links {
		switch {
		case l == nil || !s.usable(l):
		case l.rate.Starting():
			return false
		default:
			queued += l.queued
		}
	}
	return queued > 0
}

// sendQueue holds packets that are not bound to a path yet.
type sendQueue struct {
	deque[waiting]
	bytes int
	codel codel.CoDel
}

func (q *sendQueue) push(w waiting) {
	q.pushBack(w)
	q.bytes += w.size
}

func (q *sendQueue) pop() waiting {
	w := q.popFront()
	q.bytes -= w.size
	return w
}

func (q *sendQueue) clear() { q.deque, q.bytes = deque[waiting]{}, 0 }
