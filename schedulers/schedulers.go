// Package schedulers says how a bond spreads its packets over its paths.
//
// A Scheduler never sees a packet. About every 25 ms the engine shows it a
// Snapshot of the paths, and it answers with a Plan: per traffic class and
// path an affine cost and a cap. The engine's executor (wgbond/dispatch) then
// sends each packet to the cheapest path that still has room:
//
//	cost(path)     = Base + PerByte × backlog(path)      nanoseconds
//	eligible(path) = backlog(path) + size ≤ Cap
//	backlog(path)  falls by Drain bytes every second
//
// Earliest arrival, lowest RTT, weighted round robin, active/backup and
// redundant are all plans of this kind (docs/decisions/0003-affine-plans.md).
// A plan stays in force until the next one, so a scheduler may live in
// another process; what cannot wait for a plan (a dead path, a full window)
// is the executor's own business.
package schedulers

import "time"

// MaxPaths is the number of paths one session can have. PathIDs are below it.
const MaxPaths = 16

// PathID names a path within one session; the borrower chooses it.
type PathID uint8

// Class is what can be told of a datagram from outside: WireGuard's
// ciphertext shows its type and its size, nothing more.
type Class uint8

const (
	// Control: WireGuard handshakes and cookies (types 1 to 3).
	Control Class = iota
	// Small: data messages of at most SmallSize bytes: keepalives, inner
	// acknowledgements, interactive packets.
	Small
	// Bulk: all other data messages.
	Bulk
	// NumClasses is the number of classes.
	NumClasses = 3
)

// SmallSize is the largest UDP payload, in bytes, of the class Small.
const SmallSize = 256

// PathState is a path's life as the engine sees it; see wgbond/path.
type PathState uint8

const (
	// Probing: not yet shown to work, or being probed back to life.
	Probing PathState = iota
	// Active: acknowledges what is sent on it.
	Active
	// Suspect: has stopped acknowledging; its packets are re-sent elsewhere.
	Suspect
	// Dead: silent for long; probed until it answers.
	Dead
)

func (s PathState) String() string {
	switch s {
	case Probing:
		return "probing"
	case Active:
		return "active"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Path is one path in a Snapshot. Sizes and rates count the whole IP packet.
type Path struct {
	ID    PathID
	Name  string
	State PathState

	// Rate is the estimated delivery rate, bytes per second; 0 while unknown.
	// While the path is starting it is what is tried next.
	Rate float64
	// Delivered is the most that it has delivered of late, bytes per second; 0
	// while unknown.
	Delivered float64
	// MinRTT and SRTT are the lowest recent and the smoothed round-trip time
	// of this path's packets and their feedback (which may take another path).
	// What delays the feedback now on its way back is in either, so that InFlight
	// beyond Rate × MinRTT is this path's own queue.
	MinRTT, SRTT time.Duration
	// MinOWD and OWD are the lowest recent and the latest one-way delay,
	// relative to the same unknown offset for all paths of a session: only
	// differences between paths mean something.
	MinOWD, OWD time.Duration
	// RTTVar is the mean deviation of the round-trip time.
	RTTVar time.Duration
	// InFlight is what was sent and is neither acknowledged nor known lost;
	// Queued waits in the path's own pacing queue. Bytes.
	InFlight, Queued int
	// OldestUnacked is the age of the oldest packet in flight; 0 if none.
	OldestUnacked time.Duration
	// Loss is the smoothed loss ratio, 0 to 1.
	Loss float64
	// Sent and Received are what this path has carried so far, copies and
	// control messages included: what its owner pays for. Bytes.
	Sent, Received uint64
	// MTU is the largest UDP payload the path is known to carry, or assumed
	// to until it is, bytes; 0: unknown. The engine sends nothing larger by it.
	MTU int

	// What the user set for this path in the side file.
	Backup  bool
	Metered bool
	Weight  float64 // relative; 1 unless set
	MaxRate float64 // bytes per second; 0: no limit
}

// ColdWindow is what may be under way on a path whose rate is unknown, bytes:
// 32 packets on the nearest, and on one with a longer round trip as much less,
// but never less than a TCP begins with (RFC 6928). In simulation 32 packets
// shortened a cold 3 MB download from 1.92 to 1.36 s; but what is sent by a far
// path before anything is known of it comes late. Round-trip times of 0 are
// unknown.
func ColdWindow(rtt, nearest time.Duration) int {
	const packet, most, least = 1500, 32, 10
	if rtt <= nearest || nearest <= 0 {
		return most * packet
	}
	return max(int(most*packet*int64(nearest)/int64(rtt)), least*packet)
}

// Snapshot is what a Scheduler is shown.
type Snapshot struct {
	// Seq rises by one with every snapshot of a session.
	Seq uint64
	// Now is the engine's clock; only differences mean something.
	Now time.Duration
	// Queue is the number of bytes that wait for a path.
	Queue int
	// Largest is the largest UDP payload sent of late, bytes. A path with a
	// smaller MTU carries only the smaller packets.
	Largest int
	// FeedbackInterval is the peer's usual time between two feedbacks.
	FeedbackInterval time.Duration
	// Paths has every path that may carry data, whatever its state.
	Paths []Path
}

// PathPlan is one path's part in the plan of one class.
type PathPlan struct {
	// Use is false for a path that must not carry this class.
	Use bool
	// Base is the cost of an empty path; PerByte what each byte of backlog
	// adds. Nanoseconds, and nanoseconds per byte.
	Base    float64
	PerByte float64
	// Cap bounds the path's backlog, bytes; where Drain is 0, and the backlog an
	// account, what waits in its pacing queue. At least one packet is always
	// allowed on an empty path.
	Cap int
}

// ClassPlan is the plan for one traffic class.
type ClassPlan struct {
	// Paths is indexed by PathID.
	Paths [MaxPaths]PathPlan
	// Copies has a bit set for every path that carries a copy of each packet
	// beside the cheapest path's original.
	Copies uint32
}

// Plan is a Scheduler's answer to a Snapshot.
type Plan struct {
	// Seq is that of the Snapshot answered.
	Seq     uint64
	Classes [NumClasses]ClassPlan
	// Drain is the rate at which each path's backlog counter falls, bytes per
	// second: its pacing rate for arrival-time policies, 0 for round robins.
	Drain [MaxPaths]float64
	// Hold is how long the receiver shall hold back what came by each path, so
	// that all packets take as long as those by the slowest path. At most
	// MaxHold; all 0: not at all.
	Hold [MaxPaths]time.Duration
	// Valid is how long the plan may be followed without a new one.
	Valid time.Duration
}

// A Scheduler turns snapshots into plans. Plan is called from one goroutine
// at a time, must not keep s.Paths, and fills *p, which comes zeroed.
type Scheduler interface {
	Plan(s *Snapshot, p *Plan)
}

// Func is a Scheduler that remembers nothing.
type Func func(s *Snapshot, p *Plan)

// Plan calls f.
func (f Func) Plan(s *Snapshot, p *Plan) { f(s, p) }
