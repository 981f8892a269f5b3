package reorder

import "time"

// Stats counts what became of packets and gaps since New.
type Stats struct {
	// Packets handed on, each counted once: in order without waiting, in
	// order after waiting, and out of order by reason.
	InOrder     uint64
	Express     uint64 // at most Params.Express long: order does not matter
	Held        uint64
	Late        uint64 // its place had been given up, or its key pair closed
	Duplicate   uint64 // its place had been taken
	Unannounced uint64 // of a key pair that was not announced
	TooFar      uint64 // Window or more from the next expected, or beyond the end
	Expired     uint64 // waited for Deadline while the stream moved on below it

	// HeldFor is the sum of what packets waited, whatever for.
	HeldFor time.Duration

	// Filled counts packets that came while a later one waited for them.
	Filled uint64

	// Gaps (runs of missing counters) given up, by reason.
	GapsPassed   uint64 // every live path had brought something newer
	GapsDeadline uint64 // blocked for Deadline
	GapsForced   uint64 // too many packets or bytes, or key pairs, held

	// Voided counts counters that the sender said will not come.
	Voided uint64
	// Restarts counts streams that started anew at counters far away.
	Restarts uint64
}

// Out is the number of packets handed on.
func (s *Stats) Out() uint64 {
	return s.InOrder + s.Express + s.Held + s.Late + s.Duplicate + s.Unannounced + s.TooFar + s.Expired
}
