package wgbond

import (
	"testing"
	"time"
)

// TestPathComesAgain: a path that is withdrawn and added again gets its old
// number. What the peer counted by the old one must not pass for the new
// one's delivery.
func TestPathComesAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		detach bool    // else the message that withdraws the path is lost
		most   float64 // Mbit/s estimated of 5
	}{
		{"withdrawn", true, 5.5}, // a burst's last bits may be a little fast
		// The server still counts for the old path. What the client has in flight
		// at the first report, it must take for delivered: some 35 packets in 40 ms.
		{"withdrawal lost", false, 13},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1, ten, ten)
			w.bond()
			down, up := newStream(w, 7), newStream(w, 8)
			w.atClient, w.atServer = down.receive, up.receive
			down.feed(w.sendDown, 15*mbit, 1452, 4, 8*time.Second)
			up.feed(w.sendUp, 7*mbit, 1452, 4, 8*time.Second)
			w.run(3 * time.Second)

			old := w.paths[1]
			if tc.detach {
				w.client.RemovePath(w.now, old.id)
			} else {
				w.client.dropLink(w.client.links[old.id])
			}
			w.run(500 * ms)
			w.addPath(2, ten)
			if w.paths[2].id != old.id {
				t.Fatalf("the new path is number %d, the old one was %d", w.paths[2].id, old.id)
			}
			w.paths = append(w.paths[:1], w.paths[2])

			var downMax, upMax float64
			for range 300 {
				w.run(10 * ms)
				if l := w.server.links[old.id]; l != nil && l.attached && l.remote.Peer == w.paths[1].addr {
					downMax = max(downMax, l.rate.Rate())
				}
				upMax = max(upMax, w.client.links[old.id].rate.Rate())
			}
			within(t, "Mbit/s estimated downwards, of 10", downMax*8/mbit, 9, 11)
			within(t, "Mbit/s estimated upwards, of 5", upMax*8/mbit, 3, tc.most)
			within(t, "bonds lost", float64(w.client.Status(w.now).BondLost), 0, 0)
		})
	}
}

// TestOverload: a path that is offered a tenth more than it can carry, for
// long, is busy all the while. What CoDel drops is announced ahead of the data
// before it; if the receiver did not take that in, its reports would grow by a
// hole for each until they no longer reached the newest packets.
func TestOverload(t *testing.T) {
	w := newWorld(t, 1, pathSpec{down: 50 * mbit, up: 50 * mbit, delay: 10 * ms})
	w.bond()
	f := newStream(w, 7)
	w.atClient = f.receive
	f.feed(w.sendDown, 55*mbit, 1452, 4, 15*time.Second)
	w.run(2 * time.Second)
	for range 13 {
		early := f.bytes
		w.run(time.Second)
		within(t, "share of the link", float64(f.bytes-early)*8/(50*mbit), 0.95, 1.01)
		if n := len(w.client.fb.KeyPairs[0].Received); n > 50 {
			t.Errorf("the client reports %d ranges at %v", n, w.now)
		}
	}
	st := w.server.Status(w.now + w.serverClock)
	within(t, "suspects", float64(st.Suspects), 0, 0)
	within(t, "repairs", float64(st.RepairsSent), 0, 0)
	within(t, "dropped by CoDel", float64(st.Drops["codel"]), 1000, 10000)
	if t.Failed() {
		report(t, w, f)
	}
}

// TestFastPaths: at 67,000 packets a second over paths of unlike delays, the
// lowest hole goes on by thousands of counters from one feedback to the next.
// What was reported too late, or never, would be sent again for nothing.
func TestFastPaths(t *testing.T) {
	x := newTraffic(t, 8)
	st := x.server.Status(x.serverNow())
	within(t, "repairs", float64(st.RepairsSent), 0, 0)
	within(t, "suspects", float64(st.Suspects), 0, 0)
	within(t, "packets out of order", float64(x.disorder), 0, 0)
	within(t, "packets that found the window full, in Startup", float64(st.Drops["queue-full"]), 0, 1000)
}
