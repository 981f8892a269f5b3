// Package wire is what travels on the network: the format of wg-bond's control
// messages and the little of WireGuard's own format that can be read without
// keys. It is a leaf: bytes in, structs out, no state beyond reusable memory.
//
// # Datagrams
//
// WireGuard's datagrams travel as WireGuard made them. They are told from ours
// by the first byte:
//
//	byte 0   1  2  3
//	┌──────┬────────┐
//	│ 1..4 │ 0  0  0│ …    WireGuard: 1 initiation, 2 response, 3 cookie, 4 data
//	│ 0xB0 │ k  0  0│ …    session control: borrower ⇄ server; a relayd forwards it unread
//	│ 0xB1 │ k  0  0│ …    lease control: borrower ⇄ relayd
//	└──────┴────────┘      k is the kind, below
//
// Stock WireGuard drops a first byte that it does not know without an answer.
// WireGuard's data message is read this far (see DataHeader):
//
//	0        4                8                16
//	┌────────┬────────────────┬────────────────┬───────────────┬─────────┐
//	│04 00 00│ receiver index │ counter        │ sealed packet │ tag     │
//	│      00│ u32            │ u64            │ 0 or more     │ 16      │
//	└────────┴────────────────┴────────────────┴───────────────┴─────────┘
//
// Data messages of at most ExpressSize bytes may be sent, and are passed on,
// ahead of lower counters; the others are put in order.
//
// All integers, WireGuard's and ours, are little-endian. Sizes are bytes.
//
// The four kinds of control datagram, alike for 0xB0 (type T below) and 0xB1:
//
//	initiation  T 01 00 00 | sender index u32 | Noise message 1 | mac1 16 | mac2 16
//	response    T 02 00 00 | sender index u32 | receiver index u32 | Noise message 2 | mac1 16 | mac2 16
//	cookie      T 03 00 00 | receiver index u32 | nonce 24 | sealed cookie 32
//	sealed      T 04 00 00 | receiver index u32 | counter u64 | sealed plaintext | tag 16
//
// Package control says how they are made and checked. With an empty payload an
// initiation has 148 bytes and a response 96; a cookie has 64.
//
// # Plaintext
//
// A sealed message's plaintext names the path it is sent on and holds frames:
//
//	┌─────────┬──────────────────────────────────┬────
//	│ path u8 │ type u8 │ length u16 │ body …    │ the next frame …
//	└─────────┴──────────────────────────────────┴────
//
// The path is 0 to 15, or 255 if the message belongs to no path. Length counts
// the body alone. A frame of an unknown type is skipped, and that is how the
// format grows: a known frame never changes its body, a new field comes in a
// frame of a new type. A body that is too short, too long, or contradicts
// itself makes the rest of the message invalid; the frames before it hold.
//
// # Frames
//
// Below, u8 to u64 are fixed integers, varint is an unsigned LEB128 (seven bits
// a byte, the lowest first, 0x80 set on all bytes but the last) in its shortest
// form, at most ten bytes. Path numbers are below 16, clocks microseconds of
// the sender of the frame unless said otherwise.
//
//	 1 Attach          path u8 | flags u8 | weight u16 | mtu u16
//	 2 Challenge       path u8 | nonce 8
//	 3 ChallengeReply  path u8 | nonce 8
//	 4 Attached        path u8
//	 5 Detach          path u8
//	 6 Ping            path u8 | id u32 | sent u64 | padding: zeros, ignored
//	 7 Pong            path u8 | id u32 | sent u64 (the Ping's) | received u64 | size u16
//	 8 KeyPair         index u32 | ordinal u32 | first u64
//	 9 KeyPairEnd      index u32 | end u64
//	10 Marker          path u8 | index u32 | below u64
//	11 Void            index u32 | from u64 | to u64          from < to
//	12 Tune            hold u32 µs | deadline u32 µs | live u32
//	13 Feedback        see below
//	14 Close           reason u8
//	15 Hello           instance u64
//	16 Equalize        paths u8, then for each, rising: path u8 | delay u32 µs, not 0
//	17 Ceiling         path u8 | rate u64, bytes per second; 2⁶⁴−1: none, 2⁶⁴−2: none, and the owner uses nothing
//	18 Receipt         path u8 | key u32 | index u32, then for each: counter u16, its lowest bits | tag u32
//	19 Verdict         path u8 | charge u8
//	20 Reached         path u8 | rate u64, bytes per second; 0: not known | rtt u32 µs
//
// Types 32 to 47 are the lease protocol's, in 0xB1 messages only: see package
// relayd/lease.
//
// # Feedback
//
// Feedback is sent up to a hundred times a second, so it is packed:
//
//	sent u64
//	paths u8, then for each:
//	    path u8 | index u32 | last varint | age varint | packets varint | bytes varint
//	key pairs u8, then for each:
//	    index u32 | from varint | span varint | ranges varint, then for each range:
//	        skip varint | more varint
//
// age is sent minus the clock when the path's last data message arrived, and
// does not exceed sent. No path is named twice, nor a key pair.
//
// The counters in from ≤ c < from+span are spoken of; those in a range arrived,
// the others did not. Nothing is said of any other counter. Ranges are runs,
// each relative to where the one before it ended, the first to from:
//
//	from          ┌────────────────── skip = 2: two counters missing
//	│     ┌───────┤      ┌─────────── more = 2: three arrived (2 + 1)
//	▼     ▼       ▼      ▼
//	·  ·  █  █  █ ·  ·  ·  █  ·  ·│
//	              └──┬──┘  │      └── from + span
//	          skip = 2     └───────── more = 0: one arrived
//
// Between two ranges at least one counter is missing, so skip is one less than
// the number of missing counters there; before the first range none need be
// missing, so there skip is that number itself. more is one less than the
// range's length. Every run of numbers is thus valid unless it leaves the span;
// every other counter arriving costs two bytes a range.
//
// A sender with little room shortens the span to the ranges that fit (see
// AppendFeedback); what is cut off was never spoken of.
//
// Limits: 16 paths, 8 key pairs, and 1,024 ranges in all.
package wire
