package wgbond

import (
	"math"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Send takes WireGuard datagrams from the local peer. It copies them; those
// that find no room in the queue are dropped and counted.
func (s *Session) Send(now time.Duration, pkts [][]byte) {
	s.now = now
	for _, p := range pkts {
		s.accept(p)
	}
	s.hurry()
	s.advance()
}

func (s *Session) accept(pkt []byte) {
	s.counts.sent++
	if len(pkt) > MaxDatagram {
		s.counts.drop(dropTooLong)
		return
	}
	switch wire.Kind(pkt) {
	case wire.WGHandshake:
		s.sendHandshake(pkt)
	case wire.WGData:
		s.lastSend = s.now
		s.sized(len(pkt))
		if s.transport == nil || s.dial.lost {
			s.sendPlain(pkt)
			return
		}
		s.enqueue(pkt)
	default:
		s.counts.drop(dropNotWireGuard)
	}
}

// enqueue puts a data message at the end of the send queue.
func (s *Session) enqueue(pkt []byte) {
	index, counter, _ := wire.DataHeader(pkt)
	if s.ordinal == 0 || index != s.index {
		s.beginKeyPair(index, counter)
	}
	switch {
	case counter < s.next:
		// WireGuard never does this; but if it did, order is lost already.
		s.counts.drop(dropOldCounter)
		return
	case counter > s.next:
		s.void(s.next, counter) // WireGuard dropped some before they came here
		s.trace.voided(s.next, counter, "skipped")
	}
	s.next = counter + 1
	if s.queue.bytes+s.express.bytes+len(pkt) > queueBytes || !s.hist.Room(counter) {
		s.counts.drop(dropQueueFull)
		s.void(counter, counter+1)
		s.trace.voided(counter, s.next, dropNames[dropQueueFull])
		return
	}
	buf := append(s.cfg.Pool.Get()[:0], pkt...)
	size := len(pkt) + s.overhead()
	q := &s.express
	if !expressed(pkt) {
		q = &s.queue
		s.nextOrdered = counter + 1
	}
	q.push(waiting{s.hist.Add(s.now, buf, index, counter, size), size})
}

// overhead is what a packet's size counts beside its payload. It may go by any
// path; IPv4 and IPv6 differ by 20 bytes, which rate control can bear.
func (s *Session) overhead() int {
	for _, l := range s.links {
		if l != nil {
			return l.cfg.Overhead
		}
	}
	return 28
}

func (s *Session) beginKeyPair(index uint32, first uint64) {
	if s.ordinal > 0 {
		s.notify(&wire.KeyPairEnd{Index: s.index, End: s.next})
	}
	s.ordinal++
	s.index, s.next, s.nextOrdered = index, first, first
	s.hist.KeyPair(index, first)
	for _, l := range s.links {
		if l != nil {
			l.lastBound, l.marked = first, first
		}
	}
	s.announce(first)
}

// announce tells of the current key pair on every working path, so that it
// comes before the first data on each.
func (s *Session) announce(first uint64) {
	f := &wire.KeyPair{Index: s.index, Ordinal: s.ordinal, First: first}
	s.notify(f)
	s.eachLink(s.workingLinks(), func(l *link) {
		if !s.spared(l) {
			s.begin(l.id)
			s.add(f)
			s.finish(l)
		}
	})
}

// void tells the peer that some counters will not come.
func (s *Session) void(from, to uint64) {
	for i := len(s.notices) - 1; i >= 0; i-- {
		if v, ok := s.notices[i].frame.(*wire.Void); ok && v.Index == s.index && v.Range.To == from {
			v.Range.To = to
			s.notices[i].repeats = noticeRepeats
			s.noticesAt = min(s.noticesAt, s.now+noticeDelay)
			return
		}
	}
	s.notify(&wire.Void{Index: s.index, Range: wire.Range{From: from, To: to}})
}

// voidPacket drops a packet and tells the peer.
func (s *Session) voidPacket(h feedback.Handle, p *packet, why dropReason) {
	s.counts.drop(why)
	s.trace.gaveUp(p, why)
	if p.Index == s.index {
		s.void(p.Counter, p.Counter+1)
	} else {
		s.notify(&wire.Void{Index: p.Index, Range: wire.Range{From: p.Counter, To: p.Counter + 1}})
	}
	s.hist.Drop(h)
}

// requeue puts a packet back into the send queue where its counter belongs,
// which is near the head. from is a place known to be before it; it is moved
// on, for the next packet of a rising series.
func (s *Session) requeue(h feedback.Handle, p *packet, from *int) {
	for *from < s.queue.len() {
		q := s.hist.Get(s.queue.at(*from).Handle)
		if q != nil && (q.Index == p.Index && q.Counter > p.Counter || q.Index != p.Index && q.Queued > p.Queued) {
			break
		}
		*from++
	}
	s.queue.insert(*from, waiting{h, p.Size})
	s.queue.bytes += p.Size
	*from++
}

// fitQueue keeps the send queue within its bound after paths gave packets
// back. What goes is what enqueue would have refused had it known: the newest.
func (s *Session) fitQueue() {
	over := s.queue.bytes + s.express.bytes - queueBytes
	keep := s.queue.len()
	for ; over > 0 && keep > 0; keep-- {
		over -= s.queue.at(keep - 1).size
	}
	for i := keep; i < s.queue.len(); i++ { // in order, so that the notices join
		w := *s.queue.at(i)
		s.queue.bytes -= w.size
		switch p := s.hist.Get(w.Handle); {
		case p == nil:
		case p.IsCopy():
			s.counts.drop(dropCopy)
			s.hist.Drop(w.Handle)
		default:
			s.voidPacket(w.Handle, p, dropQueueFull)
		}
	}
	for s.queue.len() > keep {
		s.queue.popBack()
	}
}

func classOf(size int) schedulers.Class {
	if size <= schedulers.SmallSize {
		return schedulers.Small
	}
	return schedulers.Bulk
}

// bind gives the packets at the heads of the queues to paths, as far as the
// plan and the paths' own limits allow.
func (s *Session) bind() {
	for s.express.len() > 0 && s.expressMay() && s.bindFrom(&s.express) {
	}
	for s.queue.len() > 0 && s.bindFrom(&s.queue) {
	}
}

// bindFrom binds the packet at the head of q. It returns false if no path may
// carry it now.
func (s *Session) bindFrom(q *sendQueue) bool {
	w := q.front()
	p := s.hist.Get(w.Handle)
	if p == nil || !s.hist.Wanted(p) { // reported delivered meanwhile
		q.pop()
		if p != nil {
			s.hist.Drop(w.Handle)
		}
		return true
	}
	class := classOf(len(p.Buf))
	unfit := s.unfit(len(p.Buf))
	id, ok := s.exec.Pick(s.now, class, p.Size, unfit)
	if !ok && unfit != 0 {
		id, ok = s.beside(class, unfit)
	}
	if !ok {
		return false
	}
	if l := s.links[id]; s.stale(l) {
		return s.askStale(l) // and look for another path
	}
	q.pop()
	if unfit>>id&1 != 0 {
		s.sendMisfit(s.links[id], w.Handle, p)
		return true
	}
	// (A copy of what was void would come out of turn.)
	if fresh := p.Transmissions == 0 && !p.IsCopy() && !p.IsCopied(); fresh && q.codel.Drop(s.now, s.now-p.Queued, q.bytes) {
		s.voidPacket(w.Handle, p, dropCoDel)
		return true
	}
	s.owe(q, p.Size)
	s.exec.Charge(s.now, id, p.Size)
	s.pushData(s.links[id], w.Handle, p)
	s.trace.bound(s.links[id], p, "plan")
	if p.IsCopied() { // it was bound before
		return true
	}
	if copies := s.exec.Copies(class) &^ (1 << id) &^ unfit & s.workingLinks(); copies != 0 {
		s.copyTo(copies, w.Handle)
	}
	return true
}

// pushData puts a packet into a path's queue at the place of its counter, which
// is the end but for repairs, or ahead of all that is kept in order: what a path carries must rise, or the
// receiver would take what comes late for lost.
func (s *Session) pushData(l *link, h feedback.Handle, p *packet) {
	l.queued += p.Size
	switch i := 0; {
	case expressed(p.Buf):
		for i < l.queue.len() && s.isExpress(*l.queue.at(i)) {
			i++
		}
		l.queue.insert(i, waiting{h, p.Size})
	case p.Index == s.index && p.Counter >= l.lastBound:
		l.lastBound = p.Counter + 1
		l.queue.pushBack(waiting{h, p.Size})
	default:
		for i < l.queue.len() {
			q := s.hist.Get(l.queue.at(i).Handle)
			if q != nil && !expressed(q.Buf) && (q.Index != p.Index && q.Index == s.index || q.Index == p.Index && q.Counter > p.Counter) {
				break
			}
			i++
		}
		l.queue.insert(i, waiting{h, p.Size})
	}
	s.judgeExecutor(l)
}

// copyTo puts copies of a packet into other paths' queues.
func (s *Session) copyTo(mask uint32, h feedback.Handle) {
	s.eachLink(mask, func(l *link) {
		if s.stale(l) {
			s.askStale(l)
			return
		}
		p := s.hist.Get(h)
		if l.queued > copyQueue {
			s.counts.drop(dropCopy)
			return
		}
		c, ok := s.copyOf(p)
		if !ok {
			return
		}
		s.exec.Charge(s.now, l.id, p.Size)
		s.pushData(l, c, s.hist.Get(c))
		s.trace.bound(l, s.hist.Get(c), "copy")
	})
}

// copyOf makes an extra copy of a packet.
func (s *Session) copyOf(p *packet) (feedback.Handle, bool) {
	buf := append(s.cfg.Pool.Get()[:0], p.Buf...)
	c, ok := s.hist.AddCopy(p, buf)
	if !ok {
		s.cfg.Pool.Put(buf)
		s.counts.drop(dropCopy)
	}
	return c, ok
}

// copyQueue bounds the copies that wait for a slower path, bytes.
const copyQueue = copiesMost

// judgeExecutor tells the executor what cannot wait for a plan: a path that
// may carry nothing, or whose queue is as long as the plan allows.
func (s *Session) judgeExecutor(l *link) {
	over := !s.usable(l) || l.asked || l.queued > 0 && l.queued >= s.mayWait(l)
	if over != (s.exec.Blocked()>>l.id&1 != 0) {
		s.exec.Override(l.id, over)
	}
}

// Transmit appends, to at most cap(out), the datagrams to send by path id
// now, in order. They are borrowed until Transmitted(id); there is at most
// one borrowing per path at a time.
func (s *Session) Transmit(now time.Duration, id schedulers.PathID, out [][]byte) [][]byte {
	s.now = now
	l := s.links[id]
	if l == nil || l.lending || s.retired[id] != nil {
		return out
	}
	l.lending = true
	for l.control.len() > 0 && len(out) < cap(out) {
		b := l.control.popFront()
		l.lentControl = append(l.lentControl, b)
		out = append(out, b)
		l.txPackets++
		l.txBytes += uint64(len(b) + l.cfg.Overhead)
	}
	for len(out) < cap(out) && s.usable(l) {
		inFlight := s.hist.InFlight(id)
		if !l.rate.MaySend(now, inFlight) {
			break
		}
		h, p := s.nextPacket(l)
		if p == nil {
			if !l.slack && s.idle(l) {
				l.rate.AppLimited(inFlight)
				l.slack = true
				s.trace.slack(l)
			}
			break
		}
		l.slack = false
		stamp := l.rate.Sent(now, p.Size, inFlight, l.path.Expect(now))
		again := p.Transmissions > 0
		s.hist.Sent(now, h, id, stamp)
		s.noteSent(l, p)
		s.trace.sent(l, p)
		l.path.Sent(now)
		l.lastData = now
		s.carriesData(l)
		l.lentPackets = append(l.lentPackets, h)
		out = append(out, p.Buf)
		l.txPackets++
		l.txBytes += uint64(p.Size)
		l.data.packets++
		l.data.bytes += uint64(p.Size)
		if again {
			l.repairs++
			s.counts.repairs++
		} else {
			s.repairTokens = min(s.repairTokens+repairShare*float64(p.Size), repairBurst)
		}
	}
	return out
}

// nextPacket takes the next packet from a path's queue, filling that from the
// send queue if it runs empty. p is nil if there is none.
func (s *Session) nextPacket(l *link) (h feedback.Handle, p *packet) {
	if l.queue.len() == 0 && s.waiting() {
		s.exec.SetBacklog(s.now, l.id, 0)
		s.bind()
	}
	for l.queue.len() > 0 {
		w := l.queue.popFront()
		l.queued -= w.size
		if p = s.hist.Get(w.Handle); p != nil && !s.hist.Wanted(p) {
			s.hist.Drop(w.Handle)
		} else if p != nil {
			s.exec.SetBacklog(s.now, l.id, l.queued)
			s.judgeExecutor(l)
			return w.Handle, p
		}
	}
	s.judgeExecutor(l)
	return h, nil
}

// Transmitted ends the borrowing that Transmit began on path id.
func (s *Session) Transmitted(now time.Duration, id schedulers.PathID) {
	s.now = now
	l := s.links[id]
	if s.retired[id] != nil {
		l, s.retired[id] = s.retired[id], nil
	}
	if l == nil {
		return
	}
	for _, h := range l.lentPackets {
		s.hist.Return(h)
	}
	for _, b := range l.lentControl {
		s.cfg.Pool.Put(b)
	}
	clear(l.lentControl)
	l.lentPackets, l.lentControl, l.lending = l.lentPackets[:0], l.lentControl[:0], false
}

// makePlan asks the scheduler for a plan.
func (s *Session) makePlan() {
	s.planAt, s.planned = s.now+planInterval, s.workingLinks()
	s.snapshot()
	s.plan = schedulers.Plan{}
	s.sched.Plan(&s.snap, &s.plan)
	s.firstWindows()
	for _, l := range s.links {
		if l != nil && s.plan.Drain[l.id] > 0 {
			// A path that probes for more must be given more.
			s.plan.Drain[l.id] = max(s.plan.Drain[l.id], l.rate.PacingRate())
		}
	}
	s.exec.SetPlan(s.now, &s.plan)
	s.trace.planned()
	s.forgetLeftOut()
	s.rebind()
	s.adaptQueue()
	for _, l := range s.links {
		if l != nil {
			s.judgeExecutor(l)
		}
	}
	s.tune()
	s.equalize(&s.plan.Hold)
}

// leftOutMost is how long a path may be left out of the plans while packets
// wait, until its rate is no longer taken for known.
const leftOutMost = 10 * time.Second

// forgetLeftOut has the paths tried anew that were too slow to be used: what
// carries nothing can never show that it has become faster.
func (s *Session) forgetLeftOut() {
	for _, l := range s.links {
		bulk := &s.plan.Classes[schedulers.Bulk]
		switch {
		case l == nil:
		case !s.usable(l) || l.cfg.Backup || l.cfg.Metered || l.rate.Rate() == 0 || (bulk.Copies>>l.id&1 != 0) || bulk.Paths[l.id].Use:
			l.leftOut = 0
		case s.waiting():
			if l.leftOut += planInterval; l.leftOut > leftOutMost {
				l.leftOut = 0
				l.rate.Forget(s.now)
			}
		}
	}
}

// rebind takes back what waits for a path beyond what the new plan lets it, and
// would come late: a varying path's rate has fallen since, or one whose rate is
// unknown is left out now, for the nearer ones proved faster.
func (s *Session) rebind() {
	for _, l := range s.links {
		if l == nil {
			continue
		}
		if l.copying && !s.copiesAll(l) {
			s.dropCopies(l) // what is to go by it now would wait behind them
		}
		l.copying = s.copiesAll(l)
		limit := s.mayWait(l)
		keep := 1
		switch {
		case l.rate.Rate() == 0 && limit == 0:
			keep = 0
		case l.rate.Varying() < rebindVarying:
			continue
		default:
			limit += rebindSlack
		}
		var back []waiting
		for l.queued > limit && l.queue.len() > keep && !s.copyWaits(l) {
			w := l.queue.popBack()
			l.queued -= w.size
			back = append(back, w)
		}
		if len(back) == 0 {
			continue
		}
		from := 0
		for i := len(back) - 1; i >= 0; i-- {
			if p := s.hist.Get(back[i].Handle); p != nil {
				if i == len(back)-1 && p.Index == s.index {
					l.lastBound = min(l.lastBound, p.Counter)
				}
				s.requeue(back[i].Handle, p, &from)
			}
		}
		s.exec.SetBacklog(s.now, l.id, l.queued)
	}
	s.fitQueue()
}

// dropCopies gives up the copies that wait for l.
func (s *Session) dropCopies(l *link) {
	for n := l.queue.len(); n > 0; n-- {
		w := l.queue.popFront()
		if p := s.hist.Get(w.Handle); p != nil && p.IsCopy() {
			l.queued -= w.size
			s.hist.Drop(w.Handle)
			continue
		}
		l.queue.pushBack(w)
	}
	s.exec.SetBacklog(s.now, l.id, l.queued)
}

// copyWaits reports whether the last that waits for l is a copy. It stays until
// what it is a copy of was reported: by any other path it would be sent twice.
func (s *Session) copyWaits(l *link) bool {
	p := s.hist.Get(l.queue.at(l.queue.len() - 1).Handle)
	return p != nil && p.IsCopy()
}

// mayWait is what may wait for l as planned, bytes.
func (s *Session) mayWait(l *link) int {
	if s.copiesAll(l) {
		return copyQueue
	}
	return max(s.plan.Classes[schedulers.Bulk].Paths[l.id].Cap, s.plan.Classes[schedulers.Small].Paths[l.id].Cap)
}

// copiesAll reports whether l sends nothing but copies, and of all.
func (s *Session) copiesAll(l *link) bool {
	bulk, small := &s.plan.Classes[schedulers.Bulk], &s.plan.Classes[schedulers.Small]
	return !bulk.Paths[l.id].Use && (bulk.Copies&small.Copies)>>l.id&1 != 0
}

// rebindVarying is how much a path must vary for that: a steady one that was
// just busy by starts seems to vary a little.
const rebindVarying = 0.25

// rebindSlack is what a path may hold beyond its cap before some is taken
// back, bytes.
const rebindSlack = 4 * 1500

// adaptQueue sets the send queue's CoDel by how much the paths vary.
func (s *Session) adaptQueue() {
	var sum, rates, lossy float64
	var longest time.Duration
	s.eachLink(s.workingLinks(), func(l *link) {
		if s.plan.Classes[schedulers.Bulk].Paths[l.id].Use {
			rtt, _ := l.path.RTT()
			longest = max(longest, rtt)
			lossy = max(lossy, l.lossy)
		}
		r := l.rate.Rate()
		sum += r * l.rate.Varying()
		rates += r
	})
	if rates == 0 {
		return
	}
	v := sum / rates
	// A short path has short round trips to lose to a queue.
	steady := min(codelSteady, max(longest/4, codelSteady/3))
	c := &s.queue.codel
	c.Target = steady + time.Duration(v*float64(codelVarying-steady))
	c.Interval = intervalSteady + time.Duration(v*float64(intervalVarying-intervalSteady))
	// A flow needs a round trip to hear of a drop and another to show it (RFC
	// 8289, 4.4). With 1.25 of them the second drop came before the first had
	// worked, and an inner CUBIC fell to half, which took it nine seconds to
	// make good: unequal AB .83, with two .95 at the same delay.
	c.Interval = max(c.Interval, 2*longest)
	// A repair blocks the order for a round trip, and the acknowledgements of
	// what it held up come in a burst, which fills the queue for as long again.
	// That is no standing queue: 1 % of loss on the fast path of unequal was
	// AB .72 without this, and is .91 with it.
	c.Interval += time.Duration(min(1, math.Sqrt(lossy/lossyFull)) * float64(c.Interval))
	c.Target = max(c.Target, longest/8)
	c.Target += s.goneQueue(rates)
	c.Floor, c.Patience = int(min(1, v/rebindVarying)*s.fadeQueue()), fadePatience
	s.express.codel.Target, s.express.codel.Interval = c.Target, c.Interval
}

// goneQueue is how much more the send queue may hold while paths are silent,
// beside others that carry rates, bytes per second: what was under way on them.
// With less the flows' windows would shrink to what is left, and grow for seconds
// when a path is back, within a fifth of one, with all its rate.
func (s *Session) goneQueue(rates float64) time.Duration {
	var bytes float64
	for _, l := range s.links {
		if l != nil && l.attached && l.suspectAt > 0 && s.now-l.suspectAt < goneFor && !s.usable(l) {
			minRTT, _ := l.path.MinRTT(s.now)
			bytes += l.rate.Rate() * minRTT.Seconds()
		}
	}
	return min(time.Duration(bytes/rates*float64(time.Second)), goneMost)
}

// goneFor is the longest silence for which the flows' windows are kept, goneMost
// the longest queue that this may cost.
const (
	goneFor  = 15 * time.Second
	goneMost = 50 * time.Millisecond
)

func (s *Session) snapshot() {
	s.snap.Seq++
	s.snap.Now, s.snap.Queue, s.snap.FeedbackInterval = s.now, s.queue.bytes+s.express.bytes, feedbackBusy
	s.snap.Largest = s.largest()
	s.snap.Paths = s.snap.Paths[:0]
	for _, l := range s.links {
		if l != nil && l.attached {
			s.snap.Paths = append(s.snap.Paths, s.describe(l))
		}
	}
	relate(s.snap.Paths)
}

// relate makes the one-way delays relative to the lowest of them, so that none
// is negative: as they come they hold the difference of two clocks.
func relate(paths []schedulers.Path) {
	lowest := Never
	for i := range paths {
		if paths[i].MinRTT > 0 {
			lowest = min(lowest, paths[i].MinOWD)
		}
	}
	for i := range paths {
		if p := &paths[i]; p.MinRTT > 0 {
			p.MinOWD -= lowest
			p.OWD = max(p.OWD-lowest, 0)
		}
	}
}

// describe is a path as schedulers see it.
func (s *Session) describe(l *link) schedulers.Path {
	d := schedulers.Path{
		ID: l.id, Name: l.cfg.Name, State: s.stateOf(l),
		Rate: l.rate.Prospect(), Delivered: l.rate.Rate(), InFlight: s.hist.InFlight(l.id), Queued: l.queued,
		MTU: l.carries, Backup: l.cfg.Backup, Metered: l.cfg.Metered,
		Weight: l.cfg.Weight, MaxRate: l.cfg.MaxRate, Sent: l.txBytes, Received: l.rxBytes,
	}
	d.SRTT, d.RTTVar = l.path.RTT()
	d.MinRTT, _ = l.path.MinRTT(s.now)
	d.MinRTT += l.path.Late()
	d.OWD, d.MinOWD, _ = l.path.OWD()
	if t := s.hist.Oldest(l.id); t >= 0 {
		d.OldestUnacked = s.now - t
	}
	d.Loss = l.loss
	if d.State == schedulers.Active && s.avoided(l) {
		d.State = schedulers.Suspect
	}
	return d
}
