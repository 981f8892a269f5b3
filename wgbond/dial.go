package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

const (
	// A client repeats its initiation after dialFirst, doubling to dialMax: a
	// server without a shim stays silent, and is asked again now and then.
	dialFirst = 500 * time.Millisecond
	dialMax   = 30 * time.Second

	// A bond that was lost within dialRecent is asked for every dialAgain: the
	// server's shim is more likely to come back than one to appear.
	dialAgain  = 2 * time.Second
	dialRecent = 10 * time.Minute

	// lostAfter is the time without a working path after which a client
	// takes the bond for lost: it sends plainly and dials again.
	lostAfter = 500 * time.Millisecond

	// maxUnanswered pings are a sign that the server has other keys.
	maxUnanswered = 8

	// attachTime is what new keys have to lead to a working path before the
	// client dials again.
	attachTime = 2 * time.Second

	// rekeyAfter is the age at which keys are replaced.
	rekeyAfter = 10 * time.Minute
)

// dialState is a client's way to keys and back:
//
//	          response                no working path for lostAfter
//	dialling ──────────▶ established ──────────────────────────────▶ lost
//	                        ▲  │ rekeyAfter: dials beside it            │
//	                        └──┴──────────── response, or a path returns ┘
type dialState struct {
	dialling bool
	at       time.Duration // next initiation
	tries    int
	lost     bool          // the bond does not work now
	worked   time.Duration // when a path last worked
	// unanswered counts the pings since anything came under the current keys.
	// Data may flow although the server knows other keys, or none.
	unanswered int
}

func (d *dialState) init(now time.Duration) { d.dialling, d.at, d.worked = true, now, now }

func (d *dialState) hasten(now time.Duration) { d.at = min(d.at, now) }

func (s *Session) dialDue() time.Duration {
	if s.cfg.Role != Client || s.cfg.Initiator == nil || s.closed {
		return Never
	}
	due := Never
	if s.dial.dialling {
		if !s.haveLinks() {
			return Never
		}
		due = s.dial.at
	} else {
		due = s.establishAt + rekeyAfter
	}
	if s.transport != nil && (!s.dial.lost || !s.dial.dialling) && s.workingLinks() == 0 {
		due = min(due, s.dial.worked+lostAfter)
	}
	return due
}

func (s *Session) haveLinks() bool {
	for _, l := range s.links {
		if l != nil {
			return true
		}
	}
	return false
}

func (s *Session) dialStep() {
	if s.transport != nil {
		s.judgeBond()
	}
	if s.dialDue() > s.now {
		return
	}
	if !s.dial.dialling {
		s.redial()
	}
	if s.dial.at > s.now {
		return
	}
	msg, err := s.cfg.Initiator.Initiate(s.cfg.Wall(), nil)
	most := dialMax
	if s.transport != nil && s.now-s.dial.worked < dialRecent {
		most = dialAgain
	}
	s.dial.at = s.now + min(dialFirst<<min(s.dial.tries, 16), most)
	s.dial.tries++
	if err != nil {
		s.counts.drop(dropDial)
		return
	}
	for _, l := range s.links {
		if l != nil && !s.spared(l) {
			s.pushControl(l, append(s.cfg.Pool.Get()[:0], msg...))
		}
	}
}

// judgeBond notes whether any path works.
func (s *Session) judgeBond() {
	switch {
	case s.workingLinks() != 0:
		s.dial.worked, s.dial.lost = s.now, false
		s.plain.answered() // what matters of it is the bond's now
		if s.cfg.Role == Client && s.dial.unanswered >= maxUnanswered && !s.dial.dialling {
			s.redial()
		}
	case s.cfg.Role == Client && s.now-s.dial.worked >= lostAfter:
		if !s.dial.lost {
			s.dial.lost = true
			s.counts.bondLost++
			s.flushPlain()
		}
		if !s.dial.dialling {
			s.redial()
		}
	}
}

func (s *Session) redial() { s.dial.dialling, s.dial.at, s.dial.tries = true, s.now, 0 }

// onHandshake takes a response or a cookie.
func (s *Session) onHandshake(pkt []byte) {
	if s.cfg.Role != Client || s.cfg.Initiator == nil {
		s.counts.drop(dropWrongRole)
		return
	}
	t, _, err := s.cfg.Initiator.Consume(pkt)
	switch {
	case err == control.ErrCookie:
		s.dial.hasten(s.now)
	case err == control.ErrUnknownIndex:
		s.counts.drop(dropHandshakeCopy) // the same response by another path
	case err != nil:
		s.counts.drop(dropHandshake)
	default:
		s.establish(t)
	}
}

// Establish gives the session new keys: a server calls it when the first
// sealed message opens under them. (A client's session does so by itself.)
func (s *Session) Establish(now time.Duration, t *control.Transport) {
	s.now = now
	s.establish(t)
	s.advance()
}

func (s *Session) establish(t *control.Transport) {
	s.previous, s.transport = s.transport, t
	s.establishAt = s.now
	s.dial.unanswered = 0
	s.dial.dialling, s.dial.tries = false, 0
	if s.cfg.Role == Server {
		return
	}
	if s.workingLinks() == 0 {
		// Plain until the first path is attached, which has some time.
		s.dial.lost = true
		s.dial.worked = s.now + attachTime
	}
	// Attach all paths under the new keys: a server that has begun anew says
	// so in its answer, and one that has not confirms at once.
	for id, l := range s.links {
		if l == nil {
			continue
		}
		if !s.resting(l) || l.path.State() == schedulers.Active {
			l.attachTries = 0
		} else {
			l.attachTries = max(l.attachTries, attachRare)
		}
		if l.attached && l.path.State() == schedulers.Active {
			if !s.spared(l) {
				s.sendAttach(l)
			}
			continue
		}
		l.attached = false
		l.attachAt = s.now
		s.judgeExecutor(s.links[id])
	}
}

// onClose ends the bond at the peer's wish. A client goes on plainly and dials
// again after a while.
func (s *Session) onClose() {
	s.counts.closes++
	for _, l := range s.links {
		if l == nil {
			continue
		}
		l.attached = false
		l.attachAt = Never
		s.judgeExecutor(l)
	}
	if s.cfg.Role == Server {
		s.closed = true
		s.order.Forget(s.now)
		return
	}
	s.dial.lost = true
	s.dial.dialling, s.dial.at, s.dial.tries = true, s.now+dialFirst, 1
	s.flushPlain()
}

// Closed reports whether the peer, or Close, has ended the session.
func (s *Session) Closed() bool { return s.closed }
