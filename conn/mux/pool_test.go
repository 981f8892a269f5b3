package mux

import (
	"testing"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
)

// TestPoolArm: every message gets a whole buffer of its own, be there many to
// have or few, and never one that was cut at the front.
func TestPoolArm(t *testing.T) {
	var p Pool
	for _, back := range []int{0, BatchSize / 2, 2 * maxNear} {
		bs := make([][]byte, back)
		for i := range bs {
			bs[i] = p.Get()[:i%7]
			if i%5 == 0 {
				bs[i] = p.Get()[1:]
			}
		}
		p.PutAll(bs)
		if len(p.near) > maxNear {
			t.Errorf("%d buffers are kept near, at most %d may", len(p.near), maxNear)
		}
		ms := make([]udp.Message, BatchSize)
		ms[0].Buf = p.Get()[:3] // was not taken
		p.arm(ms)
		seen := map[*byte]bool{}
		for i, m := range ms {
			if len(m.Buf) != wgbond.MaxDatagram || seen[&m.Buf[0]] {
				t.Fatalf("with %d given back: message %d has %d bytes, or another's", back, i, len(m.Buf))
			}
			seen[&m.Buf[0]] = true
		}
	}
}
