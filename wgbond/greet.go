package wgbond

import "time"

// WireGuard repeats a handshake message only after five seconds, so one lost
// costs more than a copy of it on every path. Across a bond they go out at
// once: the other end passes on the first that comes.
//
// A stock WireGuard takes the first and drops the others as replays. But two
// that come in the same instant can both pass: wireguard-go's workers look for
// a replay before they take the lock under which they remember the message
// (ConsumeMessageInitiation; the kernel's do alike). Then it answers twice and
// goes on with the keys of the second answer, while we took the first, and
// both are silent for 15 s. So without a bond the copies follow one another,
// until something answers.
const (
	// greetEvery is the time between copies: RFC 8305's for connection
	// attempts.
	greetEvery = 250 * time.Millisecond
	// greetFor is how long a message is good: then WireGuard has made another.
	greetFor = 5 * time.Second
)

// greeting is a handshake message under way to a peer without a bond.
type greeting struct {
	pkt  []byte        // empty: none
	made time.Duration // when it came from WireGuard
	last time.Duration // when it went out last
	sent uint32        // the paths by which it went out
}

func (g *greeting) end() { g.pkt = g.pkt[:0] }

// sendHandshake sends a handshake message by every path. A client without a
// path yet, whose sockets are still being opened, keeps it for those that come.
func (s *Session) sendHandshake(pkt []byte) {
	if s.cfg.Role == Client && (s.workingLinks() == 0 || s.dial.lost) {
		g := &s.greeting
		*g = greeting{pkt: append(g.pkt[:0], pkt...), made: s.now}
		s.greet()
		return
	}
	s.greeting.end()
	sent := false
	for _, l := range s.links {
		if l != nil && (s.cfg.Role == Client || l.attached) && !s.spared(l) {
			s.pushControl(l, append(s.cfg.Pool.Get()[:0], pkt...))
			sent = true
		}
	}
	if !sent {
		s.counts.drop(dropNoPath)
	}
}

// greet sends the next copy, if it is due.
func (s *Session) greet() {
	g := &s.greeting
	if s.now < s.greetAt() {
		return
	}
	if s.now-g.made >= greetFor {
		g.end()
		return
	}
	l := s.greetNext()
	g.sent |= 1 << l.id
	g.last = s.now
	s.pushControl(l, append(s.cfg.Pool.Get()[:0], g.pkt...))
}

// greetAt is when greet has something to do; Never if nothing is under way, or
// no path is left.
func (s *Session) greetAt() time.Duration {
	g := &s.greeting
	switch {
	case len(g.pkt) == 0 || s.greetNext() == nil:
		return Never
	case g.sent == 0:
		return g.made
	}
	return g.last + greetEvery
}

// greetNext is the path for the next copy: first the one that plain data takes,
// then any other.
func (s *Session) greetNext() *link {
	sent := s.greeting.sent
	first := s.plain.link
	if first == nil {
		first = s.lastHeard()
	}
	if first != nil && sent&(1<<first.id) == 0 {
		return first
	}
	for id, l := range s.links {
		if l != nil && sent&(1<<id) == 0 {
			return l
		}
	}
	return nil
}
