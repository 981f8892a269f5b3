// Package conn bonds wireguard-go's packets: a conn.Bind around the engine.
//
// One Bind plays both roles. Peers with an endpoint are dialled, by a socket
// for each path, bound to its device. Other peers, and plain ones, come to the
// listening sockets. Whoever does not bond is served as stock WireGuard serves.
//
//	    wireguard-go
//	Send │        ▲ ReceiveFunc (one)
//	     │        │ copies, up to 128 a call
//	     │     [queue] ◄───────────────┬───────────────────────┐ push
//	     ▼        ▲                    │                       │
//	Endpoint →    │ Deliver            │ Deliver               │ plain
//	which session?│                    │                       │
//	     ├──► mux.Dialled         mux.Session (served)         │
//	     │     engine, mutex       engine, mutex               │
//	     │      │       ▲           │      ▲                   │
//	     │  flusher   keeper    flusher    └─── mux.Server ────┤
//	     │  per path  per path  per path         reader per listening socket
//	     │      ▼       │           ▼            ▲             │
//	     │   socket per path        listening sockets, v4, v6 ─┘
//	     └── plain ────────────────►
//
// # Locks
//
// In the order in which they are taken:
//
//	Bind.mu            Open, Close, SetMark, SetPeers: never the packets' way
//	Server.life        Start, Stop, Close, Revoke
//	Dialled.mu         its paths
//	dialPath.mu        one path's socket and state
//	Server.handsMu     handshakes, and the establishing of sessions
//	Session.mu         the engine; held for a batch, never over I/O
//	leaseKeeper.mu     a leaf: what a relay has granted
//	Server.mu          a leaf: who has which address and index
//	queue.mu, mux's copies.mu, plainMu, allowedMu, configuredMu   leaves
//
// Send and ReceiveFunc take Session.mu and queue.mu only; which session a
// datagram belongs to they find by atomic loads.
package conn
