package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// A path's lender watches its own link and says how much of it is spare, for
// either direction. The borrower obeys for what it sends and passes on to the
// server what that may send:
//
//	lender ── lease.Hint ──▶ borrower: SetCeiling ── wire.Ceiling ──▶ server
//
// Below that, both ends' rate control (rate.Params.Spare) gives way to the
// owner's queue by itself.

// NoCeiling as a path's ceiling is no limit; Unused that the lender sees its owner
// use nothing, which is more: what delays or loses packets there is not the owner.
const (
	NoCeiling = -1.0
	Unused    = -2.0
)

// leastCeiling is the least worth having, bytes per second. A path with less is
// withheld: it carries but the pings that keep it known, while another works, and
// so much if none does. An owner's BBR keeps a queue as soon as others have more
// than the hundredth by which it paces below its estimate, our feedback and
// markers included: its ping rose by 30 ms for a fiftieth of 10 Mbit/s.
const leastCeiling = 4 * 1500

// withheld reports whether l's lender leaves us nothing.
func (l *link) withheld() bool { return l.ceiling >= 0 && l.ceiling < leastCeiling }

// SetCeiling sets, at a client, the most that may be sent by path id from now
// on, up by us and down by the peer: bytes per second of whole IP packets,
// NoCeiling or Unused. Either end still sends a packet now and then at a ceiling of 0. Call it
// again every second or so: the message to the peer may be lost.
func (s *Session) SetCeiling(now time.Duration, id schedulers.PathID, up, down float64) {
	s.now = now
	l := s.links[id]
	if l == nil {
		return
	}
	s.limit(l, up)
	l.told = down
	if l.attached {
		s.tellCeiling(l)
	}
	s.advance()
}

// limit has a path's rate control keep to a ceiling.
func (s *Session) limit(l *link, ceiling float64) {
	if ceiling < 0 && ceiling != Unused {
		ceiling = NoCeiling
	}
	if ceiling == l.ceiling {
		return
	}
	was := l.withheld()
	l.ceiling = ceiling
	l.rate.SetParams(l.rateParams())
	switch {
	case was && !l.withheld():
		l.rate.Freed()
	case s.avoided(l):
		s.unbind(l)
	}
	s.judgeExecutor(l)
	s.planAt = s.now
}

// tellCeiling tells the peer how much it may send by l, in the place of what it
// has not been told yet.
func (s *Session) tellCeiling(l *link) {
	f := &wire.Ceiling{Path: uint8(l.id), Rate: wire.NoCeiling}
	switch {
	case l.told >= 0:
		f.Rate = uint64(l.told)
	case l.told == Unused:
		f.Rate = wire.Unused
	}
	for i := range s.notices {
		if t, ok := s.notices[i].frame.(*wire.Ceiling); ok && t.Path == f.Path {
			s.notices[i] = notice{f, noticeRepeats}
			s.noticesAt = min(s.noticesAt, s.now+noticeDelay)
			return
		}
	}
	s.notify(f)
}

// onCeiling obeys a lender, as the borrower says it.
func (s *Session) onCeiling(f *wire.Ceiling) {
	l := s.links[f.Path]
	switch {
	case s.cfg.Role != Server || l == nil:
		s.counts.drop(dropWrongRole)
	case f.Rate == wire.NoCeiling:
		s.limit(l, NoCeiling)
	case f.Rate == wire.Unused:
		s.limit(l, Unused)
	default:
		s.limit(l, float64(f.Rate))
	}
}
