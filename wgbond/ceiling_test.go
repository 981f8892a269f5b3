package wgbond

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

var lentPath = pathSpec{up: 20 * mbit, down: 20 * mbit, delay: 15 * ms, cfg: PathConfig{Lent: true}}

// TestCeiling: what a lender says is obeyed in both directions, on its path
// alone, and lifted again; the message may be lost.
func TestCeiling(t *testing.T) {
	w := newWorld(t, 1, slow, lentPath)
	w.bond()
	lost := 0
	w.paths[0].lose = func(_ bool, pkt []byte) bool { // all control, for a while
		if w.now < 2*time.Second && wire.Kind(pkt) == wire.SessionControl {
			lost++
			return true
		}
		return false
	}
	f := newStream(w, 7)
	w.atClient = f.receive
	g := newStream(w, 8)
	w.atServer = g.receive
	var carried [2]int // data up and down the lent path, bytes
	w.paths[1].tap = func(fromClient bool, pkt []byte) {
		if wire.Kind(pkt) == wire.WGData {
			i := 1
			if fromClient {
				i = 0
			}
			carried[i] += len(pkt) + 28
		}
	}
	measure := func(d time.Duration) (up, down float64) {
		f.feed(w.sendDown, 24*mbit, 1452, 4, d)
		g.feed(w.sendUp, 24*mbit, 1452, 4, d)
		carried = [2]int{}
		w.run(d)
		return float64(carried[0]) * 8 / d.Seconds() / mbit, float64(carried[1]) * 8 / d.Seconds() / mbit
	}
	measure(3 * time.Second)
	up, down := measure(5 * time.Second)
	within(t, "up without a ceiling, Mbit/s", up, 15, 20)
	within(t, "down", down, 15, 20)

	w.client.SetCeiling(w.now, w.paths[1].id, 1*mbit/8, 2*mbit/8)
	measure(2 * time.Second)
	up, down = measure(5 * time.Second)
	within(t, "up with a ceiling of 1 Mbit/s", up, 0.5, 1.5)
	within(t, "down with one of 2", down, 1, 2.5)

	w.client.SetCeiling(w.now, w.paths[1].id, 0, 0)
	measure(2 * time.Second)
	up, down = measure(5 * time.Second)
	if up != 0 || down != 0 {
		t.Errorf("with a ceiling of 0 the path still carried %.3f Mbit/s of data up, %.3f down", up, down)
	}
	for _, p := range w.client.Status(w.now).Paths {
		if p.ID == w.paths[1].id && (p.Ceiling != 0 || p.PeerCeiling != 0 || !p.Lent) {
			t.Errorf("the lent path's status is %+v", p)
		}
	}
	if st := w.server.Status(w.now + w.serverClock).Paths[w.paths[1].id]; !st.Lent || st.Ceiling != 0 {
		t.Errorf("at the server the lent path's status is %+v", st)
	}

	w.client.SetCeiling(w.now, w.paths[1].id, NoCeiling, NoCeiling)
	measure(3 * time.Second)
	up, down = measure(5 * time.Second)
	within(t, "up when the ceiling is lifted", up, 15, 20)
	within(t, "down", down, 15, 20)
	w.client.SetCeiling(w.now, w.paths[1].id, NoCeiling, Unused)
	w.run(time.Second)
	if st := w.server.Status(w.now + w.serverClock).Paths[w.paths[1].id]; st.Ceiling != Unused {
		t.Errorf("the owner uses nothing, and the server's ceiling is %v, want %v", st.Ceiling, Unused)
	}
	if lost == 0 {
		t.Error("nothing was lost: this showed less than it says")
	}
}

// TestWithheld: a path whose owner leaves nothing carries a few pings, and none of
// the feedback and markers of a session that is busy elsewhere; but the little
// that it may when no other path works.
func TestWithheld(t *testing.T) {
	w := newWorld(t, 1, slow, lentPath)
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	g := newStream(w, 8)
	w.atServer = g.receive
	feed := func(d time.Duration) {
		f.feed(w.sendDown, 24*mbit, 1452, 4, d)
		g.feed(w.sendUp, 24*mbit, 1452, 4, d)
		w.run(d)
	}
	feed(2 * time.Second)
	w.client.SetCeiling(w.now, w.paths[1].id, 0, 0)
	feed(time.Second)
	packets, data := 0, 0
	w.paths[1].tap = func(_ bool, pkt []byte) {
		packets++
		if wire.Kind(pkt) == wire.WGData {
			data += len(pkt) + 28
		}
	}
	feed(4 * time.Second)
	if perSecond := float64(packets) / 4; data > 0 || perSecond > 16 {
		t.Errorf("%.0f packets a second, %d bytes of data", perSecond, data)
	}
	w.paths[0].lose = func(bool, []byte) bool { return true }
	feed(2 * time.Second)
	data = 0
	feed(5 * time.Second)
	within(t, "on its own, Mbit/s both ways", float64(data)*8/5/mbit, 0.02, 2*leastCeiling*8/mbit*1.5)
	w.paths[0].lose = nil
	w.client.SetCeiling(w.now, w.paths[1].id, NoCeiling, NoCeiling)
	data = 0
	feed(5 * time.Second)
	within(t, "when the owner has ended", float64(data)*8/5/mbit, 20, 40)
}

// TestCeilingRestart: a server that has forgotten everything is told again.
func TestCeilingRestart(t *testing.T) {
	w := newWorld(t, 1, lentPath)
	w.bond()
	w.client.SetCeiling(w.now, w.paths[0].id, NoCeiling, 2*mbit/8)
	w.run(time.Second)
	w.startShim()
	w.run(30 * time.Second)
	if st := w.server.Status(w.now + w.serverClock).Paths; len(st) != 1 || st[0].Ceiling != 2*mbit/8 {
		t.Errorf("after its restart the server has the paths %+v", st)
	}
}

// TestCeilingIsTheBorrowers: only the borrower may say so.
func TestCeilingIsTheBorrowers(t *testing.T) {
	w := newWorld(t, 1, lentPath)
	w.bond()
	w.client.onCeiling(&wire.Ceiling{Path: uint8(w.paths[0].id), Rate: 1})
	if st := w.client.Status(w.now); st.Paths[0].Ceiling >= 0 || st.Drops["control-wrong-role"] != 1 {
		t.Errorf("a server's word about a ceiling was obeyed: %+v", st)
	}
}

// TestVerdictOnOwnPath: the peer's word benches a path that is lent, and no other.
func TestVerdictOnOwnPath(t *testing.T) {
	own := lentPath
	own.cfg.Lent = false
	w := newWorld(t, 1, own, lentPath)
	w.bond()
	for i := range w.paths {
		w.client.onVerdict(&wire.Verdict{Path: uint8(w.paths[i].id), Charge: wire.Alters})
	}
	if st := w.client.Status(w.now).Paths; st[0].Charge != "" || st[1].Charge == "" {
		t.Errorf("accused of altering: %q of our own path, %q of the lent one", st[0].Charge, st[1].Charge)
	}
}
