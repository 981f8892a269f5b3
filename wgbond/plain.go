package wgbond

import "time"

const (
	// A plain path that carried data and brought nothing back for plainDoubt
	// is left for the next one. A stock peer answers data within ten seconds
	// at the latest (its keepalive), a TCP flow within a round trip.
	plainDoubt = 3 * time.Second
)

// sendPlain sends a data message by the one path that plain WireGuard uses.
func (s *Session) sendPlain(pkt []byte) {
	l := s.plainPath()
	if l == nil {
		s.counts.drop(dropNoPath)
		return
	}
	if s.plainSince < 0 {
		s.plainSince = s.now
	}
	s.counts.plain++
	s.pushControl(l, append(s.cfg.Pool.Get()[:0], pkt...))
}

// plainPath is the path for plain data. It changes when the current one is in
// doubt: a stock server follows, for it answers where it was last heard.
func (s *Session) plainPath() *link {
	if s.cfg.Role == Server {
		return s.lastHeard()
	}
	if s.plainLink != nil && (s.plainSince < 0 || s.now-s.plainSince < plainDoubt) {
		return s.plainLink
	}
	if s.plainLink == nil {
		s.plainLink = s.lastHeard()
	} else {
		s.plainLink = s.linkAfter(s.plainLink)
		s.counts.failovers++
	}
	s.plainSince = -1
	return s.plainLink
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
	if s.plainLink == l {
		s.plainSince = -1
		return
	}
	if s.plainLink == nil || s.plainSince >= 0 && s.now-s.plainSince > plainDoubt/3 {
		s.plainLink, s.plainSince = l, -1
	}
}

// plainFailed leaves a path whose socket says that it is gone.
func (s *Session) plainFailed(l *link) {
	if s.plainLink == l {
		s.plainLink = s.linkAfter(l)
		s.plainSince = -1
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
	for s.queue.len() > 0 {
		w := s.queue.popFront()
		s.queueBytes -= w.size
		if p := s.hist.Get(w.Handle); p != nil {
			s.sendPlain(p.Buf)
			s.hist.Drop(w.Handle)
		}
	}
}
