package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestLostTail: the last packet of every burst is lost, and nothing follows by
// which the receiver could tell. The path is asked, found well, and the packet
// comes again; the path is not suspected.
func TestLostTail(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	const bursts, packets = 20, 8
	seen := map[uint64]bool{}
	for _, p := range w.paths {
		p.lose = func(fromClient bool, pkt []byte) bool {
			_, c, data := wire.DataHeader(pkt)
			first := data && !fromClient && c%packets == packets-1 && !seen[c]
			seen[c] = seen[c] || first
			return first
		}
	}
	for range bursts {
		f.feed(w.sendDown, 8*mbit, 1000, packets, ms)
		w.run(time.Second)
	}
	within(t, "packets missing", float64(f.next)-float64(len(f.order)), 0, 0)
	st := w.server.Status(w.now + w.serverClock)
	within(t, "suspicions", float64(st.Suspects), 0, 0)
	var worst time.Duration
	for _, d := range f.delays {
		worst = max(worst, d)
	}
	within(t, "ms until the last came", float64(worst)/1e6, 0, 220)
	if t.Failed() {
		report(t, w, f)
	}
}

// TestLostWindow: everything in flight is lost at once on paths so short that
// they are asked, and answer, faster than a lost packet is given up: the
// window opens again all the same.
func TestLostWindow(t *testing.T) {
	near := pathSpec{down: 200 * mbit, up: 200 * mbit, delay: 150 * time.Microsecond, queue: 1 << 20}
	w := newWorld(t, 1, near, near)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	losing := false
	for _, p := range w.paths {
		p.lose = func(fromClient bool, pkt []byte) bool {
			_, _, data := wire.DataHeader(pkt)
			return losing && data && !fromClient
		}
	}
	f.feed(w.sendDown, 300*mbit, 1400, 32, 4*time.Second)
	w.run(time.Second)
	losing = true
	for range 15 { // what comes up keeps the paths from being suspected
		w.run(10 * ms)
		for _, l := range w.server.links {
			if l != nil {
				l.path.Hasten(w.now + w.serverClock)
			}
		}
	}
	losing = false
	for range 200 {
		w.run(10 * ms)
		for _, l := range w.server.links {
			if l != nil {
				l.path.Hasten(w.now + w.serverClock)
			}
		}
	}
	before := f.bytes
	w.run(500 * ms)
	if f.bytes == before {
		report(t, w, f)
		t.Error("nothing comes any more")
	}
}
