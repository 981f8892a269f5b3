package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Delay equalisation. The sender's plan says how much later than they arrive
// the packets of each path are to go on, so that all take as long as those by
// the slowest path; the receiver holds them back that long:
//
//	path 0 ──── 1   2   3 ──▶ held 45 ms ──┐
//	                                       ├──▶ reorder.Buffer ──▶ WireGuard
//	path 1 ───────── (45 ms later) 4 ──────┘
//
// They are held before they are put in order, each path's in a queue of its
// own: so the reorder buffer sees paths of equal delay, which neither block each
// other nor make gaps, and its inference (what a path has passed, by markers
// too, which wait in the same queue) stays right. Feedback speaks of arrivals,
// not of this. A packet that comes below its path's newest is a repair: it is
// late already and not held, nor is one that others wait for.
//
// What is not kept in order is held as well. A sender takes the answer to its SYN for
// the path's least round trip, and BBR keeps for ten seconds to what it allows: with
// 31 ms so found, and then 78, two bandwidth-delay products did not fill the bond. So
// the peer also learns what to hold before the first packet comes.
const (
	// equalizeFor is how long the receiver follows what it was told last. It
	// outlasts a pause, after which a sender's first packets count most.
	equalizeFor = time.Minute
	// equalizeEvery is when the sender repeats it, equalizeStep what change of
	// a delay is worth telling.
	equalizeEvery = time.Second
	equalizeStep  = 2 * time.Millisecond
	// maxHeld bounds what is held on one path, packets: the reorder buffer has
	// room for as many.
	maxHeld = 4096
)

// held is a packet, or a marker, that waits on its path.
type held struct {
	due     time.Duration
	pkt     []byte // nil: a marker
	index   uint32
	counter uint64 // a marker's Below
}

// foreseeAt is when to foresee: there are paths that no plan was made with, and
// nothing to send yet.
func (s *Session) foreseeAt() time.Duration {
	if s.transport == nil || s.workingLinks()&^s.planned == 0 {
		return Never
	}
	return s.equalizedAt + tuneMin
}

// foresee tells the peer what a plan would say of delays.
func (s *Session) foresee() {
	s.planned = s.workingLinks()
	s.snapshot()
	var p schedulers.Plan
	s.sched.Plan(&s.snap, &p)
	s.equalize(&p.Hold)
}

// equalize tells the peer what a plan says of delays, if that is news.
func (s *Session) equalize(hold *[schedulers.MaxPaths]time.Duration) {
	var f wire.Equalize
	on, differs := false, false
	for id, d := range hold {
		f.Delay[id] = d
		on = on || d > 0
		was := s.equalized.Delay[id]
		differs = differs || (d-was).Abs() >= equalizeStep || (d > 0) != (was > 0)
	}
	since := s.now - s.equalizedAt
	if since < tuneMin || !differs && !(on && since >= equalizeEvery) {
		return
	}
	s.equalized, s.equalizedAt = f, s.now
	for i := range s.notices {
		if t, ok := s.notices[i].frame.(*wire.Equalize); ok {
			*t = f
			s.notices[i].repeats = noticeRepeats
			s.noticesAt = min(s.noticesAt, s.now+noticeDelay)
			return
		}
	}
	s.notify(&f)
}

// onEqualize follows the peer's wish.
func (s *Session) onEqualize(f *wire.Equalize) {
	s.equalizeEnd = s.now + equalizeFor
	for id, l := range s.links {
		if l != nil {
			l.hold = min(f.Delay[id], schedulers.MaxHold)
		}
	}
}

// arrange puts a packet that came by l in order, now or later.
func (s *Session) arrange(l *link, index uint32, counter uint64, pkt []byte) {
	if l.hold > 0 && s.now >= s.equalizeEnd {
		l.hold = 0 // the news that it ended was lost
	}
	if l.hold == 0 && l.held.len() == 0 || !expressed(pkt) && s.repairs(l, index, counter) {
		s.order.Packet(s.now, l.id, index, counter, pkt)
		return
	}
	if l.held.len() >= maxHeld {
		s.unholdFirst(l)
	}
	s.hold(l, held{pkt: pkt, index: index, counter: counter})
}

// arrangeMarker puts a marker of l's behind what is held there.
func (s *Session) arrangeMarker(f *wire.Marker) {
	l := s.links[f.Path]
	if l == nil || l.held.len() == 0 {
		s.order.Marker(s.now, schedulers.PathID(f.Path), f.Index, f.Below)
		return
	}
	s.hold(l, held{index: f.Index, counter: f.Below})
}

// hold keeps h for l's delay, and not shorter than what came before it.
func (s *Session) hold(l *link, h held) {
	h.due = s.now + l.hold
	if n := l.held.len(); n > 0 {
		h.due = max(h.due, l.held.at(n-1).due)
	}
	l.held.pushBack(h)
	s.holding++
}

// repairs reports whether a packet fills a hole: l has brought later ones, or
// some wait for it in the reorder buffer.
func (s *Session) repairs(l *link, index uint32, counter uint64) bool {
	if l.topIndex == index && counter < l.top {
		return true
	}
	l.topIndex, l.top = index, counter
	g, waiting := s.order.Gap()
	return waiting && g.Index == index && g.From <= counter && counter < g.To
}

// release puts in order what has been held long enough on any path.
func (s *Session) release() {
	for _, l := range s.links {
		if l != nil {
			s.unhold(l, s.now)
		}
	}
}

// unhold puts in order what l holds that is due at until.
func (s *Session) unhold(l *link, until time.Duration) {
	for l.held.len() > 0 && l.held.front().due <= until {
		s.unholdFirst(l)
	}
}

func (s *Session) unholdFirst(l *link) {
	h := l.held.popFront()
	s.holding--
	if h.pkt == nil {
		s.order.Marker(s.now, l.id, h.index, h.counter)
		return
	}
	s.order.Packet(s.now, l.id, h.index, h.counter, h.pkt)
}

// firstHeld is first, or the lowest counter of a key pair that is still held: the
// sender has heard that those arrived, and announces the key pair without them.
func (s *Session) firstHeld(index uint32, first uint64) uint64 {
	for _, l := range s.links {
		if l == nil {
			continue
		}
		for i := range l.held.len() { // small ones are not in order
			if h := l.held.at(i); h.pkt != nil && h.index == index {
				first = min(first, h.counter)
			}
		}
	}
	return first
}

// heldDue is when something held is due.
func (s *Session) heldDue() time.Duration {
	due := Never
	for _, l := range s.links {
		if l != nil && l.held.len() > 0 {
			due = min(due, l.held.front().due)
		}
	}
	return due
}
