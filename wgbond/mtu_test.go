package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// largestOn notes the largest data message that each end puts on a path from
// now on, bytes of UDP payload.
func largestOn(p *simPath) (fromServer *int) {
	fromServer = new(int)
	p.tap = func(fromClient bool, pkt []byte) {
		if !fromClient && wire.Kind(pkt) == wire.WGData {
			*fromServer = max(*fromServer, len(pkt))
		}
	}
	return fromServer
}

// narrow is a path that carries datagrams of 1380 bytes, no larger ones.
var narrow = pathSpec{down: 10 * mbit, up: 5 * mbit, delay: 20 * ms, mtu: 1380 + 28}

// TestNarrowPath: a path that does not carry full packets gets none, but
// carries smaller ones; the user is told.
func TestNarrowPath(t *testing.T) {
	w := newWorld(t, 1, pathSpec{down: 10 * mbit, up: 5 * mbit, delay: 40 * ms}, narrow)
	w.bond()
	w.run(2 * time.Second)
	big := newStream(w, 7)
	w.atClient = big.receive
	largest := largestOn(w.paths[1])

	big.feed(w.sendDown, 8*mbit, 1452, 4, 5*time.Second)
	w.run(6 * time.Second)
	within(t, "packets that arrived", float64(len(big.order)), float64(big.next), float64(big.next))
	within(t, "packets out of order", float64(big.disorder()), 0, 0)
	if *largest > 1380 {
		t.Errorf("a datagram of %d bytes was sent by the narrow path", *largest)
	}
	st := w.server.Status(w.now + w.serverClock)
	if st.TunnelMTU != 1348 || st.Drops["fits-no-path"] != 0 || st.Paths[0].TooSmall != "" || !st.Paths[0].MTUKnown || st.Paths[0].MTU != 1452 {
		t.Errorf("MTU of the tunnel %d, drops %v, wide path %+v", st.TunnelMTU, st.Drops, st.Paths[0])
	}
	want := "carries at most 1380 bytes, the tunnel needs 1452: set MTU = 1348"
	for name, st := range map[string]Status{"server": st, "client": w.client.Status(w.now)} {
		if p := st.Paths[1]; p.TooSmall != want || !p.MTUKnown {
			t.Errorf("%s says %q\n want %q", name, p.TooSmall, want)
		}
	}

	small := newStream(w, 7)
	small.next = big.next
	w.atClient = small.receive
	small.feed(w.sendDown, 8*mbit, 1380, 4, 5*time.Second)
	before := w.paths[1].down.Stats().DeliveredBytes
	w.run(6 * time.Second)
	within(t, "smaller packets that arrived", float64(len(small.order)), float64(small.next-big.next), float64(small.next-big.next))
	within(t, "MB of them by the narrow path, which is the nearer", float64(w.paths[1].down.Stats().DeliveredBytes-before)/1e6, 4.5, 5.2)
	if t.Failed() {
		report(t, w, big)
	}
}

// TestBlackHole: in the middle of a transfer a path ceases to carry what it
// did. All of it arrives by the other path, after a moment; then the path
// recovers, which is found out in time.
func TestBlackHole(t *testing.T) {
	shrunk, grown := 1300+28, 0
	hole := ten
	hole.changes = []sim.Change{{At: 6 * time.Second, MTU: &shrunk}, {At: 20 * time.Second, MTU: &grown}}
	w := newWorld(t, 1, ten, hole)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	w.run(2 * time.Second)
	f.feed(w.sendDown, 8*mbit, 1452, 4, 10*time.Second)
	w.run(12 * time.Second)

	within(t, "packets that arrived", float64(len(f.order)), float64(f.next), float64(f.next))
	// Those of the first round trip: nobody knows yet that the path fails them.
	within(t, "packets out of order", float64(f.disorder()), 0, 10)
	within(t, "longest gap, ms", f.maxGap.Seconds()*1e3, 0, 300)
	if got := w.server.links[1].carries; got != 1300 {
		t.Errorf("the path is taken to carry %d bytes, it does 1300", got)
	}
	within(t, "Mbit/s of the path beside it, which carries all", w.server.links[0].rate.Rate()*8/mbit, 8, 11)
	w.run(11 * time.Minute)
	if got := w.server.links[1].carries; got != 1452 {
		t.Errorf("the path is taken to carry %d bytes still", got)
	}
	if t.Failed() {
		report(t, w, f)
	}
}

// TestNoPathFits: what is larger than any path carries goes by the one that
// carries most, and is counted; the rest is not held up by it.
func TestNoPathFits(t *testing.T) {
	narrower := narrow
	narrower.mtu -= 100
	w := newWorld(t, 1, narrower, narrow)
	w.bond()
	w.run(3 * time.Second)
	f := newStream(w, 7)
	w.atClient = f.receive
	narrowest, wider := largestOn(w.paths[0]), largestOn(w.paths[1])
	const large = 5
	for i := range 200 {
		size := 500
		if i%40 == 0 {
			size = 1452
		}
		w.sendDown([][]byte{dataMessage(7, f.next, size)})
		f.next++
		w.run(10 * ms)
	}
	w.run(3 * time.Second)
	within(t, "packets that arrived", float64(len(f.order)), 200-large, 200-large)
	within(t, "packets out of order", float64(f.disorder()), 0, 0)
	st := w.server.Status(w.now + w.serverClock)
	within(t, "misfits", float64(st.Drops["fits-no-path"]), large, large)
	if fits, ok := w.server.FitsMTU(); fits != narrow.mtu-28-32 || !ok {
		t.Errorf("an MTU of %d (%v) is said to fit", fits, ok)
	}
	if *narrowest > 1280 || *wider != 1452 {
		t.Errorf("the largest datagrams sent: %d bytes by the narrower path, %d by the other", *narrowest, *wider)
	}
	within(t, "suspects", float64(st.Suspects), 0, 0)
}

// TestTooLongForSocket: the socket's refusal tells what no probe has yet.
func TestTooLongForSocket(t *testing.T) {
	w := newWorld(t, 1, ten, narrow)
	w.bond()
	w.client.PathTooLong(w.now, 1, 1452)
	if got := w.client.links[1].carries; got != 1232 {
		t.Errorf("carries %d", got)
	}
	w.run(3 * time.Second)
	if p := w.client.Status(w.now).Paths[1]; p.MTU != 1380 || !p.MTUKnown {
		t.Errorf("carries %d, known: %v", p.MTU, p.MTUKnown)
	}
}

// TestProbesTakeNoPartInRTTs: on a link of 1 Mbit/s a full probe takes 12 ms,
// of which the round-trip times know nothing.
func TestProbesTakeNoPartInRTTs(t *testing.T) {
	w := newWorld(t, 1, pathSpec{down: 1 * mbit, up: 1 * mbit, delay: 20 * ms})
	w.bond()
	w.run(3 * time.Second)
	p := w.client.Status(w.now).Paths[0]
	if !p.MTUKnown {
		t.Fatal("no probe was answered")
	}
	// A ping and its answer take 0.6 ms each beside the propagation; the first
	// may wait for what attaching says.
	within(t, "lowest round trip, ms", p.MinRTT.Seconds()*1e3, 41, 42)
	within(t, "smoothed round trip, ms", p.SRTT.Seconds()*1e3, 41, 43)
}
