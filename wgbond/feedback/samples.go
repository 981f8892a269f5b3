package feedback

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// sampleSlots is how many packets are remembered for their receipts. At one
// of four they span more than WireGuard's replay window.
const sampleSlots = 4096

// Samples remembers, at the sending end, tags of some of the packets, and
// compares them with those of the peer's receipts. The zero value is ready.
//
//	sent by path 1, tag t ──► slot of its counter
//	Receipt: came by path 2, tag u ──► u = t? fine, whoever brought it
//	                                   else 2 was given it, or not: Alters, Invents
type Samples struct {
	slots []sample // by counter; nil until needed
	end   uint64   // highest counter sent, plus one, of the key pair
	index uint32
}

type sample struct {
	used       bool
	key, index uint32
	tag        uint32
	counter    uint64
	sent       uint16 // paths that it was sent by, a bit each
	judged     uint16 // paths whose receipt was judged
}

// Sent notes that a packet leaves by path; tag is asked for with its first
// transmission under a key.
func (s *Samples) Sent(path schedulers.PathID, key, index uint32, counter uint64, tag func() uint32) {
	if s.slots == nil {
		s.slots = make([]sample, sampleSlots)
	}
	x := s.slot(index, counter)
	if !x.used || x.index != index || x.counter != counter || x.key != key {
		*x = sample{used: true, key: key, index: index, counter: counter, tag: tag()}
	}
	x.sent |= 1 << path
}

// Newest notes how far the counters of the current key pair have come.
func (s *Samples) Newest(index uint32, counter uint64) {
	if index != s.index {
		s.index, s.end = index, 0
	}
	s.end = max(s.end, counter+1)
}

func (s *Samples) slot(index uint32, counter uint64) *sample {
	h := (counter ^ uint64(index)<<20) * 0x9e3779b97f4a7c15
	return &s.slots[h>>(64-12)]
}

// Judge compares one sample of a receipt with what was sent. It is 0 if they
// agree; known is false if nothing can be said.
func (s *Samples) Judge(r *wire.Receipt, x wire.Sample) (charge wire.Charge, known bool) {
	if s.slots == nil || r.Index != s.index {
		return 0, false
	}
	counter := s.whole(x.Counter)
	if counter >= s.end {
		return wire.Invents, true // it was never sent by anything
	}
	o := s.slot(r.Index, counter)
	bit := uint16(1) << r.Path
	if !o.used || o.index != r.Index || o.counter != counter || o.key != r.Key || o.judged&bit != 0 {
		return 0, false
	}
	o.judged |= bit
	switch {
	case o.tag == x.Tag:
		return 0, true
	case o.sent&bit != 0:
		return wire.Alters, true
	}
	return wire.Invents, true
}

// whole is the counter nearest to the newest that has those lowest bits.
func (s *Samples) whole(low uint16) uint64 {
	c := s.end&^0xffff | uint64(low)
	switch {
	case c > s.end && c-s.end > 1<<15 && c >= 1<<16:
		return c - 1<<16
	case c < s.end && s.end-c > 1<<15:
		return c + 1<<16
	}
	return c
}
