package wgbond

import (
	"testing"
	"time"
)

// TestLateWriter: what the pacer would have let go while packets waited for the
// path's writer goes when that comes; a pause in which none waited adds nothing.
func TestLateWriter(t *testing.T) {
	for _, c := range []struct {
		name        string
		pause, late time.Duration // before the packets come, and until the writer does
		want        time.Duration // of the path's rate
	}{
		{"in time", 0, 0, ms},
		{"after a pause", 5 * ms, 0, ms},
		{"late", 0, 5 * ms, 6 * ms},
		{"very late", 0, 50 * ms, 10 * ms},
	} {
		w := newWorld(t, 1, pathSpec{down: 200 * mbit, up: 200 * mbit, delay: ms, queue: 1 << 20})
		w.bond()
		f := newStream(w, 7)
		f.feed(w.sendDown, 300*mbit, 1400, 32, time.Second)
		w.run(1500 * ms)
		f.feed(w.sendDown, 50*mbit, 1400, 1, 200*ms) // spends what was caught up with
		w.run(200*ms + c.pause)
		s, now := w.server, w.now+w.serverClock
		var pkts [][]byte
		for range 256 {
			pkts = append(pkts, dataMessage(f.index, f.next, 1400))
			f.next++
		}
		s.Send(now, pkts)
		if s.Ready() != 1 {
			t.Fatalf("%s: paths ready: %b, want the only one", c.name, s.Ready())
		}
		sent := s.Transmit(now+c.late, 0, make([][]byte, 0, len(pkts)))
		want := s.links[0].rate.PacingRate() * c.want.Seconds() / 1428
		within(t, c.name+": packets at once", float64(len(sent)), want-1, want+2)
		s.Transmitted(now+c.late, 0)
	}
}
