package demo

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

// tunnelMTU is WireGuard's usual one.
const tunnelMTU = 1420

// queueLength is how many packets may wait between the stack and WireGuard,
// twice a Linux device's.
const queueLength = 2000

// netstack is a TCP/IP stack of this process with one IPv4 address, and the
// TUN device that WireGuard sees of it.
//
// It stands in for wireguard-go's own tun/netstack, which lets no one choose
// TCP's settings. With gVisor's own ones a download over a link with a short
// queue can crawl for many seconds after a burst of losses, one packet per
// retransmission timeout, and any speed-up would flatter us.
type netstack struct {
	stack  *stack.Stack
	link   *channel.Endpoint
	events chan tun.Event
	closed context.Context
	close  context.CancelFunc
}

const nic = 1

func newNetstack(address netip.Addr) (*netstack, error) {
	n := &netstack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		}),
		link:   channel.New(queueLength, tunnelMTU, ""),
		events: make(chan tun.Event, 1),
	}
	n.closed, n.close = context.WithCancel(context.Background())

	sack := tcpip.TCPSACKEnabled(true)
	noRACK := tcpip.TCPRecovery(0)
	cubic := tcpip.CongestionControlOption("cubic")
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &noRACK, &cubic} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return nil, fmt.Errorf("netstack: TCP option %T: %v", option, err)
		}
	}
	if err := n.stack.CreateNIC(nic, n.link); err != nil {
		return nil, fmt.Errorf("netstack: create the device: %v", err)
	}
	protocolAddress := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(address.As4()).WithPrefix(),
	}
	if err := n.stack.AddProtocolAddress(nic, protocolAddress, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("netstack: address %v: %v", address, err)
	}
	n.stack.AddRoute(tcpip.Route{Destination: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{})}.Subnet(), NIC: nic})
	n.events <- tun.EventUp
	return n, nil
}

// dial opens a TCP connection.
func (n *netstack) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, n.stack, fullAddress(to), ipv4.ProtocolNumber)
}

// listen waits for TCP connections.
func (n *netstack) listen(at netip.AddrPort) (net.Listener, error) {
	return gonet.ListenTCP(n.stack, fullAddress(at), ipv4.ProtocolNumber)
}

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// The rest is tun.Device.

// Read takes packets that the stack sends, as many as wait.
func (n *netstack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	packet := n.link.ReadContext(n.closed)
	if packet == nil {
		return 0, os.ErrClosed
	}
	count := 0
	for {
		view := packet.ToView()
		packet.DecRef()
		sizes[count] = copy(bufs[count][offset:], view.AsSlice())
		view.Release()
		if count++; count == len(bufs) {
			return count, nil
		}
		if packet = n.link.Read(); packet == nil {
			return count, nil
		}
	}
}

// Write gives the stack packets that came.
func (n *netstack) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[offset:])})
		n.link.InjectInbound(ipv4.ProtocolNumber, packet)
		packet.DecRef()
	}
	return len(bufs), nil
}

func (n *netstack) Close() error {
	n.close()
	n.stack.Destroy()
	close(n.events)
	return nil
}

func (n *netstack) File() *os.File           { return nil }
func (n *netstack) MTU() (int, error)        { return tunnelMTU, nil }
func (n *netstack) Name() (string, error)    { return "netstack", nil }
func (n *netstack) Events() <-chan tun.Event { return n.events }
func (n *netstack) BatchSize() int           { return conn.IdealBatchSize }
