package udp

import (
	"errors"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// slabPackets is how many packets one recvmmsg may bring. The call itself
	// costs about as much as a quarter of a packet, so more would save little.
	slabPackets = 16

	// slabStride is a packet's room, 64 KiB for the longest train, and a bit
	// so that the starts of the packets do not compete for one cache set.
	slabStride = 1<<16 + 17*64

	// maxReadErrors is how many errors in a row ReadBatch passes over before
	// it concludes that the socket is broken. The kernel forgets a queued
	// ICMP error once it reported it.
	maxReadErrors = 64
)

// slab is the memory one recvmmsg fills. The pointers in it lead to itself.
type slab struct {
	hdrs     [slabPackets]mmsghdr
	iovs     [slabPackets]unix.Iovec
	peers    [slabPackets]sockaddr
	controls [slabPackets]control
	data     [slabPackets][slabStride]byte
	used     int // the leading hdrs that the kernel has written to
}

// slabs lends slabs to sockets that have something to hand out.
var slabs = sync.Pool{New: func() any {
	b := &slab{used: slabPackets}
	for i := range b.hdrs {
		b.iovs[i].Base = &b.data[i][0]
		b.iovs[i].SetLen(slabStride)
		h := &b.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i].bytes()[0]
	}
	return b
}}

// rearm restores what the kernel overwrote.
func (b *slab) rearm() {
	for i := range b.hdrs[:b.used] {
		h := &b.hdrs[i].hdr
		h.Namelen = uint32(unsafe.Sizeof(b.peers[i]))
		h.SetControllen(int(unsafe.Sizeof(b.controls[i])))
		h.Flags = 0
	}
	b.used = 0
}

// reader is the receiving side of a Socket. It is owned by the goroutine that
// is in ReadBatch.
type reader struct {
	slab    *slab // lent while next < filled
	filled  int   // packets in the slab
	next    int   // the first that was not taken up yet
	current inbound
	zones   zoneNames
	more    bool // the last recvmmsg brought all it was asked for

	// The arguments and result of receive, which takes them from here because
	// a closure made for each call would be an allocation.
	receive func(fd uintptr) (done bool)
	ask     int  // packets
	wait    bool // wait until there is one
	errno   unix.Errno
}

func (r *reader) init(s *Socket) {
	r.zones = zoneNames{lookUp: s.deviceName, names: make(map[uint32]string)}
	r.receive = func(fd uintptr) bool {
		b := slabs.Get().(*slab)
		b.rearm()
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.hdrs[0])), uintptr(r.ask), unix.MSG_DONTWAIT, 0, 0)
		r.errno, r.filled, r.next = errno, 0, 0
		if errno != 0 {
			slabs.Put(b)
			if errno == unix.EAGAIN {
				r.errno, r.more = 0, false
				return !r.wait
			}
			return true
		}
		b.used, r.filled, r.slab = int(n), int(n), b
		r.more = r.filled == r.ask
		s.count.receiveCalls.Add(1)
		return true
	}
}

// ReadBatch waits for datagrams and puts them into ms, of which there must be
// at least one, in the order they came. It returns as soon as there is one,
// with as many as are there. Trains arrive split. A datagram longer than its
// message's buffer is dropped and counted, and the message used for the next.
// Messages beyond the n first stay as they were.
//
// After Close the error is net.ErrClosed, though what had been received by
// then may come first. Errors queued at the socket, such as ICMP's, are passed
// over and counted; only if they do not cease is one returned.
func (s *Socket) ReadBatch(ms []Message) (n int, err error) {
	if len(ms) == 0 {
		return 0, errNoMessages
	}
	r := &s.reader
	n = s.handOut(ms)
	for failures := 0; n == 0 || n < len(ms) && r.more; {
		r.ask, r.wait = min(len(ms)-n, slabPackets), n == 0
		if err := s.raw.Read(r.receive); err != nil {
			if n > 0 {
				break // the next call will meet the error again
			}
			return 0, &Error{Op: "receive", Err: err}
		}
		if r.errno != 0 {
			s.count.receiveErrors.Add(1)
			if n > 0 {
				break
			}
			if failures++; failures == maxReadErrors {
				return 0, &Error{Op: "receive", Err: r.errno}
			}
			continue
		}
		n += s.handOut(ms[n:])
	}
	s.count.received.Add(uint64(n))
	return n, nil
}

var errNoMessages = errors.New("udp: receive: ReadBatch needs at least one message")

// handOut moves datagrams from the slab to the messages, until either runs
// out, and returns the slab if that is empty.
func (s *Socket) handOut(ms []Message) (n int) {
	r := &s.reader
	for n < len(ms) {
		if !r.current.left && !s.takeUp() {
			break
		}
		k, truncated := r.current.split(ms[n:])
		n += k
		if truncated > 0 {
			s.count.truncated.Add(uint64(truncated))
		}
	}
	if r.slab != nil && r.next == r.filled && !r.current.left {
		r.current.rest = nil
		slabs.Put(r.slab)
		r.slab = nil
	}
	return n
}

// takeUp makes the slab's next good packet the current one; false if there is
// none.
func (s *Socket) takeUp() bool {
	r := &s.reader
	for r.next < r.filled {
		i, b := r.next, r.slab
		r.next++
		h := &b.hdrs[i]
		if h.hdr.Flags&msgTrunc != 0 {
			s.count.truncated.Add(1)
			continue
		}
		peer, known := fromSockaddr(&b.peers[i], &r.zones)
		info, err := parseControl(b.controls[i].bytes()[:h.hdr.Controllen])
		if !known || err != nil || h.hdr.Flags&unix.MSG_CTRUNC != 0 {
			s.count.badControl.Add(1)
			continue
		}
		r.current = inbound{
			peer:  peer,
			local: r.zones.with(info.local, info.ifindex),
			rest:  b.data[i][:h.len],
			size:  info.size,
			left:  true,
		}
		if info.size > 0 && int(h.len) > info.size {
			s.count.receivedTrains.Add(1)
		}
		return true
	}
	return false
}
