package wire

import (
	"math"
	"time"
)

// What one message may hold at most. They bound what a decoder needs to
// remember.
const (
	MaxPaths    = 16   // paths of a session; path numbers are below it
	MaxKeyPairs = 8    // key pair reports in one Feedback
	MaxRanges   = 1024 // ranges in one Feedback, over all its key pairs
)

// NoPath is the path number of a message that belongs to no path.
const NoPath = 0xff

// Clock is a reading of the sender's monotonic clock in microseconds since an
// arbitrary start. Readings of different machines are never compared, only
// differences of differences.
type Clock uint64

// ClockOf gives the wire's form of an engine time.
func ClockOf(now time.Duration) Clock { return Clock(now / time.Microsecond) }

// A Frame is one message inside a sealed control datagram: a pointer to one of
// the structs below. A Path is below MaxPaths in all of them.
type Frame interface{ frame() }

// Attach asks the receiver to take the address this came from as path Path.
// Answered by Challenge. Sent by the borrower only.
type Attach struct {
	Path   uint8
	Flags  AttachFlags
	Weight uint16 // relative share in 1/256; 256 unless the user set it
	MTU    uint16 // largest UDP payload the borrower knows to fit; 0: unknown
}

// AttachFlags say how the borrower wants a path used, in both directions.
type AttachFlags uint8

// The bits of AttachFlags.
const (
	AttachBackup  AttachFlags = 1 << iota // use only when no other path works
	AttachMetered                         // its bytes cost money
	AttachLent                            // its link is lent: only what the lender does not use itself
)

// Challenge must come back, as ChallengeReply, from the address it was sent
// to before that address may carry downlink.
type Challenge struct {
	Path  uint8
	Nonce [8]byte
}

// ChallengeReply answers Challenge on the same path.
type ChallengeReply struct {
	Path  uint8
	Nonce [8]byte
}

// Attached confirms a path: its challenge came back, it may carry data.
type Attached struct{ Path uint8 }

// Detach withdraws a path.
type Detach struct{ Path uint8 }

// Ping asks for a Pong; sent on the path it measures, padded to the size it
// probes. A server's Ping of another path than it comes by asks the client to
// send one by that path: what the server sends there may not arrive.
type Ping struct {
	Path uint8
	ID   uint32
	Sent Clock // sender's clock
	// Padding is the number of zero bytes that follow, so that the datagram
	// reaches a certain size.
	Padding uint16
}

// Pong answers Ping on the path where it arrives soonest, usually another.
type Pong struct {
	Path     uint8  // the path the Ping came by
	ID       uint32 // of the Ping
	Sent     Clock  // copied from the Ping
	Received Clock  // receiver's clock at arrival
	Size     uint16 // UDP payload bytes of the Ping's datagram
}

// KeyPair announces that data messages with this receiver index follow: the
// receiver puts in order only what was announced. Ordinals rise by one with
// every key pair of a session and give the order between key pairs.
type KeyPair struct {
	Index   uint32 // WireGuard's receiver index, as in the data messages
	Ordinal uint32
	First   uint64 // no counter below this one will come
}

// KeyPairEnd says that no counter at or above End will be sent with Index.
type KeyPairEnd struct {
	Index uint32
	End   uint64
}

// Marker says that a path which has fallen idle will carry nothing below
// Below (of the key pair Index) any more.
type Marker struct {
	Path  uint8
	Index uint32
	Below uint64
}

// Range is a half-open range of counters: From ≤ c < To.
type Range struct{ From, To uint64 }

// Void says that the counters of Range will not be sent: the sender's queue
// dropped them.
type Void struct {
	Index uint32
	Range Range
}

// Tune tells the receiver what only the sender can know.
type Tune struct {
	// Hold is how long a gap that every live path has passed is still worth
	// waiting for, because a repair may be under way.
	Hold time.Duration // whole microseconds on the wire, below 71 minutes
	// Deadline bounds the wait for any gap.
	Deadline time.Duration // whole microseconds on the wire, below 71 minutes
	// Live has a bit set for every path that carries data.
	Live uint32
}

// Feedback says what arrived. All of it is cumulative, so a lost feedback
// costs time, never knowledge.
type Feedback struct {
	Sent     Clock           // receiver's clock when this was sent
	Paths    []PathReport    // at most MaxPaths, each path once
	KeyPairs []KeyPairReport // at most MaxKeyPairs, each once; the one that matters most first
}

// PathReport is what arrived on one path.
type PathReport struct {
	Path uint8
	// Index and Last name the newest data message that came by this path:
	// the one with the highest counter of the newest key pair.
	Index uint32
	Last  uint64
	// Arrived is the receiver's clock when Last arrived, not after Sent.
	Arrived Clock
	// Packets and Bytes count all data messages since the path was attached;
	// Bytes is UDP payload plus 28 or 48 bytes of IP and UDP header each.
	Packets uint64
	Bytes   uint64
}

// KeyPairReport says which counters within Span arrived, by any path. Nothing
// is said of counters outside Span.
type KeyPairReport struct {
	Index uint32
	Span  Range
	// Received is ascending, disjoint and within Span. Decoded ranges never
	// touch each other; those to be encoded may.
	Received []Range
}

// Hello says which instance of its program the sender is: a number drawn when
// it began. When it changes, the peer has forgotten all it knew: its clock,
// what arrived, which paths are attached.
type Hello struct{ Instance uint64 }

// Close ends the session.
type Close struct{ Reason CloseReason }

// CloseReason says why a session ended. A reason that is not known here is as
// good as CloseShutdown.
type CloseReason uint8

// The reasons for Close.
const (
	CloseShutdown CloseReason = iota
	CloseReplaced             // a newer session of the same peer took over
	CloseRevoked              // the peer is no longer allowed
)

// String says it for a log.
func (r CloseReason) String() string {
	switch r {
	case CloseReplaced:
		return "replaced by a newer session"
	case CloseRevoked:
		return "no longer allowed"
	}
	return "shutdown"
}

// Equalize tells the receiver for how long to hold back what comes by each
// path (0: not at all), so that all packets take as long as those by the slowest
// path. It is followed for a few seconds, unless it is repeated.
type Equalize struct {
	Delay [MaxPaths]time.Duration // whole microseconds on the wire, below 71 minutes
}

// Ceiling tells the receiver the most that it may send by Path: the path's
// lender wants the rest for itself. It stands until the next one.
type Ceiling struct {
	Path uint8
	Rate uint64 // bytes per second of whole IP packets; NoCeiling: as much as goes
}

// Receipt tells what some of the data messages were that came by Path, of the
// key pair Index: a tag of all their bytes each, made with a key that both ends
// know (package control). Of which messages they are those know who have the
// key. Key is the receiver index of the session keys in force.
type Receipt struct {
	Path       uint8
	Key, Index uint32
	Samples    []Sample // at most MaxSamples; a decoder's are its own memory
}

// MaxSamples is how many a Receipt has at most.
const MaxSamples = 64

// Sample is one message of a Receipt.
type Sample struct {
	Counter uint16 // the lowest bits
	Tag     uint32
}

// Verdict says that the sender does not trust Path any more with what it sends
// there, and advises the receiver not to, either.
type Verdict struct {
	Path   uint8
	Charge Charge
}

// Charge is what a path is found to do.
type Charge uint8

// The charges. One that is not known here is as good as Alters.
const (
	Alters  Charge = iota + 1 // messages that were sent by it arrive changed
	Invents                   // messages that nobody sent arrive by it
	Loses                     // too many do not arrive, or not in their time
)

// Reached says what Path carries from the server to the borrower. The server
// sends what it has found; the borrower remembers that, and sends it when
// it attaches the path again, or the path leads through another network: a
// hint for the server to start with, and to mistrust.
type Reached struct {
	Path uint8
	Rate uint64        // bytes per second of whole IP packets; 0: not known
	RTT  time.Duration // the least round trip; whole microseconds on the wire, below 71 minutes
}

// NoCeiling as Ceiling.Rate lifts it, and so does Unused, which tells that the
// lender sees its owner use nothing.
const (
	NoCeiling = math.MaxUint64
	Unused    = NoCeiling - 1
)

func (*Attach) frame()         {}
func (*Receipt) frame()        {}
func (*Verdict) frame()        {}
func (*Reached) frame()        {}
func (*Challenge) frame()      {}
func (*ChallengeReply) frame() {}
func (*Attached) frame()       {}
func (*Detach) frame()         {}
func (*Ping) frame()           {}
func (*Pong) frame()           {}
func (*KeyPair) frame()        {}
func (*KeyPairEnd) frame()     {}
func (*Marker) frame()         {}
func (*Void) frame()           {}
func (*Tune) frame()           {}
func (*Feedback) frame()       {}
func (*Close) frame()          {}
func (*Hello) frame()          {}
func (*Equalize) frame()       {}
func (*Ceiling) frame()        {}
