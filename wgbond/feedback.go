package wgbond

import (
	"math/bits"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/rate"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// news is what one feedback says of one path. The packet it names is gone by
// the time rate control hears of it, so what matters of it is kept here.
type news struct {
	link    *link
	report  wire.PathReport
	stamp   rate.Stamp
	sampled bool // stamp is that of the packet named
	rtt     time.Duration
	forward time.Duration // rtt without what delayed the report
	packets uint64        // newly reported
	size    int           // of the datagram named; 0: unknown
	newer   bool          // the newest packet is another than in the report before
}

// onFeedback takes in the peer's feedback.
func (s *Session) onFeedback(f *wire.Feedback) {
	if f.Sent <= s.lastReport {
		s.counts.drop(dropStaleFeedback) // overtaken by a newer one
		return
	}
	s.lastReport, s.reportAt = f.Sent, s.now

	var all [schedulers.MaxPaths]news
	n := 0
	for i := range f.Paths {
		if w, ok := s.readReport(&f.Paths[i], f.Sent); ok {
			all[n] = w
			n++
		}
	}
	lost := s.hist.Apply(s.now, f)
	s.trace.lost(lost, "overtaken")
	var lostBytes, lostPackets [schedulers.MaxPaths]int
	for _, h := range lost {
		p := s.hist.Get(h)
		lostBytes[p.Path] += p.Size
		lostPackets[p.Path]++
	}
	s.lostSizes(lost)
	for _, w := range all[:n] {
		s.learn(&w, lostPackets[w.link.id], lostBytes[w.link.id])
	}
	s.repair(lost, false)
}

// readReport measures the path by one report; false if it says nothing new.
func (s *Session) readReport(r *wire.PathReport, sent wire.Clock) (news, bool) {
	l := s.links[r.Path]
	if l == nil || r.Packets == l.reported.packets {
		return news{}, false
	}
	w := news{link: l, report: *r, packets: l.count(r), newer: r.Index != l.newestIndex || r.Last != l.newest}
	l.newestIndex, l.newest = r.Index, r.Last
	if p := s.hist.Newest(r); p != nil && p.Transmissions == 1 && w.newer {
		// Karn: of a packet sent twice it is not known which one came.
		l.path.Measured(s.now, p.Sent, r.Arrived, sent)
		w.size = len(p.Buf)
		w.stamp, w.sampled = p.Stamp, true
		w.rtt = s.now - p.Sent - time.Duration(sent-r.Arrived)*time.Microsecond
		w.forward = min(w.rtt, l.path.Forward(p.Sent, r.Arrived))
	}
	return w, true
}

// count adds what a report says is new to what was delivered; it returns the
// number of packets. A path's number may have been another path's before, which
// only one of the two sides knows for a while: a peer that has forgotten the
// other begins at zero, one that has not reports more than we have sent.
func (l *link) count(r *wire.PathReport) uint64 {
	got := total{r.Packets - l.reported.packets, r.Bytes - l.reported.bytes}
	if r.Packets < l.reported.packets {
		got = total{r.Packets, r.Bytes}
	}
	l.reported = total{r.Packets, r.Bytes}
	if out := l.data.packets - l.delivered.packets; got.packets > out {
		got = total{out, l.data.bytes - min(l.data.bytes, l.delivered.bytes)}
	}
	l.delivered.packets += got.packets
	l.delivered.bytes += got.bytes
	return got.packets
}

// learn updates one path's state and rate.
func (s *Session) learn(w *news, lostPackets, lostBytes int) {
	l := w.link
	l.lost += uint64(lostPackets)
	if total := float64(w.packets) + float64(lostPackets); total > 0 {
		ratio := float64(lostPackets) / total
		l.loss += (ratio - l.loss) * min(1, total/100)
		l.lossy += (ratio - l.lossy) * min(1, total/lossyPackets)
	}
	s.noteLoss(l, lostPackets, int(w.packets))
	l.rate.Lost(lostBytes)
	if w.size > 0 {
		l.mtu.Arrived(s.now, w.size)
		s.judgeMTU(l)
	}
	l.progressAt = s.now
	s.proven(l)
	if l.path.Confirmed(s.now, s.hist.Oldest(l.id)) {
		s.linkAlive(l)
	}
	if !w.sampled {
		if w.newer {
			l.rate.Reported(l.delivered.bytes, w.report.Arrived)
		}
		s.trace.acked(w, lostPackets)
		return
	}
	minRTT, _ := l.path.MinRTT(s.now)
	believed := l.rate.Believes()
	l.rate.Delivered(s.now, rate.Delivery{
		Stamp: w.stamp, Bytes: l.delivered.bytes, Arrived: w.report.Arrived,
		RTT: w.forward, MinRTT: minRTT, EmptyAge: l.path.Empty(s.now), Late: l.path.Late(),
		InFlight: s.hist.InFlight(l.id), MayProbeRTT: !s.probingRTT(l),
	})
	if believed && !l.rate.Believes() {
		s.unbind(l) // it was bound on the word of the hint
		s.planAt = s.now
	}
	s.trace.acked(w, lostPackets)
}

// lostSizes tells the paths' MTU searches what was lost by them.
func (s *Session) lostSizes(lost []feedback.Handle) {
	for _, h := range lost {
		if p := s.hist.Get(h); p != nil && s.links[p.Path] != nil {
			s.links[p.Path].mtu.Lost(len(p.Buf))
		}
	}
}

// probingRTT reports whether a path other than l is in ProbeRTT: one at a
// time, so that the others carry what it does not.
func (s *Session) probingRTT(l *link) bool {
	for _, o := range s.links {
		if o != nil && o != l && o.rate.ProbingRTT() {
			return true
		}
	}
	return false
}

// repair sends lost packets again. free: outside the budget, for a path that
// has died took them with it through no fault of theirs.
func (s *Session) repair(lost []feedback.Handle, free bool) {
	for _, h := range lost {
		s.resend(h, free)
	}
}

// resend queues a lost packet on the path where it arrives soonest, or voids
// it if that is no longer worth it.
func (s *Session) resend(h feedback.Handle, free bool) {
	p := s.hist.Get(h)
	if p == nil {
		return
	}
	switch {
	case p.Transmissions >= maxTransmissions:
		s.voidPacket(h, p, dropRepairTries)
		return
	case s.now-p.Queued > repairAge:
		s.voidPacket(h, p, dropRepairLate)
		return
	case !free && s.repairTokens < float64(p.Size):
		s.voidPacket(h, p, dropRepairBudget)
		return
	}
	if !free {
		s.repairTokens -= float64(p.Size)
	}
	l := s.soonestFor(len(p.Buf))
	s.trace.repaired(l, p, free)
	if l == nil || s.stale(l) {
		from := 0
		s.requeue(h, p, &from)
		return
	}
	s.exec.Charge(s.now, l.id, p.Size)
	s.pushData(l, h, p)
}

// soonest is the working path on which something sent now arrives first; nil
// if none works. Backup paths come last.
func (s *Session) soonest() *link { return s.soonestOf(s.workingLinks()) }

// soonestOf is the same among the paths of mask.
func (s *Session) soonestOf(mask uint32) (best *link) {
	var bestAt time.Duration
	for ; mask != 0; mask &= mask - 1 {
		l := s.links[bits.TrailingZeros32(mask)]
		at, _, _ := l.path.OWD()
		if l.cfg.Backup {
			at += time.Hour
		}
		if s.resting(l) {
			at += 2 * time.Hour
		}
		if best == nil || at < bestAt {
			best, bestAt = l, at
		}
	}
	return best
}

// onPong takes in the answer to a ping.
func (s *Session) onPong(f *wire.Pong, arrived *link) {
	l := s.links[f.Path]
	if l == nil {
		return
	}
	slot := &l.pings[f.ID%uint32(len(l.pings))]
	if slot.id != f.ID || slot.sent < 0 {
		s.counts.drop(dropStalePong)
		return
	}
	ping := *slot
	slot.sent = -1
	s.proved(l, f.ID)
	s.reportAt = s.now
	if ping.probe > 0 || ping.behind > 0 {
		s.onProbePong(l, ping)
		return
	}
	sent := ping.sent
	l.path.Measured(s.now, sent, f.Received, f.Received)
	l.rate.Pinged(s.now, sent, f.Received, s.hist.InFlight(l.id))

	// The ping came through behind what left before it. What of that the next
	// feedback does not report is lost.
	// A wait that is under way is not begun anew: on a short path answers come
	// so fast that it would never end.
	if l.recallAt == 0 {
		smoothed, deviation := l.path.RTT()
		l.recallSent, l.recallClock = sent, f.Received
		l.recallAt = s.now + smoothed + 4*deviation + 2*feedbackSlow
	}
	s.proven(l)
	if l.path.Confirmed(s.now, s.hist.Oldest(l.id)) {
		s.linkAlive(l)
	}
}

// recallDue ends the wait that a ping's answer began.
func (s *Session) recallDue(l *link) {
	if l.recallAt == 0 {
		return
	}
	var lost []feedback.Handle
	switch {
	case s.now >= l.recallAt:
		l.recallAt = 0
		lost = s.hist.Recall(l.id, l.recallSent)
	case s.lastReport >= l.recallClock+recallSlack && s.lastReport > l.recallTried:
		l.recallTried = s.lastReport
		var all bool
		if lost, all = s.hist.Missed(l.id, l.recallSent); all {
			l.recallAt = 0
		}
	}
	s.trace.lost(lost, "ping")
	s.lostSizes(lost)
	l.lost += uint64(len(lost))
	for _, h := range lost {
		l.rate.Lost(s.hist.Get(h).Size)
	}
	s.repair(lost, false)
}

// recallSlack is how much later than a ping's arrival a feedback must have
// been made to tell of all that came before the ping: paths may reorder a
// little.
const recallSlack = wire.Clock(5000)
