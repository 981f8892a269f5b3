package udp

import "net/netip"

// The kernel's limits of a train. Linux allows more segments since 6.9; 64 is
// what all versions take. The bytes are an IPv4 packet's largest UDP payload.
const (
	maxSegments   = 64
	maxTrainBytes = 65507
)

// trainLength is how many of the leading datagrams can go as one train: all of
// the first one's size, and at the end perhaps one shorter. It is at least 1
// for a batch that is not empty.
func trainLength(bufs [][]byte) int {
	if len(bufs) < 2 {
		return len(bufs)
	}
	size := len(bufs[0])
	if size == 0 {
		return 1 // the kernel cannot cut a train into nothings
	}
	most := min(len(bufs), maxSegments, max(1, maxTrainBytes/size))
	for i := 1; i < most; i++ {
		switch n := len(bufs[i]); {
		case n == 0 || n > size:
			return i
		case n < size:
			return i + 1
		}
	}
	return most
}

// inbound is a received packet, a train or a single datagram, on its way to
// the caller's messages.
type inbound struct {
	peer  netip.AddrPort
	local netip.Addr
	rest  []byte // what is not handed out yet
	size  int    // of the segments; 0: rest is one datagram
	left  bool   // there is another segment, which may be of no bytes
}

// next takes the next segment off the packet. Call it only while left.
func (p *inbound) next() []byte {
	n := len(p.rest)
	if 0 < p.size && p.size < n {
		n = p.size
	}
	segment := p.rest[:n]
	p.rest = p.rest[n:]
	p.left = len(p.rest) > 0
	return segment
}

// split copies segments to the messages and returns how many it filled, and
// how many segments it dropped for want of space in the message.
func (p *inbound) split(ms []Message) (n, truncated int) {
	for p.left && n < len(ms) {
		segment, m := p.next(), &ms[n]
		if len(segment) > len(m.Buf) {
			truncated++
			continue
		}
		m.Buf = m.Buf[:copy(m.Buf, segment)]
		m.Peer, m.Local = p.peer, p.local
		n++
	}
	return n, truncated
}
