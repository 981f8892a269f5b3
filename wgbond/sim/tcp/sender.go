package tcp

import (
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Timers, as Linux sets them.
const (
	initialRTO = time.Second
	minRTO     = 200 * time.Millisecond // TCP_RTO_MIN; the floor of the variance's share
	maxRTO     = 120 * time.Second
	minProbe   = 2 * time.Millisecond // TCP_TIMEOUT_MIN

	dupThreshold = 3
	reorderKept  = 16 // recoveries for which a widened reordering window lasts
)

// sender is the scoreboard and the timers. Segment n holds the bytes from
// n·mss; records[i] is segment una+i.
type sender struct {
	cfg     *Config
	control Control
	stats   *Stats

	una, nxt uint64
	records  records
	open     bool // the connection is, and the bytes to wait for came
	fack     uint64
	// Segments of records by what is known of them. A segment that is lost and
	// retransmitted counts in both.
	sacked, lost, retrans int
	hint                  uint64 // no segment below it needs retransmission

	state     State
	highest   uint64 // una at which Recovery or Loss ends
	blocked   bool   // the window held back data
	nextSend  time.Duration
	train     int // segments that may still go at once, with those just sent
	srtt      time.Duration
	rttvar    time.Duration
	minRTT    time.Duration
	rtoAt     time.Duration
	backoff   uint
	probeAt   time.Duration // TLP
	probeHigh uint64        // una that acknowledges the probe; 0: none out
	probeCopy bool          // the probe was a retransmission

	// RACK (RFC 8985).
	rackSent   time.Duration // when the most recently sent of the delivered was sent
	rackSeg    uint64
	rackRTT    time.Duration
	reordered  bool
	reoMult    int
	reoKept    int    // recoveries until reoMult goes back to 1
	reoRound   uint64 // una from which a DSACK widens again
	reoAt      time.Duration
	undoFrom   bool // an undo is still possible
	undoCopies int  // retransmissions not yet reported duplicate
	undoSent   bool // there was one
	firstCopy  time.Duration

	// Delivery rate.
	delivered    uint64
	deliveredAt  time.Duration
	firstSent    time.Duration
	limitedUntil uint64 // delivered at which the application-limited phase is over
}

type record struct {
	sent                 time.Duration // the latest transmission
	sacked, lost, copied bool          // copied: retransmitted at least once
	copyOut              bool          // the retransmission is in flight

	// Delivery rate, as of the latest transmission.
	delivered   uint64
	deliveredAt time.Duration
	firstSent   time.Duration
	limited     bool
}

// records is the FIFO of outstanding segments.
type records struct {
	buf  []record
	head int
}

func (r *records) len() int         { return len(r.buf) - r.head }
func (r *records) at(i int) *record { return &r.buf[r.head+i] }
func (r *records) push(x record) {
	if r.head > 1024 && r.head > len(r.buf)/2 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.head:])]
		r.head = 0
	}
	r.buf = append(r.buf, x)
}
func (r *records) pop() { r.head++ }

func newSender(cfg *Config, stats *Stats) sender {
	return sender{
		cfg: cfg, control: cfg.Control(cfg.InitialWindow), stats: stats,
		rtoAt: sim.Never, probeAt: sim.Never, reoAt: sim.Never, reoMult: 1,
	}
}

func (s *sender) inFlight() int { return s.records.len() - s.sacked - s.lost + s.retrans }

func (s *sender) record(n uint64) *record { return s.records.at(int(n - s.una)) }

// size is the payload of segment n.
func (s *sender) size(n uint64) int {
	if s.cfg.Send < 0 {
		return s.cfg.MSS
	}
	return int(min(int64(s.cfg.MSS), s.cfg.Send-int64(n)*int64(s.cfg.MSS)))
}

// hasNew tells whether there is a new segment that the receiver has room for.
func (s *sender) hasNew() bool {
	return s.open && (s.cfg.Send < 0 || int64(s.nxt)*int64(s.cfg.MSS) < s.cfg.Send) &&
		(s.records.len()+1)*s.cfg.MSS <= s.cfg.MaxWindow
}

// ---- acknowledgements

// rateSample remembers the newest record that an acknowledgement delivered.
type rateSample struct {
	set       bool
	delivered uint64
	at        time.Duration
	interval  time.Duration
	limited   bool
	sent      time.Duration
}

func (s *sender) ack(now time.Duration, seg *Segment) {
	a := Ack{Now: now, Before: s.inFlight(), Limited: s.blocked}
	var sample rateSample
	var rttOldest time.Duration // of the oldest original acknowledged, for srtt
	prior := s.delivered
	fack := s.fack

	deliver := func(n uint64, r *record) {
		s.delivered++
		s.deliveredAt = now
		if !sample.set || r.delivered > sample.delivered || r.delivered == sample.delivered && r.sent > sample.sent {
			sample = rateSample{true, r.delivered, r.deliveredAt, r.sent - r.firstSent, r.limited, r.sent}
			s.firstSent = r.sent
		}
		rtt := now - r.sent
		if r.copied {
			if seg.TSEcr < r.sent || rtt < s.minRTT {
				return // the original's: it says nothing of this transmission (RFC 8985, 6.2)
			}
		} else {
			if n < fack {
				s.reordered = true
			}
			rttOldest = max(rttOldest, rtt)
			if a.RTT == 0 || rtt < a.RTT {
				a.RTT = rtt
			}
		}
		if r.sent > s.rackSent || r.sent == s.rackSent && n >= s.rackSeg {
			s.rackSent, s.rackSeg, s.rackRTT = r.sent, n, rtt
		}
	}
	settle := func(r *record) {
		if r.lost {
			r.lost = false
			s.lost--
		}
		if r.copyOut {
			r.copyOut = false
			s.retrans--
		}
	}

	blocks := seg.SACK[:seg.Blocks]
	dsack := seg.Flags&DSACK != 0
	if dsack {
		blocks = blocks[1:]
		s.duplicate()
	}
	mss := uint64(s.cfg.MSS)
	for _, b := range blocks {
		for n := max(b.From/mss, s.una); n < min((b.To+mss-1)/mss, s.nxt); n++ {
			if r := s.record(n); !r.sacked {
				deliver(n, r)
				settle(r)
				r.sacked = true
				s.sacked++
				s.fack = max(s.fack, n+1)
			}
		}
	}
	for s.una < s.nxt && s.una*mss+uint64(s.size(s.una)) <= seg.Ack {
		r := s.record(s.una)
		if r.sacked {
			s.sacked--
		} else {
			deliver(s.una, r)
		}
		settle(r)
		s.records.pop()
		s.una++
		a.Advanced = true
	}
	s.fack = max(s.fack, s.una)
	a.Acked = int(s.delivered - prior)
	s.sampleRTT(a.RTT, rttOldest)

	if a.Advanced {
		s.backoff = 0
		s.rtoAt = now + s.rto()
	}
	s.endProbe(now, dsack)
	a.Lost = s.detect(now)
	s.advanceState(now, seg, a.Advanced)

	if s.limitedUntil > 0 && s.delivered > s.limitedUntil {
		s.limitedUntil = 0
	}
	a.State, a.InFlight = s.state, s.inFlight()
	a.MinRTT, a.Una, a.Nxt = s.minRTT, s.una, s.nxt
	a.Delivered = s.delivered
	if sample.set {
		a.PriorDelivered, a.AppLimited = sample.delivered, sample.limited
		if interval := max(sample.interval, now-sample.at); interval >= s.minRTT {
			a.Interval = interval
		}
	}
	if a.Acked > 0 || a.Lost > 0 || s.state != Open {
		s.control.Ack(&a)
	}
	s.arm(now)
}

// arm sets the loss probe, or no timer if nothing is out.
func (s *sender) arm(now time.Duration) {
	s.probeAt = sim.Never
	if s.records.len() == 0 {
		s.rtoAt, s.reoAt = sim.Never, sim.Never
		return
	}
	if s.rtoAt == sim.Never {
		s.rtoAt = now + s.rto()
	}
	if s.state == Open && s.sacked == 0 && s.probeHigh == 0 && s.srtt > 0 {
		timeout := 2*s.srtt + minProbe
		if s.records.len() == 1 {
			timeout = 2*s.srtt + minRTO // the receiver may delay its ACK
		}
		s.probeAt = min(now+timeout, s.rtoAt)
	}
}

func (s *sender) sampleRTT(newest, oldest time.Duration) {
	if newest > 0 && (s.minRTT == 0 || newest < s.minRTT) {
		s.minRTT = newest
	}
	if oldest == 0 {
		return
	}
	if s.cfg.OnRTT != nil {
		s.cfg.OnRTT(oldest)
	}
	if s.srtt == 0 {
		s.srtt, s.rttvar = oldest, oldest/2
		return
	}
	s.rttvar += ((s.srtt - oldest).Abs() - s.rttvar) / 4
	s.srtt += (oldest - s.srtt) / 8
}

func (s *sender) rto() time.Duration {
	if s.srtt == 0 {
		return min(initialRTO<<s.backoff, maxRTO)
	}
	return min((s.srtt+max(4*s.rttvar, minRTO))<<s.backoff, maxRTO)
}

// duplicate takes a DSACK: a retransmission was not needed.
func (s *sender) duplicate() {
	s.stats.DSACKs++
	s.undoCopies--
	if s.una >= s.reoRound { // widen once a round trip
		s.reoRound = s.nxt
		s.reoMult++
		s.reoKept = reorderKept
	}
}

// reorderWindow is RACK's: none while there is no sign of reordering and
// losses are certain, else quarters of the lowest RTT, at most srtt.
func (s *sender) reorderWindow() time.Duration {
	if !s.reordered && (s.state != Open || s.sacked >= dupThreshold) {
		return 0
	}
	return min(time.Duration(s.reoMult)*s.minRTT/4, s.srtt)
}

// detect marks lost what was sent long enough before something delivered.
func (s *sender) detect(now time.Duration) (lost int) {
	s.reoAt = sim.Never
	window := s.reorderWindow()
	var wait time.Duration
	for n := s.una; n < s.nxt; n++ {
		r := s.record(n)
		if r.sacked || r.lost && !r.copyOut {
			continue
		}
		if r.sent > s.rackSent || r.sent == s.rackSent && n >= s.rackSeg {
			if !r.copied {
				break // all later ones were sent later still
			}
			continue
		}
		if left := r.sent + s.rackRTT + window - now; left > 0 {
			wait = max(wait, left)
			continue
		}
		s.markLost(n, r)
		lost++
	}
	if wait > 0 {
		s.reoAt = now + wait
	}
	return lost
}

func (s *sender) markLost(n uint64, r *record) {
	if r.copyOut {
		r.copyOut = false
		s.retrans--
	}
	if !r.lost {
		r.lost = true
		s.lost++
	}
	s.hint = min(s.hint, n)
}

// endProbe judges a loss probe (RFC 8985, 7.4.2).
func (s *sender) endProbe(now time.Duration, dsack bool) {
	if s.probeHigh == 0 || s.una < s.probeHigh {
		return
	}
	if s.probeCopy && !dsack {
		if s.una == s.probeHigh {
			return // the copy's DSACK may still come
		}
		if s.state == Open {
			// No sign of a second copy: the probe repaired a loss, and a loss
			// is a sign of congestion.
			s.control.Recovery(now, s.inFlight())
			s.control.Recovered(now)
		}
	}
	s.probeHigh = 0
}

// advanceState leaves or enters recovery after an acknowledgement.
func (s *sender) advanceState(now time.Duration, seg *Segment, advanced bool) {
	late := s.undoFrom && advanced && s.undoSent && seg.TSEcr < s.firstCopy // the original came (Eifel, RFC 3522)
	copied := s.undoFrom && s.undoSent && s.undoCopies <= 0                 // every retransmission was a duplicate
	spurious := late || copied
	switch {
	case s.state == Open:
		if copied {
			s.undo(now)
		}
	case spurious && (s.state == Loss || s.una >= s.highest || late && s.retrans == 0):
		s.undo(now)
	case s.una >= s.highest:
		// A DSACK may still show that it was not needed: undoFrom stays.
		s.state = Open
		s.control.Recovered(now)
	}
	if s.state == Open && s.lost > 0 {
		s.enter(now)
	}
}

// enter begins a fast recovery.
func (s *sender) enter(now time.Duration) {
	s.state, s.highest = Recovery, s.nxt
	s.stats.Recoveries++
	s.beginUndo()
	if s.reoKept > 0 {
		if s.reoKept--; s.reoKept == 0 {
			s.reoMult = 1
		}
	}
	s.probeHigh, s.probeAt = 0, sim.Never
	s.control.Recovery(now, s.inFlight())
}

func (s *sender) beginUndo() { s.undoFrom, s.undoCopies, s.undoSent = true, s.retrans, false }

// undo takes back a recovery that was not needed.
func (s *sender) undo(now time.Duration) {
	s.stats.Undone++
	s.undoFrom = false
	for n := s.una; n < s.nxt; n++ {
		if r := s.record(n); r.lost {
			r.lost = false
			s.lost--
		}
	}
	s.control.Undo(now)
	if s.state != Open {
		s.state = Open
	}
}

// ---- sending

// timers acts on those that are due.
func (s *sender) timers(now time.Duration, send func(n uint64)) {
	if s.reoAt <= now && s.detect(now) > 0 && s.state == Open {
		s.enter(now)
	}
	if s.probeAt <= now {
		s.probeAt = sim.Never
		s.rtoAt = now + s.rto()
		s.stats.Probes++
		if s.probeCopy = !s.hasNew(); s.probeCopy {
			s.transmit(now, s.nxt-1, send)
		} else {
			s.transmit(now, s.nxt, send)
		}
		s.probeHigh = s.nxt
		s.probeAt = sim.Never
	}
	if s.rtoAt <= now {
		s.timeout(now)
	}
}

func (s *sender) timeout(now time.Duration) {
	s.stats.Timeouts++
	again := s.state == Loss && s.una < s.highest
	if !again {
		s.beginUndo()
	}
	for n := s.una; n < s.nxt; n++ {
		// Linux spares what was sent less than an RTT ago (tcp_timeout_mark_lost).
		if r := s.record(n); !r.sacked && (n == s.una || r.sent+s.rackRTT+s.reorderWindow() <= now) {
			s.markLost(n, r)
		}
	}
	s.state, s.highest = Loss, s.nxt
	s.probeHigh = 0
	if s.backoff < 10 {
		s.backoff++
	}
	s.rtoAt = now + s.rto()
	s.probeAt, s.reoAt = sim.Never, sim.Never
	if !again {
		s.control.Timeout(now)
	}
}

// pick is the segment to send next: the first lost one, or a new one.
func (s *sender) pick() (n uint64, ok bool) {
	if s.lost > 0 {
		for s.hint = max(s.hint, s.una); s.hint < s.nxt; s.hint++ {
			if r := s.record(s.hint); r.lost && !r.copyOut {
				return s.hint, true
			}
		}
	}
	return s.nxt, s.hasNew()
}

// output sends what the window and the pacing allow.
func (s *sender) output(now time.Duration, send func(n uint64)) {
	s.timers(now, send)
	defer func() { s.train = 0 }()
	for {
		n, ok := s.pick()
		if !ok {
			s.blocked = false
			if s.open && s.lost == 0 && s.inFlight() < s.control.Window() {
				s.limitedUntil = max(1, s.delivered+uint64(s.inFlight()))
			}
			return
		}
		if s.inFlight() >= s.control.Window() {
			s.blocked = true
			return
		}
		if s.nextSend > now && s.train == 0 {
			return
		}
		s.transmit(now, n, send)
		if n+1 == s.nxt {
			s.arm(now)
		}
	}
}

// transmit sends segment n: a new one if it is nxt, else again.
func (s *sender) transmit(now time.Duration, n uint64, send func(n uint64)) {
	if s.inFlight() == 0 {
		s.firstSent, s.deliveredAt = now, now
	}
	again := n < s.nxt
	if !again {
		s.records.push(record{})
		s.nxt++
	}
	r := s.record(n)
	r.sent = now
	r.delivered, r.deliveredAt, r.firstSent = s.delivered, s.deliveredAt, s.firstSent
	r.limited = s.limitedUntil > 0
	s.stats.Sent++
	if again {
		s.stats.Retransmits++
		if !r.copyOut {
			r.copyOut = true
			s.retrans++
		}
		r.copied = true
		s.undoCopies++
		if !s.undoSent {
			s.undoSent, s.firstCopy = true, now
		}
	}
	if rate := s.control.PacingRate(); rate > 0 {
		if s.train > 0 {
			s.train--
		} else if s.cfg.Trains {
			s.train = max(2, int(rate/1000)) - 1
		}
		took := float64(s.size(n)) / float64(s.cfg.MSS) / rate
		s.nextSend = max(s.nextSend, now) + time.Duration(took*float64(time.Second))
	}
	s.control.Sent(now, s.inFlight())
	send(n)
}

// next is when output has something to do.
func (s *sender) next() time.Duration {
	at := min(s.rtoAt, s.probeAt, s.reoAt)
	if _, ok := s.pick(); ok && s.inFlight() < s.control.Window() {
		at = min(at, max(s.nextSend, 0))
	}
	return at
}
