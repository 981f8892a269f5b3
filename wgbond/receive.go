package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Receive takes one datagram that arrived by path id.
func (s *Session) Receive(now time.Duration, id schedulers.PathID, pkt []byte) {
	s.take(now, id, pkt)
	s.advance()
}

// Take is Receive for a datagram of several that came together: after the last
// of them Advance must be called. All but feedback, which has room for so many
// packets only, is then done once, not after each.
func (s *Session) Take(now time.Duration, id schedulers.PathID, pkt []byte) {
	s.take(now, id, pkt)
	if s.feedbackDue() <= s.now {
		s.sendFeedback()
	}
}

func (s *Session) take(now time.Duration, id schedulers.PathID, pkt []byte) {
	s.now = now
	l := s.links[id]
	if l == nil {
		s.counts.drop(dropNoPath)
		s.cfg.Pool.Put(pkt)
		return
	}
	l.rxPackets++
	l.rxBytes += uint64(len(pkt) + l.cfg.Overhead)
	switch wire.Kind(pkt) {
	case wire.WGData:
		s.heard(l)
		s.receiveData(l, pkt)
	case wire.WGHandshake:
		s.heard(l)
		s.greeting.end()
		s.deliverExtra = append(s.deliverExtra, pkt)
	case wire.SessionControl:
		s.receiveControl(l, l.remote, pkt)
		s.cfg.Pool.Put(pkt)
	default:
		s.counts.drop(dropNotWireGuard)
		s.cfg.Pool.Put(pkt)
	}
}

// heard notes that something came by a path, which answers for a plain path
// that was in doubt.
func (s *Session) heard(l *link) {
	l.path.Heard(s.now)
	s.proven(l)
	s.plainHeard(l)
}

func (s *Session) receiveData(l *link, pkt []byte) {
	s.counts.got++
	s.lastData = s.now
	s.carriesData(l)
	if s.cfg.Role == Client && l.attached {
		l.hushAt = s.now + hush
	}
	s.sizes.got = max(s.sizes.got, len(pkt))
	index, counter, _ := wire.DataHeader(pkt)
	s.trace.got(l, index, counter, len(pkt)+l.cfg.Overhead)
	s.noteGot(l, index, counter, pkt)
	if expressed(pkt) {
		s.recv.Express(s.now, l.id, index, counter, len(pkt)+l.cfg.Overhead)
	} else {
		s.recv.Data(s.now, l.id, index, counter, len(pkt)+l.cfg.Overhead)
	}
	s.arrange(l, index, counter, pkt)
}

// ReceiveStray takes, at a server, a datagram of this session's (a sealed
// message by its receiver index, a data message by its WireGuard index, see
// OwnsIndex) from an address that is no path's.
func (s *Session) ReceiveStray(now time.Duration, from Remote, pkt []byte) {
	s.now = now
	switch wire.Kind(pkt) {
	case wire.WGData, wire.WGHandshake:
		// The path's NAT gave it a new address; until that is proved, its data
		// goes on as it comes.
		s.counts.got++
		s.counts.strayData++
		s.deliverExtra = append(s.deliverExtra, pkt)
	case wire.SessionControl:
		s.receiveControl(nil, from, pkt)
		s.cfg.Pool.Put(pkt)
	default:
		s.counts.drop(dropNotWireGuard)
		s.cfg.Pool.Put(pkt)
	}
	s.advance()
}

// OwnsIndex reports whether data messages with this receiver index are this
// session's: the peer announced it.
func (s *Session) OwnsIndex(index uint32) bool { return s.recv.Announced(index) }

// OwnsReceiver reports whether sealed messages with this receiver index are
// this session's. One that comes by a known path with another may be the first
// of a new handshake: the peer began anew at the same address.
func (s *Session) OwnsReceiver(index uint32) bool {
	return s.transport != nil && s.transport.LocalIndex() == index ||
		s.previous != nil && s.previous.LocalIndex() == index
}

// receiveControl opens a control datagram. l is nil if it came from an address
// that is no path's. It reports whether the peer made it, under our keys.
func (s *Session) receiveControl(l *link, from Remote, pkt []byte) (authentic bool) {
	switch wire.ControlKind(pkt) {
	case wire.Response, wire.CookieReply:
		s.onHandshake(pkt)
		return false
	case wire.Sealed:
	default:
		s.counts.drop(dropUnexpectedControl)
		return false
	}
	plaintext, err := s.open(pkt)
	if err != nil {
		s.counts.drop(dropForgedControl)
		return false
	}
	s.trace.came(l, plaintext, len(pkt))
	s.dec.Reset(plaintext)
	if l != nil {
		if p := s.dec.Path(); s.cfg.Role == Server && p != uint8(l.id) && p != wire.NoPath {
			l = nil // addresses were swapped: the path must prove itself anew
		} else {
			s.heard(l)
			s.order.Heard(s.now, l.id)
		}
	}
	attaching := false
	for s.dec.Next() {
		f := s.dec.Frame()
		if _, ok := f.(*wire.Attach); ok {
			attaching = true // which challenges the address itself
		}
		s.onFrame(l, from, f, len(pkt))
	}
	if s.dec.Err() != nil {
		s.counts.drop(dropMalformedControl)
	}
	if l == nil && s.cfg.Role == Server && !attaching {
		s.onStrayPath(schedulers.PathID(s.dec.Path()), from)
	}
	return true
}

func (s *Session) open(pkt []byte) ([]byte, error) {
	index, _ := wire.ReceiverIndex(pkt)
	t := s.transport
	if s.previous != nil && s.previous.LocalIndex() == index {
		t = s.previous
	}
	if t == nil {
		return nil, errNoKeys
	}
	var err error
	s.plaintext, err = t.Open(s.plaintext[:0], pkt)
	if err == nil && t == s.transport {
		s.dial.unanswered = 0
	}
	return s.plaintext, err
}

// onFrame acts on one frame. l is the path it came by, nil if none is known.
func (s *Session) onFrame(l *link, from Remote, f wire.Frame, size int) {
	switch f := f.(type) {
	case *wire.Feedback:
		s.onFeedback(f)
	case *wire.Ping:
		s.onPing(l, f, size)
	case *wire.Pong:
		s.onPong(f, l)
	case *wire.KeyPair:
		s.recv.KeyPair(f.Index, f.Ordinal, f.First)
		s.order.KeyPair(s.now, f.Index, f.Ordinal, s.firstHeld(f.Index, f.First))
	case *wire.KeyPairEnd:
		s.order.KeyPairEnd(s.now, f.Index, f.End)
	case *wire.Void:
		s.recv.Void(f.Index, f.Range.From, f.Range.To)
		s.order.Void(s.now, f.Index, f.Range.From, f.Range.To)
	case *wire.Marker:
		s.arrangeMarker(f)
	case *wire.Tune:
		s.order.Tune(s.now, f.Hold, f.Deadline, f.Live)
	case *wire.Equalize:
		s.onEqualize(f)
	case *wire.Receipt:
		s.onReceipt(f)
	case *wire.Verdict:
		s.onVerdict(f)
	case *wire.Reached:
		s.onReached(f)
	case *wire.Ceiling:
		s.onCeiling(f)
	case *wire.Hello:
		s.onHello(f)
	case *wire.Attach:
		s.onAttach(f, from)
	case *wire.Challenge:
		s.onChallenge(l, from, f)
	case *wire.ChallengeReply:
		s.onChallengeReply(f, from)
	case *wire.Attached:
		s.onAttached(f)
	case *wire.Detach:
		s.onDetach(f)
	case *wire.Close:
		s.onClose()
	}
}
