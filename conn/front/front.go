// Package front bonds a WireGuard that is not ours to change, at the end that
// dials: the kernel's, Windows' driver. It is told loopback addresses in place of
// its peers' endpoints; what it sends there travels by a conn.Bind.
//
//	WireGuard            Front                       peers
//	         ┌──────────────────────────────────┐
//	   ──────┼► 127.0.0.1:a ─┐                  │
//	         │               ├─ conn.Bind ══════╪═══ paths
//	   ──────┼► 127.0.0.1:b ─┘                  │
//	         └──────────────────────────────────┘
//
// Datagrams pass byte for byte. A peer without an endpoint cannot be reached this
// way: for peers who dial us, package shim is the right one.
//
// # Goroutines
//
// One reader for each loopback socket, which hands to the Bind, and one for the
// Bind's receive function, which writes to the sockets. There are no locks.
package front

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Front is a running front. It owns its Bind.
type Front struct {
	bind  *conn.Bind
	doors []*door
	// doorOf finds the door of an endpoint that the Bind names; it belongs to
	// the goroutine that receives.
	doorOf map[wgconn.Endpoint]*door
	strays atomic.Uint64
	wg     sync.WaitGroup
}

// door is where WireGuard finds one peer.
type door struct {
	peer netip.AddrPort
	ep   wgconn.Endpoint
	sock *udp.Socket
	// wireguard is where WireGuard was last heard.
	wireguard atomic.Pointer[netip.AddrPort]
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// New opens bind, which must be closed, and a door for every peer that has an
// endpoint. private is WireGuard's own private key.
func New(bind *conn.Bind, private control.Key, peers []conn.Peer) (*Front, error) {
	f := &Front{bind: bind, doorOf: map[wgconn.Endpoint]*door{}}
	if err := f.open(private, peers); err != nil {
		return nil, errors.Join(fmt.Errorf("front: %w", err), f.Close())
	}
	return f, nil
}

func (f *Front) open(private control.Key, peers []conn.Peer) error {
	for _, p := range peers {
		if !p.Endpoint.IsValid() {
			continue
		}
		ep, err := f.bind.ParseEndpoint(p.Endpoint.String())
		if err != nil {
			return err
		}
		sock, err := udp.Listen(udp.Config{Local: netip.AddrPortFrom(loopback, 0)})
		if err != nil {
			return err
		}
		f.doors = append(f.doors, &door{peer: p.Endpoint, ep: ep, sock: sock})
	}
	if err := f.bind.SetPeers(private, peers); err != nil {
		return err
	}
	receive, _, err := f.bind.Open(0)
	if err != nil {
		return err
	}
	for _, fn := range receive { // the Bind has one, or doorOf would need a lock
		f.wg.Go(func() { f.receive(fn) })
	}
	for _, d := range f.doors {
		f.wg.Go(func() { f.send(d) })
	}
	return nil
}

// Endpoint is what WireGuard must be told in place of a peer's endpoint; invalid
// if no peer has that endpoint.
func (f *Front) Endpoint(peer netip.AddrPort) netip.AddrPort {
	for _, d := range f.doors {
		if d.peer == peer {
			return d.sock.LocalAddr()
		}
	}
	return netip.AddrPort{}
}

// Strays counts the datagrams that came from nobody's endpoint, or before
// WireGuard was heard.
func (f *Front) Strays() uint64 { return f.strays.Load() }

// Status describes the Bind.
func (f *Front) Status() conn.Status { return f.bind.Status() }

// Close says farewell to the peers and closes everything.
func (f *Front) Close() error {
	errs := []error{f.bind.Shutdown()}
	for _, d := range f.doors {
		errs = append(errs, d.sock.Close())
	}
	f.wg.Wait()
	return errors.Join(errs...)
}

// send takes from WireGuard.
func (f *Front) send(d *door) {
	ms := make([]udp.Message, mux.BatchSize)
	for i := range ms {
		ms[i].Buf = make([]byte, wgbond.MaxDatagram)
	}
	bufs := make([][]byte, 0, len(ms))
	for {
		n, err := d.sock.ReadBatch(ms)
		if err != nil {
			return // closed; a loopback socket has no other end
		}
		bufs = bufs[:0]
		for i := range ms[:n] {
			bufs = append(bufs, ms[i].Buf)
		}
		if n > 0 {
			if was := d.wireguard.Load(); was == nil || *was != ms[n-1].Peer {
				from := ms[n-1].Peer
				d.wireguard.Store(&from)
			}
			_ = f.bind.Send(bufs, d.ep) // what fails is counted there; WireGuard bears losses
		}
		for i := range ms[:n] {
			ms[i].Buf = ms[i].Buf[:wgbond.MaxDatagram]
		}
	}
}

// receive takes from the Bind.
func (f *Front) receive(fn wgconn.ReceiveFunc) {
	n := f.bind.BatchSize()
	space, bufs, sizes, eps := make([][]byte, n), make([][]byte, n), make([]int, n), make([]wgconn.Endpoint, n)
	for i := range space {
		space[i] = make([]byte, wgbond.MaxDatagram)
	}
	for {
		n, err := fn(space, sizes, eps)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for begin := 0; begin < n; { // runs of the same endpoint
			end := begin
			for ; end < n && eps[end] == eps[begin]; end++ {
				bufs[end] = space[end][:sizes[end]]
			}
			f.deliver(bufs[begin:end], eps[begin])
			begin = end
		}
	}
}

func (f *Front) deliver(bufs [][]byte, ep wgconn.Endpoint) {
	d := f.find(ep)
	if d == nil || d.wireguard.Load() == nil {
		f.strays.Add(uint64(len(bufs)))
		return
	}
	if sent, _ := d.sock.WriteBatch(bufs, *d.wireguard.Load(), netip.Addr{}); sent < len(bufs) {
		f.strays.Add(uint64(len(bufs) - sent)) // WireGuard is not there
	}
}

// find knows an endpoint by its address, once: the Bind shares them.
func (f *Front) find(ep wgconn.Endpoint) *door {
	if d, ok := f.doorOf[ep]; ok {
		return d
	}
	var found *door
	for _, d := range f.doors {
		if ep.DstToString() == d.peer.String() {
			found = d
		}
	}
	const most = 4096 // of strangers' endpoints
	if len(f.doorOf) >= most {
		clear(f.doorOf)
	}
	f.doorOf[ep] = found
	return found
}
