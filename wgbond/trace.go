package wgbond

import (
	"math"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/reorder"
	"github.com/wg-bond/wg-bond/wgbond/trace"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// tracer tells a trace.Recorder what the session does. Where something is
// decided, the session calls the method of that name; what can be seen from
// outside (states, counts, gaps) is found by watch, which compares it with what
// it was. The nil tracer does nothing. The methods called for every packet are
// split in two, so that the check for nil is inlined and costs no call.
type tracer struct {
	s   *Session
	rec *trace.Recorder

	due     time.Duration // when Next said
	paths   [schedulers.MaxPaths]tracedPath
	bond    string
	drops   [numDropReasons]uint64
	order   reorder.Stats
	strays  uint64
	gapped  bool
	gap     trace.Packet
	gapAt   time.Duration
	pairs   [4]tracedPair // key pairs that the peer announced
	pairsAt int
	dec     wire.Decoder

	// The events, so that none is made on the heap.
	ev struct {
		late     trace.Late
		path     trace.Path
		state    trace.State
		mode     trace.Mode
		bond     trace.Bond
		plan     trace.Plan
		bulk     [schedulers.MaxPaths]trace.ClassPlan
		small    [schedulers.MaxPaths]trace.ClassPlan
		bind     trace.Bind
		sent     trace.Sent
		slack    trace.Slack
		ack      trace.Ack
		lost     trace.Lost
		repair   trace.Repair
		void     trace.Void
		made     trace.ControlSent
		came     trace.ControlGot
		got      trace.Got
		gap      trace.Gap
		gapEnd   trace.GapEnd
		released trace.Released
		disorder trace.Disorder
		drop     trace.Drop
	}
}

// tracedPath is what was last said of a path.
type tracedPath struct {
	known    bool
	label    string
	weight   float64
	most     float64
	mtu      int
	state    schedulers.PathState
	attached bool
	mode     string
}

// tracedPair is a key pair that the peer announced.
type tracedPair struct{ index, ordinal uint32 }

func newTracer(s *Session, rec *trace.Recorder) *tracer {
	if rec == nil {
		return nil
	}
	role := "client"
	if s.cfg.Role == Server {
		role = "server"
	}
	rec.SetRole(role)
	return &tracer{s: s, rec: rec, bond: "plain", due: Never}
}

// FlushTrace writes what the trace has gathered; for the end of a session.
func (s *Session) FlushTrace() {
	if s.trace != nil {
		s.trace.rec.Flush()
	}
}

// lateAfter is how late the session must be called for that to be an event.
const lateAfter = 20 * time.Millisecond

// record writes an event that happens now.
func (t *tracer) record(e trace.Event) {
	if by := t.s.now - t.due; by > lateAfter {
		t.due = Never
		t.ev.late = trace.Late{By: trace.Span(by)}
		t.rec.Record(t.s.now, &t.ev.late)
	}
	t.rec.Record(t.s.now, e)
}

// awaits: the session wants to be called at next.
func (t *tracer) awaits(next time.Duration) {
	if t != nil {
		t.due = max(next, t.s.now)
	}
}

// packet names a packet of ours.
func (t *tracer) packet(index uint32, counter uint64) trace.Packet {
	n := trace.Packet{Pair: t.s.ordinal, Counter: counter}
	if index != t.s.index {
		n.Pair-- // no more than two are in use
	}
	return n
}

// pairOf is the ordinal of a key pair of the peer's; 0: not announced.
func (t *tracer) pairOf(index uint32) uint32 {
	for _, p := range t.pairs {
		if p.ordinal > 0 && p.index == index {
			return p.ordinal
		}
	}
	return 0
}

// whole rounds a rate.
func whole(f float64) int64 {
	if math.IsNaN(f) || f > math.MaxInt64/2 || f < math.MinInt64/2 {
		return -1
	}
	return int64(math.Round(f))
}

// watch finds what has changed since it last looked.
func (t *tracer) watch() {
	if t != nil {
		t.look()
	}
}

func (t *tracer) look() {
	for id := range t.paths {
		t.watchPath(schedulers.PathID(id))
	}
	if b := t.bondState(); b != t.bond {
		t.ev.bond = trace.Bond{State: b, Was: t.bond}
		t.bond = b
		t.record(&t.ev.bond)
	}
	for r, n := range t.s.counts.drops {
		if n != t.drops[r] {
			t.ev.drop = trace.Drop{Why: dropNames[r], N: n - t.drops[r]}
			t.drops[r] = n
			t.record(&t.ev.drop)
		}
	}
	t.watchOrder()
}

func (t *tracer) bondState() string {
	switch s := t.s; {
	case s.closed:
		return "closed"
	case s.transport == nil:
		return "plain"
	case s.workingLinks() != 0:
		return "bonded"
	case t.bond == "bonded" && !s.dial.lost:
		return "bonded" // for a moment no path works; is it lost?
	case s.dial.lost && t.bond != "plain" && t.bond != "keyed":
		return "lost"
	}
	return "keyed"
}

func (t *tracer) watchPath(id schedulers.PathID) {
	l, was := t.s.links[id], &t.paths[id]
	if l == nil {
		if was.known {
			*was = tracedPath{}
			t.ev.path = trace.Path{Path: id, Gone: true}
			t.record(&t.ev.path)
		}
		return
	}
	is := tracedPath{
		known: true, label: l.cfg.Name, weight: l.cfg.Weight, most: l.rateParams().MaxRate, mtu: l.carries,
		state: l.path.State(), attached: l.attached, mode: l.rate.Mode(),
	}
	if is == *was {
		return
	}
	if !was.known || is.label != was.label || is.weight != was.weight || is.most != was.most || is.mtu != was.mtu {
		t.ev.path = trace.Path{
			Path: id, Label: l.cfg.Name, MTU: l.carries, Backup: l.cfg.Backup, Metered: l.cfg.Metered,
			Weight: l.cfg.Weight, MaxRate: is.most, Lent: l.cfg.Lent,
		}
		t.record(&t.ev.path)
	}
	if !was.known || is.state != was.state || is.attached != was.attached {
		t.ev.state = trace.State{Path: id, State: is.state.String(), Attached: is.attached, Silent: -1}
		if was.known {
			t.ev.state.Was = was.state.String()
		}
		if ago, ok := l.path.LastHeard(t.s.now); ok {
			t.ev.state.Silent = trace.Span(ago)
		}
		t.record(&t.ev.state)
	}
	if is.mode != was.mode {
		minRTT, _ := l.path.MinRTT(t.s.now)
		t.ev.mode = trace.Mode{
			Path: id, Mode: is.mode, Was: was.mode,
			Rate: whole(l.rate.Rate()), Window: l.rate.Window(), MinRTT: trace.Span(minRTT),
		}
		t.record(&t.ev.mode)
	}
	*was = is
}

// watchOrder looks at the reorder buffer.
func (t *tracer) watchOrder() {
	is, was := t.s.order.Stats(), t.order
	t.order = is
	held, _ := t.s.order.Held()

	g, blocked := t.s.order.Gap()
	name := trace.Packet{Pair: t.pairOf(g.Index), Counter: g.From}
	if t.gapped && (!blocked || name != t.gap) {
		t.gapped = false
		t.ev.gapEnd = trace.GapEnd{Packet: t.gap, Why: "filled", For: trace.Span(t.s.now - t.gapAt), Held: held}
		switch {
		case is.GapsPassed > was.GapsPassed:
			t.ev.gapEnd.Why = "passed"
		case is.GapsDeadline > was.GapsDeadline:
			t.ev.gapEnd.Why = "deadline"
		case is.GapsForced > was.GapsForced:
			t.ev.gapEnd.Why = "forced"
		case is.Restarts > was.Restarts:
			t.ev.gapEnd.Why = "restart"
		case is.Voided > was.Voided:
			t.ev.gapEnd.Why = "void"
		}
		t.record(&t.ev.gapEnd)
	}
	if n := is.Held - was.Held; n > 0 {
		t.ev.released = trace.Released{Packets: n, Waited: trace.Span((is.HeldFor - was.HeldFor) / time.Duration(n)), Held: held}
		t.record(&t.ev.released)
	}
	if blocked && !t.gapped {
		t.gapped, t.gap, t.gapAt = true, name, t.s.now
		t.ev.gap = trace.Gap{Packet: name, Missing: t.s.order.Missing(g), Held: held}
		t.record(&t.ev.gap)
	}
	t.disorder("late", is.Late-was.Late)
	t.disorder("duplicate", is.Duplicate-was.Duplicate)
	t.disorder("unannounced", is.Unannounced-was.Unannounced)
	t.disorder("too-far", is.TooFar-was.TooFar)
	t.disorder("expired", is.Expired-was.Expired)
	t.disorder("stray", t.s.counts.strayData-t.strays)
	t.strays = t.s.counts.strayData
}

func (t *tracer) disorder(why string, n uint64) {
	if n > 0 {
		t.ev.disorder = trace.Disorder{Why: why, Packets: n}
		t.record(&t.ev.disorder)
	}
}

// planned: the plan for the latest snapshot is in force.
func (t *tracer) planned() {
	if t == nil {
		return
	}
	snap, plan := &t.s.snap, &t.s.plan
	bulk, small := &plan.Classes[schedulers.Bulk], &plan.Classes[schedulers.Small]
	e := &t.ev.plan
	e.Seq, e.Queue, e.BulkCopies, e.SmallCopies = snap.Seq, snap.Queue, bulk.Copies, small.Copies
	e.Paths = e.Paths[:0]
	for i := range snap.Paths {
		p := &snap.Paths[i]
		e.Paths = append(e.Paths, trace.PathPlan{
			Path: p.ID, State: p.State.String(), Rate: whole(p.Rate),
			SRTT: trace.Span(p.SRTT), MinRTT: trace.Span(p.MinRTT), OWD: trace.Span(p.OWD), MinOWD: trace.Span(p.MinOWD),
			InFlight: p.InFlight, Queued: p.Queued, Oldest: trace.Span(p.OldestUnacked), Loss: p.Loss,
			Drain: whole(plan.Drain[p.ID]), Hold: trace.Span(plan.Hold[p.ID]),
			Bulk:  classPlan(&t.ev.bulk[p.ID], &bulk.Paths[p.ID]),
			Small: classPlan(&t.ev.small[p.ID], &small.Paths[p.ID]),
		})
	}
	t.record(e)
}

// classPlan fills to from p, and returns nil if p must not be used.
func classPlan(to *trace.ClassPlan, p *schedulers.PathPlan) *trace.ClassPlan {
	if !p.Use {
		return nil
	}
	*to = trace.ClassPlan{Base: whole(p.Base), PerByte: p.PerByte, Cap: p.Cap}
	return to
}

// bound: p was given to l.
func (t *tracer) bound(l *link, p *packet, why string) {
	if t != nil {
		t.recordBound(l, p, why)
	}
}

func (t *tracer) recordBound(l *link, p *packet, why string) {
	if why == "plan" && p.Transmissions > 0 {
		why = "repair" // was put back into the send queue
	}
	t.ev.bind = trace.Bind{
		Path: l.id, Packet: t.packet(p.Index, p.Counter), Size: p.Size, Why: why,
		Waited: trace.Span(t.s.now - p.Queued), Queue: (t.s.queue.bytes + t.s.express.bytes), Queued: l.queued,
	}
	t.record(&t.ev.bind)
}

// sent: p leaves by l.
func (t *tracer) sent(l *link, p *packet) {
	if t != nil {
		t.recordSent(l, p)
	}
}

func (t *tracer) recordSent(l *link, p *packet) {
	t.ev.sent = trace.Sent{
		Path: l.id, Packet: t.packet(p.Index, p.Counter), Size: p.Size, Tx: p.Transmissions,
		Waited: trace.Span(t.s.now - p.Queued), InFlight: t.s.hist.InFlight(l.id), Window: l.rate.Window(),
		Pacing: whole(l.rate.PacingRate()), Queued: l.queued,
	}
	t.record(&t.ev.sent)
}

// slack: l could send more.
func (t *tracer) slack(l *link) {
	if t != nil {
		t.recordSlack(l)
	}
}

func (t *tracer) recordSlack(l *link) {
	t.ev.slack = trace.Slack{Path: l.id, InFlight: t.s.hist.InFlight(l.id), Window: l.rate.Window()}
	t.record(&t.ev.slack)
}

// acked: w was learnt of its path.
func (t *tracer) acked(w *news, lost int) {
	if t == nil {
		return
	}
	l := w.link
	srtt, _ := l.path.RTT()
	minRTT, _ := l.path.MinRTT(t.s.now)
	owd, minOWD, _ := l.path.OWD()
	t.ev.ack = trace.Ack{
		Path: l.id, Packets: w.packets, Delivered: w.report.Bytes,
		RTT: trace.Span(w.rtt), QueueOWD: trace.Span(owd - minOWD), SRTT: trace.Span(srtt), MinRTT: trace.Span(minRTT),
		Sample: whole(l.rate.Sample()), Rate: whole(l.rate.Rate()), Pacing: whole(l.rate.PacingRate()),
		Window: l.rate.Window(), InFlight: t.s.hist.InFlight(l.id), Mode: l.rate.Mode(),
		Lost: lost, Loss: l.loss,
	}
	t.record(&t.ev.ack)
}

// lost: these packets were taken for lost. It is called before anything is
// done about them.
func (t *tracer) lost(lost []feedback.Handle, why string) {
	if t != nil {
		t.recordLost(lost, why)
	}
}

func (t *tracer) recordLost(lost []feedback.Handle, why string) {
	for _, h := range lost {
		if p := t.s.hist.Get(h); p != nil {
			t.ev.lost = trace.Lost{
				Path: p.Path, Packet: t.packet(p.Index, p.Counter), Size: p.Size, Tx: p.Transmissions,
				Age: trace.Span(t.s.now - p.Sent), Why: why,
			}
			t.record(&t.ev.lost)
		}
	}
}

// repaired: p is to be sent again, by l; nil: by whatever path the plan says.
func (t *tracer) repaired(l *link, p *packet, free bool) {
	if t == nil {
		return
	}
	t.ev.repair = trace.Repair{
		Packet: t.packet(p.Index, p.Counter), Size: p.Size, Age: trace.Span(t.s.now - p.Queued),
		Requeued: l == nil, Free: free, Budget: int(t.s.repairTokens),
	}
	if l != nil {
		t.ev.repair.Path = l.id
	}
	t.record(&t.ev.repair)
}

// voided: counters of the current key pair that were not queued will not come.
func (t *tracer) voided(from, to uint64, why string) {
	if t == nil {
		return
	}
	t.ev.void = trace.Void{Packet: t.packet(t.s.index, from), To: to, Why: why, Queue: (t.s.queue.bytes + t.s.express.bytes)}
	t.record(&t.ev.void)
}

// gaveUp: p is dropped.
func (t *tracer) gaveUp(p *packet, why dropReason) {
	if t == nil {
		return
	}
	t.ev.void = trace.Void{
		Packet: t.packet(p.Index, p.Counter), To: p.Counter + 1, Why: dropNames[why],
		Tx: p.Transmissions, Age: trace.Span(t.s.now - p.Queued), Queue: (t.s.queue.bytes + t.s.express.bytes),
	}
	t.record(&t.ev.void)
}

// got: a data message came by l.
func (t *tracer) got(l *link, index uint32, counter uint64, size int) {
	if t != nil {
		t.recordGot(l, index, counter, size)
	}
}

func (t *tracer) recordGot(l *link, index uint32, counter uint64, size int) {
	t.ev.got = trace.Got{Path: l.id, Packet: trace.Packet{Pair: t.pairOf(index), Counter: counter}, Size: size}
	t.record(&t.ev.got)
}

// made: the message in s.message goes out by path id, sealed, with size bytes
// in all. stray: not to where the path leads.
func (t *tracer) made(id schedulers.PathID, size int, stray bool) {
	if t == nil {
		return
	}
	e := &t.ev.made
	e.Path, e.Stray, e.Size = id, stray, size
	e.Frames = t.frames(e.Frames[:0], t.s.message, false)
	t.record(e)
}

// came: a control message was opened. l is nil if its address is no path's.
func (t *tracer) came(l *link, plaintext []byte, size int) {
	if t == nil {
		return
	}
	e := &t.ev.came
	e.Path, e.Stray, e.Size = 0, l == nil, size
	if l != nil {
		e.Path, e.Size = l.id, size+l.cfg.Overhead
	}
	e.Frames = t.frames(e.Frames[:0], plaintext, true)
	t.record(e)
}

// frames lists a message's frames. Of those that came, counters are the
// peer's; feedback of the peer's tells of ours.
func (t *tracer) frames(out []trace.Frame, plaintext []byte, theirs bool) []trace.Frame {
	pair := func(index uint32) uint32 {
		if theirs {
			return t.pairOf(index)
		}
		return t.packet(index, 0).Pair
	}
	t.dec.Reset(plaintext)
	for t.dec.Next() {
		var reports []trace.Report
		if n := len(out); n < cap(out) {
			reports = out[:n+1][n].Reports[:0] // memory of an earlier message
		}
		f := trace.Frame{Reports: reports}
		switch x := t.dec.Frame().(type) {
		case *wire.Attach:
			f.Kind, f.Path = "attach", schedulers.PathID(x.Path)
		case *wire.Challenge:
			f.Kind, f.Path = "challenge", schedulers.PathID(x.Path)
		case *wire.ChallengeReply:
			f.Kind, f.Path = "challenge_reply", schedulers.PathID(x.Path)
		case *wire.Attached:
			f.Kind, f.Path = "attached", schedulers.PathID(x.Path)
		case *wire.Detach:
			f.Kind, f.Path = "detach", schedulers.PathID(x.Path)
		case *wire.Ping:
			f.Kind, f.Path, f.ID = "ping", schedulers.PathID(x.Path), x.ID
		case *wire.Pong:
			f.Kind, f.Path, f.ID = "pong", schedulers.PathID(x.Path), x.ID
		case *wire.KeyPair:
			if theirs {
				t.announced(x.Index, x.Ordinal)
			}
			f.Kind, f.Pair, f.From = "key_pair", x.Ordinal, x.First
		case *wire.KeyPairEnd:
			f.Kind, f.Pair, f.To = "key_pair_end", pair(x.Index), x.End
		case *wire.Marker:
			f.Kind, f.Path, f.Pair, f.To = "marker", schedulers.PathID(x.Path), pair(x.Index), x.Below
		case *wire.Void:
			f.Kind, f.Pair, f.From, f.To = "void", pair(x.Index), x.Range.From, x.Range.To
		case *wire.Tune:
			f.Kind, f.Hold, f.Deadline, f.Live = "tune", trace.Span(x.Hold), trace.Span(x.Deadline), x.Live
		case *wire.Feedback:
			f.Kind = "feedback"
			for i := range x.Paths {
				r := &x.Paths[i]
				f.Reports = append(f.Reports, trace.Report{
					Path: schedulers.PathID(r.Path), Last: r.Last, Age: trace.Micros(x.Sent - r.Arrived),
					Packets: r.Packets, Bytes: r.Bytes,
				})
			}
			for i := range x.KeyPairs {
				f.Ranges += len(x.KeyPairs[i].Received)
			}
		case *wire.Close:
			f.Kind, f.Reason = "close", uint8(x.Reason)
		case *wire.Equalize:
			f.Kind = "equalize"
		case *wire.Ceiling:
			f.Kind, f.Path = "ceiling", schedulers.PathID(x.Path)
		case *wire.Receipt:
			f.Kind, f.Path = "receipt", schedulers.PathID(x.Path)
		case *wire.Verdict:
			f.Kind, f.Path, f.Reason = "verdict", schedulers.PathID(x.Path), uint8(x.Charge)
		case *wire.Reached:
			f.Kind, f.Path = "reached", schedulers.PathID(x.Path)
		case *wire.Hello:
			f.Kind = "hello"
		default:
			f.Kind = "other"
		}
		out = append(out, f)
	}
	return out
}

func (t *tracer) announced(index, ordinal uint32) {
	if t.pairOf(index) == ordinal {
		return
	}
	for i := range t.pairs {
		if t.pairs[i].index == index {
			t.pairs[i].ordinal = ordinal // WireGuard chose the same index again
			return
		}
	}
	t.pairs[t.pairsAt] = tracedPair{index, ordinal}
	t.pairsAt = (t.pairsAt + 1) % len(t.pairs)
}
