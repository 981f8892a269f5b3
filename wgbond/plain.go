package wgbond

import "time"

// Before a stock server, WireGuard's own datagrams are all there is: no ping
// tells a path that died from a server that has nothing to say. But a copy
// does, by another path, of the last datagram that brought no answer:
//
//	it had arrived        the server drops the copy as a replay: nothing changed
//	it was lost           the server takes it, and answers where it came from
//
// So a wrong guess costs one datagram, and a right one moves the server, whose
// answer moves us. (wireguard-go and the kernel's WireGuard let only what
// passes the replay filter change a peer's endpoint.)
const (
	// plainAsk is the time without an answer after which the copy goes out,
	// by all other paths; it doubles, plainAsks times.
	plainAsk  = 300 * time.Millisecond
	plainAsks = 3
	// A plain path that carried data and brought nothing back for plainDoubt
	// is left for the next one. A stock peer answers data within ten seconds
	// at the latest (its keepalive), a TCP flow within a round trip.
	plainDoubt = 3 * time.Second
)

// plainState is a session's way without a bond.
type plainState struct {
	link  *link         // carries the data; nil: none chosen yet
	since time.Duration // data went out unanswered since; < 0: it did not
	last  []byte        // the newest of that data
	asks  int           // copies of it sent
}

// answered notes that nothing waits for an answer.
func (p *plainState) answered() { p.since, p.asks = -1, 0 }

// askAt is when a copy of the last datagram is due; Never if none is.
func (p *plainState) askAt() time.Duration {
	if p.link == nil || p.since < 0 || p.asks >= plainAsks || len(p.last) == 0 {
		return Never
	}
	return p.since + plainAsk<<p.asks
}

// sendPlain sends a data message by the one path that plain WireGuard uses.
func (s *Session) sendPlain(pkt []byte) {
	l := s.plainPath()
	if l == nil {
		s.counts.drop(dropNoPath)
		return
	}
	if s.plain.since < 0 {
		s.plain.since = s.now
	}
	if s.cfg.Role == Client {
		s.plain.last = append(s.plain.last[:0], pkt...)
	}
	s.counts.plain++
	s.carriesData(l)
	s.pushControl(l, append(s.cfg.Pool.Get()[:0], pkt...))
}

// plainPath is the path for plain data. It changes when the current one is in
// doubt: a stock server follows, for it answers where it was last heard.
func (s *Session) plainPath() *link {
	if s.cfg.Role == Server {
		return s.lastHeard()
	}
	p := &s.plain
	if p.link != nil && (p.since < 0 || s.now-p.since < plainDoubt) {
		return p.link
	}
	if p.link == nil {
		p.link = s.lastHeard()
	} else {
		p.link = s.linkAfter(p.link)
		s.counts.failovers++
	}
	p.answered()
	return p.link
}

// askPlain sends the copy that is due.
func (s *Session) askPlain() {
	p := &s.plain
	if s.now < p.askAt() {
		return
	}
	p.asks++
	for _, l := range s.links {
		if l != nil && l != p.link {
			s.pushControl(l, append(s.cfg.Pool.Get()[:0], p.last...))
		}
	}
}

// lastHeard is the path by which something came last, or the first one.
func (s *Session) lastHeard() (best *link) {
	for _, l := range s.links {
		if l == nil || s.cfg.Role == Server && !l.remote.Peer.IsValid() {
			continue
		}
		if best == nil || heardAfter(l, best, s.now) {
			best = l
		}
	}
	return best
}

func heardAfter(a, b *link, now time.Duration) bool {
	x, okA := a.path.LastHeard(now)
	y, okB := b.path.LastHeard(now)
	return okA && (!okB || x < y)
}

// linkAfter is the next path in the order of ids, around the end.
func (s *Session) linkAfter(l *link) *link {
	for i := 1; i <= len(s.links); i++ {
		if n := s.links[(int(l.id)+i)%len(s.links)]; n != nil {
			return n
		}
	}
	return l
}

// plainHeard notes that something came by l. If the plain path is in doubt, l
// takes its place.
func (s *Session) plainHeard(l *link) {
	p := &s.plain
	switch {
	case p.link == l:
		p.answered()
	case p.link == nil:
		p.link = l
		p.answered()
	case p.asks > 0:
		p.link = l
		p.answered()
		s.counts.failovers++
	}
}

// plainFailed leaves a path whose socket says that it is gone.
func (s *Session) plainFailed(l *link) {
	if s.plain.link == l {
		s.plain.link = s.linkAfter(l)
		s.plain.answered()
		s.counts.failovers++
	}
}

// flushPlain sends plainly what waited for the bond.
func (s *Session) flushPlain() {
	for _, l := range s.links {
		if l != nil {
			s.unbind(l)
		}
	}
	for _, q := range []*sendQueue{&s.express, &s.queue} {
		for q.len() > 0 {
			w := q.pop()
			if p := s.hist.Get(w.Handle); p != nil {
				s.sendPlain(p.Buf)
				s.hist.Drop(w.Handle)
			}
		}
	}
}
