package relayd

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Drop is a reason for which a datagram went no further.
type Drop uint8

// The reasons.
const (
	// From borrowers, or from strangers in their place.
	DropNoLease      Drop = iota // no lease for that address
	DropShape                    // neither WireGuard's shape nor ours
	DropUnanswered               // the target has not answered yet, or not for long
	DropAllowance                // more than the borrower may have, either way
	DropQueueFull                // more than the lent link carries
	DropControlQueue             // more lease control than the desk can read

	// From the lent link.
	DropNotTarget  // of another sender than the lease's target
	DropWANShape   // neither WireGuard's shape nor session control
	DropWANControl // lease control: nobody leases from that side

	// On sending, either way.
	DropTooLong // longer than the device carries
	DropNoLink  // device or route is gone
	DropSend    // anything else

	// Lease control.
	DropMalformed   // not a datagram of the protocol
	DropMAC1        // meant for another key
	DropLimited     // too many handshakes from a proven address
	DropUnauthentic // fails to decrypt
	DropUnknownPeer // a key that is not allowed
	DropReplayed    // seen before
	DropNoSession   // no session under that index
	DropBadMessage  // authentic, but not understood
	DropInternal    // our own failure

	numDrops
)

var dropNames = [numDrops]string{
	DropNoLease: "no-lease", DropShape: "not-wireguard", DropUnanswered: "target-unanswered",
	DropAllowance: "over-allowance", DropQueueFull: "queue-full", DropControlQueue: "control-queue-full",
	DropNotTarget: "not-from-target", DropWANShape: "wan-not-wireguard", DropWANControl: "wan-lease-control",
	DropTooLong: "send-too-long", DropNoLink: "send-no-link", DropSend: "send-failed",
	DropMalformed: "control-malformed", DropMAC1: "control-wrong-mac1", DropLimited: "control-rate-limited",
	DropUnauthentic: "control-unauthentic", DropUnknownPeer: "control-unknown-peer",
	DropReplayed: "control-replayed", DropNoSession: "control-no-session",
	DropBadMessage: "control-bad-message", DropInternal: "control-internal",
}

func (d Drop) String() string {
	if d < numDrops {
		return dropNames[d]
	}
	return "unknown"
}

// Stats counts what a Relay did since it was made.
type Stats struct {
	Leases   int // now
	Sessions int // now; with and without a lease

	ToTarget, ToBorrower Traffic
	Granted              uint64 // leases begun
	Moved                uint64 // leases that went to another address of the borrower
	Refused              uint64 // requests refused
	Cookies, Proofs      uint64 // sent to have an address proven
	Drops                [numDrops]uint64
}

// Traffic is what was forwarded in one direction.
type Traffic struct {
	Packets uint64
	Bytes   uint64 // UDP payload
}

// DropsByReason has the reasons for which anything was dropped.
func (s *Stats) DropsByReason() map[string]uint64 {
	m := make(map[string]uint64)
	for d, n := range s.Drops {
		if n > 0 {
			m[Drop(d).String()] = n
		}
	}
	return m
}

// LogValue groups the statistics for a log.
func (s Stats) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Int("leases", s.Leases), slog.Int("sessions", s.Sessions),
		slog.Uint64("to-target-packets", s.ToTarget.Packets), slog.Uint64("to-target-bytes", s.ToTarget.Bytes),
		slog.Uint64("to-borrower-packets", s.ToBorrower.Packets), slog.Uint64("to-borrower-bytes", s.ToBorrower.Bytes),
		slog.Uint64("granted", s.Granted), slog.Uint64("moved", s.Moved), slog.Uint64("refused", s.Refused),
		slog.Uint64("cookies", s.Cookies), slog.Uint64("proofs", s.Proofs),
	}
	for d, n := range s.Drops {
		if n > 0 {
			attrs = append(attrs, slog.Uint64("drop-"+Drop(d).String(), n))
		}
	}
	return slog.GroupValue(attrs...)
}

// counters are Stats being made, by all goroutines.
type counters struct {
	leases, sessions                           atomic.Int64
	up, down                                   trafficCounter
	granted, moved, refused, cookies, provings atomic.Uint64
	drops                                      [numDrops]atomic.Uint64
}

type trafficCounter struct{ packets, bytes atomic.Uint64 }

func (t *trafficCounter) add(bufs [][]byte) {
	var n uint64
	for _, b := range bufs {
		n += uint64(len(b))
	}
	t.packets.Add(uint64(len(bufs)))
	t.bytes.Add(n)
}

func (t *trafficCounter) read() Traffic { return Traffic{t.packets.Load(), t.bytes.Load()} }

func (c *counters) drop(d Drop) { c.drops[d].Add(1) }

func (c *counters) snapshot() Stats {
	s := Stats{
		Leases: int(c.leases.Load()), Sessions: int(c.sessions.Load()),
		ToTarget: c.up.read(), ToBorrower: c.down.read(),
		Granted: c.granted.Load(), Moved: c.moved.Load(), Refused: c.refused.Load(),
		Cookies: c.cookies.Load(), Proofs: c.provings.Load(),
	}
	for i := range s.Drops {
		s.Drops[i] = c.drops[i].Load()
	}
	return s
}

// controlDrop is the reason that an error of packages control or lease stands
// for.
func controlDrop(err error) Drop {
	for _, c := range []struct {
		err  error
		drop Drop
	}{
		{control.ErrMalformed, DropMalformed}, {control.ErrMAC1, DropMAC1}, {control.ErrLimited, DropLimited},
		{control.ErrAuth, DropUnauthentic}, {control.ErrCounter, DropUnauthentic}, {control.ErrUnknownPeer, DropUnknownPeer},
		{control.ErrReplay, DropReplayed}, {control.ErrUnknownIndex, DropNoSession}, {wire.ErrMalformed, DropBadMessage},
	} {
		if errors.Is(err, c.err) {
			return c.drop
		}
	}
	return DropInternal
}

// sendDrop is the reason that an error of WriteBatch stands for.
func sendDrop(err error) Drop {
	switch {
	case udp.TooLong(err):
		return DropTooLong
	case udp.Gone(err):
		return DropNoLink
	}
	return DropSend
}
