package wire

import (
	"fmt"
	"testing"
)

func TestKind(t *testing.T) {
	for _, c := range []struct {
		first string
		size  int
		want  DatagramKind
		kind  MessageKind
	}{
		{"01000000", 148, WGHandshake, 0},
		{"01000000", 147, Other, 0},
		{"02000000", 92, WGHandshake, 0},
		{"02000000", 93, Other, 0},
		{"03000000", 64, WGHandshake, 0},
		{"03000000", 0, Other, 0},
		{"04000000", 32, WGData, 0},
		{"04000000", 47, WGData, 0}, // other implementations need not pad
		{"04000000", 31, Other, 0},
		{"04010000", 64, Other, 0},
		{"04000001", 64, Other, 0},
		{"00000000", 148, Other, 0},
		{"05000000", 148, Other, 0},
		{"b0010000", 148, SessionControl, Initiation},
		{"b0010000", 147, Other, 0},
		{"b0020000", 96, SessionControl, Response},
		{"b0020000", 95, Other, 0},
		{"b0030000", 64, SessionControl, CookieReply},
		{"b0030000", 65, Other, 0},
		{"b0040000", 33, SessionControl, Sealed},
		{"b0040000", 32, Other, 0},
		{"b0050000", 200, Other, 0},
		{"b0000000", 200, Other, 0},
		{"b0040100", 200, Other, 0},
		{"b1010000", 160, LeaseControl, Initiation},
		{"b1040000", 1400, LeaseControl, Sealed},
		{"b2040000", 1400, Other, 0},
	} {
		t.Run(fmt.Sprintf("%s,%d", c.first, c.size), func(t *testing.T) {
			pkt := make([]byte, c.size)
			copy(pkt, unhex(t, c.first))
			if got := Kind(pkt); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if got := ControlKind(pkt); got != c.kind {
				t.Errorf("control kind: got %v, want %v", got, c.kind)
			}
			if _, _, ok := DataHeader(pkt); ok != (c.want == WGData) {
				t.Errorf("DataHeader says %v", ok)
			}
		})
	}
	for n := range 4 {
		if got := Kind(make([]byte, n)); got != Other {
			t.Errorf("%d bytes: got %v", n, got)
		}
	}
}

func TestDataHeader(t *testing.T) {
	pkt := unhex(t, "04000000 efbeadde 0807060504030201 00000000000000000000000000000000")
	index, counter, ok := DataHeader(pkt)
	if !ok || index != 0xdeadbeef || counter != 0x0102030405060708 {
		t.Errorf("got %#x %#x %v", index, counter, ok)
	}
}

func TestReceiverIndex(t *testing.T) {
	for _, c := range []struct {
		first string
		size  int
		want  uint32
		ok    bool
	}{
		{"b0010000 01000000 02000000", 148, 0, false},
		{"b0020000 01000000 02000000", 96, 2, true},
		{"b0030000 01000000 02000000", 64, 1, true},
		{"b1040000 01000000 02000000", 64, 1, true},
		{"04000000 01000000 02000000", 64, 0, false},
	} {
		pkt := make([]byte, c.size)
		copy(pkt, unhex(t, c.first))
		if got, ok := ReceiverIndex(pkt); got != c.want || ok != c.ok {
			t.Errorf("%s: got %d, %v, want %d, %v", c.first, got, ok, c.want, c.ok)
		}
	}
}
