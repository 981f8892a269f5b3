package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
)

func TestMain(m *testing.M) { wgtest.Main(m) }

// even spreads over all paths alike.
type even struct{}

func (even) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	for c := range p.Classes {
		for _, path := range s.Paths {
			p.Classes[c].Paths[path.ID] = schedulers.PathPlan{Use: true, PerByte: 1, Cap: 1 << 20}
			p.Drain[path.ID] = path.Rate
		}
	}
	p.Valid = 1 << 40
}

func newEven() schedulers.Scheduler { return even{} }

// twoPaths are two unbound paths: on the loopback all roads lead to Rome.
var twoPaths = []mux.PathSpec{{Name: "first"}, {Name: "second"}}

func newBind(t *testing.T, listen mux.ListenFunc) *Bind {
	t.Helper()
	b, err := NewBind(Config{Paths: twoPaths, Scheduler: newEven, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStockAndBindPlain: a Bind that knows of no peer to bond with is a plain
// WireGuard, in both directions, also where stock calls first.
func TestStockAndBindPlain(t *testing.T) {
	bond := wgtest.NewHost(t, newBind(t, nil), wgtest.Key(t), "10.7.0.1")
	stock := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.2")
	bond.AddPeer(t, stock, "")
	stock.AddPeer(t, bond, wgtest.Loopback(bond.Up(t)))
	bond.Tap.Record()
	stock.Tap.Record()
	stock.Up(t)
	wgtest.Transfer(t, stock, bond, true, 1<<20)
	wgtest.Transfer(t, stock, bond, false, 1<<20)
	wgtest.CheckIdentical(t, stock.Tap, bond.Tap, 700)
	wgtest.CheckIdentical(t, bond.Tap, stock.Tap, 700)
	if got, want := bond.Get(t, "endpoint"), wgtest.Loopback(portOf(t, stock)); got != want {
		t.Errorf("the endpoint is shown as %q, want %q", got, want)
	}
}

// TestOpenBeforePrivateKey: wireguard-go may open a Bind before it has a key,
// for its TUN reports "up" at once.
func TestOpenBeforePrivateKey(t *testing.T) {
	b := newBind(t, nil)
	_, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.SetPeers(wgtest.Key(t), nil); err != nil {
		t.Fatal(err)
	}
	if got := b.server.Load().Port(); got != port {
		t.Errorf("with the key came port %d, Open had promised %d", got, port)
	}
}

// TestBindDialsStockPlainly: without a private key to bond with, a peer with
// an endpoint is a plain one.
func TestBindDialsStockPlainly(t *testing.T) {
	bond := wgtest.NewHost(t, newBind(t, nil), wgtest.Key(t), "10.7.0.1")
	stock := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.2")
	stock.AddPeer(t, bond, "")
	bond.AddPeer(t, stock, wgtest.Loopback(stock.Up(t)))
	bond.Up(t)
	wgtest.Transfer(t, bond, stock, true, 1<<20)
}

func portOf(t *testing.T, h *wgtest.Host) uint16 {
	t.Helper()
	var port uint16
	if _, err := fmt.Sscan(h.Get(t, "listen_port"), &port); err != nil {
		t.Fatal(err)
	}
	return port
}

// TestCloseOpenCycles: a device line of the UAPI closes the Bind and opens it
// again; nothing may be left behind, and every ReceiveFunc must end.
func TestCloseOpenCycles(t *testing.T) {
	defer wgtest.NoLeaks(t)()
	b := newBind(t, nil)
	if err := b.SetPeers(wgtest.Key(t), nil); err != nil {
		t.Fatal(err)
	}
	var port uint16
	for i := range 20 {
		fns, actual, err := b.Open(port)
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if port != 0 && actual != port {
			t.Fatalf("cycle %d: opened on port %d, want %d", i, actual, port)
		}
		port = actual
		if _, _, err := b.Open(port); !errors.Is(err, wgconn.ErrBindAlreadyOpen) {
			t.Fatalf("cycle %d: a second Open gives %v, want ErrBindAlreadyOpen", i, err)
		}
		var done sync.WaitGroup
		for _, fn := range fns {
			done.Go(func() {
				bufs, sizes, eps := receiver(mux.BatchSize)
				if _, err := fn(bufs, sizes, eps); !errors.Is(err, net.ErrClosed) {
					t.Errorf("cycle %d: a ReceiveFunc ends with %v, want net.ErrClosed", i, err)
				}
			})
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		done.Wait()
		ep, err := b.ParseEndpoint("127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Send([][]byte{{1}}, ep); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("cycle %d: Send on the closed Bind gives %v, want net.ErrClosed", i, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing what is closed: %v", err)
	}
}

func TestParseEndpoint(t *testing.T) {
	b := newBind(t, nil)
	for in, want := range map[string]string{
		"192.0.2.1:51820":          "192.0.2.1:51820",
		"[2001:db8::1]:51820":      "[2001:db8::1]:51820",
		"[::ffff:192.0.2.1]:51820": "192.0.2.1:51820",
	} {
		ep, err := b.ParseEndpoint(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if got := ep.DstToString(); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "192.0.2.1", "example.org:51820", "192.0.2.1:99999"} {
		if _, err := b.ParseEndpoint(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
	foreign, err := wgconn.NewStdNetBind().ParseEndpoint("192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Send(nil, foreign); !errors.Is(err, wgconn.ErrWrongEndpointType) {
		t.Errorf("another Bind's endpoint gives %v, want ErrWrongEndpointType", err)
	}
}

func TestConfigErrors(t *testing.T) {
	relay := netip.MustParseAddrPort("10.9.0.2:51900")
	for name, cfg := range map[string]Config{
		"no scheduler":          {Paths: twoPaths},
		"the same twice":        {Scheduler: newEven, Paths: []mux.PathSpec{{Name: "a"}, {Name: "a"}}},
		"too many":              {Scheduler: newEven, Paths: make([]mux.PathSpec, schedulers.MaxPaths+1)},
		"relay without its key": {Scheduler: newEven, Paths: []mux.PathSpec{{Name: "a", Relay: relay}}},
	} {
		if _, err := NewBind(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestGarbage: nothing that strangers send reaches WireGuard but what looks
// like WireGuard's, and all else is counted.
func TestGarbage(t *testing.T) {
	defer wgtest.NoLeaks(t)()
	b := newBind(t, nil)
	if err := b.SetPeers(wgtest.Key(t), []Peer{{PublicKey: wgtest.Key(t).Public()}}); err != nil {
		t.Fatal(err)
	}
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	sock, err := udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	var delivered atomic.Uint64
	var reader sync.WaitGroup
	defer reader.Wait()
	defer b.Close()
	reader.Go(func() {
		readAll(fns[0], func(bufs [][]byte, sizes []int) {
			for i := range bufs {
				if bufs[i][0] < 1 || bufs[i][0] > 4 || bufs[i][1] != 0 {
					t.Errorf("delivered to WireGuard: % x…", bufs[i][:min(8, sizes[i])])
				}
			}
			delivered.Add(uint64(len(bufs)))
		})
	})
	garbage := wgtest.Garbage(1000)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	sent := uint64(0)
	for few := range slices.Chunk(garbage, 50) { // more at once the kernel might drop
		for _, g := range few {
			if _, err := sock.WriteBatch([][]byte{g}, to, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
		}
		sent += uint64(len(few))
		wgtest.Eventually(t, "each is delivered, being WireGuard's by its looks, or counted", func() bool {
			total := delivered.Load()
			for _, n := range b.Status().Drops {
				total += n
			}
			return total == sent
		})
	}
	drops := b.Status().Drops
	for _, reason := range []string{"malformed", "unexpected-control", "lease-here", "unknown-index", "handshake-invalid"} {
		if drops[reason] == 0 {
			t.Errorf("nothing was dropped as %s: %v", reason, drops)
		}
	}
}

// fakeDevices is a Watcher of devices that a test sets.
type fakeDevices struct {
	mu      sync.Mutex
	state   netwatch.State
	changes chan struct{}
}

// devices are some with an IPv4 default route.
func devices(names ...string) (s netwatch.State) {
	for i, name := range names {
		s.Links = append(s.Links, netwatch.Link{Index: i + 1, Name: name, Up: true, Driver: "drv-" + name,
			Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.8.100/24")}})
		s.Routes = append(s.Routes, netwatch.Route{Link: i + 1, Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: i})
	}
	return s
}

func newFakeDevices(names ...string) *fakeDevices {
	return &fakeDevices{state: devices(names...), changes: make(chan struct{}, 1)}
}

func (f *fakeDevices) set(s netwatch.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	select {
	case f.changes <- struct{}{}:
	default:
	}
}

func (f *fakeDevices) Read() (netwatch.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, nil
}
func (f *fakeDevices) Changes() <-chan struct{} { return f.changes }
func (f *fakeDevices) Close()                   {}
func (f *fakeDevices) open() (Watcher, error)   { return f, nil }

// TestPathsFollowDevices: where the user names no path, every device with a
// default route is one, as they come and go, but for tunnels, which come and
// go as well.
func TestPathsFollowDevices(t *testing.T) {
	f := newFakeDevices("a", "tun0")
	var mu sync.Mutex
	exclude := []string{"wg0", "tun0"}
	b := openTo(t, Config{
		Scheduler: newEven,
		Listen:    wgtest.NewNet().Listen,
		Watch:     f.open,
		Exclude: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(exclude)
		},
	}, "127.0.0.1:9")
	wgtest.Eventually(t, "device a is the path", openLinks(b, "a"))
	f.set(devices("a", "b", "tun0"))
	wgtest.Eventually(t, "device b is one too", openLinks(b, "a", "b"))
	f.set(devices())
	f.set(devices("b", "tun0"))
	wgtest.Eventually(t, "device a is none any more", openLinks(b, "b"))
	mu.Lock()
	exclude = append(exclude, "b")
	mu.Unlock()
	f.set(devices("a", "b", "tun0"))
	wgtest.Eventually(t, "what became a tunnel is none any more", openLinks(b, "a"))
}

// openTo makes and opens a Bind with one peer to dial.
func openTo(t *testing.T, cfg Config, endpoints ...string) *Bind {
	t.Helper()
	b, err := NewBind(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var peers []Peer
	for _, e := range endpoints {
		peers = append(peers, Peer{PublicKey: wgtest.Key(t).Public(), Endpoint: netip.MustParseAddrPort(e), Name: "server.test:9"})
	}
	if err := b.SetPeers(wgtest.Key(t), peers); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// openLinks reports whether the paths that are open are these devices'.
func openLinks(b *Bind, devices ...string) func() bool {
	return func() bool {
		var got []string
		for _, l := range b.Status().Peers[0].Links {
			if l.State == mux.LinkOpen {
				got = append(got, l.Device)
			}
		}
		return slices.Equal(got, devices)
	}
}

// TestPathsMatch: entries that say what a device is rather than how it is
// called. One with a name is one path, and keeps its device while that fits.
func TestPathsMatch(t *testing.T) {
	var s pathSet
	entries := []mux.PathSpec{
		{Name: "fixed", Device: "eth0"},
		{Name: "modem", Match: netwatch.Match{Driver: "drv-wwan?"}},
		{Match: netwatch.Match{Device: "w*"}},
	}
	names := func() (got []string) {
		for _, p := range s.paths {
			got = append(got, p.Name+"="+p.Device)
		}
		return got
	}
	for _, step := range []struct {
		devices []string
		want    []string
		absent  int
	}{
		{nil, []string{"fixed=eth0"}, 2},
		{[]string{"wwan1"}, []string{"fixed=eth0", "modem=wwan1"}, 0},
		{[]string{"wwan0", "wwan1", "wlan0"}, []string{"fixed=eth0", "modem=wwan1", "wlan0=wlan0", "wwan0=wwan0"}, 0},
		{[]string{"wwan0", "wlan0", "tun0"}, []string{"fixed=eth0", "modem=wwan0", "wlan0=wlan0"}, 0},
	} {
		s.update(entries, devices(step.devices...), nil, 0, nil)
		if diff := cmp.Diff(step.want, names()); diff != "" || len(s.absent) != step.absent {
			t.Errorf("%v: %d absent, want %d; -want +got:\n%s", step.devices, len(s.absent), step.absent, diff)
		}
	}
}

// TestPathsDamped: a device that comes and goes is used when it has stayed for
// a while, which doubles.
func TestPathsDamped(t *testing.T) {
	var s pathSet
	now := time.Duration(0)
	with, without := devices("a", "b"), devices("a")
	used := func() bool { return s.has("b", mux.PathSpec{}) }
	var waits []time.Duration
	for range 6 {
		s.update(nil, without, nil, now, nil)
		now += 100 * time.Millisecond
		s.update(nil, with, nil, now, nil)
		came := now
		for !used() {
			if s.again <= now {
				t.Fatalf("at %v b is left out, and next is %v", now, s.again)
			}
			now = s.again
			s.update(nil, with, nil, now, nil)
		}
		waits = append(waits, now-came)
	}
	// The first coming is none after a loss; two losses cost nothing.
	want := []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 4 * time.Second}
	if diff := cmp.Diff(want, waits); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestDevicesUnknown: where the devices cannot be told, one path goes as the
// routes say.
func TestDevicesUnknown(t *testing.T) {
	b := openTo(t, Config{
		Scheduler: newEven,
		Watch:     func() (Watcher, error) { return nil, errors.ErrUnsupported },
	}, "127.0.0.1:9")
	wgtest.Eventually(t, "the one path is open", func() bool {
		l := b.Status().Peers[0].Links
		return len(l) == 1 && l[0].Device == "" && l[0].State == mux.LinkOpen
	})
}
