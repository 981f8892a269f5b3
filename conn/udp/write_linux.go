package udp

import (
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What one sendmmsg takes at most. A batch beyond it needs another call.
const (
	maxPackets   = 64 // trains and single datagrams
	maxDatagrams = 128
)

// sending is the state of one WriteBatch call.
type sending struct {
	packets  int // built; the first done of them are sent
	done     int
	hdrs     [maxPackets]mmsghdr
	lengths  [maxPackets]int // datagrams in each packet
	controls [maxPackets]control
	iovs     [maxDatagrams]unix.Iovec
	peer     sockaddr
	peerSize uint32
	from     netip.Addr // zero: the kernel chooses
	scope    uint32     // from's

	// try calls sendmmsg once; tryWait calls it until the send buffer has
	// room. Both leave the packets sent and the error below. They are made
	// once, with the sending itself, to spare an allocation a call.
	try     func(fd uintptr)
	tryWait func(fd uintptr) (done bool)
	n       int
	errno   unix.Errno
}

// sendings lends them to WriteBatch calls.
var sendings = sync.Pool{New: func() any {
	w := new(sending)
	for i := range w.hdrs {
		w.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&w.peer))
	}
	w.try = func(fd uintptr) {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.done])), uintptr(w.packets-w.done), unix.MSG_DONTWAIT, 0, 0)
		w.n, w.errno = int(n), errno
		if errno != 0 {
			w.n = 0
		}
	}
	w.tryWait = func(fd uintptr) bool {
		w.try(fd)
		return w.errno != unix.EAGAIN
	}
	return w
}}

// WriteBatch sends bufs to one destination, in order: consecutive datagrams of
// one size as trains, all with as few system calls as may be. If from is valid
// it is the local address to send from. It waits while the socket's send
// buffer is full.
//
// It returns how many datagrams the kernel took. Where that is fewer than all,
// err says why bufs[sent] was not, and the rest was not tried: the caller may
// go on with bufs[sent+1:], which serves after TooLong and is useless after
// Gone. The error is net.ErrClosed after Close. A train that the kernel
// refuses is sent again as single datagrams; if those go, this socket sends no
// more trains.
func (s *Socket) WriteBatch(bufs [][]byte, to netip.AddrPort, from netip.Addr) (sent int, err error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	w := sendings.Get().(*sending)
	sent, err = s.write(w, bufs, to, from)
	clear(w.iovs[:min(len(bufs), maxDatagrams)]) // the buffers are the caller's again
	sendings.Put(w)
	if sent > 0 {
		s.count.sent.Add(uint64(sent))
	}
	if err != nil {
		s.count.sendFailed(err)
	}
	return sent, err
}

func (s *Socket) write(w *sending, bufs [][]byte, to netip.AddrPort, from netip.Addr) (sent int, err error) {
	if err := s.address(w, to, from); err != nil {
		return 0, err
	}
	singles := 0       // datagrams at the front whose train was refused
	suspected := false // of these the first is not sent yet: was the train at fault, or the datagram?
	retried := -1      // datagram that met an error once already
	for sent < len(bufs) {
		if singles > 0 {
			w.build(bufs[sent:sent+singles], false)
		} else {
			w.build(bufs[sent:], s.gso.Load())
		}
		n, err := s.transmit(w)
		sent += n
		if singles > 0 && n > 0 {
			singles -= n
			if suspected {
				suspected = false
				s.gso.Store(false)
			}
		}
		switch length := w.failed(); {
		case err == nil:
		case length > 1 && refusesTrain(err):
			s.count.gsoFallbacks.Add(1)
			singles, suspected = length, true
			if err == unix.EIO {
				s.gso.Store(false)
			}
		case isAny(err, refusedErrors) && retried != sent:
			// The kernel hands to the next send the ICMP error that an earlier
			// one caused, and does not send. This one may yet go.
			retried = sent
		default:
			s.forgetScope()
			if err == unix.EINVAL && from.IsValid() {
				// That is how Linux says that the address to send from is
				// not ours: ip_route_output_key_hash_rcu in net/ipv4/route.c,
				// ip6_datagram_send_ctl in net/ipv6/datagram.c.
				err = unix.EADDRNOTAVAIL
			}
			return sent, &Error{Op: "send", Peer: to, From: from, Err: err}
		}
	}
	return sent, nil
}

// refusesTrain reports whether an error may mean that the kernel or the device
// does not segment: EIO, no checksum offload (udp_send_skb in net/ipv4/udp.c,
// before Linux 6.12) or IPsec on the route; EINVAL, a socket option in the
// way, or a segment longer than the device carries, which newer kernels call
// EMSGSIZE.
func refusesTrain(err error) bool {
	return err == unix.EIO || err == unix.EINVAL || err == unix.EMSGSIZE || err == unix.EOPNOTSUPP
}

// address sets where the packets go and from where.
func (s *Socket) address(w *sending, to netip.AddrPort, from netip.Addr) error {
	to, err := destination(to, s.v6)
	if err != nil {
		return err
	}
	scope, err := s.scopeOf(to.Addr())
	if err != nil {
		return &Error{Op: "send", Peer: to, From: from, Err: err}
	}
	w.peerSize = putSockaddr(&w.peer, to, scope)
	w.from, w.scope = netip.Addr{}, 0
	from = from.Unmap()
	if !from.IsValid() || from.IsUnspecified() {
		return nil
	}
	if from.Is6() != s.v6 {
		return &Error{Op: "send", Peer: to, From: from, Err: ErrFamily}
	}
	if scope, err = s.scopeOf(from); err != nil {
		return &Error{Op: "send", Peer: to, From: from, Err: err}
	}
	w.from, w.scope = from, scope
	return nil
}

// build makes packets of as many of the leading datagrams as fit: trains, or
// single datagrams only.
func (w *sending) build(bufs [][]byte, trains bool) {
	w.packets, w.done = 0, 0
	for taken := 0; w.packets < maxPackets && taken < min(len(bufs), maxDatagrams); w.packets++ {
		length := 1
		if trains {
			length = trainLength(bufs[taken:min(len(bufs), maxDatagrams)])
		}
		h, c, end := &w.hdrs[w.packets].hdr, &w.controls[w.packets], 0
		if w.from.IsValid() {
			end = c.putSource(w.from, w.scope)
		}
		if length > 1 {
			end = c.putSegment(end, len(bufs[taken]))
		}
		h.Namelen = w.peerSize
		h.Control = nil
		if end > 0 {
			h.Control = &c.bytes()[0]
		}
		h.SetControllen(end)
		h.Iov = &w.iovs[taken]
		h.SetIovlen(length)
		for _, b := range bufs[taken : taken+length] {
			w.iovs[taken].Base = unsafe.SliceData(b)
			w.iovs[taken].SetLen(len(b))
			taken++
		}
		w.lengths[w.packets] = length
	}
}

// transmit sends the packets built and returns how many datagrams went before
// an error, if there was one: an Errno, or the poller's when the socket is
// closed.
func (s *Socket) transmit(w *sending) (datagrams int, err error) {
	for w.done < w.packets {
		err := s.raw.Control(w.try)
		if err == nil && w.errno == unix.EAGAIN {
			s.count.sendWaits.Add(1)
			err = s.raw.Write(w.tryWait)
		}
		if err != nil {
			return datagrams, err
		}
		if w.errno != 0 {
			return datagrams, w.errno
		}
		s.count.sendCalls.Add(1)
		for _, length := range w.lengths[w.done : w.done+w.n] {
			datagrams += length
			if length > 1 {
				s.count.sentTrains.Add(1)
			}
		}
		w.done += w.n
	}
	return datagrams, nil
}

// failed is how many datagrams are in the packet that transmit stopped at.
func (w *sending) failed() int {
	if w.done == w.packets {
		return 0
	}
	return w.lengths[w.done]
}
