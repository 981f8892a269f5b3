package feedback

import (
	"testing"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

func TestSamples(t *testing.T) {
	var s Samples
	receipt := func(path uint8, key, index uint32) *wire.Receipt {
		return &wire.Receipt{Path: path, Key: key, Index: index}
	}
	if _, known := s.Judge(receipt(0, 1, 7), wire.Sample{}); known {
		t.Error("something is known before anything was sent")
	}
	const high = 1<<32 - 5 // counters pass a multiple of 2¹⁶ soon
	for c := uint64(high); c < high+20; c++ {
		s.Newest(7, c)
		s.Sent(1, 1, 7, c, func() uint32 { return uint32(c) })
	}
	again := uint64(high + 3)
	s.Sent(2, 1, 7, again, func() uint32 { t.Error("tagged again"); return 0 }) // a repair
	for _, c := range []struct {
		what    string
		path    uint8
		key     uint32
		index   uint32
		counter uint64
		tag     uint64
		charge  wire.Charge
		known   bool
	}{
		{"as it was sent", 1, 1, 7, high, high, 0, true},
		{"the same receipt again", 1, 1, 7, high, high, 0, false},
		{"changed", 1, 1, 7, high + 10, 99, wire.Alters, true},
		{"the repair, by the other path", 2, 1, 7, again, again, 0, true},
		{"changed, by the other path", 1, 1, 7, again, 98, wire.Alters, true},
		{"changed, by a path that was not given it", 0, 1, 7, high + 11, 97, wire.Invents, true},
		{"unchanged, by a path that was not given it", 0, 1, 7, high + 12, high + 12, 0, true},
		{"never sent", 1, 1, 7, high + 20, 96, wire.Invents, true},
		{"under other keys", 1, 2, 7, high + 13, 95, 0, false},
		{"of another key pair", 1, 1, 8, high + 13, 94, 0, false},
	} {
		charge, known := s.Judge(receipt(c.path, c.key, c.index), wire.Sample{Counter: uint16(c.counter), Tag: uint32(c.tag)})
		if charge != c.charge || known != c.known {
			t.Errorf("%s: charge %d, known %v, want %d, %v", c.what, charge, known, c.charge, c.known)
		}
	}
	s.Newest(9, 0) // a rekey: what was under way of the old pair is left alone
	if _, known := s.Judge(receipt(1, 1, 7), wire.Sample{Counter: 4, Tag: 93}); known {
		t.Error("a packet of the last key pair is judged")
	}
}
