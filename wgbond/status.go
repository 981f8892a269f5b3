package wgbond

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// Status describes a session at one moment. Times are durations, sizes bytes
// of whole IP packets, rates bytes per second.
type Status struct {
	Bonded       bool
	BondedFor    time.Duration // since the keys were agreed
	PlainReason  string        // why it is not bonded; empty if it is
	Queue        int           // bytes waiting for a path
	Reordering   int           // packets held by the reorder buffer
	Paths        []PathStatus
	Drops        map[string]uint64 // packets dropped, by reason
	RepairsSent  uint64
	Sent, Got    uint64 // WireGuard datagrams to and from the peer
	LateOrCopied uint64 // datagrams passed on out of order or a second time
}

// PathStatus describes one path.
type PathStatus struct {
	schedulers.Path
	Attached             bool
	Remote               Remote
	TxPackets, TxBytes   uint64
	RxPackets, RxBytes   uint64
	LostPackets, Repairs uint64
	LastHeard            time.Duration // ago; Never if nothing was heard
}
