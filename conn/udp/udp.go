package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// DefaultBuffer is the size asked for a socket's buffers where Config says 0,
// bytes. At 1 Gbit/s it holds 33 ms.
const DefaultBuffer = 4 << 20

// Config says how to open a Socket.
type Config struct {
	// Local is the address to bind to; its family is the socket's. Port 0
	// takes any free port, an unspecified address (0.0.0.0, ::) all of the
	// family's addresses. An IPv6 socket never takes IPv4.
	Local netip.AddrPort

	// Device binds the socket to a network device by name: packets leave and
	// arrive by it alone, whatever the routing rules say. Empty: any device.
	Device string

	// Mark is the fwmark of the packets sent. It needs CAP_NET_ADMIN, unless 0.
	Mark uint32

	// RecvBuffer and SendBuffer are sizes in bytes to ask of the kernel, which
	// may grant less to the unprivileged. 0: DefaultBuffer; negative: leave
	// the system's default.
	RecvBuffer, SendBuffer int

	// PacketInfo has ReadBatch report to which local address each datagram
	// was sent, so that a multi-homed server can answer from it.
	PacketInfo bool

	// Background has packets leave behind all others: they carry the DSCP LE (RFC
	// 8622), and the device's queue, if it has classes, puts them into the last.
	// Systems that cannot do that ignore it.
	Background bool

	// NoOffload keeps to single datagrams (no GSO, no GRO), for devices whose
	// offloads are broken and for comparison.
	NoOffload bool
}

// dscpLE is the DSCP for lower effort, in its place in the TOS byte.
const dscpLE = 1 << 2

// Message is one datagram that ReadBatch received.
type Message struct {
	// Buf is, before ReadBatch, the space for the datagram (its length
	// counts, not its capacity) and, after it, the datagram, at the start of
	// the same space. A caller that keeps its buffers must therefore restore
	// the length before the next call.
	Buf []byte

	// Peer is who sent the datagram. IPv4 addresses are never mapped to IPv6;
	// link-local IPv6 addresses carry the device's name as their zone.
	Peer netip.AddrPort

	// Local is the address the datagram was sent to; the zero Addr unless
	// Config.PacketInfo.
	Local netip.Addr
}

// Listen opens a socket.
//
// Outside Linux, Mark must be 0; Device works on macOS and Windows only, and
// elsewhere fails with errors.ErrUnsupported; PacketInfo can report only the
// address that the socket is bound to, and WriteBatch's from is disregarded.
func Listen(cfg Config) (*Socket, error) {
	if !cfg.Local.IsValid() {
		return nil, errors.New("udp: listen: Config.Local is the zero AddrPort; it must name the family, as 0.0.0.0:0 or [::]:0 do")
	}
	cfg.Local = netip.AddrPortFrom(cfg.Local.Addr().Unmap(), cfg.Local.Port())
	if cfg.RecvBuffer == 0 {
		cfg.RecvBuffer = DefaultBuffer
	}
	if cfg.SendBuffer == 0 {
		cfg.SendBuffer = DefaultBuffer
	}
	v6, network := cfg.Local.Addr().Is6(), "udp4"
	if v6 {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = setOptions(fd, v6, &cfg) }); cerr != nil {
			return cerr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, cfg.Local.String())
	if err != nil {
		on := ""
		if cfg.Device != "" {
			on = " on device " + cfg.Device
		}
		return nil, fmt.Errorf("udp: listen at %v%s: %w", cfg.Local, on, err)
	}
	s, err := newSocket(pc.(*net.UDPConn), v6, &cfg)
	if err != nil {
		_ = pc.Close() // the first error is the one to tell
		return nil, fmt.Errorf("udp: listen at %v: %w", cfg.Local, err)
	}
	return s, nil
}

// LocalAddr is the address and port that the socket is bound to.
func (s *Socket) LocalAddr() netip.AddrPort {
	a := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Close closes the socket. Calls blocked in ReadBatch or WriteBatch return an
// error that is net.ErrClosed, and so do all later ones.
func (s *Socket) Close() error { return s.conn.Close() }

// destination checks that a datagram can go to an address from a socket of
// this family and returns it unmapped.
func destination(to netip.AddrPort, v6 bool) (netip.AddrPort, error) {
	a := to.Addr().Unmap()
	switch {
	case !a.IsValid() || to.Port() == 0:
		return to, &Error{Op: "send", Peer: to, Err: errNoDestination}
	case a.Is6() != v6:
		return to, &Error{Op: "send", Peer: to, Err: ErrFamily}
	}
	return netip.AddrPortFrom(a, to.Port()), nil
}
