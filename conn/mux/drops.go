package mux

import "sync/atomic"

// Reason says why a datagram was dropped, by the shell. (The engine counts its
// own drops: wgbond.Status.Drops.)
type Reason uint8

// The reasons.
const (
	// DropMalformed: neither WireGuard's nor ours, by its first bytes or size.
	DropMalformed Reason = iota
	// DropForeignSource: came to a path's socket from an address that is
	// neither the peer nor the path's relay.
	DropForeignSource
	// DropLeaseHere: lease control where there is no lease.
	DropLeaseHere
	// DropUnexpected: session control that only the other role receives.
	DropUnexpected
	// DropUnknownIndex: sealed for a session that we do not have.
	DropUnknownIndex
	// DropUnauthentic: sealed for a session that we have, but not by its peer.
	DropUnauthentic
	// DropHandshakeBusy: an initiation that found the handshake queue full.
	DropHandshakeBusy
	// DropHandshakeRate: an initiation beyond its source's rate.
	DropHandshakeRate
	// DropHandshakeInvalid: an initiation with wrong MACs or keys, of an
	// unknown peer, or replayed.
	DropHandshakeInvalid
	// DropTooManySessions: no room for another session.
	DropTooManySessions
	// DropReceiverFull: the local WireGuard does not keep up with us.
	DropReceiverFull
	// DropClosed: sent or received while closing.
	DropClosed
	// DropNoSocket: to be sent on a path that has no socket at the moment.
	DropNoSocket
	// DropTooLong: longer than the device carries whole.
	DropTooLong
	// DropGone: no device, address or route to send by.
	DropGone
	// DropNoBuffer: the device's queue was full, or an ICMP error arrived.
	DropNoBuffer
	// DropSendFailed: any other error of sending.
	DropSendFailed
	// DropFlowLimit: of a plain client beyond the number that is served.
	DropFlowLimit
	// DropHandshakeCopy: a WireGuard handshake message that came by another
	// path already.
	DropHandshakeCopy
	// DropNotUpstream: came to an upstream socket from elsewhere.
	DropNotUpstream
	numReasons
)

var reasonNames = [numReasons]string{
	DropMalformed:        "malformed",
	DropForeignSource:    "foreign-source",
	DropLeaseHere:        "lease-here",
	DropUnexpected:       "unexpected-control",
	DropUnknownIndex:     "unknown-index",
	DropUnauthentic:      "unauthentic",
	DropHandshakeBusy:    "handshake-busy",
	DropHandshakeRate:    "handshake-rate",
	DropHandshakeInvalid: "handshake-invalid",
	DropTooManySessions:  "too-many-sessions",
	DropReceiverFull:     "receiver-full",
	DropClosed:           "closed",
	DropNoSocket:         "no-socket",
	DropTooLong:          "too-long",
	DropGone:             "gone",
	DropNoBuffer:         "no-buffer",
	DropSendFailed:       "send-failed",
	DropFlowLimit:        "flow-limit",
	DropHandshakeCopy:    "handshake-copy",
	DropNotUpstream:      "not-upstream",
}

// Harmless are the names of the reasons that cost nobody anything: what came
// by another path already, and what was under way while closing.
var Harmless = []string{DropHandshakeCopy.String(), DropClosed.String()}

func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Drops counts drops by reason. The zero Drops is ready to use, by any number
// of goroutines at once.
type Drops struct{ n [numReasons]atomic.Uint64 }

// Add counts n datagrams dropped for a reason.
func (d *Drops) Add(r Reason, n int) {
	if n > 0 {
		d.n[r].Add(uint64(n))
	}
}

// Count is the number dropped for a reason.
func (d *Drops) Count(r Reason) uint64 { return d.n[r].Load() }

// Map has the counts that are not zero, by the reason's name.
func (d *Drops) Map() map[string]uint64 {
	m := make(map[string]uint64)
	for r := range numReasons {
		if n := d.n[r].Load(); n > 0 {
			m[r.String()] = n
		}
	}
	return m
}
