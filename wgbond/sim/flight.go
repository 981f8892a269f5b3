package sim

import "time"

// flight holds the packets that will arrive, by arrival and then by the order
// in which they were added. Packets that come in order cost a ring's push;
// only links that reorder pay for a heap.
type flight[P any] struct {
	ring ring[flyer[P]] // append: arrivals never fall
	heap []flyer[P]     // insert: a binary heap
	seq  uint64
}

type flyer[P any] struct {
	arrives time.Duration
	seq     uint64
	size    int
	p       P
}

func (f *flyer[P]) before(g *flyer[P]) bool {
	return f.arrives < g.arrives || f.arrives == g.arrives && f.seq < g.seq
}

// append adds a packet that arrives last of all. A flight is filled by append
// or by insert, never by both.
func (f *flight[P]) append(arrives time.Duration, size int, p P) {
	f.ring.push(flyer[P]{arrives: arrives, size: size, p: p})
}

// insert adds a packet that arrives at any time.
func (f *flight[P]) insert(arrives time.Duration, size int, p P) {
	f.seq++
	f.heap = append(f.heap, flyer[P]{arrives, f.seq, size, p})
	h := f.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// next is the earliest arrival, or Never.
func (f *flight[P]) next() time.Duration {
	switch {
	case f.ring.size > 0:
		return f.ring.front().arrives
	case len(f.heap) > 0:
		return f.heap[0].arrives
	}
	return Never
}

// pop removes the earliest packet; there must be one.
func (f *flight[P]) pop() (P, int) {
	if f.ring.size > 0 {
		top := f.ring.pop()
		return top.p, top.size
	}
	h := f.heap
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = flyer[P]{} // do not keep the packet alive
	h = h[:last]
	f.heap = h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].before(&h[least]) {
				least = child
			}
		}
		if least == i {
			return top.p, top.size
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
