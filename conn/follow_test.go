package conn

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/quota"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

func addrPorts(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestOrder(t *testing.T) {
	const a4, b4, c6, d6 = "192.0.2.1:9", "192.0.2.2:9", "[2001:db8::1]:9", "[2001:db8::2]:9"
	for name, tc := range map[string]struct {
		was, found []netip.AddrPort
		first      bool
		want       []netip.AddrPort
	}{
		"the first answer adds the other family":   {addrPorts(a4), addrPorts(c6, b4, d6), true, addrPorts(a4, c6, d6)},
		"the same again":                           {addrPorts(a4, c6), addrPorts(c6, a4), false, addrPorts(a4, c6)},
		"moved":                                    {addrPorts(a4, c6), addrPorts(d6, b4), false, addrPorts(b4, d6)},
		"moved to the other family":                {addrPorts(a4), addrPorts(d6), false, addrPorts(d6)},
		"what is in use stays first":               {addrPorts(b4), addrPorts(a4, b4), false, addrPorts(b4, a4)},
		"an IPv4 address in IPv6 form is the same": {addrPorts(a4), addrPorts("[::ffff:192.0.2.1]:9"), true, addrPorts(a4)},
	} {
		if diff := cmp.Diff(tc.want, order(tc.was, tc.found, tc.first), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestFamilies: each path leads to the address of its device's family, and
// begins anew when the device has another; a CLAT is used only while there is
// no way by IPv6 itself.
func TestFamilies(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	state := netwatch.State{
		Links: []netwatch.Link{
			{Index: 1, Name: "four", Up: true, Addrs: []netip.Prefix{four}},
			{Index: 2, Name: "six", Up: true, Addrs: []netip.Prefix{six}},
			{Index: 3, Name: "mixed", Up: true, Addrs: []netip.Prefix{four, six}},
			{Index: 4, Name: "clat4", Up: true, Kind: "tun", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.0.4/32")}},
		},
		Routes: []netwatch.Route{{Link: 1, Dst: any4}, {Link: 2, Dst: any6}, {Link: 3, Dst: any4}, {Link: 3, Dst: any6}, {Link: 4, Dst: any4}},
	}
	f := &fakeDevices{state: state, changes: make(chan struct{}, 1)}
	var answer atomic.Pointer[[]netip.AddrPort]
	answer.Store(&[]netip.AddrPort{})
	b := openTo(t, Config{
		Scheduler: newEven,
		Watch:     f.open,
		Listen:    wgtest.NewNet().Listen,
		Lookup: func(_ context.Context, _ uint32, name string) ([]netip.AddrPort, error) {
			if name != "server.test:9" {
				t.Errorf("asked for %q", name)
			}
			return *answer.Load(), nil
		},
	}, "127.0.0.1:9")
	families := func(want string) func() bool { return func() bool { return families(b) == want } }
	wgtest.Eventually(t, "all but the IPv6 device lead to the IPv4 endpoint", families("clat4 4, four 4, mixed 4, six -"))
	answer.Store(&[]netip.AddrPort{netip.MustParseAddrPort("[::1]:9"), netip.MustParseAddrPort("127.0.0.1:9")})
	// The one at 127.0.0.1 does not answer; its name now leads to both families.
	if err := b.Send([][]byte{wgtest.Garbage(1)[0]}, &Endpoint{addr: netip.MustParseAddrPort("127.0.0.1:9")}); err != nil {
		t.Fatal(err)
	}
	wgtest.Eventually(t, "the IPv6 device leads to the IPv6 address, and the translator is not needed", families("four 4, mixed 4, six 6 to [::1]:9"))
	f.set(netwatch.State{Links: state.Links, Routes: []netwatch.Route{{Link: 1, Dst: any4}, {Link: 2, Dst: any6}, {Link: 3, Dst: any6}}})
	wgtest.Eventually(t, "a device that has lost IPv4 leads by IPv6", families("four 4, mixed 6 to [::1]:9, six 6 to [::1]:9"))
}

// families tells by which family each device leads to the one peer, "-" for those
// that lack what it takes.
func families(b *Bind) string {
	var got []string
	for _, l := range b.Status().Peers[0].Links {
		family := "?"
		switch {
		case l.State == mux.LinkOpen && l.Local.Addr().Is4():
			family = "4"
		case l.State == mux.LinkOpen:
			family = "6"
		case strings.Contains(l.Reason, "no IPv4 address"):
			family = "-"
		}
		if l.To.IsValid() {
			family += " to " + l.To.String()
		}
		got = append(got, l.Device+" "+family)
	}
	slices.Sort(got)
	return strings.Join(got, ", ")
}

// TestNAT64: a device without IPv4 leads to an IPv4 endpoint by the prefix that
// its network names; a CLAT, which is the same link, is then left out. In
// another network it is asked for anew.
func TestNAT64(t *testing.T) {
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, s := range list {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	state := func(six string) netwatch.State {
		return netwatch.State{
			Links: []netwatch.Link{
				{Index: 1, Name: "four", Up: true, Addrs: prefixes("10.0.0.2/24")},
				{Index: 2, Name: "six", Up: true, Addrs: prefixes(six)},
				{Index: 3, Name: "mixed", Up: true, Addrs: prefixes("10.0.1.2/24", "2001:db8:1::2/64")},
				{Index: 4, Name: "clat4", Up: true, Kind: "tun", Addrs: prefixes("192.0.0.4/32")},
			},
			Routes: []netwatch.Route{{Link: 1, Dst: any4}, {Link: 2, Dst: any6}, {Link: 3, Dst: any4}, {Link: 3, Dst: any6}, {Link: 4, Dst: any4}},
		}
	}
	f := &fakeDevices{state: state("2001:db8::2/64"), changes: make(chan struct{}, 1)}
	var named atomic.Pointer[netip.Prefix] // nil: none
	b := openTo(t, Config{
		Scheduler: newEven,
		Watch:     f.open,
		Listen:    wgtest.NewNet().Listen,
		NAT64: func(_ context.Context, _ uint32, device string) (netip.Prefix, error) {
			if device != "six" {
				t.Errorf("asked on %s", device)
			}
			if p := named.Load(); p != nil {
				return *p, nil
			}
			return netip.Prefix{}, errors.New("none")
		},
	}, "127.0.0.1:9")
	wgtest.Eventually(t, "the translator on this machine is used while there is no other", func() bool {
		return families(b) == "clat4 4, four 4, mixed 4, six -"
	})
	name := func(prefix, six string) {
		p := netip.MustParsePrefix(prefix)
		named.Store(&p)
		f.set(state(six))
	}
	name("64:ff9b::/96", "2001:db8:0:1::2/64")
	wgtest.Eventually(t, "the IPv6 device to lead by its network's", func() bool {
		return families(b) == "four 4, mixed 4, six 6 to [64:ff9b::7f00:1]:9"
	})
	name("2001:db8:6464::/96", "2001:db8:0:2::2/64")
	wgtest.Eventually(t, "it to lead by another network's", func() bool {
		return families(b) == "four 4, mixed 4, six 6 to [2001:db8:6464::7f00:1]:9"
	})
}

// TestNameMoves: a server dies, and its name leads elsewhere: the same keys
// bond with the one there.
func TestNameMoves(t *testing.T) {
	var name atomic.Pointer[netip.AddrPort]
	p := newPairWith(t, Config{Lookup: func(context.Context, uint32, string) ([]netip.AddrPort, error) {
		return []netip.AddrPort{*name.Load()}, nil
	}}, "a", "b")
	second := newBind(t, nil)
	here := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.port)
	name.Store(&here)
	peers := []Peer{{PublicKey: p.server.Key.Public(), Endpoint: here, Name: "server.test:9"}}
	if err := p.clientBind.SetPeers(p.client.Key, peers); err != nil {
		t.Fatal(err)
	}
	p.client.Up(t)
	p.bonded(t, 2)
	wgtest.Transfer(t, p.client, p.server, true, 1<<20)

	heir := wgtest.NewHost(t, second, p.server.Key, "10.7.0.1")
	heir.AddPeer(t, p.client, "")
	if err := second.SetPeers(heir.Key, []Peer{{PublicKey: p.client.Key.Public()}}); err != nil {
		t.Fatal(err)
	}
	there := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), heir.Up(t))
	if err := p.serverBind.Close(); err != nil { // without a farewell
		t.Fatal(err)
	}
	name.Store(&there)
	wgtest.Eventually(t, "the client is bonded with the server that the name leads to now", func() bool {
		// WireGuard has something to say all the while. (It takes 15 s to shake
		// hands anew with a peer that has forgotten it; we need not wait for that.)
		_ = wgtest.TryTransfer(p.client, heir, true, 1<<10, 300*time.Millisecond)
		return attached(second) == 2 && sessionOf(t, p.clientBind).Bonded
	})
	if got := p.clientBind.Status().Peers[0].Endpoint; got != there {
		t.Errorf("the endpoint is shown as %v, want %v", got, there)
	}
	// What WireGuard knows now, told again, changes nothing.
	before := (*p.clientBind.dialled.Load())[here]
	peers[0].Endpoint = there
	if err := p.clientBind.SetPeers(p.client.Key, peers); err != nil {
		t.Fatal(err)
	}
	if after := (*p.clientBind.dialled.Load())[here]; after == nil || after != before {
		t.Error("the session was begun anew although the endpoint is where it leads")
	}
}

// forward forwards what comes to front to the server, from a socket for each
// client, until front is closed; answers come from the socket in answer.
func forward(t *testing.T, front mux.Socket, to netip.AddrPort, answer func() mux.Socket) {
	t.Helper()
	backs := map[netip.AddrPort]mux.Socket{}
	read := func(s mux.Socket, each func(m *udp.Message)) {
		ms := make([]udp.Message, 64)
		for i := range ms {
			ms[i].Buf = make([]byte, 2048)
		}
		for {
			n, err := s.ReadBatch(ms)
			if err != nil {
				return
			}
			for i := range ms[:n] {
				each(&ms[i])
				ms[i].Buf = ms[i].Buf[:2048]
			}
		}
	}
	go func() {
		read(front, func(m *udp.Message) {
			client := m.Peer
			back := backs[client]
			if back == nil {
				var err error
				if back, err = udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}); err != nil {
					t.Error(err)
					return
				}
				backs[client] = back
				go read(back, func(m *udp.Message) { _, _ = answer().WriteBatch([][]byte{m.Buf}, client, netip.Addr{}) })
			}
			_, _ = back.WriteBatch([][]byte{m.Buf}, to, netip.Addr{})
		})
		for _, b := range backs {
			b.Close()
		}
	}()
}

// bondedAt reports whether the bond with the one peer is at an address, however
// it came there: the session followed its answers, which wgbond's test of it
// shows, or, where it was not bonded just then, WireGuard's.
func bondedAt(b *Bind, at netip.AddrPort) bool {
	p := b.Status().Peers[0]
	return p.Endpoint == at && p.Session.Bonded
}

// TestServerMoves: a server, bonding or stock, answers from another address
// from one moment to the next, and cannot be reached at the old one any more.
// The client follows, with the same session.
func TestServerMoves(t *testing.T) {
	for _, kind := range []string{"bonding", "stock"} {
		t.Run(kind, func(t *testing.T) {
			server := wgconn.Bind(wgconn.NewStdNetBind())
			if kind == "bonding" {
				server = newBind(t, nil)
			}
			host := wgtest.NewHost(t, server, wgtest.Key(t), "10.7.0.1")
			bind := bindOn(t, wgtest.NewNet(), "a", "b")
			client := wgtest.NewHost(t, bind, wgtest.Key(t), "10.7.0.2")
			host.AddPeer(t, client, "")
			if b, ok := server.(*Bind); ok {
				if err := b.SetPeers(host.Key, []Peer{{PublicKey: client.Key.Public()}}); err != nil {
					t.Fatal(err)
				}
			}
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), host.Up(t))
			var front [2]mux.Socket
			var current atomic.Int32
			for i := range front {
				var err error
				if front[i], err = udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}); err != nil {
					t.Fatal(err)
				}
				defer front[i].Close()
				forward(t, front[i], to, func() mux.Socket { return front[current.Load()] })
			}
			here, there := front[0].LocalAddr(), front[1].LocalAddr()
			client.AddPeer(t, host, here.String())
			if err := bind.SetPeers(client.Key, []Peer{{PublicKey: host.Key.Public(), Endpoint: here}}); err != nil {
				t.Fatal(err)
			}
			client.Up(t)
			if kind == "bonding" {
				wgtest.Eventually(t, "bonded", func() bool { return attached(bind) == 2 })
			}
			wgtest.Transfer(t, client, host, true, 1<<20)
			current.Store(1) // what is answered from now on comes from there
			wgtest.Transfer(t, client, host, true, 1<<20)
			front[0].Close()
			wgtest.Transfer(t, client, host, false, 1<<20)
			wgtest.Eventually(t, "WireGuard shows where the server is", func() bool { return client.Get(t, "endpoint") == there.String() })
			if kind == "bonding" {
				wgtest.Eventually(t, "the move is followed, and the bond there", func() bool { return bondedAt(bind, there) })
			}
		})
	}
}

// TestRelayedPathFollows: a bonding server moves; the path by a relay, whose
// lease is for the old address, follows the straight one.
func TestRelayedPathFollows(t *testing.T) {
	server := newBind(t, nil)
	host := wgtest.NewHost(t, server, wgtest.Key(t), "10.7.0.1")
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	relay, err := relayd.New(relayd.Config{
		Listen: addrPorts("127.0.0.1:0"), PrivateKey: relayKey, Allow: []control.Key{clientKey.Public()}, AllowLoopbackTargets: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	bind := bindWith(t, Config{Paths: []mux.PathSpec{{Name: "lent", Device: "b", Relay: relay.Addrs()[0], RelayKey: relayKey.Public()}}}, wgtest.NewNet(), "a")
	client := wgtest.NewHost(t, bind, clientKey, "10.7.0.2")
	host.AddPeer(t, client, "")
	if err := server.SetPeers(host.Key, []Peer{{PublicKey: clientKey.Public()}}); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), host.Up(t))
	var front [2]mux.Socket
	var current atomic.Int32
	for i := range front {
		if front[i], err = udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}); err != nil {
			t.Fatal(err)
		}
		defer front[i].Close()
		forward(t, front[i], to, func() mux.Socket { return front[current.Load()] })
	}
	client.AddPeer(t, host, front[0].LocalAddr().String())
	if err := bind.SetPeers(clientKey, []Peer{{PublicKey: host.Key.Public(), Endpoint: front[0].LocalAddr()}}); err != nil {
		t.Fatal(err)
	}
	client.Up(t)
	wgtest.Eventually(t, "bonded by both", func() bool { return attached(bind) == 2 && attached(server) == 2 })
	current.Store(1)
	wgtest.Eventually(t, "the straight path to follow", func() bool {
		_ = wgtest.TryTransfer(client, host, true, 1<<16, time.Second)
		return bondedAt(bind, front[1].LocalAddr())
	})
	front[0].Close()
	lent := func() uint64 {
		for _, p := range sessionOf(t, bind).Paths {
			if p.Name == "lent" {
				return p.RxPackets
			}
		}
		return 0
	}
	// What was under way from the old place comes during this, if at all; nothing
	// more can.
	_ = wgtest.TryTransfer(client, host, true, 1<<18, 5*time.Second)
	wgtest.Eventually(t, "something to come by the relay's path from the new place", func() bool {
		before := lent()
		_ = wgtest.TryTransfer(client, host, true, 1<<16, time.Second)
		return lent() > before // if not by data, by pings: the scheduler may give it few of a short transfer's answers
	})
}

// TestQuotaEnds: a path whose quota is used up is not used any more, says why,
// and what it carried is kept.
func TestQuotaEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	resets := time.Now().AddDate(0, 0, 14).Day() // not while this runs
	limit := func(path string) quota.Limit {
		if path == "a" {
			return quota.Limit{Bytes: 2e6, Day: resets}
		}
		return quota.Limit{}
	}
	ledger, err := quota.Open(file, limit)
	if err != nil {
		t.Fatal(err)
	}
	p := newPairWith(t, Config{Ledger: ledger}, "a")
	p.client.Up(t)
	p.bonded(t, 1)
	wgtest.Eventually(t, "the quota of a ends, and says so", func() bool {
		_ = wgtest.TryTransfer(p.client, p.server, true, 1<<18, time.Second)
		l := p.clientBind.Status().Peers[0].Links
		return len(l) == 1 && l[0].Name == "a" && l[0].State == mux.LinkClosed && strings.Contains(l[0].Reason, "quota") && l[0].Quota.Exhausted
	})
	carried := ledger.Counter("a").Load()
	if err := wgtest.TryTransfer(p.client, p.server, true, 1<<10, time.Second); err == nil || ledger.Counter("a").Load() != carried {
		t.Errorf("the path carried on, from %d bytes to %d", carried, ledger.Counter("a").Load())
	}
	if use := ledger.Use("a", time.Now()); use.Used > carried || use.Used < 1e6 {
		t.Errorf("the ledger has %d bytes, the path carried %d", use.Used, carried)
	}
	again, err := quota.Open(file, limit)
	if err != nil || again.Use("a", time.Now()).Used < 1e6 {
		t.Errorf("after a power cut: %v, %v", again, err)
	}
}
