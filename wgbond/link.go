package wgbond

import (
	"cmp"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/feedback"
	"github.com/wg-bond/wg-bond/wgbond/path"
	"github.com/wg-bond/wg-bond/wgbond/rate"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// PathConfig is what is known of a path before it is used.
type PathConfig struct {
	Name            string
	Backup, Metered bool
	// Lent: the link is somebody else's, who lends what is spare; see SetCeiling.
	Lent    bool
	Weight  float64 // relative; 0 means 1
	MaxRate float64 // bytes per second; 0: no limit
	MTU     int     // largest UDP payload, bytes; 0: unknown
	// Overhead is the size of the IP and UDP headers: 28 (IPv4) or 48 (IPv6).
	Overhead int
	// Memory is what the path carried the last time in the network that it leads
	// through now; zero: nothing is known. A client's.
	Memory Memory
}

// maxControl bounds the control and plain datagrams that wait for a path's
// writer, so that a path without one cannot eat the pool.
const maxControl = 512

// link is one path as the session holds it.
type link struct {
	id   schedulers.PathID
	cfg  PathConfig
	path *path.Path
	rate *rate.Controller

	// ceiling is the most that the path's lender allows us to send, bytes per
	// second; NoCeiling or Unused: no limit. told is what the peer is to keep to.
	ceiling, told float64

	// first is what may be under way while the path's size is unknown, bytes;
	// see start.go.
	first int
	// copying: it sends nothing but copies, and of all; see start.go.
	copying bool

	mtu     *path.MTU
	carries int // mtu.Carries, as last acted upon

	// queue holds data that is bound to this path and waits for its pacer and
	// window, by rising counter; control what goes out at once.
	queue   deque[waiting]
	queued  int // bytes in queue
	control deque[[]byte]

	// What the writer has borrowed.
	lending     bool
	lentPackets []feedback.Handle
	lentControl [][]byte

	// damped: it works, but came and went so often that it is not used until
	// dampedUntil.
	damping     Damping
	damped      bool
	dampedUntil time.Duration

	// Attachment. A client repeats Attach until it is Attached; a server
	// knows where the path leads once its challenge came back.
	attached    bool
	attachAt    time.Duration // client: when Attach goes out next
	attachTries int
	remote      Remote // client: only if the server moved
	candidate   Remote // to be proved: challenged by a server, asked by a client
	nonce       [8]byte
	askID       uint32        // client: of the ping that asks the candidate
	askedAt     time.Duration // client

	// The data sent by this path, and what of it the peer reported, whose
	// totals may have begun before this path or after it.
	data, delivered total
	reported        total // the peer's latest
	slack           bool  // rate control was told that nothing waits

	// What came by this path and is held back, and for how long; see
	// equalize.go.
	held     deque[held]
	hold     time.Duration
	topIndex uint32 // and
	top      uint64 // counter: the newest that came by it

	// lastBound is the counter (plus one) of the newest packet bound to this
	// path, lastData when one was last sent by it, marked the last marker.
	lastBound uint64
	lastData  time.Duration
	marked    uint64
	markedAt  time.Duration

	pings [8]sentPing

	conduct conduct
	recall  recollection

	txPackets, txBytes uint64
	rxPackets, rxBytes uint64
	lost, repairs      uint64
	loss               float64 // smoothed ratio
	lossy              float64 // the same over lossyPackets
	suspectAt          time.Duration
	leftOut            time.Duration // for how long plans have used it for nothing; see forgetLeftOut
	carried            time.Duration // when data last went or came by it
	provenAt           time.Duration // when something last came by it, or was reported to have come
	asked              bool          // whether it works, before it carries data again; see rest.go
	hushAt             time.Duration // client: when to ask why no data comes any more; Never: asked
	newest             uint64        // counter of the path's newest packet in the latest report
	newestIndex        uint32
	progressAt         time.Duration // when the peer last reported something new

	// A ping was answered: what left at or before recallSent and is not
	// reported by a feedback that the peer made after recallClock, or until
	// recallAt, is lost. recallAt is 0 if there is nothing to wait for.
	recallSent, recallAt time.Duration
	recallClock          wire.Clock
	recallTried          wire.Clock // the feedback that was looked at last
}

// hush is the pause in what a client receives by a path after which it asks
// whether the path works. If a NAT on the way has forgotten it, the server
// cannot reach us there until it has heard us from the new address.
const hush = 200 * time.Millisecond

// total counts packets and their bytes.
type total struct{ packets, bytes uint64 }

// waiting is a packet in a queue. It may be gone by the time its turn comes,
// so its size is kept beside it.
type waiting struct {
	feedback.Handle
	size int // as Packet.Size
}

// packet is a packet with what rate control wants to remember of it.
type packet = feedback.Packet[rate.Stamp]

// sentPing remembers when a ping left. probe is its size if it asks for the
// path's MTU, behind the size of the probe whose companion it is.
type sentPing struct {
	id            uint32
	sent          time.Duration
	probe, behind int
}

func (s *Session) newLink(id schedulers.PathID, cfg PathConfig) *link {
	if cfg.Weight == 0 {
		cfg.Weight = 1
	}
	if cfg.Overhead == 0 {
		cfg.Overhead = 28
	}
	l := &link{id: id, cfg: cfg, path: path.New(s.now), attachAt: Never, hushAt: Never, lastData: -1, provenAt: s.now, ceiling: NoCeiling, told: NoCeiling}
	l.rate = rate.New(s.now, l.rateParams())
	l.suppose()
	l.recall.toldAt = s.now
	l.mtu = path.NewMTU(s.now, cfg.MTU)
	l.mtu.Need(s.now, s.sizes.need)
	s.links[id] = l
	s.judgeMTU(l)
	s.planAt = s.now
	return l
}

func (l *link) rateParams() rate.Params {
	p := rate.Params{Steady: queueSteady, Varying: queueVarying, Feedback: feedbackBusy, MaxRate: l.cfg.MaxRate, First: l.first, Spare: l.cfg.Lent, Unused: l.ceiling == Unused}
	if l.ceiling >= 0 {
		least := max(l.ceiling, leastCeiling)
		p.MaxRate = min(cmp.Or(p.MaxRate, least), least)
	}
	return p
}

// pushControl queues a datagram that goes out at once. The buffer is a Pool's.
func (s *Session) pushControl(l *link, b []byte) {
	if l.control.len() >= maxControl {
		s.counts.drop(dropControlQueue)
		s.cfg.Pool.Put(b)
		return
	}
	l.control.pushBack(b)
}

// checkLink does what is due on one path.
func (s *Session) checkLink(l *link) {
	if l.path.Check(s.now, feedbackBusy, s.reportAt) {
		s.linkSuspect(l)
	}
	if l.path.State() != schedulers.Active && s.now-l.suspectAt >= repairAge && s.hist.InFlight(l.id) > 0 {
		s.giveUpFlight(l)
	}
	s.recallDue(l)
	if l.damped && s.now >= l.dampedUntil {
		s.undamp(l)
	}
	if s.now >= l.hushAt {
		l.hushAt = Never
		l.path.Hasten(s.now)
	}
	s.acquit(l)
	if s.transport == nil {
		return
	}
	if s.cfg.Role == Client && !l.attached && s.now >= l.attachAt {
		s.sendAttach(l)
	}
	if l.attached && s.now >= l.path.NextPing() {
		s.sendPing(l)
	}
	if s.mtuDue(l) <= s.now {
		s.probeMTU(l)
	}
	if at := s.markerDue(l); at <= s.now {
		s.sendMarker(l)
	}
}

func (s *Session) linkDue(l *link) time.Duration {
	due := Never
	if at, ok := l.path.NextCheck(feedbackBusy, s.reportAt); ok {
		due = at
	}
	if l.path.State() != schedulers.Active && s.hist.InFlight(l.id) > 0 {
		due = min(due, l.suspectAt+repairAge)
	}
	if l.recallAt > 0 {
		due = min(due, l.recallAt)
	}
	if l.damped {
		due = min(due, l.dampedUntil)
	}
	due = min(due, l.hushAt)
	if l.conduct.until > 0 {
		due = min(due, l.conduct.until)
	}
	if s.transport == nil {
		return due
	}
	if s.cfg.Role == Client && !l.attached {
		due = min(due, l.attachAt)
	}
	if l.attached {
		due = min(due, l.path.NextPing(), s.mtuDue(l), s.markerDue(l))
	}
	return due
}

// linkSuspect moves everything off a path that has fallen silent. What is in
// flight may be lost or late: copies of it go out elsewhere, and it counts as
// in flight until the path is heard again, or given up.
func (s *Session) linkSuspect(l *link) {
	s.counts.suspects++
	l.suspectAt = s.now
	l.asked = false
	l.mtu.Silent(s.now)
	l.damped = false
	s.unbind(l)
	s.judgeExecutor(l)
	s.undampIfNeeded()
	s.wakeResting()
	s.copySuspects()
	s.planAt = s.now
}

// copySuspects queues copies of what is in flight on paths that have fallen
// silent, if there is a path to send them by.
func (s *Session) copySuspects() {
	if s.workingLinks() == 0 {
		return
	}
	for _, l := range s.links {
		if l == nil || s.usable(l) {
			continue
		}
		from := 0
		for {
			h, ok := s.hist.Uncopied(l.id, s.now)
			if !ok {
				break
			}
			c, ok := s.copyOf(s.hist.Get(h))
			if !ok {
				break
			}
			s.counts.copies++
			s.requeue(c, s.hist.Get(c), &from)
		}
	}
}

// giveUpFlight ends the wait for what is in flight on a path.
func (s *Session) giveUpFlight(l *link) {
	lost := s.hist.Recall(l.id, s.now)
	l.rate.TakenBack()
	l.lost += uint64(len(lost))
	s.trace.lost(lost, "silent")
	s.lostSizes(lost)
	for _, h := range lost {
		s.resend(h, true)
	}
}

// unbind gives what waits for a path back to the send queue's head, in order.
func (s *Session) unbind(l *link) {
	for i := 0; l.queue.len() > 0; {
		w := l.queue.popFront()
		l.queued -= w.size
		if p := s.hist.Get(w.Handle); p != nil {
			s.requeue(w.Handle, p, &i)
		}
	}
}

// keepRate is how long a silence may last for the path's rate to be taken for
// what it was: a cellular link pauses now and then.
const keepRate = time.Second

// linkAlive begins anew on a path that has come (back) to life.
func (s *Session) linkAlive(l *link) {
	if s.now-l.suspectAt > keepRate {
		l.rate.Restart(s.now)
		s.damp(l)
	}
	s.judgeExecutor(l)
	s.copySuspects()
	s.planAt = s.now
	s.tuned.Live = 0 // tell the peer
}

// damp counts that l was gone for a while, and keeps it from being used if that
// happens often, unless it is all there is.
func (s *Session) damp(l *link) {
	if l.suspectAt == 0 { // its first coming
		return
	}
	l.damping.Lost(s.now)
	l.dampedUntil = max(l.dampedUntil, s.now+l.damping.Hold(s.now))
	l.damped = l.dampedUntil > s.now && s.workingLinks()&^(1<<l.id) != 0
}

func (s *Session) undamp(l *link) {
	l.damped = false
	s.judgeExecutor(l)
	s.copySuspects()
	s.planAt = s.now
}

// undampIfNeeded has damped paths used when no other is left.
func (s *Session) undampIfNeeded() {
	if s.workingLinks() != 0 {
		return
	}
	for _, l := range s.links {
		if l != nil && l.damped {
			s.undamp(l)
		}
	}
}

// stateOf is a path's state as schedulers and people see it.
func (s *Session) stateOf(l *link) schedulers.PathState {
	if l.damped {
		return schedulers.Probing
	}
	return l.path.State()
}
