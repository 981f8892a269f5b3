//go:build linux

package emulator

import (
	"encoding/binary"
	"testing"
)

// checksum is that of a UDP datagram over IPv4 (RFC 768), as it stands.
func checksum(pkt []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			if i+1 < len(b) {
				sum += uint32(binary.BigEndian.Uint16(b[i:]))
			} else {
				sum += uint32(b[i]) << 8
			}
		}
	}
	add(pkt[12:20])
	sum += 17 + uint32(len(pkt)-20)
	add(pkt[20:])
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// TestNAT: ports are translated there and back with valid checksums, and after
// a rebinding the old ones lead nowhere.
func TestNAT(t *testing.T) {
	datagram := func(from, to uint16) []byte {
		b := make([]byte, 33)
		b[0], b[9] = 0x45, 17
		copy(b[12:], []byte{100, 64, 1, 2, 203, 0, 113, 2})
		binary.BigEndian.PutUint16(b[20:], from)
		binary.BigEndian.PutUint16(b[22:], to)
		binary.BigEndian.PutUint16(b[24:], 13)
		copy(b[28:], "hello")
		binary.BigEndian.PutUint16(b[26:], checksum(b))
		return b
	}
	n := &nat{shift: 1000, inside: map[uint16]struct{}{}}
	if n.in(datagram(51820, 41000)) {
		t.Error("a datagram passes for which nobody has asked")
	}
	for _, port := range []uint16{40000, 64536, 65535} { // with and without a wrap
		out := datagram(port, 51820)
		n.out(out)
		outside := binary.BigEndian.Uint16(out[20:])
		if outside != port+1000 || checksum(out) != 0 {
			t.Errorf("%d left as %d, checksum %#x", port, outside, checksum(out))
		}
		back := datagram(51820, outside)
		if !n.in(back) || binary.BigEndian.Uint16(back[22:]) != port || checksum(back) != 0 {
			t.Errorf("the answer to %d does not come back", port)
		}
	}
	n.shift, n.inside = 2000, map[uint16]struct{}{}
	if n.in(datagram(51820, 41000)) {
		t.Error("the old port leads somewhere after a rebinding")
	}
	tcp := datagram(1, 2)
	tcp[9] = 6
	if n.out(tcp); !n.in(tcp) || binary.BigEndian.Uint16(tcp[20:]) != 1 {
		t.Error("what is not UDP is touched")
	}
}
