// Package feedback knows what became of the packets.
//
// At the receiving end a Receiver notes which counters arrived, by which path
// and when, and says so in wire.Feedback messages. At the sending end a
// History holds every packet from the moment it is queued until it is reported
// or given up, and turns the peer's feedback into what was delivered and what
// was lost:
//
//	sender                                          receiver
//	Add ─▶ queued ─ Sent ─▶ in flight ── data ────▶ Receiver.Data
//	         ▲                 │                        │
//	         └──── lost ◀──────┤ Apply ◀── feedback ────┘ Report
//	         (repair, or Drop) ▼
//	                       delivered: the buffer is free
//
// Loss is judged path by path: paths are FIFO but for a little reordering, so
// a packet is lost when one that left later by the same path was reported and
// it was not.
package feedback
