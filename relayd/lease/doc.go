// Package lease is the protocol by which a borrower gets a relayd to forward
// for it: its frames, and the borrower's side as a state machine without IO.
// The lender's side is package relayd.
//
// A lease joins one address of the borrower with one target. Everything the
// borrower sends from that address, other than this protocol's own datagrams,
// goes to the target unchanged, and everything from the target comes back.
//
//	Borrower                              relayd                         target
//	   ├─ initiation ───────────────────────►│   package control, service Lease
//	   │◄──────────────────────── response ──┤
//	   ├─ Request: target, lifetime ────────►│
//	   │◄─────────────────── Prove: token ───┤   is it you at this address?
//	   ├─ Request, with the token ──────────►│
//	   │◄──────── Grant: lifetime, terms ────┤   a port of its own is open
//	   ├─ WireGuard and session control ────►├──────────────────────────────►│
//	   │◄────────────────────────────────────┤◄──────────────────────────────┤
//	   ├─ Request, at half the lifetime ────►│   renews it
//	   │◄───────────────── Hint: up, down ───┤   how much is spare, as it changes
//	   ├─ Release ──────────────────────────►│
//
// The borrower's static key is that of its WireGuard interface, so a lender
// allows somebody by the public key that wg show prints. One whose key the
// lender does not know yet sends a Redeem before its Request, which shows that
// it has an invitation (Code); from then on the invitation is that key's.
//
// A Request that comes from another address than before moves the lease there,
// once the token sent to that address has come back: nobody can point a lease
// at an address that is not his. When a lender ends a lease by itself it says
// so by a Refuse with ID 0.
//
// # Format
//
// A message is the plaintext of a sealed datagram of type 0xB1, as package wire
// draws it: path u8, always 255 here, then frames of type u8, length u16 and
// body. Integers are little-endian.
//
//	32 Request  id u32 | lifetime u32 s | token 16 | port u16 | address 4 or 16
//	33 Prove    id u32 | token 16
//	34 Grant    id u32 | lifetime u32 s | rate u64 | left u64
//	35 Refuse   id u32 | reason u8 | text: up to 200 bytes of UTF-8
//	36 Release  (empty)
//	37 Redeem   invitation 8 | proof 16
//	38 Hint     up u64 | down u64
//
// 32, 36 and 37 go to the lender, the others to the borrower. Rate is in bytes per
// second of whole IP packets, 0 for no limit; left the bytes that may still be
// borrowed, 2⁶⁴−1 for no limit; up and down are bytes per second of whole IP
// packets, again 2⁶⁴−1 for no limit. Frames of other types are skipped.
package lease
