// Package udp is batch UDP sockets: many datagrams a system call, in trains
// where the kernel takes them, with no allocation per datagram.
//
//	WriteBatch(bufs, to, from)                       ReadBatch(ms)
//	┌────┬────┬────┬──┬────┐                         ┌────┬────┬────┬──┬────┐
//	│1420│1420│1420│96│1420│  caller's buffers       │1420│1420│1420│96│1420│
//	└─┬──┴─┬──┴─┬──┴┬─┴─┬──┘                         └─▲──┴─▲──┴─▲──┴▲─┴─▲──┘
//	  └────┴──┬─┴───┘   │     cut into trains          └────┴──┬─┴───┘   │    split, copied
//	   [ train of 4 ] [ single ]                        [ train of 4 ] [ single ]  slab
//	          └───┬─────┘                                     └─────▲───┘
//	     sendmmsg │ UDP_SEGMENT                      recvmmsg       │ UDP_GRO
//	══════════════╧════════════ kernel, device, network ════════════╧══════════
//
// # Glossary
//
//   - datagram: one UDP payload; sizes in this package are of payloads, bytes,
//     without IP and UDP headers, unless said otherwise.
//   - batch: the datagrams of one ReadBatch or WriteBatch call.
//   - train: consecutive datagrams of a batch, all of the same size but the
//     last, which may be shorter, that cross the kernel's stack as one packet
//     (UDP generic segmentation or receive offload, GSO and GRO). On the wire
//     they are ordinary datagrams.
//   - segment: one datagram of a train.
//   - slab: the memory that one recvmmsg call fills.
//
// # Who owns a buffer
//
// WriteBatch borrows its buffers until it returns; it neither changes nor
// copies them. ReadBatch borrows the buffers in its messages until it returns
// and keeps no reference to them. Trains are received into slabs of the
// package's own, which are lent to a socket only while it has something to
// hand out, so that an idle socket costs no such memory; from the slab every
// segment is copied to a buffer of the caller's. Segments that find no message
// left stay in the slab for the next ReadBatch.
//
// # Fragmentation
//
// Sockets set DF and disregard what the kernel believes of the path MTU
// (IP_PMTUDISC_PROBE), so a padded probe goes out whole or not at all. A
// datagram that the device cannot carry whole fails with an error that TooLong
// reports.
//
// # Other systems
//
// Only Linux (Android too) has batches and trains. Elsewhere the same type
// moves one datagram per system call; see Listen for what is missing there.
package udp
