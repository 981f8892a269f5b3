package shim_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// startRelay runs a real relayd on the loopback; stop ends it.
func startRelay(t *testing.T, at netip.AddrPort, key control.Key, allow ...control.Key) (addr netip.AddrPort, stop func()) {
	t.Helper()
	r, err := relayd.New(relayd.Config{
		Listen:               []netip.AddrPort{at},
		PrivateKey:           key,
		Allow:                allow,
		AllowLoopbackTargets: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("relayd: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return r.Addrs()[0], stop
}

// link is the status of the client's path of the given name.
func link(w *world, name string) mux.Link {
	for _, l := range w.bind.Status().Peers[0].Links {
		if l.Name == name {
			return l
		}
	}
	return mux.Link{}
}

// TestRelay is the job: one's own path and one through a neighbour's relayd.
func TestRelay(t *testing.T) {
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	relay, stop := startRelay(t, local(0), relayKey, clientKey.Public())
	w := newWorldOf(t, clientKey, []mux.PathSpec{
		{Name: "own", Device: "a"},
		{Name: "neighbour", Device: "b", Relay: relay, RelayKey: relayKey.Public()},
	})
	w.client.Up(t)
	w.bonded(t, 2)
	wgtest.Transfer(t, w.client, w.server, true, 4<<20)
	wgtest.Transfer(t, w.client, w.server, false, 4<<20)
	w.carried(t)
	if l := link(w, "neighbour"); l.State != mux.LinkOpen || !strings.HasPrefix(l.Lease, "granted") {
		t.Errorf("the relay's path is shown as %+v, want it open, with its lease", l)
	}

	// The lender stops: the path goes, the tunnel stays. It says so when it
	// stops in peace, and is there again after a restart on its old port.
	stop()
	wgtest.Eventually(t, "the path is withdrawn, with a reason", func() bool {
		l := link(w, "neighbour")
		return l.State == mux.LinkLeasing && !l.InUse && l.Reason != ""
	})
	wgtest.Transfer(t, w.client, w.server, true, 1<<20)
	startRelay(t, relay, relayKey, clientKey.Public())
	w.bonded(t, 2)
}

// TestRelaySpares: what a lender uses itself its borrowers' server does not send
// by it.
func TestRelaySpares(t *testing.T) {
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	var received, sent atomic.Uint64
	var owner atomic.Bool
	begun := time.Now()
	r, err := relayd.New(relayd.Config{
		Listen: []netip.AddrPort{local(0)}, PrivateKey: relayKey, Allow: []control.Key{clientKey.Public()},
		AllowLoopbackTargets: true,
		// A device on which the owner receives a gigabyte a second, or nothing.
		Counters: func(string) (func() (uint64, uint64, bool), int) {
			return func() (uint64, uint64, bool) {
				if owner.Load() {
					received.Store(uint64(time.Since(begun)))
				}
				return received.Load(), sent.Load(), true
			}, 0
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	w := newWorldOf(t, clientKey, []mux.PathSpec{
		{Name: "own", Device: "a"},
		{Name: "neighbour", Device: "b", Relay: r.Addrs()[0], RelayKey: relayKey.Public()},
	})
	w.client.Up(t)
	w.bonded(t, 2)
	lent := func() (limited, unlimited bool) {
		for _, p := range w.shim.Status().Clients[0].Session.Paths {
			if p.Lent {
				return p.Ceiling >= 0, p.Ceiling < 0
			}
		}
		return false, false
	}
	wgtest.Eventually(t, "the server may send all, for the lender uses nothing", func() bool {
		_, free := lent()
		return free
	})
	owner.Store(true)
	wgtest.Eventually(t, "the server is held back", func() bool {
		wgtest.Transfer(t, w.client, w.server, true, 64<<10)
		limited, _ := lent()
		return limited
	})
	owner.Store(false)
	wgtest.Eventually(t, "the server may send all again", func() bool {
		wgtest.Transfer(t, w.client, w.server, true, 64<<10)
		_, free := lent()
		return free
	})
}

// hostile stands before a relay and passes on what comes and goes; what comes it
// shows to harm first.
func hostile(t *testing.T, relay netip.AddrPort, harm func(pkt []byte)) netip.AddrPort {
	t.Helper()
	front, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(local(0)))
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		t.Fatal(err)
	}
	var borrower atomic.Pointer[netip.AddrPort]
	var passing sync.WaitGroup
	t.Cleanup(func() { front.Close(); back.Close(); passing.Wait() })
	pass := func(from *net.UDPConn, on func(pkt []byte, from netip.AddrPort)) {
		buf := make([]byte, 2048)
		for {
			n, at, err := from.ReadFromUDPAddrPort(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err == nil:
				on(buf[:n], at)
			}
		}
	}
	passing.Go(func() {
		pass(front, func(pkt []byte, at netip.AddrPort) {
			borrower.Store(&at)
			_, _ = back.Write(pkt) // what is lost is lost
		})
	})
	passing.Go(func() {
		pass(back, func(pkt []byte, _ netip.AddrPort) {
			harm(pkt)
			_, _ = front.WriteToUDPAddrPort(pkt, *borrower.Load()) // likewise
		})
	})
	return front.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestHostileRelay: a relay that alters some of what it carries is named at both
// ends, and given no more of it; what it altered comes by the other path.
func TestHostileRelay(t *testing.T) {
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	relay, _ := startRelay(t, local(0), relayKey, clientKey.Public())
	n := 0
	relay = hostile(t, relay, func(pkt []byte) {
		if wire.Kind(pkt) == wire.WGData && len(pkt) > 500 {
			if n++; n%4 == 0 {
				pkt[len(pkt)-1] ^= 1
			}
		}
	})
	w := newWorldOf(t, clientKey, []mux.PathSpec{
		{Name: "own", Device: "a"},
		{Name: "neighbour", Device: "b", Relay: relay, RelayKey: relayKey.Public()},
	})
	w.client.Up(t)
	w.bonded(t, 2)
	paths := func() (own, lent [2]wgbond.PathStatus) {
		for end, all := range [2][]wgbond.PathStatus{w.bind.Status().Peers[0].Session.Paths, w.shim.Status().Clients[0].Session.Paths} {
			for _, p := range all {
				if p.Lent {
					lent[end] = p
				} else {
					own[end] = p
				}
			}
		}
		return own, lent
	}
	wgtest.Eventually(t, "it is named at both ends", func() bool {
		wgtest.Transfer(t, w.client, w.server, true, 1<<20)
		_, lent := paths()
		return lent[0].Charge != "" && lent[1].Charge != ""
	})
	own, before := paths()
	t.Logf("the client says %q, the server %q", before[0].Charge, before[1].Charge)
	if own[0].Charge != "" || own[1].Charge != "" {
		t.Errorf("the honest path is accused: %q, %q", own[0].Charge, own[1].Charge)
	}
	const size = 4 << 20
	wgtest.Transfer(t, w.client, w.server, true, size)
	if _, after := paths(); after[1].TxBytes-before[1].TxBytes > size/wgtest.Slowness/4 {
		t.Errorf("it was given %d bytes more", after[1].TxBytes-before[1].TxBytes)
	}
}

// TestRelayRefuses: who is not allowed to borrow has the path shown as such,
// and everything else works.
func TestRelayRefuses(t *testing.T) {
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	relay, _ := startRelay(t, local(0), relayKey, wgtest.Key(t).Public())
	w := newWorldOf(t, clientKey, []mux.PathSpec{
		{Name: "own", Device: "a"},
		{Name: "neighbour", Device: "b", Relay: relay, RelayKey: relayKey.Public()},
	})
	w.client.Up(t)
	w.bonded(t, 1)
	wgtest.Transfer(t, w.client, w.server, true, 1<<20)
	wgtest.Eventually(t, "the path says that there is no lease", func() bool {
		l := link(w, "neighbour")
		return l.State == mux.LinkLeasing && !l.InUse && l.Reason != ""
	})
}

// TestLeaseIsGivenBack: on farewell the lender need not wait for the lease to
// run out.
func TestLeaseIsGivenBack(t *testing.T) {
	relayKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	r, err := relayd.New(relayd.Config{Listen: []netip.AddrPort{local(0)}, PrivateKey: relayKey,
		Allow: []control.Key{clientKey.Public()}, AllowLoopbackTargets: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()

	w := newWorldOf(t, clientKey, []mux.PathSpec{{Name: "neighbour", Device: "b", Relay: r.Addrs()[0], RelayKey: relayKey.Public()}})
	w.client.Up(t)
	w.bonded(t, 1)
	wgtest.Eventually(t, "the relay counts the lease", func() bool { return r.Stats().Leases == 1 })
	if err := w.bind.Shutdown(); err != nil {
		t.Fatal(err)
	}
	wgtest.Eventually(t, "the lease has ended", func() bool { return r.Stats().Leases == 0 })
}

// newWorldOf is a world whose client has the given key and paths.
func newWorldOf(t *testing.T, clientKey control.Key, paths []mux.PathSpec) *world {
	t.Helper()
	w := &world{net: wgtest.NewNet()}
	var err error
	w.bind, err = conn.NewBind(conn.Config{Scheduler: newEven, Listen: w.net.Listen, Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	w.build(t, clientKey)
	return w
}
