package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// dropReason says why something was dropped.
type dropReason uint8

const (
	dropNotWireGuard dropReason = iota
	dropTooLong
	dropNoPath
	dropOldCounter
	dropQueueFull
	dropCoDel
	dropCopy
	dropMisfit
	dropRepairTries
	dropRepairLate
	dropRepairBudget
	dropControlQueue
	dropNotice
	dropStaleFeedback
	dropStalePong
	dropStrayPing
	dropForgedControl
	dropMalformedControl
	dropUnexpectedControl
	dropWrongRole
	dropBadChallenge
	dropHandshake
	dropHandshakeCopy
	dropDial
	numDropReasons
)

var dropNames = [numDropReasons]string{
	dropNotWireGuard:      "not-wireguard",
	dropTooLong:           "too-long",
	dropNoPath:            "no-path",
	dropOldCounter:        "old-counter",
	dropQueueFull:         "queue-full",
	dropCoDel:             "codel",
	dropCopy:              "copy-no-room",
	dropMisfit:            "fits-no-path",
	dropRepairTries:       "repair-tries",
	dropRepairLate:        "repair-too-late",
	dropRepairBudget:      "repair-budget",
	dropControlQueue:      "control-queue-full",
	dropNotice:            "notice-displaced",
	dropStaleFeedback:     "feedback-stale",
	dropStalePong:         "pong-stale",
	dropStrayPing:         "ping-stray",
	dropForgedControl:     "control-forged",
	dropMalformedControl:  "control-malformed",
	dropUnexpectedControl: "control-unexpected",
	dropWrongRole:         "control-wrong-role",
	dropBadChallenge:      "challenge-wrong",
	dropHandshake:         "handshake-wrong",
	dropHandshakeCopy:     "handshake-copy",
	dropDial:              "handshake-not-made",
}

// Harmless are the reasons in Status.Drops that cost nobody anything: copies
// of what another path brought first, answers that a newer one overtook, and
// copies that were not made for want of room.
var Harmless = []string{
	dropNames[dropHandshakeCopy], dropNames[dropStaleFeedback], dropNames[dropStalePong], dropNames[dropCopy],
}

// counters are a session's totals.
type counters struct {
	drops        [numDropReasons]uint64
	sent, got    uint64
	plain        uint64
	repairs      uint64
	copies       uint64
	suspects     uint64
	failovers    uint64
	strayData    uint64
	peerRestarts uint64
	bondLost     uint64
	convictions  uint64
	serverMoves  uint64
	closes       uint64
}

func (c *counters) drop(r dropReason) { c.drops[r]++ }

// Status describes a session at one moment. Times are durations, sizes bytes
// of whole IP packets, rates bytes per second.
type Status struct {
	Bonded      bool
	BondedFor   time.Duration // since the keys were agreed
	PlainReason string        // why it is not bonded; empty if it is
	Queue       int           // bytes waiting for a path
	Reordering  int           // packets held for their order, or by equalisation
	Paths       []PathStatus
	Drops       map[string]uint64 // by reason; only those that happened
	RepairsSent uint64
	CopiesSent  uint64 // of packets stuck on another path; queued, some were not needed any more
	Sent, Got   uint64 // WireGuard data to and from the peer, datagrams
	Plain       uint64 // of Sent: sent without the bond
	// OutOfOrder counts datagrams that were passed on late or a second time.
	OutOfOrder uint64
	// Suspects counts paths falling silent, Failovers changes of the plain
	// path, PeerRestarts peers that had begun anew, BondLost bonds given up.
	Suspects, Failovers, PeerRestarts, BondLost uint64
	// ServerMoves counts paths that followed the server to another address.
	ServerMoves uint64
	// Spurious counts packets that were taken for lost and came after all.
	Spurious uint64
	// TunnelMTU is the largest MTU of the tunnel that every path carries, as
	// far as is known; 0: there is no path.
	TunnelMTU int
}

// PathStatus describes one path.
type PathStatus struct {
	schedulers.Path
	Attached             bool
	Remote               Remote // servers only
	TxPackets, TxBytes   uint64 // control messages included
	RxPackets, RxBytes   uint64
	LostPackets, Repairs uint64
	Plan                 PathPlan
	Window               int    // bytes that may be in flight
	RateMode             string // rate control's state
	// Lent: only what the path's owner leaves is used. Ceiling is the most that
	// we may send, bytes per second, and PeerCeiling what the peer was told
	// (clients only); < 0: no limit.
	Lent                 bool
	Ceiling, PeerCeiling float64
	LastHeard            time.Duration
	Heard                bool // false: nothing ever came, LastHeard means nothing
	// DampedFor is for how long it will not be used although it works, because
	// it came and went so often.
	DampedFor time.Duration
	// Charge says what the path was found to do to the packets, for which it is
	// benched; empty if it is not.
	Charge string
	// MTUKnown tells that MTU was found by probing, else it is assumed.
	MTUKnown bool
	// TooSmall says that the path does not carry what the tunnel needs, and
	// what MTU to set; empty if it does.
	TooSmall string
}

// PathPlan is what the scheduler's latest plan makes of a path for bulk data.
// All is zero until there is a plan.
type PathPlan struct {
	Use bool // the plan sends bulk data by it
	// Blocked: it may not send now, whatever the plan says: it does not work,
	// or its window is full.
	Blocked bool
	Copies  bool // it carries a copy of each packet
	// Cost is that of the next full-sized packet, in the scheduler's own
	// nanoseconds: for policies of arrival time, until it would arrive.
	Cost    time.Duration
	Backlog int           // that the executor counts, bytes
	Cap     int           // its bound, bytes
	Drain   float64       // bytes per second
	Hold    time.Duration // asked of the receiver, to equalise
}

// Status describes the session for people and programs.
func (s *Session) Status(now time.Duration) Status {
	s.now = now
	st := Status{
		Bonded: s.Bonded(), Queue: s.queue.bytes + s.express.bytes,
		RepairsSent: s.counts.repairs, CopiesSent: s.counts.copies, Sent: s.counts.sent, Got: s.counts.got, Plain: s.counts.plain,
		Suspects: s.counts.suspects, Failovers: s.counts.failovers,
		PeerRestarts: s.counts.peerRestarts, BondLost: s.counts.bondLost, ServerMoves: s.counts.serverMoves,
		Spurious: s.hist.Counts().Spurious, TunnelMTU: s.tunnelMTU(),
		Drops: map[string]uint64{},
	}
	st.Reordering, _ = s.order.Held()
	st.Reordering += s.holding
	o := s.order.Stats()
	st.OutOfOrder = o.Late + o.Duplicate + o.TooFar + o.Expired + s.counts.strayData
	for r, n := range s.counts.drops {
		if n > 0 {
			st.Drops[dropNames[r]] = n
		}
	}
	if st.Bonded {
		st.BondedFor = now - s.establishAt
	} else {
		st.PlainReason = s.plainReason()
	}
	lowest := Never
	for _, l := range s.links {
		if l != nil {
			st.Paths = append(st.Paths, s.pathStatus(l))
			if _, owd, ok := l.path.OWD(); ok {
				lowest = min(lowest, owd)
			}
		}
	}
	for i := range st.Paths {
		if p := &st.Paths[i]; p.MinRTT > 0 {
			p.MinOWD -= lowest
			p.OWD = max(p.OWD-lowest, 0)
		}
	}
	return st
}

func (s *Session) plainReason() string {
	switch {
	case !s.haveLinks():
		return "there is no path"
	case s.cfg.Role == Client && s.cfg.Initiator == nil:
		return "bonding with this peer is not set up"
	case s.transport == nil:
		return "the server does not answer as a bonding server (yet)"
	case s.closed:
		return "the session was closed"
	case s.dial.lost:
		return "the bonding server stopped answering"
	}
	return "no path works at the moment"
}

func (s *Session) pathStatus(l *link) PathStatus {
	p := PathStatus{
		Path: s.describe(l), Attached: l.attached, Remote: l.remote,
		TxPackets: l.txPackets, TxBytes: l.txBytes, RxPackets: l.rxPackets, RxBytes: l.rxBytes,
		LostPackets: l.lost, Repairs: l.repairs,
		Window: l.rate.Window(), RateMode: l.rate.Mode(),
		Lent: l.cfg.Lent, Ceiling: l.ceiling, PeerCeiling: l.told,
	}
	p.Rate = l.rate.Rate()
	p.Charge = l.conduct.describe(s.now)
	p.MTUKnown, p.TooSmall = l.mtu.Known(), s.tooSmall(l)
	p.LastHeard, p.Heard = l.path.LastHeard(s.now)
	if l.damped {
		p.DampedFor = l.dampedUntil - s.now
	}
	p.Plan = s.pathPlan(l.id)
	return p
}

// pathPlan is what the plan followed makes of path id.
func (s *Session) pathPlan(id schedulers.PathID) PathPlan {
	class, backlog := &s.plan.Classes[schedulers.Bulk], s.exec.Backlog(s.now, id)
	plan := class.Paths[id]
	return PathPlan{
		Use: plan.Use, Blocked: s.exec.Blocked()&(1<<id) != 0, Copies: class.Copies&(1<<id) != 0,
		Cost: time.Duration(plan.Base + plan.PerByte*float64(backlog)), Backlog: backlog, Cap: plan.Cap,
		Drain: s.plan.Drain[id], Hold: s.plan.Hold[id],
	}
}
