package udp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is room for the control messages of one packet: a train's segment
// size, and packet info of either family. The kernel wants it aligned.
type control [12]uint64

func (c *control) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))
}

var errControl = errors.New("control data that cannot be read")

// received is what control messages tell about a packet.
type received struct {
	size    int        // of a train's segments, bytes; 0: no train
	local   netip.Addr // the address it was sent to; zero if not told
	ifindex uint32     // the device it came by; 0 if not told
}

// parseControl reads the control messages of a received packet. Kinds that it
// does not know it skips.
func parseControl(b []byte) (r received, err error) {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return received{}, errControl
		}
		switch {
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO:
			// An int, see udp_cmsg_recv in include/linux/udp.h.
			if len(data) < 4 {
				return received{}, errControl
			}
			size := int32(binary.NativeEndian.Uint32(data))
			if size < 0 {
				return received{}, errControl
			}
			r.size = int(size)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			// struct in_pktinfo: ifindex, spec_dst, addr. For a broadcast addr
			// is no address to answer from; spec_dst always is one.
			if len(data) < unix.SizeofInet4Pktinfo {
				return received{}, errControl
			}
			r.ifindex = binary.NativeEndian.Uint32(data)
			r.local = netip.AddrFrom4([4]byte(data[4:8]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			// struct in6_pktinfo: addr, ifindex.
			if len(data) < unix.SizeofInet6Pktinfo {
				return received{}, errControl
			}
			r.local = netip.AddrFrom16([16]byte(data[:16]))
			r.ifindex = binary.NativeEndian.Uint32(data[16:])
		}
		b = rest
	}
	return r, nil
}

// putSource writes, at the start of c, the control message that chooses the
// address to send from, and returns its length.
func (c *control) putSource(from netip.Addr, scope uint32) int {
	b := c.bytes()
	if from.Is4() {
		data := putHeader(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		clear(data)
		a := from.As4()
		copy(data[4:8], a[:])
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	data := putHeader(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	a := from.As16()
	copy(data, a[:])
	binary.NativeEndian.PutUint32(data[16:], scope)
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// putSegment writes, at offset at, the control message that says the size of a
// train's segments, and returns its end.
func (c *control) putSegment(at, size int) int {
	data := putHeader(c.bytes()[at:], unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return at + unix.CmsgSpace(2)
}

// putHeader writes a control message's header and returns the room for its
// data.
func putHeader(b []byte, level, kind int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	return b[unix.CmsgLen(0):][:size]
}
