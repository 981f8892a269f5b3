package tcp

import (
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// delayedACK is how long a receiver waits for a second segment: Linux's
// TCP_DELACK_MIN.
const delayedACK = 40 * time.Millisecond

// receiver puts the bytes in order and decides when to acknowledge.
type receiver struct {
	next   uint64  // first byte that is missing
	beyond []Block // what came beyond it, the one that grew last first; disjoint
	top    uint64  // one past the highest byte seen

	echo     time.Duration // TSVal to echo (RFC 7323: of the segment that next waits for)
	unacked  int           // in-order segments since the last acknowledgement
	due      time.Duration // when it must go out, or Never
	dsack    Block         // to report once
	hasDSACK bool
}

// segment takes a segment's payload. It returns how many bytes became
// deliverable, and counts.
func (r *receiver) segment(now time.Duration, s *Segment, st *Stats) int64 {
	from, to := s.Seq, s.Seq+uint64(s.Len)
	if from <= r.next {
		r.echo = max(r.echo, s.TSVal)
	}
	if s.Len == 0 {
		return 0
	}
	st.Segments++
	if to <= r.next || r.has(from, to) {
		st.Duplicates++
		r.dsack, r.hasDSACK = Block{from, to}, true
		r.due = now
		return 0
	}
	if from < r.top {
		st.OutOfOrder++
	}
	r.top = max(r.top, to)
	before, gap := r.next, len(r.beyond) > 0
	if from > r.next {
		r.keep(Block{from, to})
		r.due = now
		return 0
	}
	r.next = to
	for i := 0; i < len(r.beyond); { // a hole was filled: take what follows it
		if b := r.beyond[i]; b.From <= r.next {
			r.next = max(r.next, b.To)
			r.beyond = append(r.beyond[:i], r.beyond[i+1:]...)
			i = 0
		} else {
			i++
		}
	}
	if r.unacked++; r.unacked >= 2 || gap {
		r.due = now
	} else {
		r.due = min(r.due, now+delayedACK)
	}
	return int64(r.next - before)
}

func (r *receiver) has(from, to uint64) bool {
	for _, b := range r.beyond {
		if b.From <= from && to <= b.To {
			return true
		}
	}
	return false
}

// keep joins a block with those it touches and puts it first (RFC 2018).
func (r *receiver) keep(b Block) {
	kept := r.beyond[:0]
	for _, k := range r.beyond {
		if k.To < b.From || b.To < k.From {
			kept = append(kept, k)
		} else {
			b = Block{min(b.From, k.From), max(b.To, k.To)}
		}
	}
	kept = append(kept, Block{})
	copy(kept[1:], kept)
	kept[0] = b
	r.beyond = kept
}

// acknowledge fills in the acknowledgement; blocks only if sack is set.
func (r *receiver) acknowledge(s *Segment, sack bool) {
	s.Flags |= ACK
	s.Ack, s.TSEcr = r.next, r.echo
	r.unacked, r.due = 0, sim.Never
	if !sack {
		return
	}
	if r.hasDSACK {
		s.Flags |= DSACK
		s.SACK[0], s.Blocks = r.dsack, 1
		r.hasDSACK = false
	}
	for _, b := range r.beyond {
		if s.Blocks == MaxSACK {
			break
		}
		s.SACK[s.Blocks] = b
		s.Blocks++
	}
}
