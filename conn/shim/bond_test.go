package shim_test

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// even spreads over all paths alike.
type even struct{}

func (even) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	for c := range p.Classes {
		for _, path := range s.Paths {
			p.Classes[c].Paths[path.ID] = schedulers.PathPlan{Use: true, PerByte: 1, Cap: 1 << 20}
			p.Drain[path.ID] = path.Rate
		}
	}
	p.Valid = time.Hour
}

func newEven() schedulers.Scheduler { return even{} }

// world is a stock server behind a shim and a client that bonds.
type world struct {
	server, client *wgtest.Host
	bind           *conn.Bind
	shim           *shim.Shim
	net            *wgtest.Net // of the client's paths, devices a, b, …
	cfg            shim.Config
}

func newWorld(t *testing.T, paths int, change ...func(*shim.Config)) *world {
	t.Helper()
	w := &world{net: wgtest.NewNet()}
	w.bind = newBind(t, w.net, paths)
	w.build(t, wgtest.Key(t), change...)
	return w
}

// build makes all but the client's Bind.
func (w *world) build(t *testing.T, clientKey control.Key, change ...func(*shim.Config)) {
	t.Helper()
	w.server = wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.1")
	w.client = wgtest.NewHost(t, w.bind, clientKey, "10.7.0.2")
	w.server.AddPeer(t, w.client, "")
	w.cfg = shim.Config{
		Listen:    netip.MustParseAddrPort("127.0.0.1:0"),
		Upstream:  local(w.server.Up(t)),
		Private:   w.server.Key,
		Peers:     []shim.Peer{{PublicKey: w.client.Key.Public()}},
		Scheduler: newEven,
	}
	for _, f := range change {
		f(&w.cfg)
	}
	w.startShim(t)
	w.client.AddPeer(t, w.server, w.cfg.Listen.String())
	if err := w.bind.SetPeers(w.client.Key, []conn.Peer{{PublicKey: w.server.Key.Public(), Endpoint: w.cfg.Listen}}); err != nil {
		t.Fatal(err)
	}
}

func newBind(t *testing.T, net *wgtest.Net, paths int) *conn.Bind {
	t.Helper()
	cfg := conn.Config{Scheduler: newEven, Listen: net.Listen}
	for i := range paths {
		name := string(rune('a' + i))
		cfg.Paths = append(cfg.Paths, mux.PathSpec{Name: name, Device: name})
	}
	b, err := conn.NewBind(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func (w *world) startShim(t *testing.T) {
	t.Helper()
	m, err := shim.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	w.shim = m
	w.cfg.Listen = netip.AddrPortFrom(w.cfg.Listen.Addr(), m.Port()) // the same after a restart
}

// bonded waits until both ends have n working paths.
func (w *world) bonded(t *testing.T, n int) {
	t.Helper()
	wgtest.Eventually(t, "all paths are attached at both ends", func() bool {
		a, b := w.bind.Status(), w.shim.Status()
		return len(a.Peers) == 1 && attached(a.Peers[0].Session.Paths) == n &&
			len(b.Clients) == 1 && attached(b.Clients[0].Session.Paths) == n
	})
}

// TestBond: everything at once, on a bond of two paths.
func TestBond(t *testing.T) {
	w := newWorld(t, 2)
	w.client.Tap.Record()
	w.server.Tap.Record()
	w.client.Up(t)
	w.bonded(t, 2)
	wgtest.Transfer(t, w.client, w.server, true, 8<<20)
	wgtest.Transfer(t, w.client, w.server, false, 8<<20)
	wgtest.CheckIdentical(t, w.client.Tap, w.server.Tap, 5000)
	wgtest.CheckIdentical(t, w.server.Tap, w.client.Tap, 5000)

	st := w.shim.Status()
	if got := w.server.Get(t, "endpoint"); got != st.Clients[0].Upstream.String() {
		t.Errorf("WireGuard sees the client at %v, want its own address %v", got, st.Clients[0].Upstream)
	}
	if got := w.client.Get(t, "endpoint"); got != w.cfg.Listen.String() {
		t.Errorf("the client shows its peer at %v, want %v", got, w.cfg.Listen)
	}
	w.carried(t)
}

// carried waits until both paths have carried their part of downloads. (One
// that a busy machine was late to serve is left alone for a while.)
func (w *world) carried(t *testing.T) {
	t.Helper()
	wgtest.Eventually(t, "both paths carry their part", func() bool {
		for _, p := range w.shim.Status().Clients[0].Session.Paths {
			if p.TxPackets < 100/wgtest.Slowness {
				wgtest.Transfer(t, w.client, w.server, true, 1<<20)
				return false
			}
		}
		return true
	})
}

// TestBondedAndStockClients: both kinds on the same port, at the same time.
func TestBondedAndStockClients(t *testing.T) {
	w := newWorld(t, 2)
	stock := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.3")
	w.server.AddPeer(t, stock, "")
	stock.AddPeer(t, w.server, local(w.shim.Port()).String())
	w.client.Up(t)
	stock.Up(t)
	w.bonded(t, 2)
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for _, h := range []*wgtest.Host{w.client, stock} {
		wg.Go(func() { errs <- wgtest.TryTransfer(h, w.server, true, 2<<20, wgtest.Patience) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestShimRestart: the shim is replaced in the middle of a download, with a
// farewell to its clients or, as when it is killed, without; the download
// completes, and WireGuard sees the client at the same address.
func TestShimRestart(t *testing.T) {
	for name, killed := range map[string]bool{"with farewell": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			public := wgtest.NewNet()
			w := newWorld(t, 2, func(c *shim.Config) { c.ListenPublic = public.Listen })
			w.client.Up(t)
			w.bonded(t, 2)
			wgtest.Transfer(t, w.client, w.server, true, 1000)
			before := w.shim.Status().Clients[0].Upstream
			done := make(chan error, 1)
			go func() { done <- wgtest.TryTrickle(w.client, w.server, true, 16<<20, 2*wgtest.Patience) }()
			received := func() uint64 { return w.bind.Status().Peers[0].Session.Got }
			start := received()
			wgtest.Eventually(t, "the download is under way", func() bool { return received() > start+2000/wgtest.Slowness })
			public.Socket(t, "").Darken(killed)
			if err := w.shim.Close(); err != nil {
				t.Fatal(err)
			}
			w.startShim(t)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			w.bonded(t, 2)
			wgtest.Transfer(t, w.client, w.server, true, 1000)
			if after := w.shim.Status().Clients[0].Upstream; after != before {
				t.Errorf("after the restart WireGuard sees the client at %v, before at %v", after, before)
			}
			if got := w.server.Get(t, "endpoint"); got != before.String() {
				t.Errorf("WireGuard's endpoint is %v, want %v", got, before)
			}
		})
	}
}

// TestAllPathsButOneGoDark: a download completes over the one that is left.
func TestAllPathsButOneGoDark(t *testing.T) {
	w := newWorld(t, 3)
	w.client.Up(t)
	w.bonded(t, 3)
	done := make(chan error, 1)
	go func() { done <- wgtest.TryTrickle(w.client, w.server, true, 16<<20, 2*wgtest.Patience) }()
	received := func() uint64 { return w.bind.Status().Peers[0].Session.Got }
	wgtest.Eventually(t, "the download is under way", func() bool { return received() > 2000/wgtest.Slowness })
	w.net.Socket(t, "a").Darken(true)
	w.net.Socket(t, "c").Darken(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestGarbageStaysOut: nothing but WireGuard's reaches the upstream, and what
// strangers send to an upstream socket goes nowhere.
func TestGarbageStaysOut(t *testing.T) {
	upstream, err := udp.Listen(udp.Config{Local: local(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	m, err := shim.New(shim.Config{
		Listen:    local(0),
		Upstream:  upstream.LocalAddr(),
		Private:   wgtest.Key(t),
		Peers:     []shim.Peer{{PublicKey: wgtest.Key(t).Public()}},
		Scheduler: newEven,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	stranger, err := udp.Listen(udp.Config{Local: local(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	send := func(pkt []byte, to netip.AddrPort) {
		t.Helper()
		if _, err := stranger.WriteBatch([][]byte{pkt}, to, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	first := make([]byte, 148) // an initiation by its looks: opens a flow
	first[0] = 1
	send(first, local(m.Port()))
	ms := []udp.Message{{Buf: make([]byte, 2048)}}
	if _, err := upstream.ReadBatch(ms); err != nil {
		t.Fatal(err)
	}
	client := ms[0].Peer // the flow's upstream socket

	var sent, real uint64                                     // real by its looks
	for few := range slices.Chunk(wgtest.Garbage(2000), 50) { // more at once the kernel might drop
		for _, g := range few {
			send(g, local(m.Port()))
			send(g, client)
			sent++
			if k := wire.Kind(g); k != wire.WGData && k != wire.WGHandshake {
				continue
			}
			real++
			ms[0].Buf = ms[0].Buf[:cap(ms[0].Buf)]
			if _, err := upstream.ReadBatch(ms); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ms[0].Buf, g) {
				t.Fatalf("% x reached WireGuard, not % x", ms[0].Buf[:min(16, len(ms[0].Buf))], g[:min(16, len(g))])
			}
		}
		wgtest.Eventually(t, "all garbage is counted", func() bool {
			d := m.Status().Drops
			return d["not-upstream"] == sent &&
				d["malformed"]+d["lease-here"]+d["unexpected-control"]+d["unknown-index"]+d["handshake-invalid"]+d["handshake-busy"] ==
					sent-real
		})
	}
}

// TestHandshakeCopies: before there is a bond, copies of a handshake message
// come as if from several plain clients; WireGuard gets the first.
func TestHandshakeCopies(t *testing.T) {
	upstream, err := udp.Listen(udp.Config{Local: local(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	m, err := shim.New(shim.Config{Listen: local(0), Upstream: upstream.LocalAddr(), Private: wgtest.Key(t), Scheduler: newEven})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	initiation, data := make([]byte, 148), make([]byte, 32)
	initiation[0], data[0] = wire.TypeWGInitiation, wire.TypeWGData
	for _, pkts := range [][][]byte{{initiation}, {initiation, initiation}, {initiation, data}} {
		path, err := udp.Listen(udp.Config{Local: local(0)})
		if err != nil {
			t.Fatal(err)
		}
		defer path.Close()
		if _, err := path.WriteBatch(pkts, local(m.Port()), netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range [][]byte{initiation, data} {
		ms := []udp.Message{{Buf: make([]byte, 2048)}}
		if _, err := upstream.ReadBatch(ms); err != nil {
			t.Fatal(err)
		}
		if got := ms[0].Buf; len(got) != len(want) {
			t.Errorf("%d bytes reached WireGuard, want the %d of the message's first copy and the data after it", len(got), len(want))
		}
	}
	wgtest.Eventually(t, "the other copies are counted", func() bool { return m.Status().Drops["handshake-copy"] == 3 })
}

// TestWrongKeys: a client with another key is not served by the shim, and one
// whom the WireGuard behind it does not know gets nothing at all.
func TestWrongKeys(t *testing.T) {
	w := newWorld(t, 1)
	stranger := newBind(t, wgtest.NewNet(), 1)
	host := wgtest.NewHost(t, stranger, wgtest.Key(t), "10.7.0.9")
	host.AddPeer(t, w.server, local(w.shim.Port()).String())
	if err := stranger.SetPeers(host.Key, []conn.Peer{{PublicKey: w.server.Key.Public(), Endpoint: local(w.shim.Port())}}); err != nil {
		t.Fatal(err)
	}
	host.Up(t)
	wgtest.Eventually(t, "the stranger's handshakes are refused and counted", func() bool {
		return w.shim.Status().Handshakes.UnknownPeer > 0
	})
	for _, c := range w.shim.Status().Clients {
		if c.PublicKey == host.Key.Public().String() {
			t.Error("the stranger has a session")
		}
	}
}

// TestNoLeaks: when the shim is closed, nothing of it is left.
func TestNoLeaks(t *testing.T) {
	defer wgtest.NoLeaks(t)()
	serverKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	m, err := shim.New(shim.Config{
		Listen:    local(0),
		Upstream:  local(9),
		Private:   serverKey,
		Peers:     []shim.Peer{{PublicKey: clientKey.Public()}},
		Scheduler: newEven,
	})
	if err != nil {
		t.Fatal(err)
	}
	bind := newBind(t, wgtest.NewNet(), 2)
	if err := bind.SetPeers(clientKey, []conn.Peer{{PublicKey: serverKey.Public(), Endpoint: local(m.Port())}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := bind.Open(0); err != nil {
		t.Fatal(err)
	}
	wgtest.Eventually(t, "bonded", func() bool {
		c := m.Status().Clients
		return len(c) == 1 && attached(c[0].Session.Paths) == 2 && attached(bind.Status().Peers[0].Session.Paths) == 2
	})
	initiation := make([]byte, 148)
	initiation[0] = 1
	ep, err := bind.ParseEndpoint(local(m.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	if err := bind.Send([][]byte{initiation}, ep); err != nil {
		t.Fatal(err)
	}
	if err := bind.Shutdown(); err != nil {
		t.Fatal(err)
	}
	wgtest.Eventually(t, "the session is over", func() bool { return len(m.Status().Clients) == 0 })
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestConfigErrors: what cannot work says so, and what would.
func TestConfigErrors(t *testing.T) {
	good := shim.Config{Listen: local(0), Upstream: local(9), Private: wgtest.Key(t), Scheduler: newEven}
	for name, spoil := range map[string]func(*shim.Config){
		"no upstream":          func(c *shim.Config) { c.Upstream = netip.AddrPort{} },
		"upstream anywhere":    func(c *shim.Config) { c.Upstream = netip.MustParseAddrPort("0.0.0.0:51821") },
		"upstream on our port": func(c *shim.Config) { c.Listen, c.Upstream = local(51820), local(51820) },
		"no scheduler":         func(c *shim.Config) { c.Scheduler = nil },
	} {
		cfg := good
		spoil(&cfg)
		if m, err := shim.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			_ = m.Close()
		}
	}
}

// TestIPv6Paths: the client reaches the shim by IPv6, the shim WireGuard by
// IPv4.
func TestIPv6Paths(t *testing.T) {
	w := newWorld(t, 2, func(c *shim.Config) {
		c.Listen = netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	})
	w.client.Up(t)
	w.bonded(t, 2)
	wgtest.Transfer(t, w.client, w.server, true, 1<<20)
	wgtest.Transfer(t, w.client, w.server, false, 1<<20)
	for _, p := range w.shim.Status().Clients[0].Session.Paths {
		if p.Remote.Peer.Addr() != netip.IPv6Loopback() {
			t.Errorf("path %d leads to %v, want [::1]", p.ID, p.Remote.Peer)
		}
	}
}

// TestIPv6Upstream: without loopback addresses for all, clients still differ,
// by port.
func TestIPv6Upstream(t *testing.T) {
	w := newWorld(t, 2, func(c *shim.Config) {
		c.Upstream = netip.AddrPortFrom(netip.IPv6Loopback(), c.Upstream.Port())
	})
	w.client.Up(t)
	w.bonded(t, 2)
	wgtest.Transfer(t, w.client, w.server, true, 1<<20)
	if up := w.shim.Status().Clients[0].Upstream; up.Addr() != netip.IPv6Loopback() {
		t.Errorf("the client appears from %v, want [::1]", up)
	}
}
