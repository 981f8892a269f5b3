// Package mux is the shell around the engine that Bind and shim share: the
// goroutines, the clock, the sockets. The engine (wgbond.Session) is sans-IO;
// here it meets the world.
//
//	 Dialled (client's role)                 Server (server's role)
//	 keeper+reader per path                  reader per listening socket
//	     │ batch                                 │ batch, sorted by address and index
//	     ▼                                       ▼
//	┌─ Session ──────────────────────────────────────────────────┐
//	│ lock · engine.Take × batch, Advance · Deliver · Ready      │ ◄── timer: Advance
//	│                         │              │                   │ ◄── Send (WireGuard's)
//	└─────────────────────────┼──────────────┼───────────────────┘
//	                          ▼              ▼ wake
//	            Sink.Deliver (no lock)   flusher per path:
//	            one goroutine at a time    lock · Transmit · unlock
//	                                       WriteBatch
//	                                       lock · Transmitted · unlock
//
// # Who owns what
//
//   - The engine belongs to Session.mu, which is held for a batch and never
//     over I/O. Whoever has called the engine takes what came of it (end):
//     deliveries, the paths that are ready, the time of the next call.
//   - Transmit and Transmitted of a path belong to its flusher, a goroutine
//     that does nothing else. So a socket that blocks, as a modem's does when
//     its queue stands still, stops its own path and nothing else: not
//     wireguard-go's sender, not the timer, not another path's reader.
//   - Handing over to the Sink belongs to one goroutine at a time, whoever comes
//     first; the others leave theirs in the inbox and go on.
//   - A buffer belongs to the Pool, or to the reader that lent it, or to the
//     engine after Receive, or to the Sink after Deliver. What Transmit gives
//     is the engine's still, until Transmitted.
//   - A path's socket belongs to its keeper, which opens and closes it; others
//     may close it to have it opened anew. Listening sockets belong to the
//     Server from Start on.
//
// Everything is bounded: sessions, waiting handshakes, datagrams that wait for
// the Sink, addresses remembered. Every drop is counted by its Reason.
package mux
