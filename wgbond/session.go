package wgbond

import (
	"encoding/binary"
	"io"
	"math/bits"
	"net/netip"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/codel"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/dispatch"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/rate"
	"github.com/wg-bond/wg-bond/wgbond/reorder"
	"github.com/wg-bond/wg-bond/wgbond/trace"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Never is the time of an event that will not come.
const Never = time.Duration(1<<63 - 1)

// MaxDatagram is the largest UDP payload the engine handles, bytes.
const MaxDatagram = 2048

const (
	planInterval = 25 * time.Millisecond

	// Feedback goes out this long after the first unreported packet: soon
	// when packets come fast, later when they trickle.
	feedbackBusy = 10 * time.Millisecond
	feedbackSlow = 25 * time.Millisecond

	// The standing queue that rate control may keep on a path, and the send
	// queue's CoDel, on steady paths and on such as vary like a cellular one
	// (algorithms.md 4.1). Between them the paths' own variation decides, each
	// by its part of the rate.
	queueSteady     = 20 * time.Millisecond
	queueVarying    = 60 * time.Millisecond
	codelSteady     = 25 * time.Millisecond
	codelVarying    = 200 * time.Millisecond
	intervalSteady  = 60 * time.Millisecond
	intervalVarying = 300 * time.Millisecond
	// A path is lossy, as far as CoDel is concerned, by its loss over so many
	// packets; lossyFull is as lossy as any.
	lossyPackets = 2000
	lossyFull    = 0.01
	// queueBytes bounds the send queue, whatever CoDel thinks.
	queueBytes = 4 << 20

	// busyFor is how long after the last data a session counts as busy.
	busyFor = 2 * time.Second

	// repairShare is the part of the bytes sent that may be sent again;
	// repairBurst what may be at once.
	repairShare = 0.05
	repairBurst = 64 * 1500
	// A packet is sent at most maxTransmissions times, and not again when it
	// is older than repairAge: the receiver will have gone on without it.
	maxTransmissions = 3
	repairAge        = reorderDeadline
	reorderDeadline  = time.Second
)

// Remote is where a path leads, as a server learns it. The engine only
// compares and returns it.
type Remote struct {
	Peer  netip.AddrPort
	Local netip.Addr // the server's own address that was written to
}

// Pool lends the buffers that datagrams travel in.
type Pool interface {
	Get() []byte  // len and cap ≥ MaxDatagram
	Put(b []byte) // b[:0] is what Get returned
}

// Role tells the two ends of a session apart. Only the client starts
// handshakes and attaches paths; all else is symmetrical.
type Role uint8

// The roles.
const (
	Client Role = iota
	Server
)

// Config makes a Session.
type Config struct {
	Role      Role
	Scheduler schedulers.Scheduler
	Pool      Pool
	// Initiator dials the server's shim; clients only. While it gets no
	// answer the session is plain WireGuard with fail-over.
	Initiator *control.Initiator
	// Wall gives the wall clock for the handshake's timestamp, Rand the
	// randomness for nonces.
	Wall func() time.Time
	Rand io.Reader
	// Order bounds what this session and others hold to put it in order; nil:
	// each has a bound of its own, 16 MB, and nothing bounds them together.
	Order *OrderBudget
	// Trace gets every decision of the session; nil: none.
	Trace *trace.Recorder
}

// OrderBudget bounds what several sessions hold together; see Config.Order.
type OrderBudget = reorder.Budget

// NewOrderBudget makes one of so many bytes.
func NewOrderBudget(bytes int) *OrderBudget { return reorder.NewBudget(bytes) }

// Stray is a datagram for an address that is not a path's (yet).
type Stray struct {
	To       Remote
	Path     schedulers.PathID // a client's: by whose socket it goes
	Datagram []byte
}

// Session is one end of a bond: a sending and a receiving half. It is not
// safe for concurrent use; conn holds a mutex around it, never over I/O.
//
// Buffers: Receive takes ownership of the datagram it is given, Deliver gives
// ownership of what it returns; both are Pool buffers. Send copies. What
// Transmit returns is borrowed until Transmitted.
type Session struct {
	cfg Config
	now time.Duration // of the call in progress

	links [schedulers.MaxPaths]*link

	helpAt time.Duration // when idle paths may help next

	greeting greeting

	// retired paths are gone but for what a writer still holds of them.
	retired [schedulers.MaxPaths]*link

	// Sending half.
	hist         *feedback.History[rate.Stamp]
	queue        sendQueue // what is kept in order
	express      sendQueue // what is not; see express.go
	expressDebt  int       // bytes bound from express since queue had its share
	sizes        sizes
	exec         dispatch.Executor
	sched        schedulers.Scheduler
	snap         schedulers.Snapshot
	plan         schedulers.Plan
	planAt       time.Duration // when the next plan is due
	planned      uint32        // the paths that worked when the last was made
	cold         bool          // as of it: the nearest paths' rates are unknown
	index        uint32        // of the current key pair
	ordinal      uint32        // of the current key pair; 0: none yet
	next         uint64        // counter expected next
	nextOrdered  uint64        // one more than the newest counter of queue's kind
	lastSend     time.Duration // data from the local WireGuard; < 0: never
	repairTokens float64       // bytes
	lastReport   wire.Clock    // Sent of the newest feedback
	reportAt     time.Duration // when the peer last reported anything
	best         best          // of what all paths delivered together
	tuned        wire.Tune     // as last told
	tunedAt      time.Duration
	equalized    wire.Equalize // as last told
	equalizedAt  time.Duration

	// Receiving half.
	recv        feedback.Receiver
	order       *reorder.Buffer
	lastData    time.Duration // data from the peer; < 0: never
	reportedAt  time.Duration // when feedback last went out
	tailRepeats int           // feedbacks still to be repeated
	// holding is how much all paths hold back, which the peer wants until
	// equalizeEnd; packets and markers.
	holding     int
	equalizeEnd time.Duration
	fb          wire.Feedback
	receipts    []gotSample // for the next feedback
	receipt     wire.Receipt
	samples     feedback.Samples // of what was sent

	// Control.
	due          time.Duration // what Next said; Never: it was not asked
	instance     uint64        // ours
	peer         uint64        // instance of the peer; 0: unknown
	transport    *control.Transport
	previous     *control.Transport // still opens what was under way at the change
	establishAt  time.Duration
	dec          wire.Decoder
	plaintext    []byte // scratch for opening
	message      []byte // scratch for sealing
	notices      []notice
	noticesAt    time.Duration // when the notices are due on their own
	strays       []Stray
	remotes      uint64 // version
	closed       bool
	dial         dialState
	plain        plainState
	deliverExtra [][]byte // goes on without order

	counts counters
	trace  *tracer // nil: off
}

// New makes a session with no paths.
func New(now time.Duration, cfg Config) *Session {
	s := &Session{
		cfg: cfg, now: now, sched: cfg.Scheduler,
		queue:        sendQueue{codel: codel.CoDel{Target: codelSteady, Interval: intervalSteady}},
		express:      sendQueue{codel: codel.CoDel{Target: codelSteady, Interval: intervalSteady}},
		order:        reorder.New(reorder.Params{Deadline: reorderDeadline, Express: wire.ExpressSize, Budget: cfg.Order}),
		lastSend:     -1,
		lastData:     -1,
		plain:        plainState{since: -1},
		noticesAt:    Never,
		due:          Never,
		reportedAt:   now - time.Second,
		repairTokens: repairBurst,
	}
	s.hist = feedback.NewHistory[rate.Stamp](cfg.Pool.Put)
	s.instance = s.random() | 1 // never 0, which means unknown
	s.dial.init(now)
	s.trace = newTracer(s, cfg.Trace)
	return s
}

// SetScheduler changes the scheduler; the next plan is its first.
func (s *Session) SetScheduler(now time.Duration, sched schedulers.Scheduler) {
	s.now = now
	s.sched = sched
	s.planAt, s.planned = now, 0
}

// Replan makes a new plan at once: for a scheduler that works elsewhere and
// has one.
func (s *Session) Replan(now time.Duration) {
	s.now = now
	s.planAt = now
	s.advance()
}

func (s *Session) random() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		panic("wgbond: no randomness: " + err.Error()) // crypto/rand never fails
	}
	return binary.LittleEndian.Uint64(b[:])
}

// busy reports whether the session carries data these seconds.
func (s *Session) busy() bool {
	return s.lastSend >= 0 && s.now-s.lastSend < busyFor || s.lastData >= 0 && s.now-s.lastData < busyFor
}

// Advance does what is due at now: call it when Next has come.
func (s *Session) Advance(now time.Duration) {
	s.now = now
	s.advance()
}

// advance runs after every input and at every deadline. Each step does nothing
// unless it is due.
func (s *Session) advance() {
	if late := s.now - s.due; late > lateAfter {
		for _, l := range s.links {
			if l != nil {
				l.path.Grace(late)
			}
		}
	}
	s.due = Never
	s.dialStep()
	s.askPlain()
	s.greet()
	if s.holding > 0 {
		s.release()
	}
	for _, l := range s.links {
		if l != nil {
			s.checkLink(l)
		}
	}
	s.fitQueue()
	switch active := s.active(); {
	case active && s.now >= s.planAt:
		s.makePlan()
	case !active && s.now >= s.foreseeAt():
		s.foresee()
	}
	s.bind()
	s.help()
	if s.feedbackDue() <= s.now {
		s.sendFeedback()
	}
	if s.noticesAt <= s.now {
		s.sendNotices()
	}
	s.trace.watch()
}

// Next is when Advance must be called, or Never. It may change with every
// other call.
func (s *Session) Next() time.Duration {
	next := min(s.feedbackDue(), s.noticesAt, s.dialDue(), s.plain.askAt(), s.greetAt(), s.order.Next())
	if s.holding > 0 {
		next = min(next, s.heldDue())
	}
	if s.active() {
		next = min(next, s.planAt)
	} else {
		next = min(next, s.foreseeAt())
	}
	for id, l := range s.links {
		if l == nil {
			continue
		}
		next = min(next, s.linkDue(l))
		// While a writer is at it, it will ask for more by itself.
		if !l.lending && l.queue.len() > 0 && s.usable(l) && s.hist.InFlight(schedulers.PathID(id)) < l.rate.Window() {
			next = min(next, l.rate.NextSend(s.now))
		}
	}
	s.due = max(next, s.now)
	s.trace.awaits(next)
	return next
}

// active reports whether plans matter now: something waits or is under way.
func (s *Session) active() bool {
	if s.waiting() {
		return true
	}
	for id, l := range s.links {
		if l != nil && (l.queue.len() > 0 || s.hist.InFlight(schedulers.PathID(id)) > 0) {
			return true
		}
	}
	return false
}

// Deliver appends the datagrams for the local WireGuard, in order.
func (s *Session) Deliver(out [][]byte) [][]byte {
	out = append(out, s.deliverExtra...)
	clear(s.deliverExtra)
	s.deliverExtra = s.deliverExtra[:0]
	if s.holding > 0 {
		s.release()
	}
	out = s.order.Release(s.now, out)
	s.trace.watch()
	return out
}

// Ready has a bit set for each path with datagrams to transmit now. (In rare
// cases Transmit then finds that what waited was reported delivered meanwhile.)
func (s *Session) Ready() (mask uint32) {
	for id, l := range s.links {
		if l != nil && !l.lending && s.retired[id] == nil && s.ready(l) {
			mask |= 1 << id
		}
	}
	return mask
}

func (s *Session) ready(l *link) bool {
	if s.cfg.Role == Server && !l.remote.Peer.IsValid() {
		return false
	}
	if l.queue.len() > 0 && s.usable(l) && l.rate.MaySend(s.now, s.hist.InFlight(l.id)) {
		l.rate.Waits()
		return true
	}
	return l.control.len() > 0
}

// Bonded reports whether the session has keys and an attached, working path.
func (s *Session) Bonded() bool { return s.transport != nil && s.workingLinks() != 0 }

// Lost is for how long a session with keys has had no working path; 0: it has.
func (s *Session) Lost(now time.Duration) time.Duration {
	if s.transport == nil || s.workingLinks() != 0 {
		return 0
	}
	return max(now-s.dial.worked, 0)
}

// workingLinks has a bit set for each path that may carry data.
func (s *Session) workingLinks() (mask uint32) {
	for id, l := range s.links {
		if l != nil && s.usable(l) {
			mask |= 1 << id
		}
	}
	return mask
}

// usable reports whether l may carry data now: it works and nothing speaks
// against it, or all that works is like it.
func (s *Session) usable(l *link) bool { return s.works(l) && !s.avoided(l) }

// avoided reports whether l is to carry nothing, for its conduct or because its
// owner leaves nothing: there is another path that works and is free of that.
func (s *Session) avoided(l *link) bool {
	if !s.benched(l) && !l.withheld() {
		return false
	}
	for _, o := range s.links {
		if o != nil && !s.benched(o) && !o.withheld() && s.works(o) {
			return true
		}
	}
	return false
}

// works reports whether l can carry data.
func (s *Session) works(l *link) bool {
	return l.attached && !l.damped && l.path.State() == schedulers.Active && s.transport != nil
}

// eachLink calls f for every path, in the order of their ids.
func (s *Session) eachLink(mask uint32, f func(*link)) {
	for ; mask != 0; mask &= mask - 1 {
		f(s.links[bits.TrailingZeros32(mask)])
	}
}

// Close says farewell on every path; transmit what is Ready afterwards.
func (s *Session) Close(now time.Duration, reason wire.CloseReason) {
	s.now = now
	if s.transport == nil || s.closed {
		return
	}
	for _, l := range s.links {
		// A client also says so where its Attach is under way: the server may know
		// the path already, or this one may be the only one there is.
		if l != nil && (l.attached || s.cfg.Role == Client) {
			s.begin(l.id)
			s.add(&wire.Close{Reason: reason})
			s.finish(l)
		}
	}
	s.closed = true
	s.order.Forget(now) // nothing may come by which it would go on
	s.trace.watch()
}
