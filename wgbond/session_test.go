package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

func TestBondComesUp(t *testing.T) {
	w := newWorld(t, 1, pathSpec{down: 3.6 * mbit, up: 1.4 * mbit, delay: 30 * ms}, pathSpec{down: 3.6 * mbit, up: 1.4 * mbit, delay: 30 * ms})
	w.bond()
	t.Logf("bonded at %v: %+v", w.now, w.client.Status(w.now))
}

func TestTwoPathsCarryTheSum(t *testing.T) {
	w := newWorld(t, 1, pathSpec{down: 3.6 * mbit, up: 1.4 * mbit, delay: 30 * ms}, pathSpec{down: 3.6 * mbit, up: 1.4 * mbit, delay: 30 * ms})
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 8*mbit, 1452, 4, 10*time.Second)
	w.run(5 * time.Second)
	half := f.bytes
	w.run(5 * time.Second)
	rate := float64(f.bytes-half) * 8 / 5 / mbit
	t.Logf("rate %.3f Mbit/s, disorder %d of %d, max gap %v", rate, f.disorder(), len(f.order), f.maxGap)
	st := w.server.Status(w.now + w.serverClock)
	t.Logf("server %+v", st)
	t.Logf("client %+v", w.client.Status(w.now))
	t.Logf("order %+v", w.client.order.Stats())
	for _, p := range w.paths {
		t.Logf("link %+v", p.down.Stats())
	}
}

func report(t *testing.T, w *world, f *stream) {
	t.Helper()
	t.Logf("disorder %d of %d, max gap %v, sent %d", f.disorder(), len(f.order), f.maxGap, f.next)
	for _, p := range w.server.Status(w.now + w.serverClock).Paths {
		t.Logf("  %d %v rate %.2f Mbit/s minrtt %v srtt %v owd %v-%v inflight %d queued %d window %d mode %s lost %d repairs %d tx %d", p.ID, p.State, p.Rate*8/mbit, p.MinRTT, p.SRTT, p.MinOWD, p.OWD, p.InFlight, p.Queued, p.Window, p.RateMode, p.LostPackets, p.Repairs, p.TxPackets)
	}
	st := w.server.Status(w.now + w.serverClock)
	t.Logf("  queue %d drops %v repairs %d spurious %d suspects %d", st.Queue, st.Drops, st.RepairsSent, st.Spurious, st.Suspects)
	t.Logf("  order %+v", w.client.order.Stats())
	t.Logf("  client drops %v", w.client.Status(w.now).Drops)
}

func TestUnequal(t *testing.T) {
	for _, loss := range []float64{0, 0.01} {
		w := newWorld(t, 1, pathSpec{down: 20 * mbit, up: 5 * mbit, delay: 15 * ms, loss: loss}, pathSpec{down: 5 * mbit, up: 2 * mbit, delay: 60 * ms, loss: loss})
		w.bond()
		f := newStream(w, 7)
		w.atClient = f.receive
		f.feed(w.sendDown, 28*mbit, 1452, 4, 10*time.Second)
		w.run(5 * time.Second)
		half := f.bytes
		w.run(5 * time.Second)
		t.Logf("rate %.3f Mbit/s", float64(f.bytes-half)*8/5/mbit)
		report(t, w, f)
	}
}

func TestOutage(t *testing.T) {
	dark := sim.Outage{From: 5 * time.Second, To: 15 * time.Second}
	w := newWorld(t, 1, pathSpec{down: 10 * mbit, up: 5 * mbit, delay: 20 * ms}, pathSpec{down: 10 * mbit, up: 5 * mbit, delay: 20 * ms, outages: []sim.Outage{dark}})
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 9*mbit, 1452, 2, 18*time.Second)
	for range 20 {
		before := f.bytes
		w.run(time.Second)
		t.Logf("%v: %.3f Mbit/s gap %v", w.now, float64(f.bytes-before)*8/mbit, f.maxGap)
		f.maxGap = 0
	}
	report(t, w, f)
}
