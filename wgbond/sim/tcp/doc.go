// Package tcp is a model of TCP, honest enough to judge what carries it: what
// a bond is worth shows in what TCP makes of it, and TCP punishes reordering,
// loss and changing delay each in its own way.
//
// A Conn is one end of a connection, sans-IO: it takes segments and the time
// and answers with segments and the time of its next timer. Modelled after
// Linux: CUBIC (RFC 9438) with the delay half of HyStart, or BBR v1; SACK and
// DSACK; RACK-TLP (RFC 8985) with its adaptive reordering window; PRR (RFC
// 6937bis); RTO (RFC 6298, 200 ms minimum) and undo of both by DSACK and
// timestamps (RFC 4015); delayed acknowledgements, every second segment or
// 40 ms. Not modelled: FIN, window updates (the reader is always fast enough),
// checksums, HyStart's ACK trains; TSO bursts only as Config.Trains.
//
//	Handle → receiver → in-order bytes (OnDeliver)
//	       ↘ scoreboard (SACK, RACK) → Control (CUBIC, BBR): window, pacing
//	Output ← timers, retransmissions, new data, acknowledgements
//
// Sequence numbers are byte offsets from 0 in 64 bits; SYN takes none.
package tcp
