package conn

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
)

// flood is a TUN device on which an application sends full-sized packets
// without listening to anybody, as fast as they are read.
type flood struct {
	packet []byte
	want   chan int // so many more are to be read
	left   int      // owned by Read
	end    sync.Once
	closed chan struct{}
	events chan tun.Event
}

func newFlood(from, to netip.Addr) *flood {
	p := make([]byte, 1380)
	p[0], p[8], p[9] = 0x45, 64, 17 // IPv4, hops, UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	return &flood{packet: p, want: make(chan int, 1), closed: make(chan struct{}), events: make(chan tun.Event)}
}

func (f *flood) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if f.left == 0 {
		select {
		case f.left = <-f.want:
		case <-f.closed:
			return 0, os.ErrClosed
		}
	}
	n := min(f.left, len(bufs))
	for i := range n {
		sizes[i] = copy(bufs[i][offset:], f.packet)
	}
	f.left -= n
	return n, nil
}

func (f *flood) Close() error {
	f.end.Do(func() { close(f.closed); close(f.events) })
	return nil
}

func (f *flood) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }
func (f *flood) File() *os.File                          { return nil }
func (f *flood) MTU() (int, error)                       { return 1420, nil }
func (f *flood) Name() (string, error)                   { return "flood", nil }
func (f *flood) Events() <-chan tun.Event                { return f.events }
func (f *flood) BatchSize() int                          { return mux.BatchSize }

// TestNoHiddenQueue: whatever wireguard-go reads from its TUN comes to the bond
// at once, though no path takes anything, and waits there, where CoDel sees it,
// within the bound. A Send that waited for the paths would leave it in
// wireguard-go, which has room for some hundred thousand packets and drops none.
func TestNoHiddenQueue(t *testing.T) {
	const (
		packets = 40_000
		// The send queue takes 4 MB; what was under way, and copies of it, come
		// back to it when the paths fall silent. The history holds no more than
		// this of both, bytes.
		bound = 2 * 8192 * 1500
	)
	net := wgtest.NewNet()
	serverBind, clientBind := newBind(t, nil), bindOn(t, net, "a", "b")
	server := wgtest.NewHost(t, serverBind, wgtest.Key(t), "10.7.0.1")
	key, addr := wgtest.Key(t), netip.MustParseAddr("10.7.0.2")
	f := newFlood(addr, server.Addr)
	dev := device.NewDevice(f, clientBind, device.NewLogger(device.LogLevelError, "(flood) "))
	t.Cleanup(dev.Close)
	client := &wgtest.Host{Device: dev, Key: key, Addr: addr}
	client.Set(t, "private_key="+hex.EncodeToString(key[:]))

	server.AddPeer(t, client, "")
	if err := serverBind.SetPeers(server.Key, []Peer{{PublicKey: key.Public()}}); err != nil {
		t.Fatal(err)
	}
	p := &pair{server: server, client: client, serverBind: serverBind, clientBind: clientBind, net: net, port: server.Up(t)}
	client.AddPeer(t, server, wgtest.Loopback(p.port))
	p.dial(t)
	if err := dev.Up(); err != nil {
		t.Fatal(err)
	}
	p.bonded(t, 2)
	f.want <- 1 // WireGuard's own handshake
	wgtest.Eventually(t, "the first packet arrives", func() bool { return sessionOf(t, serverBind).Got > 0 })

	net.Socket(t, "a").Block()
	net.Socket(t, "b").Block()
	before := sessionOf(t, clientBind).Sent
	f.want <- packets
	wgtest.Eventually(t, "the bond has all that was read", func() bool {
		s := sessionOf(t, clientBind)
		if s.Queue > bound {
			t.Fatalf("%d bytes wait, the bound is %d", s.Queue, bound)
		}
		return s.Sent >= before+packets
	})
	if s := sessionOf(t, clientBind); s.Drops["queue-full"] == 0 {
		t.Errorf("nothing was dropped of %d bytes, and counted, though no path took any: %+v", packets*len(f.packet), s)
	}
}
