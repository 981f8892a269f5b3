package reorder

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// skewed feeds b one packet every microsecond, every tenth by path 1, behind
// the others by skew packets, and releases every 64.
type skewed struct {
	b    *Buffer
	skew uint64
	now  time.Duration
	c    uint64
	pkt  []byte
	out  [][]byte
}

func newSkewed(skew uint64) *skewed {
	s := &skewed{b: New(Params{}), skew: skew, pkt: make([]byte, 1400), out: make([][]byte, 0, 2*MaxPackets)}
	s.b.KeyPair(0, 1, 0, 0)
	s.b.Heard(0, 1)
	for range 20 * Window {
		s.next()
	}
	return s
}

func (s *skewed) next() {
	s.now += time.Microsecond
	if s.c%10 != 0 {
		s.b.Packet(s.now, 0, 1, s.c, s.pkt)
	} else if s.c >= s.skew {
		s.b.Packet(s.now, 1, 1, s.c-s.skew, s.pkt)
	}
	if s.c++; s.c%64 == 0 {
		s.out = s.b.Release(s.now, s.out[:0])
	}
}

func TestNoAllocations(t *testing.T) {
	for _, skew := range []uint64{0, 100, 7500} {
		s := newSkewed(skew)
		if n := testing.AllocsPerRun(100, func() {
			for range 640 {
				s.next()
			}
		}); n != 0 {
			t.Errorf("skew %d: %v allocations per 640 packets", skew, n)
		}
		if st := s.b.Stats(); st.GapsForced+st.GapsPassed+st.GapsDeadline+st.Late != 0 || skew > 0 && st.Held == 0 {
			t.Errorf("skew %d: %+v", skew, st)
		}
	}
}

// A rekey takes the ring of a key pair that is over.
func TestRekeyNoAllocations(t *testing.T) {
	b := New(Params{})
	pkt, out := make([]byte, 1400), make([][]byte, 0, 100)
	ordinal := uint32(0)
	rekey := func() {
		ordinal++
		b.KeyPair(0, ordinal, ordinal, 0)
		for c := range uint64(10) {
			b.Packet(0, schedulers.PathID(c%2), ordinal, c^1, pkt)
		}
		b.KeyPairEnd(0, ordinal, 10)
		out = b.Release(0, out[:0])
	}
	rekey()
	if n := testing.AllocsPerRun(10, rekey); n != 0 {
		t.Errorf("%v allocations a rekey", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	for _, c := range []struct {
		name string
		skew uint64
	}{{"in order", 0}, {"skew 100", 100}, {"skew 7500", 7500}} {
		b.Run(c.name, func(b *testing.B) {
			s := newSkewed(c.skew)
			b.ReportAllocs()
			for b.Loop() {
				s.next()
			}
		})
	}
}

// The costliest case of its kind: every packet waits behind a gap of 8000
// counters, and half of them fill it.
func BenchmarkLongGap(b *testing.B) {
	buf := New(Params{})
	buf.KeyPair(0, 1, 0, 0)
	pkt, out := make([]byte, 1400), make([][]byte, 0, 2*MaxPackets)
	c, half := uint64(0), uint64(3900)
	b.ReportAllocs()
	for b.Loop() {
		at := c/(2*half)*(2*half) + half + c%(2*half)
		if c%(2*half) >= half {
			at -= 2 * half
		}
		buf.Packet(0, schedulers.PathID(at/half%2), 1, at, pkt)
		if c++; c%64 == 0 {
			out = buf.Release(0, out[:0])
		}
	}
}
