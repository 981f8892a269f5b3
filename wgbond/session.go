// Package wgbond is the bonding engine: it joins a borrower and a server into
// one session over several paths.
//
// The engine is sans-IO. It is handed datagrams and the time, and answers
// with what to deliver, what to send where, and when to call again. It never
// reads a clock, opens a socket or starts a goroutine.
package wgbond

import (
	"io"
	"net/netip"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Never is the time of an event that will not come.
const Never = time.Duration(1<<63 - 1)

// MaxDatagram is the largest UDP payload the engine handles, bytes.
const MaxDatagram = 2048

// Remote is where a path leads, as a server learns it. The engine only
// compares and returns it.
type Remote struct {
	Peer  netip.AddrPort
	Local netip.Addr // the server's own address that was written to
}

// Pool lends the buffers that datagrams travel in.
type Pool interface {
	Get() []byte  // len and cap ≥ MaxDatagram
	Put(b []byte) // b[:0] is what Get returned
}

// Role tells the two ends of a session apart. Only the client starts
// handshakes and attaches paths; all else is symmetrical.
type Role uint8

// The roles.
const (
	Client Role = iota
	Server
)

// Config makes a Session.
type Config struct {
	Role      Role
	Scheduler schedulers.Scheduler
	Pool      Pool
	// Initiator dials the server's shim; clients only. While it gets no
	// answer the session is plain WireGuard with fail-over.
	Initiator *control.Initiator
	// Wall gives the wall clock for the handshake's timestamp, Rand the
	// randomness for nonces.
	Wall func() time.Time
	Rand io.Reader
}

// PathConfig is what is known of a path before it is used.
type PathConfig struct {
	Name            string
	Backup, Metered bool
	Weight          float64 // relative; 0 means 1
	MaxRate         float64 // bytes per second; 0: no limit
	MTU             int     // largest UDP payload, bytes; 0: unknown
	// Overhead is the size of the IP and UDP headers: 28 (IPv4) or 48 (IPv6).
	Overhead int
}

// Stray is a datagram for an address that is not a path's (yet).
type Stray struct {
	To       Remote
	Datagram []byte
}

// Session is one end of a bond: a sending and a receiving half. It is not
// safe for concurrent use; conn holds a mutex around it, never over I/O.
//
// Buffers: Receive takes ownership of the datagram it is given, Deliver gives
// ownership of what it returns; both are Pool buffers. Send copies. What
// Transmit returns is borrowed until Transmitted.
type Session struct{}

// New makes a session with no paths.
func New(now time.Duration, cfg Config) *Session { panic("skeleton") }

// AddPath adds a path at a client. The id is the lowest free one.
func (s *Session) AddPath(now time.Duration, cfg PathConfig) (schedulers.PathID, error) {
	panic("skeleton")
}

// RemovePath withdraws a path at a client. What was in flight on it is sent
// again elsewhere.
func (s *Session) RemovePath(now time.Duration, id schedulers.PathID) { panic("skeleton") }

// PathDown tells that path id's socket failed (no route, device gone): it is
// treated as suspect at once and probed.
func (s *Session) PathDown(now time.Duration, id schedulers.PathID) { panic("skeleton") }

// Establish gives the session new keys: a server calls it when the first
// sealed message opens under them. (A client's session does so by itself.)
func (s *Session) Establish(now time.Duration, t *control.Transport) { panic("skeleton") }

// Send takes WireGuard datagrams from the local peer. It copies them; those
// that find no room in the queue are dropped and counted.
func (s *Session) Send(now time.Duration, pkts [][]byte) { panic("skeleton") }

// Receive takes one datagram that arrived by path id.
func (s *Session) Receive(now time.Duration, id schedulers.PathID, pkt []byte) { panic("skeleton") }

// ReceiveStray takes, at a server, a datagram of this session's (a sealed
// message by its receiver index, a data message by its WireGuard index, see
// OwnsIndex) from an address that is no path's.
func (s *Session) ReceiveStray(now time.Duration, from Remote, pkt []byte) { panic("skeleton") }

// OwnsIndex reports whether data messages with this receiver index arrived
// by one of the session's paths before.
func (s *Session) OwnsIndex(index uint32) bool { panic("skeleton") }

// Advance does what is due at now: call it when Next has come.
func (s *Session) Advance(now time.Duration) { panic("skeleton") }

// Next is when Advance must be called, or Never. It may change with every
// other call.
func (s *Session) Next() time.Duration { panic("skeleton") }

// Deliver appends the datagrams for the local WireGuard, in order.
func (s *Session) Deliver(out [][]byte) [][]byte { panic("skeleton") }

// Ready has a bit set for each path with datagrams to transmit now.
func (s *Session) Ready() uint32 { panic("skeleton") }

// Transmit appends, to at most cap(out), the datagrams to send by path id
// now, in order. They are borrowed until Transmitted(id); there is at most
// one borrowing per path at a time.
func (s *Session) Transmit(now time.Duration, id schedulers.PathID, out [][]byte) [][]byte {
	panic("skeleton")
}

// Transmitted ends the borrowing that Transmit began on path id.
func (s *Session) Transmitted(now time.Duration, id schedulers.PathID) { panic("skeleton") }

// Strays appends datagrams for addresses that are not paths. They are the
// caller's, not Pool buffers.
func (s *Session) Strays(out []Stray) []Stray { panic("skeleton") }

// Remote tells, at a server, where path id leads; false if it is not
// attached. RemotesVersion changes whenever any answer of Remote does.
func (s *Session) Remote(id schedulers.PathID) (Remote, bool) { panic("skeleton") }

// RemotesVersion changes whenever an answer of Remote does.
func (s *Session) RemotesVersion() uint64 { panic("skeleton") }

// Bonded reports whether the session has keys and at least one attached path.
func (s *Session) Bonded() bool { panic("skeleton") }

// Close says farewell on every path; transmit what is Ready afterwards.
func (s *Session) Close(now time.Duration, reason wire.CloseReason) { panic("skeleton") }

// Status describes the session for people and programs.
func (s *Session) Status(now time.Duration) Status { panic("skeleton") }
