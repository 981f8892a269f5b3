package wgbond

import (
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/equalize"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// spread is the lowest and the highest delay of the packets from the ith on, ms.
func (f *stream) spread(i int) (low, high float64) {
	return slices.Min(f.delays[i:]).Seconds() * 1e3, slices.Max(f.delays[i:]).Seconds() * 1e3
}

// equalized is a bonded world whose server equalises, and a stream down to its
// client.
func equalized(t *testing.T, paths ...pathSpec) (*world, *stream) {
	t.Helper()
	w := newWorld(t, 1, paths...)
	w.bond()
	w.server.SetScheduler(w.now+w.serverClock, equalize.New())
	f := newStream(w, 7)
	w.atClient = f.receive
	return w, f
}

// TestEqualize: every packet takes as long as one by the slow path, which is
// 60 ms and 2.3 ms of serialisation, whichever way it went; and no longer once
// the scheduler wants that no more.
func TestEqualize(t *testing.T) {
	w, f := equalized(t, fast, slow)

	w.run(time.Second)
	from := len(f.delays)
	f.feed(w.sendDown, 0.25*mbit, 1452, 1, 5*time.Second)
	w.run(6 * time.Second)
	low, high := f.spread(from)
	within(t, "lowest delay of single packets, ms", low, 60, 62)
	within(t, "highest", high, 60, 63)

	// The slow path's Startup is over after a second.
	f.feed(w.sendDown, 24*mbit, 1452, 4, time.Second)
	w.run(2 * time.Second)
	from = len(f.delays)
	before := w.paths[1].down.Stats().DeliveredBytes
	f.feed(w.sendDown, 24*mbit, 1452, 4, 5*time.Second)
	w.run(6 * time.Second)
	within(t, "share of the slow path", float64(w.paths[1].down.Stats().DeliveredBytes-before)/float64(24*mbit/8*5), 0.17, 0.22)
	low, high = f.spread(from)
	within(t, "lowest delay of many packets, ms", low, 60, 63)
	within(t, "highest", high, 63, 110)

	w.server.SetScheduler(w.now+w.serverClock, earliest.New())
	f.feed(w.sendDown, 0.25*mbit, 1452, 1, 500*ms)
	w.run(time.Second)
	from = len(f.delays)
	f.feed(w.sendDown, 0.25*mbit, 1452, 1, 2*time.Second)
	w.run(3 * time.Second)
	low, high = f.spread(from)
	within(t, "lowest delay afterwards, ms", low, 15, 16)
	within(t, "highest", high, 15, 17)

	within(t, "packets that arrived", float64(len(f.order)), float64(f.next), float64(f.next))
	within(t, "packets out of order", float64(f.disorder()), 0, 0)
	within(t, "still held", float64(w.client.holding), 0, 0)
	if t.Failed() {
		report(t, w, f)
	}
}

// TestEqualizeFirst: the first packet of all, a small one, takes as long as those
// after it: from it a TCP learns how long the path is.
func TestEqualizeFirst(t *testing.T) {
	w, f := equalized(t, fast, slow)
	w.run(time.Second)
	f.feed(w.sendDown, 0.01*mbit, 96, 1, time.Second)
	w.run(2 * time.Second)
	low, high := f.spread(0)
	within(t, "packets that arrived", float64(len(f.order)), float64(f.next), float64(f.next))
	within(t, "lowest delay, ms", low, 60, 61)
	within(t, "highest", high, 60, 61)
}

// TestEqualizeKeyPair: the key pair is announced again and again from the lowest
// counter not known to have arrived. What has arrived and is held is below that,
// and no duplicate.
func TestEqualizeKeyPair(t *testing.T) {
	w, f := equalized(t, fast, slow)
	// Enough that the slow path is wanted: with less its rate stays unknown.
	f.feed(w.sendDown, 14*mbit, 1452, 4, 2*time.Second)
	w.run(time.Second)
	c := w.client
	// first is the lowest counter that has not arrived, below how many held are.
	lowest := func() (first uint64, below int) {
		held := map[uint64]bool{}
		for i := range c.links[0].held.len() {
			held[c.links[0].held.at(i).counter] = true
		}
		for ; f.arrived[first] > 0 || held[first]; first++ {
			if held[first] {
				below++
			}
		}
		return first, below
	}
	first, below := lowest()
	for range 100 {
		if below > 0 {
			break
		}
		w.run(ms)
		first, below = lowest()
	}
	if below == 0 {
		t.Fatal("nothing is held of what comes before the first that is under way")
	}
	c.onFrame(c.links[0], Remote{}, &wire.KeyPair{Index: f.index, Ordinal: w.server.ordinal, First: first}, 0)
	w.run(2 * time.Second)
	within(t, "packets that arrived", float64(len(f.order)), float64(f.next), float64(f.next))
	within(t, "packets taken for duplicates", float64(c.order.Stats().Duplicate), 0, 0)
}

// TestEqualizeLoss: a repair is not held back once others wait for it: a lost
// packet delays them by no more than without equalisation.
func TestEqualizeLoss(t *testing.T) {
	lossy := fast
	lossy.loss = 0.01
	w, f := equalized(t, lossy, slow)
	f.feed(w.sendDown, 8*mbit, 1452, 4, 10*time.Second)
	w.run(12 * time.Second)
	within(t, "packets that arrived", float64(len(f.order)), float64(f.next), float64(f.next))
	within(t, "packets out of order", float64(f.disorder()), 0, 5)
	_, high := f.spread(1000)
	// 60 ms, and when the last packet of many is lost, the time until a ping
	// tells.
	within(t, "highest delay, ms", high, 60, 150)
	if t.Failed() {
		report(t, w, f)
	}
}

// TestEqualizePathGone: what a path holds goes on when the path is withdrawn,
// and nothing is leaked when the session forgets its peer.
func TestEqualizePathGone(t *testing.T) {
	w, f := equalized(t, fast, slow)
	f.feed(w.sendDown, 24*mbit, 1452, 4, 3*time.Second)
	w.run(2 * time.Second)
	if n := w.client.links[0].held.len(); n < 50 { // 45 ms of 20 Mbit/s: 76
		t.Errorf("%d packets held", n)
	}
	w.client.RemovePath(w.now, 0)
	if w.client.holding != 0 {
		t.Errorf("%d packets still held", w.client.holding)
	}
	w.run(5 * time.Second)
	within(t, "packets out of order", float64(f.disorder()), 0, 76)

	f.feed(w.sendDown, 4*mbit, 1452, 4, 3*time.Second)
	w.run(time.Second)
	w.client.forgetPeer()
	if w.client.holding != 0 {
		t.Errorf("%d packets still held", w.client.holding)
	}
}

// TestEqualizeBounds: neither the time nor the number is without bound, and
// without renewal it ends.
func TestEqualizeBounds(t *testing.T) {
	w := newWorld(t, 1, fast, slow)
	w.bond()
	s, l := w.client, w.client.links[0]
	f := wire.Equalize{}
	f.Delay[0] = time.Hour
	s.onEqualize(&f)
	if l.hold != schedulers.MaxHold {
		t.Errorf("holds for %v", l.hold)
	}
	s.recv.KeyPair(9, 1, 0)
	s.order.KeyPair(s.now, 9, 1, 0)
	for c := range uint64(maxHeld + 100) {
		s.Receive(w.now, 0, w.copy(dataMessage(9, c, 1000)))
	}
	if l.held.len() != maxHeld {
		t.Errorf("holds %d packets", l.held.len())
	}
	out := s.Deliver(nil)
	within(t, "packets that found it full", float64(len(out)), 100, 100)
	w.run(schedulers.MaxHold + ms)
	within(t, "held after the longest time", float64(s.holding), 0, 0)
	w.run(equalizeFor)
	s.Receive(w.now, 0, w.copy(dataMessage(9, maxHeld+100, 100)))
	within(t, "held without renewal", float64(s.holding), 0, 0)
}
