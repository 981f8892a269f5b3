package demo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// overhead is what IPv4 and UDP add to a payload, bytes: links count whole
// packets.
const overhead = 20 + 8

// network carries datagrams between real UDP sockets on the loopback
// interface, over emulated links:
//
//	              front                         flow
//	borrower ── 127.93.0.1:p ══ up ═▶ ◀═ down ══ socket ── server
//
// A front stands for a far address. By which link a datagram goes on from it
// depends on the address it came from, as elsewhere on the device it left by.
// Like a NAT, the network opens a socket towards the far end for every
// source, and takes what comes back there to that source.
type network struct {
	began time.Time
	wake  chan struct{} // has room for one; a token: look at the links again
	done  chan struct{}
	tasks sync.WaitGroup

	mu     sync.Mutex // never held over I/O
	links  []*sim.Link[datagram]
	conns  []*net.UDPConn
	closed bool
}

// datagram is on its way over a link.
type datagram struct {
	payload []byte
	from    *net.UDPConn   // the socket to send it on from
	to      netip.AddrPort // the zero AddrPort: where from is connected to
}

// hop is a link in both directions; up is away from the borrower.
type hop struct {
	network  *network
	up, down *sim.Link[datagram]
}

func newNetwork() *network {
	n := &network{began: time.Now(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	n.tasks.Go(n.run)
	return n
}

// close closes all sockets and waits until nothing runs any more.
func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for _, c := range n.conns {
		_ = c.Close() // nothing is buffered in a UDP socket
	}
	n.mu.Unlock()
	close(n.done)
	n.tasks.Wait()
}

// addHop adds a link to the network.
func (n *network) addHop(up, down sim.LinkConfig) (*hop, error) {
	h := &hop{network: n}
	var err error
	if h.up, err = sim.NewLink[datagram](up); err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	if h.down, err = sim.NewLink[datagram](down); err != nil {
		return nil, fmt.Errorf("downlink: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = append(n.links, h.up, h.down)
	return h, nil
}

// received is how many bytes (whole packets) came down the hop so far.
func (h *hop) received() uint64 {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	return h.down.Stats().DeliveredBytes
}

// publish opens a front for the socket at target, at a free port of host.
// Datagrams take the hop that routes has for their source; others are
// dropped.
func (n *network) publish(host netip.Addr, target netip.AddrPort, routes map[netip.Addr]*hop) (netip.AddrPort, error) {
	front, err := n.open(func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
	})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("an address of the emulated network: %w", err)
	}
	n.tasks.Go(func() { n.serveFront(front, target, routes) })
	return front.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// open opens a socket that close will close.
func (n *network) open(dial func() (*net.UDPConn, error)) (*net.UDPConn, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	n.conns = append(n.conns, conn)
	return conn, nil
}

// serveFront takes datagrams from the borrower's side to the far side.
func (n *network) serveFront(front *net.UDPConn, target netip.AddrPort, routes map[netip.Addr]*hop) {
	flows := map[netip.AddrPort]*net.UDPConn{}
	receive(front, func(payload []byte, source netip.AddrPort) {
		h := routes[source.Addr()]
		if h == nil {
			return // no link leads here from there, as with a cable that isn't plugged in
		}
		flow := flows[source]
		if flow == nil {
			var err error
			flow, err = n.open(func() (*net.UDPConn, error) {
				local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(source.Addr(), 0))
				return net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(target))
			})
			if err != nil {
				return // closing, or out of sockets: the datagram is lost
			}
			flows[source] = flow
			n.tasks.Go(func() {
				receive(flow, func(payload []byte, _ netip.AddrPort) {
					n.push(h.down, datagram{payload, front, source})
				})
			})
		}
		n.push(h.up, datagram{payload: payload, from: flow})
	})
}

// receive calls f with a copy of every datagram until conn is closed.
func receive(conn *net.UDPConn, f func(payload []byte, source netip.AddrPort)) {
	buf := make([]byte, 1<<16)
	for {
		size, source, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for something sent earlier: the far socket is gone
		}
		f(append([]byte(nil), buf[:size]...), source)
	}
}

// push sends a datagram over a link, which may drop it.
func (n *network) push(link *sim.Link[datagram], d datagram) {
	n.mu.Lock()
	link.Push(time.Since(n.began), len(d.payload)+overhead, d)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run hands on what has arrived at the end of its link.
func (n *network) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var arrived []datagram
	for {
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.done:
			return
		}
		arrived = arrived[:0]
		next := sim.Never
		n.mu.Lock()
		now := time.Since(n.began)
		for _, link := range n.links {
			for d, _, ok := link.Pop(now); ok; d, _, ok = link.Pop(now) {
				arrived = append(arrived, d)
			}
			next = min(next, link.Next())
		}
		n.mu.Unlock()
		for _, d := range arrived {
			// An error is a lost datagram: its receiver has closed.
			if d.to.IsValid() {
				_, _ = d.from.WriteToUDPAddrPort(d.payload, d.to)
			} else {
				_, _ = d.from.Write(d.payload)
			}
		}
		if next < sim.Never {
			timer.Reset(next - time.Since(n.began))
		}
	}
}
