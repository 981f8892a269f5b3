package conn

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// pair is two hosts with a Bind each; client dials server over the paths of
// its net's devices.
type pair struct {
	server, client         *wgtest.Host
	serverBind, clientBind *Bind
	net                    *wgtest.Net
	port                   uint16
}

func newPair(t *testing.T, devices ...string) *pair {
	t.Helper()
	return newPairWith(t, Config{}, devices...)
}

// newPairWith is newPair with more in the client's configuration.
func newPairWith(t *testing.T, cfg Config, devices ...string) *pair {
	t.Helper()
	p := &pair{net: wgtest.NewNet(), serverBind: newBind(t, nil)}
	p.clientBind = bindWith(t, cfg, p.net, devices...)
	p.connect(t)
	return p
}

// connect gives the pair's Binds hosts that know each other; the client is down.
func (p *pair) connect(t *testing.T) {
	t.Helper()
	p.server = wgtest.NewHost(t, p.serverBind, wgtest.Key(t), "10.7.0.1")
	p.client = wgtest.NewHost(t, p.clientBind, wgtest.Key(t), "10.7.0.2")
	p.server.AddPeer(t, p.client, "")
	if err := p.serverBind.SetPeers(p.server.Key, []Peer{{PublicKey: p.client.Key.Public()}}); err != nil {
		t.Fatal(err)
	}
	p.port = p.server.Up(t)
	p.client.AddPeer(t, p.server, wgtest.Loopback(p.port))
	p.dial(t)
}

func bindOn(t *testing.T, net *wgtest.Net, devices ...string) *Bind {
	t.Helper()
	return bindWith(t, Config{}, net, devices...)
}

func bindWith(t *testing.T, cfg Config, net *wgtest.Net, devices ...string) *Bind {
	t.Helper()
	cfg.Scheduler, cfg.Listen = newEven, net.Listen
	for _, d := range devices {
		cfg.Paths = append(cfg.Paths, mux.PathSpec{Name: d, Device: d})
	}
	b, err := NewBind(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p *pair) dial(t *testing.T) {
	t.Helper()
	err := p.clientBind.SetPeers(p.client.Key, []Peer{{
		PublicKey: p.server.Key.Public(),
		Endpoint:  netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.port),
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func attached(b *Bind) (n int) {
	for _, p := range b.Status().Peers {
		for _, path := range p.Session.Paths {
			if path.Attached {
				n++
			}
		}
	}
	return n
}

func (p *pair) bonded(t *testing.T, n int) {
	t.Helper()
	wgtest.Eventually(t, "the paths are attached at both ends", func() bool {
		return attached(p.clientBind) == n && attached(p.serverBind) == n
	})
}

func sessionOf(t *testing.T, b *Bind) wgbond.Status {
	t.Helper()
	peers := b.Status().Peers
	if len(peers) != 1 {
		t.Fatalf("%d sessions, want 1", len(peers))
	}
	return peers[0].Session
}

// TestBindToBind: both ends are ours, and neither has a shim.
func TestBindToBind(t *testing.T) {
	p := newPair(t, "a", "b")
	p.client.Tap.Record()
	p.server.Tap.Record()
	p.client.Up(t)
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 4<<20)
	wgtest.Transfer(t, p.client, p.server, false, 4<<20)
	wgtest.CheckIdentical(t, p.client.Tap, p.server.Tap, 2500)
	wgtest.CheckIdentical(t, p.server.Tap, p.client.Tap, 2500)
	// A path that a busy machine was late to serve is left alone for a while.
	wgtest.Eventually(t, "both paths carry their part, both ways", func() bool {
		for _, b := range []*Bind{p.clientBind, p.serverBind} {
			for _, path := range sessionOf(t, b).Paths {
				if path.TxPackets < 100/wgtest.Slowness {
					wgtest.Transfer(t, p.client, p.server, b == p.serverBind, 1<<20)
					return false
				}
			}
		}
		return true
	})
	remote := netip.MustParseAddrPort(p.server.Get(t, "endpoint"))
	a, b := p.net.Socket(t, "a").LocalAddr().Port(), p.net.Socket(t, "b").LocalAddr().Port()
	if remote.Port() != a && remote.Port() != b {
		t.Errorf("the server shows its peer at %v, want one of its paths' addresses, port %d or %d", remote, a, b)
	}
}

// TestBindToStock: a stock server knows nothing of bonding; the client is a
// plain one, over one path at a time.
func TestBindToStock(t *testing.T) {
	net := wgtest.NewNet()
	bind := bindOn(t, net, "a", "b")
	client := wgtest.NewHost(t, bind, wgtest.Key(t), "10.7.0.2")
	stock := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.1")
	stock.AddPeer(t, client, "")
	port := stock.Up(t)
	client.AddPeer(t, stock, wgtest.Loopback(port))
	p := &pair{clientBind: bind, client: client, server: stock, port: port}
	p.dial(t)
	client.Tap.Record()
	stock.Tap.Record()
	client.Up(t)
	wgtest.Transfer(t, client, stock, true, 2<<20)
	wgtest.Transfer(t, client, stock, false, 2<<20)
	wgtest.CheckIdentical(t, client.Tap, stock.Tap, 1200)
	wgtest.CheckIdentical(t, stock.Tap, client.Tap, 1200)
	if st := sessionOf(t, bind); st.Bonded || st.PlainReason == "" {
		t.Errorf("bonded %v, reason %q; want plain, and a reason", st.Bonded, st.PlainReason)
	}

	// The path in use goes dark: the tunnel lives on over the other.
	up := netip.MustParseAddrPort(stock.Get(t, "endpoint")).Port()
	for _, d := range []string{"a", "b"} {
		if s := net.Socket(t, d); s.LocalAddr().Port() == up {
			s.Darken(true)
		}
	}
	wgtest.Transfer(t, client, stock, true, 1<<20)
	if now := netip.MustParseAddrPort(stock.Get(t, "endpoint")).Port(); now == up {
		t.Errorf("stock WireGuard still answers to port %d, whose path is dark", up)
	}
}

// TestBothDial: each end has the other's endpoint, as between two sites.
func TestBothDial(t *testing.T) {
	a, b := newBind(t, nil), newBind(t, nil)
	hostA := wgtest.NewHost(t, a, wgtest.Key(t), "10.7.0.1")
	hostB := wgtest.NewHost(t, b, wgtest.Key(t), "10.7.0.2")
	portA, portB := hostA.Up(t), hostB.Up(t)
	hostA.AddPeer(t, hostB, wgtest.Loopback(portB))
	hostB.AddPeer(t, hostA, wgtest.Loopback(portA))
	(&pair{clientBind: a, client: hostA, server: hostB, port: portB}).dial(t)
	(&pair{clientBind: b, client: hostB, server: hostA, port: portA}).dial(t)
	wgtest.Eventually(t, "each end has a session in either role, of two paths each", func() bool {
		return attached(a) == 4 && attached(b) == 4
	})
	wgtest.Transfer(t, hostA, hostB, true, 1<<20)
	wgtest.Transfer(t, hostB, hostA, true, 1<<20)
}

// TestReopenKeepsSession: a device line of the UAPI closes the Bind and opens
// it again in the middle of a transfer.
func TestReopenKeepsSession(t *testing.T) {
	p := newPair(t, "a", "b")
	p.client.Up(t)
	p.bonded(t, 2)
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	wg.Go(func() { errs <- wgtest.TryTrickle(p.client, p.server, true, 8<<20, wgtest.Patience) })
	ports := func() [2]uint16 {
		return [2]uint16{p.net.Socket(t, "a").LocalAddr().Port(), p.net.Socket(t, "b").LocalAddr().Port()}
	}
	before := ports()
	for range 3 {
		if err := p.client.Device.BindUpdate(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // let some of the transfer pass in between
	}
	p.client.Set(t, "fwmark=4242")
	wg.Wait()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	if after := ports(); after != before {
		t.Errorf("the paths have the ports %v, before they had %v: a NAT would have forgotten them", after, before)
	}
	wgtest.Eventually(t, "every socket has the mark", func() bool {
		return p.net.Mark("a") == 4242 && p.net.Mark("b") == 4242 && p.net.Mark("") == 4242
	})
}

// TestDeviceAppearsLater: a modem that is not plugged in yet, and one that is
// pulled and plugged in again.
func TestDeviceAppearsLater(t *testing.T) {
	p := newPair(t, "a", "late")
	p.net.Remove("late", true)
	p.client.Up(t)
	p.bonded(t, 1)
	wgtest.Eventually(t, "the missing device's path waits, with a reason", func() bool {
		l := p.clientBind.Status().Peers[0].Links[1]
		return l.State == mux.LinkWaiting && l.Reason != "" && !l.InUse
	})
	p.net.Remove("late", false)
	p.bonded(t, 2)

	p.net.Remove("late", true)
	wgtest.Transfer(t, p.client, p.server, false, 1<<20)
	wgtest.Eventually(t, "the device's removal is noticed", func() bool {
		return p.clientBind.Status().Peers[0].Links[1].State == mux.LinkWaiting
	})
	was := p.net.Opened("late")
	p.net.Remove("late", false)
	wgtest.Eventually(t, "a new socket is opened on the device", func() bool { return p.net.Opened("late") > was })
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 1<<20)
}

// TestBlockedPathStopsNothingElse: a socket that takes nothing holds up its
// own path only.
func TestBlockedPathStopsNothingElse(t *testing.T) {
	p := newPair(t, "a", "b")
	p.client.Up(t)
	p.bonded(t, 2)
	p.net.Socket(t, "b").Block()
	wgtest.Transfer(t, p.client, p.server, false, 2<<20)
	wgtest.Transfer(t, p.client, p.server, true, 2<<20)
}

// TestShutdownSaysFarewell: the peer knows at once, and nothing is left.
func TestShutdownSaysFarewell(t *testing.T) {
	p := newPair(t, "a", "b")
	p.client.Up(t)
	p.bonded(t, 2)
	if err := p.clientBind.Shutdown(); err != nil {
		t.Fatal(err)
	}
	wgtest.Eventually(t, "the server's session is over", func() bool { return len(p.serverBind.Status().Peers) == 0 })
}

// TestRevoke: a peer that is no longer allowed has no session.
func TestRevoke(t *testing.T) {
	p := newPair(t, "a")
	p.client.Up(t)
	p.bonded(t, 1)
	if err := p.serverBind.SetPeers(p.server.Key, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(p.serverBind.Status().Peers); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	wgtest.Eventually(t, "the client knows that it is not bonded", func() bool { return !sessionOf(t, p.clientBind).Bonded })
}

// TestRoamingEndpointIsNotDialled: WireGuard's state shows where a peer that
// dials us is; passing it back must not turn the tables.
func TestRoamingEndpointIsNotDialled(t *testing.T) {
	p := newPair(t, "a")
	p.client.Up(t)
	p.bonded(t, 1)
	wgtest.Transfer(t, p.client, p.server, true, 1000)
	seen := netip.MustParseAddrPort(p.server.Get(t, "endpoint"))
	if err := p.serverBind.SetPeers(p.server.Key, []Peer{{PublicKey: p.client.Key.Public(), Endpoint: seen}}); err != nil {
		t.Fatal(err)
	}
	if peers := p.serverBind.Status().Peers; len(peers) != 1 || peers[0].Dialled {
		t.Errorf("the server's sessions are %+v; want the one that the client dialled", peers)
	}
}

// TestEndedSessionIsNotDialled: a peer that dials us is not dialled when its
// session has ended, though WireGuard still has its address; and WireGuard can
// speak first there.
func TestEndedSessionIsNotDialled(t *testing.T) {
	p := newPair(t, "a", "b")
	p.client.Up(t)
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 1<<10)
	learnt := netip.MustParseAddrPort(p.server.Get(t, "endpoint"))
	peers := []Peer{{PublicKey: p.client.Key.Public(), Endpoint: learnt}}
	for _, private := range []control.Key{wgtest.Key(t), p.server.Key} {
		p.server.Set(t, "private_key="+hex.EncodeToString(private[:]))
		if err := p.serverBind.SetPeers(private, peers); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range p.serverBind.Status().Peers {
		if s.Dialled {
			t.Errorf("the server dials %v, where it once heard a client", s.Endpoint)
		}
	}
	wgtest.Transfer(t, p.server, p.client, true, 1<<10)
	p.bonded(t, 2)
}

// TestNoLeaks: after a bonded life, nothing is left.
func TestNoLeaks(t *testing.T) {
	defer wgtest.NoLeaks(t)()
	net := wgtest.NewNet()
	server, client := newBind(t, nil), bindOn(t, net, "a", "b")
	serverKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	if err := server.SetPeers(serverKey, []Peer{{PublicKey: clientKey.Public()}}); err != nil {
		t.Fatal(err)
	}
	_, port, err := server.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	if err := client.SetPeers(clientKey, []Peer{{PublicKey: serverKey.Public(), Endpoint: to}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := client.Open(0); err != nil {
			t.Fatal(err)
		}
		wgtest.Eventually(t, "bonded", func() bool { return attached(client) == 2 && attached(server) == 2 })
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGarbageOnPaths: strangers who find a path's socket, and one who can
// forge the server's address.
func TestGarbageOnPaths(t *testing.T) {
	p := newPair(t, "a")
	p.client.Up(t)
	p.bonded(t, 1)
	sock, err := udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	path := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.net.Socket(t, "a").LocalAddr().Port())
	var foreign uint64
	for few := range slices.Chunk(wgtest.Garbage(500), 50) { // more at once the kernel might drop
		for _, g := range few {
			if _, err := sock.WriteBatch([][]byte{g}, path, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			ep := &Endpoint{addr: path}
			if err := p.serverBind.server.Load().Send([][]byte{g}, ep.remote()); err != nil {
				t.Fatal(err)
			}
			// What might be the server's, from a new address, is judged by its keys
			// and by WireGuard; all else from there is dropped at once.
			switch wire.Kind(g) {
			case wire.WGData, wire.WGHandshake:
			case wire.SessionControl:
				if wire.ControlKind(g) == wire.Initiation {
					foreign++
				}
			default:
				foreign++
			}
		}
		wgtest.Eventually(t, "what strangers sent is counted", func() bool {
			return p.clientBind.Status().Drops["foreign-source"] == foreign
		})
	}
	if st := sessionOf(t, p.clientBind); st.ServerMoves != 0 {
		t.Errorf("strangers moved the server %d times", st.ServerMoves)
	}
	wgtest.Eventually(t, "what came in the server's name is counted", func() bool {
		d := p.clientBind.Status().Drops
		return d["malformed"] > 0 && d["lease-here"] > 0 && d["unexpected-control"] > 0
	})
	wgtest.Transfer(t, p.client, p.server, true, 1<<20)
}

// TestIPv6: the listening socket and the paths of the other family.
func TestIPv6(t *testing.T) {
	p := newPair(t, "a", "b")
	to := netip.AddrPortFrom(netip.IPv6Loopback(), p.port)
	p.client.AddPeer(t, p.server, to.String())
	if err := p.clientBind.SetPeers(p.client.Key, []Peer{{PublicKey: p.server.Key.Public(), Endpoint: to}}); err != nil {
		t.Fatal(err)
	}
	p.client.Up(t)
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 1<<20)
	if got := netip.MustParseAddrPort(p.server.Get(t, "endpoint")).Addr(); got != netip.IPv6Loopback() {
		t.Errorf("the server sees its peer at %v, want [::1]", got)
	}
}
