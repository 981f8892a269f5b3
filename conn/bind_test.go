package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
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
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
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
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b := newBind(t, nil)
	if err := b.SetPeers(wgtest.Key(t), []Peer{{PublicKey: wgtest.Key(t).Public()}}); err != nil {
		t.Fatal(err)
	}
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sock, err := udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	garbage := wgtest.Garbage(1000)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	for _, g := range garbage {
		if _, err := sock.WriteBatch([][]byte{g}, to, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	// A last one that is WireGuard's by its looks marks the end.
	last := make([]byte, 148)
	last[0] = 1
	if _, err := sock.WriteBatch([][]byte{last}, to, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	bufs, sizes, eps := receiver(mux.BatchSize)
	delivered := 0
	for {
		n, err := fns[0](bufs, sizes, eps)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if bufs[i][0] < 1 || bufs[i][0] > 4 || bufs[i][1] != 0 {
				t.Errorf("delivered to WireGuard: % x…", bufs[i][:min(8, sizes[i])])
			}
		}
		if delivered += n; bufs[n-1][0] == 1 {
			break
		}
	}
	wgtest.Eventually(t, "all but the cookies by their looks is counted, by reason", func() bool {
		drops := b.Status().Drops
		total := uint64(0)
		for _, n := range drops {
			total += n
		}
		for _, reason := range []string{"malformed", "unexpected-control", "lease-here", "unknown-index", "handshake-invalid"} {
			if drops[reason] == 0 {
				return false
			}
		}
		return total == uint64(len(garbage)-delivered+1)
	})
}

// TestPathsFollowDevices: where the user names no path, every device with a
// default route is one, as they come and go.
func TestPathsFollowDevices(t *testing.T) {
	var mu sync.Mutex
	devices := []string{"a"}
	set := func(names ...string) {
		mu.Lock()
		defer mu.Unlock()
		devices = names
	}
	var excluded []string
	b, err := NewBind(Config{
		Scheduler: newEven,
		Exclude:   []string{"wg0"},
		Listen:    wgtest.NewNet().Listen,
		Devices: func(exclude ...string) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			excluded = exclude
			return slices.Clone(devices), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("127.0.0.1:9")
	if err := b.SetPeers(wgtest.Key(t), []Peer{{PublicKey: wgtest.Key(t).Public(), Endpoint: to}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	open := func(names ...string) func() bool {
		return func() bool {
			var got []string
			for _, l := range b.Status().Peers[0].Links {
				if l.State == mux.LinkOpen {
					got = append(got, l.Device)
				}
			}
			return slices.Equal(got, names)
		}
	}
	wgtest.Eventually(t, "device a is the path", open("a"))
	set("a", "b")
	wgtest.Eventually(t, "device b is one too", open("a", "b"))
	set()
	set("b")
	wgtest.Eventually(t, "device a is none any more", open("b"))
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(excluded, []string{"wg0"}) {
		t.Errorf("excluded were %q, want wg0", excluded)
	}
}

// TestDevicesUnknown: where the devices cannot be told, one path goes as the
// routes say.
func TestDevicesUnknown(t *testing.T) {
	b, err := NewBind(Config{
		Scheduler: newEven,
		Devices:   func(...string) ([]string, error) { return nil, errors.ErrUnsupported },
	})
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("127.0.0.1:9")
	if err := b.SetPeers(wgtest.Key(t), []Peer{{PublicKey: wgtest.Key(t).Public(), Endpoint: to}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wgtest.Eventually(t, "the one path is open", func() bool {
		l := b.Status().Peers[0].Links
		return len(l) == 1 && l[0].Device == "" && l[0].State == mux.LinkOpen
	})
}
