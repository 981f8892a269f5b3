// Package netstack is a TCP/IP stack of this process and the TUN device that
// WireGuard sees of it, for tests and the demo: no root, no interfaces.
//
//	application ── Dial, Listen ── Stack ── Read, Write ── wireguard-go
//
// It stands in for wireguard-go's own tun/netstack, which lets nobody choose
// TCP's settings. That one's loss recovery (RACK, gVisor issue 9778) sends one
// packet per retransmission timeout after a burst of losses: a download of
// 3 MB over 3.6 Mbit/s with a short queue took 19 to 30 s now and then, instead
// of 7.4. What such a TCP gains from bonding is no measure of bonding.
package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	nic         = 1
	mtu         = 1420 // WireGuard's usual one
	queueLength = 4096 // packets from the stack to WireGuard
)

// Stack is a TCP/IPv4 stack with one address. It is a tun.Device.
type Stack struct {
	stack *stack.Stack
	link  *channel.Endpoint
	up    chan tun.Event
	life  context.Context
	end   context.CancelFunc
}

// New makes a stack with an IPv4 address.
func New(addr netip.Addr) (*Stack, error) {
	s := &Stack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		}),
		link: channel.New(queueLength, mtu, ""),
		up:   make(chan tun.Event, 1),
	}
	s.life, s.end = context.WithCancel(context.Background())

	sack, noRACK := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0)
	cubic := tcpip.CongestionControlOption("cubic") // as Linux has it
	everywhere, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))
	if err != nil {
		return nil, fmt.Errorf("netstack: %w", err)
	}
	for _, err := range []tcpip.Error{
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &noRACK),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &cubic),
		s.stack.CreateNIC(nic, s.link),
		s.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddrFrom4(addr.As4()).WithPrefix(),
		}, stack.AddressProperties{}),
	} {
		if err != nil {
			return nil, fmt.Errorf("netstack: %v: %v", addr, err)
		}
	}
	s.stack.AddRoute(tcpip.Route{Destination: everywhere, NIC: nic})
	s.up <- tun.EventUp
	return s, nil
}

// Dial opens a TCP connection.
func (s *Stack) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, s.stack, full(to), ipv4.ProtocolNumber)
}

// Listen takes TCP connections; port 0 is any.
func (s *Stack) Listen(at netip.AddrPort) (net.Listener, error) {
	return gonet.ListenTCP(s.stack, full(at), ipv4.ProtocolNumber)
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// Read gives the packets that the stack sends, as many as wait.
func (s *Stack) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	p := s.link.ReadContext(s.life)
	if p == nil {
		return 0, os.ErrClosed
	}
	for p != nil {
		view := p.ToView()
		sizes[n] = copy(bufs[n][offset:], view.AsSlice())
		view.Release()
		p.DecRef()
		if n++; n == len(bufs) {
			break
		}
		p = s.link.Read()
	}
	return n, nil
}

// Write takes packets for the stack.
func (s *Stack) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[offset:])})
		s.link.InjectInbound(ipv4.ProtocolNumber, p)
		p.DecRef()
	}
	return len(bufs), nil
}

// Close ends the stack and its connections.
func (s *Stack) Close() error {
	if s.life.Err() == nil {
		s.end()
		close(s.up)
		s.link.Close()
		s.stack.Destroy()
	}
	return nil
}

// File is none.
func (s *Stack) File() *os.File { return nil }

// MTU is the largest packet, bytes.
func (s *Stack) MTU() (int, error) { return mtu, nil }

// Name is of no meaning.
func (s *Stack) Name() (string, error) { return fmt.Sprintf("stack%p", s), nil }

// Events has one: up.
func (s *Stack) Events() <-chan tun.Event { return s.up }

// BatchSize is how many packets Read gives at once.
func (s *Stack) BatchSize() int { return conn.IdealBatchSize }
