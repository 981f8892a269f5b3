package wgbond

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

var (
	seedPath = pathSpec{down: 3.6 * mbit, up: 1.4 * mbit, delay: 30 * ms}
	fast     = pathSpec{down: 20 * mbit, up: 5 * mbit, delay: 15 * ms}
	slow     = pathSpec{down: 5 * mbit, up: 2 * mbit, delay: 60 * ms}
	ten      = pathSpec{down: 10 * mbit, up: 5 * mbit, delay: 20 * ms}
)

// within asserts a figure of a deterministic run. The margin is there for
// changes of the algorithms that are none for the worse, not for chance.
func within(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %.4g, want %.4g to %.4g", what, got, low, high)
	}
}

// report logs what a failed run needs to be understood.
func report(t *testing.T, w *world, f *stream) {
	t.Helper()
	t.Logf("%d of %d packets, %d out of order, longest gap %v", len(f.order), f.next, f.disorder(), f.maxGap)
	for name, st := range map[string]Status{"client": w.client.Status(w.now), "server": w.server.Status(w.now + w.serverClock)} {
		t.Logf("%s: queue %d, drops %v, repairs %d, spurious %d, suspects %d, restarts %d, lost %d", name, st.Queue, st.Drops,
			st.RepairsSent, st.Spurious, st.Suspects, st.PeerRestarts, st.BondLost)
		for _, p := range st.Paths {
			t.Logf("  path %d %v %s: %.2f Mbit/s, rtt %v (min %v), owd +%v, in flight %d of %d, queued %d, lost %d, repairs %d, tx %d",
				p.ID, p.State, p.RateMode, p.Rate*8/mbit, p.SRTT, p.MinRTT, p.OWD, p.InFlight, p.Window, p.Queued,
				p.LostPackets, p.Repairs, p.TxPackets)
		}
	}
	t.Logf("client's order: %+v", w.client.order.Stats())
}

func TestBondComesUp(t *testing.T) {
	w := newWorld(t, 1, seedPath, seedPath)
	w.bond()
	// Handshake, Attach with challenge, first ping: three round trips of 60 ms
	// and the initiation's own time on the 1.4 Mbit/s uplink.
	within(t, "seconds until bonded", (w.now - time.Second).Seconds(), 0, 0.25)
}

// TestSum: a stream of more than both paths can carry gets what both can.
func TestSum(t *testing.T) {
	for _, tc := range []struct {
		name  string
		paths []pathSpec
		feed  float64 // Mbit/s
		want  float64 // of the paths' sum
	}{
		{"seed", []pathSpec{seedPath, seedPath}, 8, 0.98},
		{"unequal", []pathSpec{fast, slow}, 28, 0.95},
		{"one path", []pathSpec{fast}, 22, 0.97},
		{"four", []pathSpec{seedPath, ten, {down: 5 * mbit, up: 2 * mbit, delay: 45 * ms}, fast}, 42, 0.93},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1, tc.paths...)
			w.bond()
			f := newStream(w, 7)
			w.atClient = f.receive
			f.feed(w.sendDown, tc.feed*mbit, 1452, 4, 10*time.Second)
			w.run(3 * time.Second)
			early := f.bytes
			w.run(7 * time.Second)
			sum := 0.0
			for _, p := range tc.paths {
				sum += p.down
			}
			within(t, "share of the sum", float64(f.bytes-early)*8/7/sum, tc.want, 1.01) // what was held when it began counts
			// A packet that start-up's overshoot drops twice, once as a repair,
			// may come too late.
			within(t, "packets out of order", float64(f.disorder()), 0, 3)
			if t.Failed() {
				report(t, w, f)
			}
		})
	}
}

// TestLossIsRepaired: below the paths' capacity every packet arrives, in order,
// though one in a hundred is lost on either path.
func TestLossIsRepaired(t *testing.T) {
	a, b := fast, slow
	a.loss, b.loss = 0.01, 0.01
	w := newWorld(t, 1, a, b)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 18*mbit, 1452, 4, 10*time.Second)
	w.run(11 * time.Second)
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
	within(t, "packets out of order", float64(f.disorder()), 0, 0)
	report(t, w, f)
}

// TestByteIdentity: what WireGuard makes is on the wires as it is, and nothing
// else but our control messages is.
func TestByteIdentity(t *testing.T) {
	w := newWorld(t, 1, fast, slow)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	sent := map[uint64][]byte{}
	seen := map[uint64]int{}
	for _, p := range w.paths {
		p.tap = func(fromClient bool, b []byte) {
			switch wire.Kind(b) {
			case wire.SessionControl:
			case wire.WGData:
				_, c, _ := wire.DataHeader(b)
				if !bytes.Equal(b, sent[c]) {
					t.Errorf("packet %d differs from what WireGuard made", c)
				}
				seen[c]++
			default:
				t.Errorf("neither WireGuard's nor ours: % x", b[:min(len(b), 16)])
			}
		}
	}
	f.feed(func(pkts [][]byte) {
		for _, p := range pkts {
			_, c, _ := wire.DataHeader(p)
			sent[c] = bytes.Clone(p)
		}
		w.sendDown(pkts)
		for _, p := range pkts {
			clear(p) // WireGuard reuses its buffers once Send is back
		}
	}, 10*mbit, 1452, 4, 2*time.Second)
	w.run(3 * time.Second)
	if len(seen) != len(sent) || f.corrupt > 0 || len(f.order) != len(sent) {
		t.Errorf("%d packets made, %d on the wires, %d arrived, %d corrupt", len(sent), len(seen), len(f.order), f.corrupt)
	}
}

// TestOutage: a path goes dark without a word for ten seconds. Nothing is lost
// to WireGuard, and delivery pauses at neither edge for 300 ms.
func TestOutage(t *testing.T) {
	dark := ten
	dark.outages = []sim.Outage{{From: 5 * time.Second, To: 15 * time.Second}}
	for i, paths := range [][]pathSpec{{ten, dark}, {dark, ten}} {
		t.Run(fmt.Sprintf("path %d", 1-i), func(t *testing.T) {
			w := newWorld(t, 1, paths...)
			w.bond()
			f := newStream(w, 7)
			w.atClient = f.receive
			f.feed(w.sendDown, 9*mbit, 1452, 2, 18*time.Second)
			w.run(20 * time.Second)
			within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 300)
			within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
			within(t, "packets out of order", float64(f.disorder()), 0, 0)
			if n := popcount(w.server.workingLinks()); n != 2 {
				t.Errorf("%d paths work after the outage", n)
			}
			if t.Failed() {
				report(t, w, f)
			}
		})
	}
}

// TestServerRestart: the shim begins anew in mid-stream, with no memory and
// another clock. The client notices, goes plain, and bonds again.
func TestServerRestart(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	up := newStream(w, 9)
	w.atServer = up.receive
	up.feed(w.sendUp, 4*mbit, 1452, 2, 8*time.Second)
	w.run(3 * time.Second)
	w.startShim()
	w.serverClock = 5 * time.Second
	w.run(3 * time.Second)
	if w.server == nil || !w.server.Bonded() || !w.client.Bonded() {
		t.Fatalf("not bonded three seconds after the restart: %+v", w.client.Status(w.now))
	}
	if n := popcount(w.client.workingLinks()); n != 2 {
		t.Errorf("%d paths work again", n)
	}
	down := newStream(w, 7)
	w.atClient = down.receive
	down.feed(w.sendDown, 15*mbit, 1452, 4, 3*time.Second)
	w.run(4 * time.Second)
	within(t, "packets missing afterwards", float64(down.next)-float64(len(down.order)), 0, 0)
	within(t, "share of packets that arrived meanwhile", float64(len(up.order))/float64(up.next), 0.85, 1)
	within(t, "longest gap upwards, ms", float64(up.maxGap)/1e6, 0, 1600)
	if t.Failed() {
		report(t, w, down)
	}
}

// TestClientRestart: a new client of the same key takes the session over.
func TestClientRestart(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 8*mbit, 1452, 2, 500*ms)
	w.run(time.Second)
	w.client = New(w.now, w.config(Client))
	for _, p := range w.paths {
		p.id, _ = w.client.AddPath(w.now, PathConfig{})
	}
	w.run(500 * ms)
	f = newStream(w, 8)
	w.atClient = f.receive
	f.feed(w.sendDown, 15*mbit, 1452, 4, 3*time.Second)
	w.run(4 * time.Second)
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
	within(t, "packets out of order", float64(f.disorder()), 0, 0)
	if n := w.server.Status(w.now + w.serverClock).PeerRestarts; n != 1 {
		t.Errorf("the server saw %d restarts", n)
	}
	if t.Failed() {
		report(t, w, f)
	}
}

// TestNoShim: before a stock server the session is plain WireGuard on one
// path, and moves to the other when that dies.
func TestNoShim(t *testing.T) {
	dark := ten
	dark.outages = []sim.Outage{{From: 4 * time.Second, To: time.Hour}}
	w := newWorld(t, 1, dark, ten)
	w.noShim = true
	f := newStream(w, 7)
	w.atServer = func(p []byte) {
		f.receive(p)
		// A stock peer answers where it heard: every fourth packet, like TCP.
		if _, c, ok := wire.DataHeader(p); ok && c%4 == 0 {
			w.put(w.arrivedBy, false, dataMessage(77, c, 80))
		}
	}
	f.feed(w.sendUp, 2*mbit, 1000, 1, 10*time.Second)
	w.run(2 * time.Second)
	before := len(f.order)
	within(t, "share before the outage", float64(before)/float64(f.next), 0.97, 1)
	w.run(9 * time.Second)
	st := w.client.Status(w.now)
	if st.Bonded || st.PlainReason == "" {
		t.Errorf("bonded %v, reason %q", st.Bonded, st.PlainReason)
	}
	within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 450)
	within(t, "fail-overs", float64(st.Failovers), 1, 1)
}

// TestRekey: a new key pair begins in mid-stream; the order holds across.
func TestRekey(t *testing.T) {
	w := newWorld(t, 1, fast, slow)
	w.bond()
	var got [][2]uint64
	seen := map[[2]uint64]bool{}
	w.atClient = func(p []byte) {
		index, c, _ := wire.DataHeader(p)
		if at := [2]uint64{uint64(index), c}; !seen[at] { // copies are WireGuard's to discard
			seen[at] = true
			got = append(got, at)
		}
	}
	f := newStream(w, 100)
	f.feed(func(pkts [][]byte) {
		for i, p := range pkts {
			_, c, _ := wire.DataHeader(p)
			pkts[i] = dataMessage(uint32(100+c/2000), c%2000, len(p))
		}
		w.sendDown(pkts)
	}, 20*mbit, 1452, 4, 6*time.Second)
	w.run(7 * time.Second)
	if uint64(len(got)) != f.next {
		t.Errorf("%d of %d packets arrived", len(got), f.next)
	}
	for i := 1; i < len(got); i++ {
		if a, b := got[i-1], got[i]; b[0] < a[0] || b[0] == a[0] && b[1] < a[1] {
			t.Fatalf("key pair %d counter %d came after key pair %d counter %d", b[0], b[1], a[0], a[1])
		}
	}
	if got[len(got)-1][0] < 104 {
		t.Errorf("only %d key pairs", got[len(got)-1][0]-99)
	}
}

// TestPathRemoved: a path is withdrawn under load.
func TestPathRemoved(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	f := newStream(w, 7)
	w.atServer = f.receive
	f.feed(w.sendUp, 4*mbit, 1452, 2, 4*time.Second)
	w.run(2 * time.Second)
	w.client.RemovePath(w.now, w.paths[1].id)
	w.run(3 * time.Second)
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
	within(t, "longest gap, ms", float64(f.maxGap)/1e6, 0, 150)
	if n := len(w.server.Status(w.now + w.serverClock).Paths); n != 1 {
		t.Errorf("the server still has %d paths", n)
	}
}

// TestAddressChange: a path's NAT gives it a new address under load.
func TestAddressChange(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 9*mbit, 1452, 4, 4*time.Second)
	w.run(2 * time.Second)
	old := w.paths[1].addr
	w.paths[1].addr = netip.MustParseAddrPort("192.0.2.1:4242")
	w.run(3 * time.Second)
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
	if r, _ := w.server.Remote(w.paths[1].id); r.Peer == old {
		t.Error("the server still sends to the old address")
	}
	if t.Failed() {
		report(t, w, f)
	}
}

// TestReplayedAttach: someone repeats a captured Attach from an address of
// their own. Nothing but one challenge goes there.
func TestReplayedAttach(t *testing.T) {
	w := newWorld(t, 1, ten)
	var captured [][]byte
	w.paths[0].tap = func(fromClient bool, b []byte) {
		if fromClient && wire.ControlKind(b) == wire.Sealed {
			captured = append(captured, bytes.Clone(b))
		}
	}
	w.bond()
	w.paths[0].tap = nil
	thief := Remote{Peer: netip.MustParseAddrPort("203.0.113.9:9")}
	forged := w.server.counts.drops[dropForgedControl]
	for _, b := range captured {
		w.server.ReceiveStray(w.now+w.serverClock, thief, w.copy(b))
	}
	if n := len(w.server.Strays(nil)); n != 0 {
		t.Errorf("%d datagrams went to the thief", n)
	}
	if got := w.server.counts.drops[dropForgedControl] - forged; got != uint64(len(captured)) {
		t.Errorf("%d of %d replays counted", got, len(captured))
	}
	if r, _ := w.server.Remote(0); r == thief {
		t.Error("the thief has the path")
	}
}

// TestFirstAttachStolen: the thief is faster and delivers the client's own
// Attach first, from its address. It gets a challenge and no data.
func TestFirstAttachStolen(t *testing.T) {
	w := newWorld(t, 1, ten)
	w.bond()
	w.client.begin(0)
	w.client.add(&wire.Attach{Path: 0, Weight: 256})
	stolen := w.client.transport.Seal(nil, w.client.message)
	thief := Remote{Peer: netip.MustParseAddrPort("203.0.113.9:9")}
	w.server.ReceiveStray(w.now+w.serverClock, thief, w.copy(stolen))
	if n := len(w.server.Strays(nil)); n != 1 {
		t.Errorf("%d datagrams to the thief, want one challenge", n)
	}
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 5*mbit, 1452, 2, time.Second)
	w.run(2 * time.Second)
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
}

// TestGarbage: whatever comes, nothing is delivered, nothing grows, all is
// counted, and no buffer is lost.
func TestGarbage(t *testing.T) {
	const seed = 42
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, 1, ten, ten)
	w.bond()
	w.run(time.Second)
	delivered := 0
	w.atClient = func([]byte) { delivered++ }
	w.atServer = func([]byte) { delivered++ }
	out := w.pool.out
	for range 20_000 {
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if len(b) > 16 {
			switch r.IntN(3) {
			case 0:
				copy(b, []byte{wire.TypeSession, byte(r.IntN(6)), 0, 0})
			case 1:
				copy(b, []byte{wire.TypeLease, 4, 0, 0})
			case 2:
				b[0] |= 0x80 // not WireGuard's
			}
		}
		switch r.IntN(4) {
		case 0:
			w.client.Receive(w.now, schedulers.PathID(r.IntN(3)), w.copy(b))
		case 1:
			w.server.Receive(w.now+w.serverClock, schedulers.PathID(r.IntN(3)), w.copy(b))
		case 2:
			w.server.ReceiveStray(w.now+w.serverClock, Remote{Peer: w.paths[0].addr}, w.copy(b))
		case 3:
			w.client.Send(w.now, [][]byte{b})
		}
	}
	w.run(time.Second)
	if delivered != 0 {
		t.Errorf("%d datagrams of garbage were delivered", delivered)
	}
	if w.pool.out > out+4 {
		t.Errorf("%d buffers in use, %d before", w.pool.out, out)
	}
	var counted uint64
	for _, s := range []*Session{w.client, w.server} {
		for _, n := range s.counts.drops {
			counted += n
		}
	}
	if counted < 20_000 {
		t.Errorf("%d of 20000 pieces of garbage counted", counted)
	}
	if !w.client.Bonded() || !w.server.Bonded() {
		t.Error("garbage broke the bond")
	}
}

// TestChaos throws everything at a bond: loss, outages, restarts, address
// changes, paths that come and go, both directions busy. Afterwards the bond
// works, no buffer is lost, and nothing was delivered that was not sent.
func TestChaos(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { chaos(t, seed) })
	}
}

func chaos(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var specs []pathSpec
	for range 1 + r.IntN(4) {
		s := pathSpec{down: (1 + 30*r.Float64()) * mbit, up: (1 + 10*r.Float64()) * mbit,
			delay: time.Duration(1+r.IntN(150)) * ms, loss: r.Float64() * 0.05, queue: 5_000 + r.IntN(200_000)}
		at := 2 * time.Second
		for r.IntN(2) == 0 {
			at += time.Duration(r.IntN(5000)) * ms
			d := time.Duration(1+r.IntN(3000)) * ms
			s.outages = append(s.outages, sim.Outage{From: at, To: at + d})
			at += d
		}
		specs = append(specs, s)
	}
	w := newWorld(t, seed, specs...)
	down, up := newStream(w, 1000), newStream(w, 2000)
	w.atClient, w.atServer = down.receive, up.receive
	w.run(time.Second)
	down.feed(func(p [][]byte) {
		if w.server != nil {
			w.sendDown(p)
		}
	}, 20*mbit, 1452, 4, 12*time.Second)
	up.feed(w.sendUp, 4*mbit, 1200, 2, 12*time.Second)
	for range 40 {
		w.after(time.Duration(r.IntN(12000))*ms, func() {
			switch r.IntN(5) {
			case 0:
				w.paths[r.IntN(len(w.paths))].addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(256))}), uint16(1024+r.IntN(60000)))
			case 1:
				p := w.paths[r.IntN(len(w.paths))]
				w.client.RemovePath(w.now, p.id)
				p.id, _ = w.client.AddPath(w.now, PathConfig{})
			case 2:
				if r.IntN(4) == 0 {
					w.startShim()
					w.serverClock = time.Duration(r.IntN(1000)) * time.Second
				}
			case 3:
				w.client.PathDown(w.now, w.paths[r.IntN(len(w.paths))].id)
			case 4:
				down.index++
				down.next, down.arrived, down.order = 0, map[uint64]int{}, nil
			}
		})
	}
	w.run(13 * time.Second)
	// Let it come to rest: outages are over by now or soon.
	w.run(30 * time.Second)
	if w.server == nil || !w.client.Bonded() || !w.server.Bonded() {
		t.Logf("responder %+v links %+v / %+v", w.responder.Stats(), w.paths[0].up.Stats(), w.paths[0].down.Stats())
		if w.server != nil {
			t.Logf("server %+v", w.server.Status(w.now+w.serverClock))
		}
		t.Fatalf("not bonded after all: %+v", w.client.Status(w.now))
	}
	if down.corrupt+up.corrupt > 0 {
		t.Errorf("%d packets came corrupt", down.corrupt+up.corrupt)
	}
	for _, s := range []*Session{w.client, w.server} {
		if s.queue.len() > 0 || s.queue.bytes != 0 {
			t.Errorf("%d packets, %d bytes still queued", s.queue.len(), s.queue.bytes)
		}
		if n, _ := s.order.Held(); n > 0 {
			t.Errorf("%d packets still held", n)
		}
	}
	f := newStream(w, 3000)
	w.atClient = f.receive
	f.feed(w.sendDown, 0.5*mbit, 1000, 1, 3*time.Second)
	w.run(6 * time.Second)
	within(t, "share of packets afterwards", float64(len(f.order))/float64(f.next), 0.9, 1)
	if t.Failed() {
		report(t, w, f)
	}
}
