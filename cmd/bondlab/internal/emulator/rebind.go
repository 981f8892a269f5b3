//go:build linux

package emulator

import "encoding/binary"

// nat is what a link does to UDP ports, as a carrier's NAT does: it adds shift
// to the source ports of what goes from A to B, and takes it away again from
// what comes back. It belongs to the emulator's thread.
type nat struct {
	shift  uint16
	inside map[uint16]struct{} // the source ports at A that it knows
}

// Rebind has the link's NAT forget what it knows: from now on, UDP from A
// leaves with other source ports, and what B sends to the old ones is dropped.
// IPv4 only.
func (l *Link) Rebind() error {
	return l.e.do(func() error {
		if l.ab.nat == nil {
			l.ab.nat = &nat{}
			l.ba.nat = l.ab.nat
		}
		l.ab.nat.shift += 1000
		l.ab.nat.inside = map[uint16]struct{}{}
		return nil
	})
}

// out translates what goes from A to B.
func (n *nat) out(pkt []byte) {
	if udp := udpOf(pkt); udp != nil {
		port := binary.BigEndian.Uint16(udp)
		n.inside[port] = struct{}{}
		setPort(udp, 0, port+n.shift)
	}
}

// in translates what comes back; false: there is nobody by that port.
func (n *nat) in(pkt []byte) bool {
	udp := udpOf(pkt)
	if udp == nil {
		return true
	}
	port := binary.BigEndian.Uint16(udp[2:]) - n.shift
	if _, known := n.inside[port]; !known {
		return false
	}
	setPort(udp, 2, port)
	return true
}

// udpOf is the UDP header and what follows of an IPv4 packet; nil if it is none.
func udpOf(pkt []byte) []byte {
	if len(pkt) < 28 || pkt[0]>>4 != 4 || pkt[9] != 17 {
		return nil
	}
	header := int(pkt[0]&15) * 4
	if header < 20 || len(pkt) < header+8 {
		return nil
	}
	return pkt[header:]
}

// setPort sets the port at offset at, and the checksum right (RFC 1624).
func setPort(udp []byte, at int, port uint16) {
	old := binary.BigEndian.Uint16(udp[at:])
	binary.BigEndian.PutUint16(udp[at:], port)
	check := binary.BigEndian.Uint16(udp[6:])
	if check == 0 {
		return // it has none
	}
	sum := uint32(^check) + uint32(^old) + uint32(port)
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	if check = ^uint16(sum); check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], check)
}
