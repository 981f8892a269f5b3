package wgtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Stack is a TCP stack and the tun.Device that leads to it. It differs from
// wireguard-go's tun/netstack in its TCP settings: that one's RACK recovers
// what an outage costs at ten segments a second, which took the tests of
// outages 45 s (gVisor issue 9778).
type Stack struct {
	stack *stack.Stack
	link  *channel.Endpoint
	up    chan tun.Event
	life  context.Context
	end   context.CancelFunc
}

const (
	nic = 1
	mtu = 1420
)

// NewStack makes a stack with one IPv4 address.
func NewStack(t testing.TB, addr netip.Addr) *Stack {
	t.Helper()
	s := &Stack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		}),
		link: channel.New(4096, mtu, ""),
		up:   make(chan tun.Event, 1),
	}
	s.life, s.end = context.WithCancel(context.Background())
	sack, noRACK := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0)
	for _, err := range []tcpip.Error{
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &noRACK),
		s.stack.CreateNIC(nic, s.link),
		s.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddrFrom4(addr.As4()).WithPrefix(),
		}, stack.AddressProperties{}),
	} {
		if err != nil {
			t.Fatalf("TCP stack of %v: %v", addr, err)
		}
	}
	everywhere, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))
	if err != nil {
		t.Fatal(err)
	}
	s.stack.AddRoute(tcpip.Route{Destination: everywhere, NIC: nic})
	s.up <- tun.EventUp
	return s
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// Dial opens a TCP connection.
func (s *Stack) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, s.stack, full(to), ipv4.ProtocolNumber)
}

// Listen takes TCP connections; port 0 is any.
func (s *Stack) Listen(at netip.AddrPort) (net.Listener, error) {
	return gonet.ListenTCP(s.stack, full(at), ipv4.ProtocolNumber)
}

// File is none.
func (s *Stack) File() *os.File { return nil }

// Read gives the packets that the stack sends.
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

// MTU is the largest packet, bytes.
func (s *Stack) MTU() (int, error) { return mtu, nil }

// Name is of no meaning.
func (s *Stack) Name() (string, error) { return fmt.Sprintf("stack%p", s), nil }

// Events has one: up.
func (s *Stack) Events() <-chan tun.Event { return s.up }

// BatchSize is how many packets Read gives and Write takes at once.
func (s *Stack) BatchSize() int { return 128 }

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
