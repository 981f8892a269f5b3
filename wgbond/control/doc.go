// Package control agrees on keys for control messages and seals them.
//
// Two parties that know each other from a WireGuard configuration shake hands
// with the very keys that stand there: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s
// over the WireGuard static keys and preshared key (32 zero bytes if there is
// none), under a prologue of our own. So there is no further key
// to manage, a peer in the configuration may bond and nobody else, and no
// message of one service, or of WireGuard itself, means anything in another.
//
//	Initiator                                          Responder
//	   │ Initiate                                          │
//	   ├── initiation: timestamp, payload ───────────────► │ Handle: mac1, load, rate,
//	   │                                                   │   Noise, known peer, time
//	   │ ◄────────────────────── response: payload ────────┤   … now pending
//	   │ Consume → Transport                               │
//	   ├── sealed message ───────────────────────────────► │ Confirm → Accepted: only this
//	   │                                                   │   proves that the peer is there
//	   │ ◄──────────────────────── sealed message ────────►│
//
// and when the responder is under load:
//
//	├── initiation ───────────────────────────────────► │ Handle: no DH, no state,
//	│ ◄────────────────────── cookie reply ─────────────┤   a reply smaller than the question
//	│ Consume → ErrCookie                               │
//	├── initiation with mac2 ─────────────────────────► │ Handle: the address is proven
//
// The package is sans-IO: time, randomness and datagrams come in, datagrams go
// out. No type in it is safe for concurrent use.
//
// # Datagrams
//
// Package wire draws the datagrams; this is how their fields are made. HASH is
// BLAKE2s with 32 bytes of output, MAC(key, x) keyed BLAKE2s with 16.
//
//	mac1   = MAC(HASH("wg-bond mac1 v1" ‖ receiver's public key), all before mac1)
//	mac2   = MAC(cookie, all before mac2), or 16 zero bytes without a cookie
//	cookie = MAC(secret, sender's address 16 ‖ port u16), the secret renewed
//	         every two minutes; the address is IPv6 or IPv4-mapped IPv6
//	sealed cookie = XChaCha20-Poly1305(HASH("wg-bond cookie v1" ‖ responder's
//	         public key), nonce, cookie, additional data: mac1 of the initiation)
//	prologue = Service ‖ the initiator's sender index u32
//	Noise message 1 carries TAI64N timestamp 12 ‖ the caller's payload
//	Noise message 2 carries the responder's sender index u32 ‖ the caller's payload
//
// So both indices are authentic: a hostile relay, whose copy of a handshake
// datagram may well arrive before all others, cannot change them to any effect.
//
// A sealed message is ChaCha20-Poly1305 under the key of its direction (Noise's
// Split), the nonce being four zero bytes and the counter as u64 little-endian,
// the additional data the 16 header bytes. Counters rise by one from 0 and are
// accepted once, within a window of 8,128.
//
// # What an attacker can do
//
// Without the responder's public key: nothing; mac1 fails before any state or
// DH. With it: cause a bounded number of DHs a second, after which only
// addresses that answered a cookie are served, each up to its own limit. A
// replayed initiation fails at its timestamp, or gets the same response again,
// which nobody else can use; it displaces no session, since only the first
// sealed message makes a pending one real. All state is bounded.
package control
