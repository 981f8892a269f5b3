package wgbond

import (
	"fmt"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Receipts. Feedback tells which counters came; that what came was what had
// been sent only WireGuard can tell, and it tells nobody. So of some packets that
// came by a lent path, which its lender cannot know, either end sends the other a
// tag with its feedback:
//
//	Transmit: remember the tag ── packet ──► receiveData: tag it
//	      Judge ◄──────── wire.Receipt, beside the feedback ──┘
//	        └ twice another one than was sent: the path is benched, here and,
//	          by a wire.Verdict, at the other end
//
// A benched path carries no data while any other works, for a minute, then two,
// up to an hour; its probes go on. Loss and delay need no receipts: the feedback
// itself shows them, and what a path loses is sent again. But a lent path yields
// to loss as to its owner's traffic, and repairs cost more than what is left of
// it then brings: one that goes on losing is benched as well.

const (
	// strikesOut is how many packets must be found changed within strikeMemory: a
	// broken modem may change one, in years.
	strikesOut   = 2
	strikeMemory = time.Minute
	benchLeast   = time.Minute
	benchMost    = time.Hour
	// maxReceipts bounds the samples that wait for the next feedback.
	maxReceipts = 4 * wire.MaxSamples
	// A lent path that loses lossOut or more of lossWindow packets, twice in
	// a row, is out: an overfilled queue is shorter.
	lossOut    = 0.07
	lossWindow = 300
)

// conduct is what is known of a path's honesty.
type conduct struct {
	charge  wire.Charge // of the latest conviction; 0: none ever
	peers   bool        // it was the peer's verdict
	until   time.Duration
	term    time.Duration // of the latest one
	strikes int
	struck  time.Duration // the latest
	agreed  uint64        // samples that came as they were sent
	changed uint64        // that did not

	// Of the present window of lossWindow packets, and of the one before.
	lost, fate int
	before     float64 // ratio
}

// gotSample is one that waits to be reported.
type gotSample struct {
	path       uint8
	key, index uint32
	wire.Sample
}

// borrowing reports whether any path is lent. Its lender could bring packets
// that another path was given, so all are remembered then.
func (s *Session) borrowing() bool {
	for _, l := range s.links {
		if l != nil && l.cfg.Lent {
			return true
		}
	}
	return false
}

// noteSent remembers a packet for its receipt.
func (s *Session) noteSent(l *link, p *packet) {
	if !s.borrowing() {
		return
	}
	t := s.transport.Sent()
	s.samples.Newest(p.Index, p.Counter)
	if t.Samples(p.Counter, len(p.Buf)) {
		s.samples.Sent(l.id, s.transport.RemoteIndex(), p.Index, p.Counter, func() uint32 { return t.Tag(p.Buf) })
	}
}

// noteGot takes a sample of what came, for the peer.
func (s *Session) noteGot(l *link, index uint32, counter uint64, pkt []byte) {
	if !l.cfg.Lent || s.transport == nil || len(s.receipts) >= maxReceipts {
		return
	}
	if t := s.transport.Got(); t.Samples(counter, len(pkt)) {
		s.receipts = append(s.receipts, gotSample{uint8(l.id), s.transport.LocalIndex(), index, wire.Sample{Counter: uint16(counter), Tag: t.Tag(pkt)}})
	}
}

// addReceipts appends to the message being made, which is a feedback's, what
// fits of the samples; the rest is forgotten: they are samples.
func (s *Session) addReceipts() {
	for i := 0; i < len(s.receipts); {
		first := &s.receipts[i]
		f := &s.receipt
		*f = wire.Receipt{Path: first.path, Key: first.key, Index: first.index, Samples: f.Samples[:0]}
		for ; i < len(s.receipts) && len(f.Samples) < wire.MaxSamples; i++ {
			if x := &s.receipts[i]; x.path != f.Path || x.key != f.Key || x.index != f.Index {
				break
			}
			f.Samples = append(f.Samples, s.receipts[i].Sample)
		}
		if len(s.message)+wire.FrameHeaderSize+9+6*len(f.Samples) <= messageSize {
			s.add(f)
		}
	}
	s.receipts = s.receipts[:0]
}

// onReceipt compares what the peer got with what was sent.
func (s *Session) onReceipt(f *wire.Receipt) {
	l := s.links[f.Path]
	if l == nil || !l.cfg.Lent {
		return
	}
	c := &l.conduct
	for _, x := range f.Samples {
		charge, known := s.samples.Judge(f, x)
		switch {
		case !known:
			continue
		case charge == 0:
			c.agreed++
			continue
		}
		c.changed++
		if s.now-c.struck > strikeMemory {
			c.strikes = 0
		}
		c.strikes++
		c.struck = s.now
		if c.strikes >= strikesOut && s.now >= c.until {
			s.convict(l, charge, false)
			s.notify(&wire.Verdict{Path: uint8(l.id), Charge: charge})
		}
	}
}

// noteLoss looks at how much of what a lent path was given arrives in time.
func (s *Session) noteLoss(l *link, lost, came int) {
	c := &l.conduct
	if !l.cfg.Lent || s.now < c.until {
		return
	}
	c.lost, c.fate = c.lost+lost, c.fate+lost+came
	if c.fate < lossWindow {
		return
	}
	ratio := float64(c.lost) / float64(c.fate)
	if ratio >= lossOut && c.before >= lossOut {
		s.convict(l, wire.Loses, false)
		s.notify(&wire.Verdict{Path: uint8(l.id), Charge: wire.Loses})
	}
	c.before, c.lost, c.fate = ratio, 0, 0
}

// onVerdict believes the peer: who changes what comes from there will change
// what goes there.
func (s *Session) onVerdict(f *wire.Verdict) {
	if l := s.links[f.Path]; l != nil && l.cfg.Lent && s.now >= l.conduct.until {
		s.convict(l, f.Charge, true)
	}
}

// convict benches a path. What it has in flight goes out again elsewhere.
func (s *Session) convict(l *link, charge wire.Charge, peers bool) {
	c := &l.conduct
	c.term = min(max(benchLeast, 2*c.term), benchMost)
	c.charge, c.peers, c.until, c.strikes = charge, peers, s.now+c.term, 0
	s.counts.convictions++
	s.unbind(l)
	s.judgeExecutor(l)
	s.copySuspects()
	s.planAt = s.now
}

// acquit ends a path's time on the bench.
func (s *Session) acquit(l *link) {
	if c := &l.conduct; c.until > 0 && s.now >= c.until {
		c.until = 0
		s.judgeExecutor(l)
		s.planAt = s.now
	}
}

// benched reports whether l stands convicted.
func (s *Session) benched(l *link) bool { return s.now < l.conduct.until }

// describe says what the path was found to do; empty if nothing.
func (c *conduct) describe(now time.Duration) string {
	if now >= c.until {
		return ""
	}
	what := "alters what it carries"
	switch c.charge {
	case wire.Invents:
		what = "brings packets that nobody sent"
	case wire.Loses:
		what = "loses or delays too much of what it carries"
	}
	switch {
	case c.peers:
		what += ", as the peer found"
	case c.charge == wire.Loses:
		what += fmt.Sprintf(": %.0f %%", 100*c.before)
	default:
		what += fmt.Sprintf(": %d of %d packets looked at", c.changed, c.changed+c.agreed)
	}
	return fmt.Sprintf("%s; not used for another %v", what, (c.until - now).Round(time.Second))
}
