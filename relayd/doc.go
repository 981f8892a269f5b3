// Package relayd is the lender: it lends its own network link to borrowers
// nearby, forwarding their datagrams to one server each, unread and unchanged.
//
//	             listening sockets                    one socket a lease,
//	             (PacketInfo)                         bound to the lent device
//	borrower A ─┐   ┌──────────┐  lease? shape?  ┌──────┐
//	            ├──►│ listener ├────────────────►│ ring ├─► writer ─► WAN ─► target of A
//	borrower B ─┘   └────┬─────┘  answered?      └──────┘                         │
//	     ▲               │ 0xB1                                                   │
//	     │               ▼                                                        │
//	     │          ┌──────────┐   owns all sessions and leases;                  │
//	     │          │   desk   │   publishes a table address → lease              │
//	     │          └──────────┘                                                  │
//	     └───────────── reader ◄─ only from the target, only WireGuard's shape ◄──┘
//
// A borrower is known by its WireGuard public key and gets nothing before it
// has shaken hands (packages control and relayd/lease) and proven its address.
// What is forwarded is WireGuard's four message types and session control
// (0xB0), to the one target of the lease; before the target has answered, and
// when it has long been silent, only a few packets. So a lender is no open
// relay and no amplifier: to a stranger it says at most one datagram for one,
// hardly larger than his.
//
// # What is lent
//
// Only what the owner of the link leaves: the desk looks at the lent device's
// counters ten times a second while anything is borrowed (package spare) and
// tells each borrower how much that is. Packets of borrowers leave behind all
// others. How much, when and to whom is in packages ledger, when and access;
// every packet is paid for before it goes. While nobody borrows no timer runs.
//
// # Who runs what
//
// Each listening socket has a goroutine; each lease has two; one more, the
// desk, handles the lease protocol and is the only one to make and end leases.
// Forwarders share with it an atomically replaced table and atomic fields of
// the lease: no lock is held over IO. Between a listener and a lease's writer is
// a bounded ring whose slots own their buffers; both sides swap buffers with it,
// so a packet costs no allocation and one copy, the kernel's.
package relayd
