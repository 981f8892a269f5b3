package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// pathAt is the server's or the client's status of path i.
func (w *world) pathStatus(i int) (client, server PathStatus) {
	w.t.Helper()
	c, s := w.client.Status(w.now), w.server.Status(w.now+w.serverClock)
	if i >= len(c.Paths) || i >= len(s.Paths) {
		w.t.Fatalf("the client has %d paths, the server %d", len(c.Paths), len(s.Paths))
	}
	return c.Paths[i], s.Paths[i]
}

// streams are one of each direction, on key pairs of their own.
func (w *world) streams() (down, up *stream) {
	w.pairs += 2
	down, up = newStream(w, 100+w.pairs), newStream(w, 101+w.pairs)
	w.atClient, w.atServer = down.receive, up.receive
	return down, up
}

// fill has both directions transfer as much as goes for d.
func (w *world) fill(d time.Duration) {
	f, g := w.streams()
	f.feed(w.sendDown, 14*mbit, 1452, 4, d)
	g.feed(w.sendUp, 3*mbit, 1452, 4, d)
	w.run(d)
	w.run(10 * time.Second)
}

// first has either end send a few packets: too few to measure a rate.
func (w *world) first() {
	f, g := w.streams()
	f.feed(w.sendDown, mbit, 1452, 1, 30*ms)
	g.feed(w.sendUp, mbit, 1452, 1, 30*ms)
	w.run(time.Second)
}

var asymmetric = pathSpec{up: 2 * mbit, down: 10 * mbit, delay: 20 * ms}

// learn is what a client learned of a path like asymmetric.
func learn(t *testing.T) Memory {
	t.Helper()
	w := newWorld(t, 1, asymmetric)
	w.bond()
	if m := w.client.Learned(w.now, 0); m != (Memory{}) {
		t.Errorf("learned before there was anything to learn from: %+v", m)
	}
	w.fill(5 * time.Second)
	m := w.client.Learned(w.now, 0)
	within(t, "up, Mbit/s", m.Up*8/mbit, 1.7, 2.1)
	within(t, "down, Mbit/s", m.Down*8/mbit, 9.5, 10.5)
	within(t, "round trip, ms", m.RTT.Seconds()*1e3, 40, 60)
	return m
}

// TestMemory: the client learns what either end can send, and both plan with it
// the next time, once a few packets have come. Idleness forgets nothing, and a server
// that begins anew is told again.
func TestMemory(t *testing.T) {
	known := asymmetric
	known.cfg.Memory = learn(t)
	w := newWorld(t, 2, known)
	w.bond()
	check := func(when string) {
		t.Helper()
		w.first()
		// 2 Mbit/s is less than what is tried on any path.
		if c := w.client.links[0].rate; !c.Believes() || c.Prospect()*8 > 10*mbit {
			t.Errorf("%s: the client plans with %.2f Mbit/s", when, c.Prospect()*8/mbit)
		}
		s := w.server.links[0].rate
		if r := s.Prospect() * 8 / mbit; !s.Believes() || r < 9.5 || r > 10.5 {
			t.Errorf("%s: the server plans with %.2f Mbit/s, has measured %.2f", when, r, s.Rate()*8/mbit)
		}
		if m := w.client.Learned(w.now, 0); m.Up != known.cfg.Memory.Up || m.Down != known.cfg.Memory.Down {
			t.Errorf("%s: %+v is learned, %+v was known", when, m, known.cfg.Memory)
		}
	}
	check("at first")
	w.startShim()
	w.run(30 * time.Second)
	check("after the server's restart")
}

// TestMemoryIsCorrected: what was remembered wrongly is learned anew.
func TestMemoryIsCorrected(t *testing.T) {
	for _, off := range []float64{.1, 10} {
		wrong := asymmetric
		wrong.cfg.Memory = Memory{Up: 2 * mbit / 8 * off, Down: 10 * mbit / 8 * off, RTT: 41 * ms}
		w := newWorld(t, 2, wrong)
		w.bond()
		w.fill(5 * time.Second)
		m := w.client.Learned(w.now, 0)
		within(t, "up, Mbit/s", m.Up*8/mbit, 1.7, 2.1)
		within(t, "down, Mbit/s", m.Down*8/mbit, 8.5, 10.5)
	}
}

// TestMemoryOfAnotherPlace: a round trip of more than twice, or less than half
// of that remembered is another network's, whatever its addresses.
func TestMemoryOfAnotherPlace(t *testing.T) {
	for _, c := range []struct {
		rtt  time.Duration
		want bool
	}{{15 * ms, false}, {30 * ms, true}, {75 * ms, true}, {110 * ms, false}, {0, false}} {
		known := asymmetric
		known.cfg.Memory = Memory{Up: 1e6, Down: 1e6, RTT: c.rtt}
		w := newWorld(t, 1, known)
		w.bond()
		w.first()
		if client, server := w.client.links[0].rate.Believes(), w.server.links[0].rate.Believes(); client != c.want || server != c.want {
			t.Errorf("learned at %v, now 41 ms: believed %v and %v, want %v", c.rtt, client, server, c.want)
		}
	}
}

// TestMoved: a path that leads through another network begins anew at both ends,
// with what is remembered there, or nothing; twice if it moves twice.
func TestMoved(t *testing.T) {
	w := newWorld(t, 1, asymmetric)
	w.bond()
	for i, m := range []Memory{{Up: 50e3, Down: 2e6, RTT: 41 * ms}, {}, {}} {
		w.fill(3 * time.Second)
		if c, s := w.pathStatus(0); c.Rate*8 < 1.7*mbit || s.Rate*8 < 9*mbit || s.RateMode == "startup" {
			t.Fatalf("move %d: nothing is measured: %+v, %+v", i, c, s)
		}
		w.client.Moved(w.now, 0, m)
		w.first()
		c, s := w.pathStatus(0)
		if c.RateMode != "startup" || s.RateMode != "startup" || s.Rate*8 > 10.5*mbit && m.Down == 0 {
			t.Errorf("move %d: the client is in %s at %.0f, the server in %s at %.0f bytes/s", i, c.RateMode, c.Rate, s.RateMode, s.Rate)
		}
		if got := w.server.links[0].rate.Believes(); got != (m.Down > 0) {
			t.Errorf("move %d: the server believes in a hint: %v", i, got)
		}
		if got := w.client.Learned(w.now, 0); got.Up != m.Up || got.Down != m.Down {
			t.Errorf("move %d: %+v is learned of a network where nothing was sent yet, %+v was known", i, got, m)
		}
	}
}

// TestMemoryOfLent: nothing is learned of a lent path, nor believed.
func TestMemoryOfLent(t *testing.T) {
	known := asymmetric
	known.cfg.Memory, known.cfg.Lent = Memory{Up: 250e3, Down: 1.25e6, RTT: 41 * ms}, true
	w := newWorld(t, 1, known)
	w.bond()
	w.server.onReached(&wire.Reached{Rate: 1e6, RTT: 41 * ms})
	w.first()
	if w.client.links[0].rate.Believes() || w.server.links[0].rate.Believes() {
		t.Error("believed")
	}
	w.fill(5 * time.Second)
	if m := w.client.Learned(w.now, 0); m != (Memory{}) {
		t.Errorf("learned: %+v", m)
	}
}

// TestHintsThatLie: whatever an authenticated client says, as often as it likes, the
// server keeps little more under way to it than at an honest start, and the other
// path goes on.
func TestHintsThatLie(t *testing.T) {
	w := newWorld(t, 1, asymmetric, asymmetric)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	var most [2]int
	for i := range 400 {
		if i%40 == 0 { // it is another one every time
			w.client.notify(&wire.Reached{Path: 1, Rate: uint64(i+1) << 30, RTT: 41 * ms})
		}
		f.feed(w.sendDown, 24*mbit, 1452, 4, 10*ms)
		w.run(10 * ms)
		for i := range most {
			most[i] = max(most[i], w.server.hist.InFlight(w.paths[i].id))
		}
	}
	w.client.notify(&wire.Reached{Path: 1, Rate: 1 << 60, RTT: 41 * ms}) // beyond any link: not even looked at
	w.run(100 * ms)
	if most[1] > most[0]*3/2 {
		t.Errorf("%d bytes were under way by the path of the lies, by the honest one %d", most[1], most[0])
	}
	_, honest := w.pathStatus(0)
	within(t, "by the other path, Mbit/s", honest.Rate*8/mbit, 9.5, 10.5)
	if w.server.links[1].recall.hinted.Rate == 1<<60 {
		t.Error("the last one was taken in")
	}
}
