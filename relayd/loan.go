package relayd

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// unanswered is how many packets go at once to a target that has not
	// answered, and refill how long until one more may: so a server that comes
	// up late, or again, is found within a second.
	unanswered = 8
	refill     = time.Second
	// answerLife is for how long an answer of the target counts.
	answerLife = 2 * time.Minute

	// wanSendBuffer is small: what waits there waits where no one can see it,
	// beyond the ring. One train of 64 KiB fits.
	wanSendBuffer = 256 << 10
)

// home is where a borrower is reached.
type home struct {
	peer  netip.AddrPort // of the borrower
	local netip.Addr     // our own address that it wrote to
	sock  *udp.Socket    // on which it did
}

// loan is one lease at the lender: a borrower's address, a target, and a
// socket on the lent device.
//
//	push ─► ring ─► toTarget ─► wan ─► target
//	home ◄───────── toBorrower ◄── wan ◄─┘
type loan struct {
	peer   control.Key
	target netip.AddrPort
	wan    *udp.Socket
	up     *ring
	link   *link
	count  *counters
	meter  *access.Meter // what the borrower has left; nil: no limit
	kind   access.Kind   // why it may borrow
	total  *access.Meter // what the lender lends, to all together

	home  atomic.Pointer[home]
	heard atomic.Int64 // when the target last answered, relay time + 1; 0: never
	used  atomic.Int64 // when anything was last forwarded, relay time
	// allowed is a token bucket of packets for a target that does not answer:
	// the relay time when it is full again, each taken putting that off by
	// refill.
	allowed atomic.Int64

	carried [2]atomic.Uint64 // up and down, bytes of whole IP packets
	pace    atomic.Uint64    // how fast packets go up, bytes per second; 0: as they come

	// Owned by the desk.
	use       [2]use // up and down
	accounted ledger.Carried
	granted   time.Time
	hint      lease.Hint
	hinted    time.Duration // when hint was told; relay time, as all below
	hintAgain int           // how often it is to be told again
	moved     time.Duration // when anything was last carried
	session   *session
	expires   time.Duration
	lifetime  time.Duration // as granted last
}

// admit decides whether one more packet may go to the target.
func (l *loan) admit(now time.Duration) bool {
	if heard := l.heard.Load(); heard > 0 && now-time.Duration(heard) < answerLife {
		return true
	}
	for {
		old := l.allowed.Load()
		full := max(time.Duration(old), now)
		if full-now > (unanswered-1)*refill {
			return false
		}
		if l.allowed.CompareAndSwap(old, int64(full+refill)) {
			return true
		}
	}
}

// toTarget sends what is in the ring until it is closed. broken is called when
// the link is gone.
func (l *loan) toTarget(clock func() time.Duration, broken func(*loan)) {
	bufs := newBuffers(batch)
	var pacer pacer
	for {
		rate := l.pace.Load()
		n := l.up.pop(bufs[:pacer.room(rate)])
		if n == 0 {
			return
		}
		size := 0
		for _, b := range bufs[:n] {
			size += l.onTheWire(len(b))
		}
		l.carried[0].Add(uint64(size))
		l.link.up.Add(uint64(size + n*l.link.header))
		err := sendAll(l.wan, bufs[:n], l.target, netip.Addr{}, l.count, &l.count.up)
		if udp.Gone(err) {
			broken(l)
		}
		if wait := pacer.sent(clock(), size, rate); wait > 0 {
			l.up.rest(wait)
		}
	}
}

// toBorrower sends home what the target says until wan is closed.
func (l *loan) toBorrower(clock func() time.Duration, broken func(*loan)) {
	bufs := newBuffers(batch)
	ms := make([]udp.Message, batch)
	out := make([][]byte, 0, batch)
	for {
		for i := range ms {
			ms[i].Buf = bufs[i]
		}
		n, err := l.wan.ReadBatch(ms)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				broken(l)
			}
			return
		}
		now := clock()
		if out = l.fromTarget(now, ms[:n], out[:0]); len(out) == 0 {
			continue
		}
		l.heard.Store(int64(now) + 1)
		l.used.Store(int64(now))
		h := l.home.Load()
		// The borrower's link may come back; the lease has its own end.
		_ = sendAll(h.sock, out, h.peer, h.local, l.count, &l.count.down)
	}
}

// fromTarget appends to out the datagrams that may go to the borrower.
func (l *loan) fromTarget(now time.Duration, ms []udp.Message, out [][]byte) [][]byte {
	came, accepted := 0, 0
	for i := range ms {
		m := &ms[i]
		came += l.onTheWire(len(m.Buf)) + l.link.header
		if m.Peer != l.target {
			l.count.drop(DropNotTarget)
			continue
		}
		switch wire.Kind(m.Buf) {
		case wire.Other:
			l.count.drop(DropWANShape)
		case wire.LeaseControl:
			l.count.drop(DropWANControl)
		default:
			if !l.take(now, l.onTheWire(len(m.Buf))) {
				l.count.drop(DropAllowance)
				continue
			}
			accepted += l.onTheWire(len(m.Buf))
			out = append(out, m.Buf)
		}
	}
	l.link.down.Add(uint64(came)) // whatever became of it, the link carried it
	l.carried[1].Add(uint64(accepted))
	return out
}

// take asks to carry a packet of so many bytes, headers included.
func (l *loan) take(now time.Duration, bytes int) bool {
	if !l.meter.Take(now, bytes) {
		return false
	}
	if !l.total.Take(now, bytes) {
		l.meter.Return(bytes)
		return false
	}
	return true
}

// giveBack returns what was taken for a packet that was not carried.
func (l *loan) giveBack(bytes int) {
	l.meter.Return(bytes)
	l.total.Return(bytes)
}

// onTheWire is how long the IP packet of a datagram is on the lent link.
func (l *loan) onTheWire(payload int) int {
	if l.target.Addr().Is6() {
		return payload + 48
	}
	return payload + 28
}

// sendAll sends bufs, passing over those that cannot go, and counts both. The
// error, if any, is one after which the rest was not tried.
func sendAll(sock *udp.Socket, bufs [][]byte, to netip.AddrPort, from netip.Addr, c *counters, traffic *trafficCounter) error {
	for {
		n, err := sock.WriteBatch(bufs, to, from)
		traffic.add(bufs[:n])
		if err == nil {
			return nil
		}
		bufs = bufs[n:]
		d := sendDrop(err)
		c.drop(d)
		bufs = bufs[min(1, len(bufs)):]
		if d == DropNoLink || errors.Is(err, net.ErrClosed) {
			c.drops[d].Add(uint64(len(bufs)))
			return err
		}
		if len(bufs) == 0 {
			return nil
		}
	}
}
