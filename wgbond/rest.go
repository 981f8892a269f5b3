package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// A metered path that carries no data rests: what would go by it only to keep
// up appearances costs money. While it rests
//
//	pings                one in restPing, from the client alone: RFC 4787 lets a NAT
//	                     forget a mapping after 2 min
//	feedback, notices,   go by other paths, if there are any
//	handshakes, keys
//	markers              are not needed: the peer is told not to wait for it
//	MTU probes           wait until it is used
//
// and if it is silent, the questions whether it is back become rarer the longer
// it has been. When another path falls silent, the resting ones are asked at
// once: they may be needed, and their NAT may have forgotten them.
//
// A path of which nothing was heard for staleAfter, which only resting ones let
// happen, carries no data before a round trip has shown that it works: a NAT
// that keeps to no RFC forgets it after 30 s, and what is sent to where it was
// known is lost. Only the client can open the mapping again, so a server that
// wants the path asks the client by another one to speak:
//
//	server                                                        client
//	  │ data for path 1, stale ── Ping of path 1, by path 0 ──────▶ │
//	  │ ◀───────────────────────────── Ping, by path 1: its address │
//	  │ ── Challenge ─▶ … ◀─ ChallengeReply ─                       │  if that is another
//	  │ ── data, by path 1 ───────────────────────────────────────▶ │
const (
	restPing = 110 * time.Second
	// staleAfter is beyond pingIdle, the pace at which the others are asked.
	staleAfter = 25 * time.Second
	// restHeard is how lately another path must have been heard for messages
	// to go there instead.
	restHeard = 30 * time.Second
)

// resting reports whether l is metered and has carried no data of late.
func (s *Session) resting(l *link) bool { return l.cfg.Metered && s.now-l.carried >= busyFor }

// spared reports whether l rests and another path can do its work.
func (s *Session) spared(l *link) bool {
	if !s.resting(l) {
		return false
	}
	for _, o := range s.links {
		if o == nil || o == l || s.resting(o) || s.transport != nil && !s.dial.lost && !s.usable(o) {
			continue
		}
		if ago, ok := o.path.LastHeard(s.now); ok && ago < restHeard {
			return true
		}
	}
	return false
}

// carries notes that data goes or came by l.
func (s *Session) carriesData(l *link) {
	if s.resting(l) {
		l.path.Hasten(s.now) // to be measured as all that carry data are
	}
	l.carried = s.now
}

// putOff puts off l's next ping if l is to be spared.
func (s *Session) putOff(l *link) {
	switch {
	case !s.resting(l):
	case l.path.State() == schedulers.Active && s.cfg.Role == Client:
		l.path.PutOff(s.now + restPing)
	case l.path.State() == schedulers.Active:
		l.path.PutOff(Never) // the client asks; or something wakes it
	case l.path.State() == schedulers.Dead:
		l.path.PutOff(s.now + min((s.now-l.suspectAt)/4, restPing))
	}
}

// stale reports whether l must be shown to work before it carries data.
func (s *Session) stale(l *link) bool { return s.now-l.provenAt > staleAfter }

// proven notes that l works: something came by it, or what was sent by it was
// reported.
func (s *Session) proven(l *link) {
	l.provenAt = s.now
	if l.asked {
		l.asked = false
		s.judgeExecutor(l)
	}
}

// askStale asks whether a stale path works; until it is proven it carries no
// data. It is false if that is under way already.
func (s *Session) askStale(l *link) bool {
	if l.asked {
		return false
	}
	l.asked = true
	s.judgeExecutor(l)
	l.path.Hasten(s.now)
	return true
}

// askBeside has the client ask by a stale path of a server's, which is told of
// it by another path: a question sent by it may go to where nobody is any more.
func (s *Session) askBeside(l *link) {
	if s.cfg.Role != Server || !s.stale(l) || !l.asked && l.path.State() != schedulers.Suspect {
		return
	}
	by := s.soonestOf(s.workingLinks() &^ (1 << l.id))
	if by == nil {
		by = s.heardLast(l)
	}
	if by != nil {
		s.begin(by.id)
		s.add(&wire.Ping{Path: uint8(l.id), ID: l.path.ProbeID(), Sent: wire.ClockOf(s.now)})
		s.finish(by)
	}
}

// wakeResting asks the resting paths whether they work.
func (s *Session) wakeResting() {
	if s.cfg.Role != Client {
		return
	}
	for _, l := range s.links {
		if l != nil && l.attached && s.resting(l) {
			l.path.Hasten(s.now)
		}
	}
}
