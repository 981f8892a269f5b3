package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// What a path carried in a network is worth knowing when it is there again. Either
// end finds the rate at which it can send; the client remembers both, for the
// server knows nothing of the client's networks:
//
//	server ── Reached: what I found ──▶ client: Learned ──▶ its shell keeps it, by network
//	server ◀── Reached, with Attach ── client: PathConfig.Memory ◀── next time
//
// It is a hint (rate.Controller.Suppose). A client that lies has its own path
// start with a queue of its own; what else the server sends does not change.

// Memory is what is remembered of a path in one network.
type Memory struct {
	// Up and Down are the delivery rates that the client and the server
	// reached, bytes per second of whole IP packets; 0: not known.
	Up, Down float64
	RTT      time.Duration // the least round trip
}

const (
	// tellAfter is how long it may take to tell the client of another rate during
	// a transfer that does not pause.
	tellAfter = 2 * time.Minute

	// hintAgain is the time in which the same hint is taken for a repetition of
	// the message, and not for another change of networks.
	hintAgain = 2 * time.Second

	// reachedMost is beyond any link, bytes per second.
	reachedMost = 1e11
)

// recollection is what a link knows of another time, and has learned for the next.
type recollection struct {
	reached  wire.Reached  // what was last said, by the server or to it
	toldAt   time.Duration // at a server: when it last said so,
	tell     int           // and how often it is still to be said
	hinted   wire.Reached  // at a server: what the client said last,
	hintedAt time.Duration // and when
}

// suppose has a path that is about to start begin with what is remembered.
func (l *link) suppose() {
	l.rate.Suppose(l.cfg.Memory.Up, l.cfg.Memory.RTT)
	l.recall.reached = wire.Reached{}
}

// reached is the rate that our sender found the path to carry, bytes per second,
// where known was told before; 0: it found nothing that says more. Before the
// pipe was full, as by a few acknowledgements, only more than known does.
func (l *link) reached(known float64) float64 {
	r := l.rate.Rate()
	if l.cfg.Lent || l.rate.Starting() && (known == 0 || r <= known) {
		return 0
	}
	return r
}

// Learned tells, at a client, what is to be remembered of path id in the network
// where it is: what was remembered before where nothing new is known. It is
// the zero Memory if there is nothing. Of a lent path nothing is: what its owner
// leaves says nothing of the next time.
func (s *Session) Learned(now time.Duration, id schedulers.PathID) Memory {
	s.now = now
	l := s.links[id]
	if l == nil || l.cfg.Lent {
		return Memory{}
	}
	m := l.cfg.Memory
	if r := l.reached(m.Up); r > 0 {
		m.Up = r
	}
	if r := float64(l.recall.reached.Rate); r > 0 {
		m.Down = r
	}
	if rtt, _ := l.path.MinRTT(now); rtt > 0 {
		m.RTT = rtt
	}
	if m.Up == 0 && m.Down == 0 {
		return Memory{}
	}
	return m
}

// Moved tells, at a client, that path id leads through another network now, and
// what is remembered of it there: both ends' rate control begins anew.
func (s *Session) Moved(now time.Duration, id schedulers.PathID, m Memory) {
	s.now = now
	l := s.links[id]
	if l == nil {
		return
	}
	l.cfg.Memory = m
	l.rate.Restart(now)
	l.suppose()
	if l.attached {
		s.notify(l.remembered())
	}
	l.path.Hasten(now)
	s.planAt = now
	s.advance()
}

// remembered is what a client tells the server of another time.
func (l *link) remembered() *wire.Reached {
	f := &wire.Reached{Path: uint8(l.id)}
	if m := l.cfg.Memory; !l.cfg.Lent {
		f.Rate, f.RTT = uint64(m.Down), m.RTT
	}
	return f
}

// addReached has a server's ping tell the client what our sender found out about
// the path it goes by: when there is nothing else to do, or it was not told for long.
func (s *Session) addReached(l *link) {
	if s.cfg.Role != Server || s.active() && s.now-l.recall.toldAt < tellAfter {
		return
	}
	known := float64(l.recall.reached.Rate)
	if r := l.reached(known); r > 0 && (r <= known*7/8 || r >= known*9/8) {
		rtt, _ := l.path.MinRTT(s.now)
		l.recall.reached = wire.Reached{Path: uint8(l.id), Rate: uint64(r), RTT: rtt}
		l.recall.tell = noticeRepeats
	}
	if l.recall.tell > 0 {
		l.recall.tell--
		l.recall.toldAt = s.now
		s.add(&l.recall.reached)
	}
}

// onReached notes, at a client, what the server found; at a server, it is what
// the client remembers.
func (s *Session) onReached(f *wire.Reached) {
	l := s.links[f.Path]
	if l == nil || l.cfg.Lent || f.Rate > reachedMost {
		return
	}
	if s.cfg.Role == Client {
		l.recall.reached = *f
		return
	}
	if l.recall.hinted == *f && s.now-l.recall.hintedAt < hintAgain {
		return // it was repeated
	}
	l.recall.hinted, l.recall.hintedAt = *f, s.now
	if l.rate.Sample() > 0 {
		l.rate.Restart(s.now)
	}
	l.rate.Suppose(float64(f.Rate), f.RTT)
	l.recall.reached = *f
	s.planAt = s.now
}
