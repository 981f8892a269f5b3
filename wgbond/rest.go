package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
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
const (
	restPing = 110 * time.Second
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
