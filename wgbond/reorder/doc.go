// Package reorder is the receiver's reorder buffer: it puts the WireGuard data
// messages that came by several paths back into the order in which the sender
// made them.
//
//	path 0 ── 1 2   4 5 ──┐
//	                      ├─→ Packet → [held: 4 5 …] → Release → 1 2 3 4 5 → WireGuard
//	path 1 ──     3     ──┘               ▲
//	                                  a gap: 3 may still come
//
// WireGuard's counter, in clear in every data message, is the sequence number;
// a rekey starts a new key pair with counters of its own, so the order is by
// (key pair, counter). The buffer needs no keys. It never drops a packet, it
// only delays one, and none for longer than Deadline: what is late, of a key pair
// that was not announced, or beyond the window goes on at once, and WireGuard
// judges it. So does what comes again, unless it is, byte for byte, what waits:
// then it goes on behind that, or WireGuard would take it ahead of its turn.
//
// # When a gap ends
//
// The lowest counter that has not come, while a later one waits, is a gap. It
// ends
//
//   - when the packet comes, or the sender says that it never will (Void);
//   - when every live path has brought something newer, for paths are FIFO,
//     and Hold has passed since, for a repair may be under way. A path is live
//     if the sender says that it carries data (Tune) and it was heard within
//     Silence. A path that fell idle says so by a Marker;
//   - when Deadline has passed since it began to block;
//   - when the held packets exceed MaxPackets or MaxBytes, or those of all
//     buffers that share it the Budget.
//
// A newer key pair waits for the older one in the same way: its tail is a gap
// that ends when the announced end is reached, or when every live path has
// brought a packet of the newer one and Hold has passed, or by Deadline.
//
// # What a forger can do
//
// Data messages are not authenticated here, so whoever can write to a path (a
// lender, or a host that guesses addresses and the receiver index) can invent
// counters. KeyPair, KeyPairEnd, Void, Marker and Tune are sealed: those it
// cannot invent.
//
//   - A counter Window or more ahead goes on at once and changes nothing. Only
//     when every live path has brought nothing but such counters for Deadline
//     does the buffer start anew at them, so one path cannot do it to another.
//   - A counter within the window raises the "newest" of its own path only:
//     that path's own packets may then be judged lost too early and come late,
//     until it has brought healAfter genuine ones in a row.
//   - A forged packet that waits far ahead does not flush the order when its
//     deadline comes: while the stream moves it goes on alone. On a stream that
//     stood still for Deadline it does end the gap below it, which costs the
//     order (never the delivery) of at most Window packets.
//   - A forged packet in the place of a genuine one makes that one late: one
//     packet's order for one packet forged.
//   - More than MaxPackets forged packets behind an open gap end that gap.
//   - A path kept "heard" by forged packets while the genuine ones are
//     withheld blocks gaps until the sender's next Tune leaves it out, and each
//     packet for Deadline at most.
//
// So forgery can at worst take the order away, at the price of about as many
// packets as it disturbs. It cannot lose a packet, hold one beyond Deadline, or
// take more memory than MaxBytes and four rings (Window × 48 bytes each).
//
// # Use
//
// A Buffer belongs to one session and is not safe for concurrent use. It is
// sans-IO: times are the engine's clock, which must not run backwards. Call
// Release after every batch of calls and when Next has come.
package reorder
