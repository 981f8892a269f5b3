// Package shim is the engine room of "wg-bond serve": it stands before an
// unmodified WireGuard, the kernel's or any other, and joins what bonded
// clients send over several paths.
//
//	internet                        shim                             WireGuard
//	               ┌──────────────────────────────────────────┐
//	bonded A ═══╗  │  mux.Server   session A: reorder ──► 127.64.…a:p ──┐
//	        ════╬══╪► :51820  ───►            schedule ◄──             ├─► 127.0.0.1:51821
//	bonded B ═══╝  │              session B           ◄─► 127.64.…b:p ──┤
//	stock C  ──────┼►             flow C              ◄─► 127.128.…c:x ─┘
//	               └──────────────────────────────────────────┘
//
// Every client has an upstream socket of its own, with a loopback address of
// its own, so that WireGuard tells them apart, limits each by itself, and
// answers to the right one. A bonded client's address is made of its public
// key and does not change over a restart of the shim: WireGuard notices
// nothing. A plain client's is made of its IP address.
//
// Datagrams pass byte for byte. What is not WireGuard's never gets upstream:
// session control ends here, all else is dropped and counted.
//
// # Goroutines
//
//	reader per public socket     mux.Server: sort, engine, hand over
//	reader per upstream socket   a client's downlink into Session.Send, or out plainly
//	flusher per session's path   mux.Session
//	timer per session            mux.Session
//	handshakes, two sweepers     one each
//
// Shim.mu and flows.mu are taken after all of mux's locks (package conn lists
// them) and are held over no I/O but the opening of an upstream socket.
package shim
