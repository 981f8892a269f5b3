package wgbond

import (
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// arrivals notes when the data messages of a session of two kinds were sent and
// when they came.
type arrivals struct {
	w     *world
	next  uint64
	sent  []time.Duration // by counter
	delay [2][]time.Duration
	bytes [2]int
	last  uint64 // of those kept in order
	late  int    // of those, come after a later one
	came  map[uint64]bool
}

// send sends n messages of a size to the client.
func (a *arrivals) send(n, size int) {
	var pkts [][]byte
	for range n {
		pkts = append(pkts, dataMessage(7, a.next, size))
		a.sent = append(a.sent, a.w.now)
		a.next++
	}
	a.w.sendDown(pkts)
}

func (a *arrivals) receive(pkt []byte) {
	_, c, _ := wire.DataHeader(pkt)
	if a.came[c] { // copies are WireGuard's to discard
		return
	}
	a.came[c] = true
	kind := 0
	if expressed(pkt) {
		kind = 1
	} else {
		if c < a.last {
			a.late++
		}
		a.last = max(a.last, c)
	}
	a.delay[kind] = append(a.delay[kind], a.w.now-a.sent[c])
	a.bytes[kind] += len(pkt)
}

// beside sends small messages beside more bulk than both paths carry, for three
// seconds.
func beside(t *testing.T, small int, every time.Duration) *arrivals {
	w := newWorld(t, 1, fast, slow)
	w.bond()
	a := &arrivals{w: w, came: map[uint64]bool{}}
	w.atClient = a.receive
	start := w.now
	for i := range 3000 {
		w.after(start-w.now+time.Duration(i)*ms, func() {
			a.send(3, 1452)
			if time.Duration(i)*ms%every == 0 {
				a.send(small, 100)
			}
		})
	}
	w.run(4 * time.Second)
	return a
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// TestExpress: a small message waits neither in the send queue nor for the slow
// path's packets, and the order of the others is as ever.
func TestExpress(t *testing.T) {
	a := beside(t, 1, 50*ms)
	bulk, small := median(a.delay[0]), median(a.delay[1])
	// 15 ms of propagation, a queue of at most 10, and 10 for the feedback's
	// part of the window.
	if len(a.delay[1]) != 60 || small > 35*ms || bulk < 2*small {
		t.Errorf("%d of 60 small messages came, after %v, bulk after %v", len(a.delay[1]), small, bulk)
	}
	// As in TestSum: what start-up's overshoot drops may come too late.
	if a.late > 3 {
		t.Errorf("%d bulk messages came after later ones", a.late)
	}
}

// TestExpressFlood: small messages that would fill all paths leave the others
// their half.
func TestExpressFlood(t *testing.T) {
	a := beside(t, 25, ms)
	if share := float64(a.bytes[0]) / float64(a.bytes[0]+a.bytes[1]); share < 0.45 {
		t.Errorf("bulk got %.2f of the bytes", share)
	}
	if a.late > 0 {
		t.Errorf("%d bulk messages came after later ones", a.late)
	}
}
