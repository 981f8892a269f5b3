package wgbond

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// pingOverhead is what a Ping's datagram has beside the padding, bytes.
	pingOverhead = wire.SealedOverhead + 1 + wire.FrameHeaderSize + 13
	// wireguardOverhead is what a data message has beside the inner packet. A
	// full one is not padded (WireGuard pads to 16 bytes, but not beyond the
	// tunnel's MTU).
	wireguardOverhead = 32
	// besideQueue bounds what waits for a path that the plan does not have,
	// bytes.
	besideQueue = 16 * 1500
	// largestFor is for how long at least a large packet counts as usual.
	largestFor = 5 * time.Second
)

// sizes is what the session knows of datagrams' sizes, UDP payload bytes.
type sizes struct {
	need   int    // the largest that the local WireGuard sent
	got    int    // the largest that the peer's sent
	recent [2]int // the largest sent in the present largestFor, and the one before
	turnAt time.Duration
	carry  int // what every path carries
}

// sized notes a datagram that the local WireGuard sends.
func (s *Session) sized(n int) {
	if n > s.sizes.recent[0] {
		s.sizes.recent[0] = n
	}
	if n <= s.sizes.need {
		return
	}
	s.sizes.need = n
	for _, l := range s.links {
		if l != nil {
			l.mtu.Need(s.now, n)
			s.judgeMTU(l)
		}
	}
}

// largest is the largest datagram of late.
func (s *Session) largest() int {
	if s.now >= s.sizes.turnAt {
		s.sizes.recent = [2]int{0, s.sizes.recent[0]}
		s.sizes.turnAt = s.now + largestFor
	}
	return max(s.sizes.recent[0], s.sizes.recent[1])
}

// mtuDue is when path l's search has something to do.
func (s *Session) mtuDue(l *link) time.Duration {
	if !s.usable(l) || s.resting(l) {
		return Never
	}
	return l.mtu.Next()
}

// probeMTU does what the search of path l asks for: a padded ping, and a small
// one right behind it. Neither counts for round-trip times: the first takes
// longer, the second waits for it.
func (s *Session) probeMTU(l *link) {
	size := l.mtu.Step(s.now)
	s.judgeMTU(l)
	if size == 0 {
		return
	}
	s.sendProbe(l, sentPing{probe: size}, size-pingOverhead)
	s.sendProbe(l, sentPing{behind: size}, 0)
}

func (s *Session) sendProbe(l *link, p sentPing, padding int) {
	p.id, p.sent = l.path.ProbeID(), s.now
	l.pings[p.id%uint32(len(l.pings))] = p
	s.begin(l.id)
	s.add(&wire.Ping{Path: uint8(l.id), ID: p.id, Sent: wire.ClockOf(s.now), Padding: uint16(max(padding, 0))})
	s.finish(l)
}

// onProbePong takes in the answer to a probe or to its companion.
func (s *Session) onProbePong(l *link, p sentPing) {
	if p.probe > 0 {
		l.mtu.Arrived(s.now, p.probe)
		s.judgeMTU(l)
	} else {
		l.mtu.Overtaken(s.now, p.behind)
	}
	if l.path.Confirmed(s.now, s.hist.Oldest(l.id)) {
		s.linkAlive(l)
	}
}

// PathTooLong tells that path id's socket refused a datagram of size bytes
// because its interface carries no such packets.
func (s *Session) PathTooLong(now time.Duration, id schedulers.PathID, size int) {
	s.now = now
	if l := s.links[id]; l != nil {
		l.mtu.TooLong(now, size)
		s.judgeMTU(l)
		s.advance()
	}
}

// judgeMTU acts on a new answer to what path l carries.
func (s *Session) judgeMTU(l *link) {
	was, is := l.carries, l.mtu.Carries()
	if is == was {
		return
	}
	l.carries = is
	s.carriesAll()
	s.planAt = min(s.planAt, s.now)
	if is > was || s.sizes.need <= is {
		return
	}
	// What waits for the path may not fit; what is under way has vanished, and
	// what rate control made of that is wrong.
	s.unbind(l)
	s.exec.SetBacklog(s.now, l.id, 0)
	lost := s.hist.Recall(l.id, s.now)
	l.lost += uint64(len(lost))
	s.trace.lost(lost, "too-long")
	for _, h := range lost {
		s.resend(h, true)
	}
	l.rate.Restart(s.now)
	s.judgeExecutor(l)
}

// carriesAll finds anew what every path carries.
func (s *Session) carriesAll() {
	s.sizes.carry = 0
	for _, l := range s.links {
		if l != nil && (s.sizes.carry == 0 || l.carries < s.sizes.carry) {
			s.sizes.carry = l.carries
		}
	}
}

// unfit has a bit set for each path that does not carry a datagram of size.
func (s *Session) unfit(size int) (mask uint32) {
	if size <= s.sizes.carry {
		return 0
	}
	for id, l := range s.links {
		if l != nil && l.carries < size {
			mask |= 1 << id
		}
	}
	return mask
}

// sendMisfit sends a packet that is larger than any path carries by the widest
// one, for what our knowledge is worth, and thinks no more of it: its loss says
// nothing, and nobody waits for it.
func (s *Session) sendMisfit(l *link, h feedback.Handle, p *packet) {
	s.pushControl(l, append(s.cfg.Pool.Get()[:0], p.Buf...))
	s.voidPacket(h, p, dropMisfit)
}

// beside finds the path for a datagram that the paths of the plan do not
// carry: one that the plan left out, and if there is none, the one that
// carries most, for what it is worth. False: it must wait.
func (s *Session) beside(class schedulers.Class, unfit uint32) (schedulers.PathID, bool) {
	working := s.workingLinks()
	if s.exec.Uses(class)&working&^unfit != 0 {
		return 0, false
	}
	l := s.soonestOf(working &^ unfit)
	if l == nil {
		l = s.widest(working)
	}
	if l == nil || l.queued >= besideQueue {
		return 0, false
	}
	return l.id, true
}

// widest is the path among mask that carries most; nil if mask is empty.
func (s *Session) widest(mask uint32) (best *link) {
	for ; mask != 0; mask &= mask - 1 {
		if l := s.links[bits.TrailingZeros32(mask)]; best == nil || l.carries > best.carries {
			best = l
		}
	}
	return best
}

// soonestFor is the working path on which a datagram of size arrives first; nil
// if none carries it.
func (s *Session) soonestFor(size int) *link {
	return s.soonestOf(s.workingLinks() &^ s.unfit(size))
}

// idle reports whether nothing that waits could go by path l.
func (s *Session) idle(l *link) bool {
	return s.express.len() == 0 && (s.queue.len() == 0 || s.queue.front().size-s.overhead() > l.carries)
}

// tunnelMTU is the largest MTU of the tunnel that every path carries; 0: there
// is no path.
func (s *Session) tunnelMTU() int { return max(s.sizes.carry-wireguardOverhead, 0) }

// FitsMTU is the largest MTU of the tunnel of which every packet fits a path that
// works; 0: all that the tunnel has sent does. False: no path works.
func (s *Session) FitsMTU() (int, bool) {
	l := s.widest(s.workingLinks())
	if l == nil || l.carries >= s.sizes.need {
		return 0, l != nil
	}
	return l.carries - wireguardOverhead, true
}

// tooSmall says, for the user, that path l does not carry what the tunnel
// needs; empty if it does.
func (s *Session) tooSmall(l *link) string {
	need := max(s.sizes.need, s.sizes.got)
	if l.carries >= need || !l.attached {
		return ""
	}
	return fmt.Sprintf("carries at most %d bytes, the tunnel needs %d: set MTU = %d", l.carries, need, l.carries-wireguardOverhead)
}
