package feedback

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const ms = time.Millisecond

// said is what a Receiver reports of its key pairs, one a line:
// index [from,to): received ranges.
func said(r *Receiver, now time.Duration) string {
	var f wire.Feedback
	r.Report(now, &f)
	var b strings.Builder
	for _, k := range f.KeyPairs {
		fmt.Fprintf(&b, "%d [%d,%d):", k.Index, k.Span.From, k.Span.To)
		for _, x := range k.Received {
			fmt.Fprintf(&b, " %d-%d", x.From, x.To-1)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// come lets counters from ≤ c < to arrive by path 0.
func come(r *Receiver, index uint32, from, to uint64) {
	for c := from; c < to; c++ {
		r.Data(0, 0, index, c, 1500)
	}
}

func TestReceiverKeyPairs(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(*Receiver)
		want string
		hole bool
	}{
		{"nothing", func(r *Receiver) {}, "", false},
		{"announced, nothing came", func(r *Receiver) { r.KeyPair(7, 1, 0) }, "", false},
		{"in order", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 5) }, "7 [0,5): 0-4\n", false},
		{"a hole", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 3); come(r, 7, 4, 6) }, "7 [0,6): 0-2 4-5\n", true},
		{"a hole that fills", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 3)
			come(r, 7, 4, 6)
			come(r, 7, 3, 4)
		}, "7 [0,6): 0-5\n", false},
		{"the first is missing", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 1, 2) }, "7 [0,2): 1-1\n", true},
		{"a first counter above zero", func(r *Receiver) { r.KeyPair(7, 1, 5000); come(r, 7, 5000, 5003) },
			"7 [3979,5003): 5000-5002\n", false},
		{"twice the same", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); come(r, 7, 0, 2) }, "7 [0,2): 0-1\n", false},

		{"the span goes back 1024 below the lowest hole", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 3000)
			come(r, 7, 3001, 3002)
			for range reportRepeats {
				said(r, 0) // of all that came
			}
		}, "7 [1976,3002): 1976-2999 3001-3001\n", true},
		{"a word and its neighbours", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 64)
			come(r, 7, 65, 127)
			come(r, 7, 128, 256)
		}, "7 [0,256): 0-63 65-126 128-255\n", true},

		{"void fills a hole", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			come(r, 7, 4, 5)
			r.Void(7, 2, 4)
		}, "7 [0,5): 0-4\n", false},
		{"void on both sides of what came", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			come(r, 7, 4, 5)
			r.Void(7, 1, 9)
		}, "7 [0,9): 0-8\n", false},
		{"void at the end", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 2, 4) }, "7 [0,4): 0-3\n", false},
		{"void ahead of the data before it", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 3, 4) },
			"7 [0,4): 0-1 3-3\n", true},
		{"which then comes", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 3, 4); come(r, 7, 2, 3) },
			"7 [0,4): 0-3\n", false},
		{"void as far ahead as may be", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 4097, 4098) },
			"7 [0,4098): 0-1 4097-4097\n", true},
		{"void too far ahead", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 4098, 4099) },
			"7 [0,2): 0-1\n", false},
		{"void below what is known", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 9); r.Void(7, 2, 4) }, "7 [0,9): 0-8\n", false},
		{"an absurd void", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(7, 2, math.MaxUint64) },
			"7 [0,2): 0-1\n", false},
		{"void that pushes nothing out of what came lately", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			for c := uint64(501); c < 12_000; c += 500 {
				r.Void(7, c, c+500)
			}
			r.Void(7, 3, 500)
			come(r, 7, 2, 3)
			r.Void(7, 7170, 11_000)
		}, "7 [0,7668): 0-499 501-7667\n", true},
		{"void of another key pair", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Void(8, 2, 4) }, "7 [0,2): 0-1\n", false},

		{"announced again: below first nothing is missed", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 3, 5)
			come(r, 7, 6, 7)
			r.KeyPair(7, 1, 5)
		}, "7 [0,7): 3-4 6-6\n", true},
		{"announced again: below first all came", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 3, 5)
			r.KeyPair(7, 1, 4)
		}, "7 [0,5): 3-4\n", false},
		{"announced again with a lower first", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 5)
			r.KeyPair(7, 1, 2)
		}, "7 [0,5): 0-4\n", false},

		{"data before its announcement", func(r *Receiver) { come(r, 7, 3, 5) }, "7 [0,5): 3-4\n", false},
		{"announced late: what is missing below is known", func(r *Receiver) { come(r, 7, 3, 5); r.KeyPair(7, 1, 2) },
			"7 [0,5): 3-4\n", true},
		{"announced late: what came below counts", func(r *Receiver) {
			come(r, 7, 3, 5)
			come(r, 7, 2, 3)
			r.KeyPair(7, 1, 2)
		}, "7 [0,5): 2-4\n", false},
		{"one unannounced key pair at a time", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 1)
			come(r, 8, 0, 2)
			come(r, 9, 0, 3)
		}, "7 [0,1): 0-0\n9 [0,3): 0-2\n", false},

		{"the newest key pair comes first, the unannounced last", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			r.KeyPair(8, 2, 0)
			come(r, 7, 0, 1)
			come(r, 9, 0, 1)
			come(r, 8, 0, 1)
		}, "8 [0,1): 0-0\n7 [0,1): 0-0\n9 [0,1): 0-0\n", false},
		{"a fourth key pair displaces the first", func(r *Receiver) {
			for i := range uint32(4) {
				r.KeyPair(10+i, 1+i, 0)
				come(r, 10+i, 0, 1)
			}
		}, "13 [0,1): 0-0\n12 [0,1): 0-0\n11 [0,1): 0-0\n", false},
		{"an unannounced one goes before an announced one", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			r.KeyPair(8, 2, 0)
			come(r, 7, 0, 1)
			come(r, 8, 0, 1)
			come(r, 99, 0, 1)
			r.KeyPair(9, 3, 0)
			come(r, 9, 0, 1)
		}, "9 [0,1): 0-0\n8 [0,1): 0-0\n7 [0,1): 0-0\n", false},

		{"a forged counter far above", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); come(r, 7, 1e9, 1e9+1) },
			"7 [0,2): 0-1\n", false},
		{"two far above, far from each other", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			come(r, 7, 1e9, 1e9+1)
			come(r, 7, 2e9, 2e9+1)
		}, "7 [0,2): 0-1\n", false},
		{"after a great loss the second is believed", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			come(r, 7, 20000, 20002)
		}, "7 [11810,20002): 20001-20001\n", true},
		{"just near enough", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 4095, 4096) }, "7 [0,4096): 4095-4095\n", true},
		{"just too far", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 4096, 4097) }, "", false},
		{"forged before the announcement", func(r *Receiver) {
			come(r, 7, 1e9, 1e9+1)
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
		}, "7 [0,2): 0-1\n", false},
		{"a counter that WireGuard never sends", func(r *Receiver) {
			r.KeyPair(7, 1, 0)
			come(r, 7, 0, 2)
			r.Data(0, 0, 8, math.MaxUint64, 1500)
			r.Data(0, 0, 9, math.MaxUint64-8192, 1500)
		}, "7 [0,2): 0-1\n", false},

		{"forgotten", func(r *Receiver) { r.KeyPair(7, 1, 0); come(r, 7, 0, 2); r.Forget() }, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r Receiver
			tc.do(&r)
			if hole := r.Hole(); hole != tc.hole {
				t.Errorf("Hole() is %v, want %v", hole, tc.hole)
			}
			if got := said(&r, 0); got != tc.want {
				t.Errorf("reported:\n%swant:\n%s", got, tc.want)
			}
		})
	}
}

// TestReceiverWrap: the window moves on for ever, and each counter takes the
// place of the one 8192 before it.
func TestReceiverWrap(t *testing.T) {
	var r Receiver
	r.KeyPair(7, 1, 0)
	for c := uint64(1); c < 3*historyBits; c++ { // 0 never comes
		if c%1000 != 0 {
			r.Data(0, 0, 7, c, 1500)
		}
	}
	// The lowest counter of the window is that of 8192 before the end.
	want := "7 [16384,24576): 16384-16999 17001-17999 18001-18999 19001-19999 " +
		"20001-20999 21001-21999 22001-22999 23001-23999 24001-24575\n"
	if got := said(&r, 0); got != want {
		t.Errorf("reported:\n%swant:\n%s", got, want)
	}
	for range reportRepeats - 1 {
		said(&r, 0)
	}
	r.Data(0, 0, 7, 17000, 1500)
	r.Data(0, 0, 7, 16383, 1500) // no longer in the window: would be 24575's place
	r.Data(0, 0, 7, 15000, 1500) // would be 23192's
	want = strings.Replace(want, "16384-16999 17001-17999", "16384-17999", 1)
	want = strings.Replace(want, "[16384,", "[16976,", 1)
	want = strings.Replace(want, " 16384-", " 16976-", 1)
	if got := said(&r, 0); got != want {
		t.Errorf("after 17000 came, reported:\n%swant:\n%s", got, want)
	}
}

// TestReceiverSaysItAgain: whatever came is in three reports, though the lowest
// hole has gone far beyond it: else the sender would take it for lost.
func TestReceiverSaysItAgain(t *testing.T) {
	var r Receiver
	r.KeyPair(7, 1, 0)
	come(&r, 7, 1, 3000)
	steps := []struct {
		name string
		do   func()
		want string
	}{
		{"0 is missing", func() {}, "7 [0,3000): 1-2999\n"},
		{"0 came", func() { come(&r, 7, 0, 1) }, "7 [0,3000): 0-2999\n"},
		{"once more", func() {}, "7 [0,3000): 0-2999\n"},
		{"and again", func() {}, "7 [0,3000): 0-2999\n"},
		{"enough", func() {}, "7 [1976,3000): 1976-2999\n"},
		{"500 a second time: it was sent again", func() { come(&r, 7, 500, 501) }, "7 [500,3000): 500-2999\n"},
	}
	for _, s := range steps {
		s.do()
		if got := said(&r, 0); got != s.want {
			t.Errorf("%s: reported %swant %s", s.name, got, s.want)
		}
	}
}

func TestReceiverPaths(t *testing.T) {
	report := func(r *Receiver, now time.Duration) []wire.PathReport {
		var f wire.Feedback
		r.Report(now, &f)
		if f.Sent != wire.ClockOf(now) {
			t.Errorf("Sent %d at %v", f.Sent, now)
		}
		return append([]wire.PathReport(nil), f.Paths...)
	}
	var r Receiver
	r.KeyPair(7, 1, 0)
	r.Data(10*ms, 2, 7, 5, 1500)
	r.Data(11*ms, 0, 7, 1, 100)
	r.Data(12*ms, 2, 7, 3, 1000) // older than 5: not the path's newest
	p2 := wire.PathReport{Path: 2, Index: 7, Last: 5, Arrived: 10000, Packets: 2, Bytes: 2500}
	p0 := wire.PathReport{Path: 0, Index: 7, Last: 1, Arrived: 11000, Packets: 1, Bytes: 100}
	if n, _, since := r.Pending(); n != 3 || since != 10*ms {
		t.Errorf("pending %d since %v", n, since)
	}
	for i, want := range [][]wire.PathReport{{p0, p2}, {p0, p2}, {p0, p2}, nil} {
		if got := report(&r, 20*ms); !reflect.DeepEqual(got, want) {
			t.Errorf("report %d: %+v, want %+v", i, got, want)
		}
		if n, _, _ := r.Pending(); n != 0 {
			t.Errorf("pending %d after a report", n)
		}
	}

	// News of one path is not news of the other.
	r.Data(30*ms, 0, 7, 6, 100)
	p0 = wire.PathReport{Path: 0, Index: 7, Last: 6, Arrived: 30000, Packets: 2, Bytes: 200}
	if got := report(&r, 31*ms); !reflect.DeepEqual(got, []wire.PathReport{p0}) {
		t.Errorf("after the rest: %+v, want %+v", got, p0)
	}

	// A newer key pair's counter is newer, however low; an older or a made-up
	// one's is not, however high.
	r.KeyPair(8, 2, 0)
	r.Data(40*ms, 0, 8, 0, 100)
	r.Data(41*ms, 0, 7, 7, 100)
	r.Data(42*ms, 0, 99, 1000, 100)
	p0 = wire.PathReport{Path: 0, Index: 8, Last: 0, Arrived: 40000, Packets: 5, Bytes: 500}
	if got := report(&r, 50*ms); !reflect.DeepEqual(got, []wire.PathReport{p0}) {
		t.Errorf("after a rekey: %+v, want %+v", got, p0)
	}

	// What is not believed is not the newest either.
	r.Data(60*ms, 0, 8, 1e9, 100)
	p0.Packets, p0.Bytes = 6, 600
	if got := report(&r, 61*ms); !reflect.DeepEqual(got, []wire.PathReport{p0}) {
		t.Errorf("after a forged counter: %+v, want %+v", got, p0)
	}

	// A path that is gone begins anew.
	r.PathGone(0)
	if got := report(&r, 62*ms); len(got) != 0 {
		t.Errorf("after the path went: %+v", got)
	}
	r.Data(70*ms, 0, 8, 1, 100)
	p0 = wire.PathReport{Path: 0, Index: 8, Last: 1, Arrived: 70000, Packets: 1, Bytes: 100}
	if got := report(&r, 71*ms); !reflect.DeepEqual(got, []wire.PathReport{p0}) {
		t.Errorf("of the path that came anew: %+v, want %+v", got, p0)
	}
}

// TestReceiverFirstForged: a made-up key pair that came first by a path gives
// way to the real one.
func TestReceiverFirstForged(t *testing.T) {
	var r Receiver
	r.Data(0, 0, 99, 1000, 100)
	r.Data(ms, 0, 7, 0, 100)
	r.KeyPair(7, 1, 0)
	r.Data(2*ms, 0, 99, 1001, 100) // real by its first packet, announced by now
	r.Data(3*ms, 0, 7, 1, 100)
	r.Data(4*ms, 0, 99, 1002, 100)
	var f wire.Feedback
	r.Report(5*ms, &f)
	want := []wire.PathReport{{Path: 0, Index: 7, Last: 1, Arrived: 3000, Packets: 5, Bytes: 500}}
	if !reflect.DeepEqual(f.Paths, want) {
		t.Errorf("reported %+v, want %+v", f.Paths, want)
	}
}

// TestReceiverForgedJump: two forged counters near each other are believed, as
// those after a great loss must be. The next announcement sets that right.
func TestReceiverForgedJump(t *testing.T) {
	var r Receiver
	r.KeyPair(7, 1, 0)
	come(&r, 7, 0, 100)
	come(&r, 7, 1e9, 1e9+2)
	come(&r, 7, 100, 200)
	if got, want := said(&r, 0), "7 [999991810,1000000002): 1000000001-1000000001\n"; got != want {
		t.Fatalf("after the forgery, reported:\n%swant:\n%s", got, want)
	}
	r.KeyPair(7, 1, 120)
	r.Data(ms, 0, 7, 200, 1500)
	r.Data(ms, 0, 7, 202, 1500)
	var f wire.Feedback
	r.Report(2*ms, &f)
	if p := f.Paths[0]; p.Last != 202 || p.Arrived != 1000 {
		t.Errorf("the path's newest: %+v, want 202 at 1000 µs", p)
	}
	if got, want := said(&r, 0), "7 [0,203): 200-200 202-202\n"; got != want {
		t.Errorf("after the announcement, reported:\n%swant:\n%s", got, want)
	}
}

func TestReceiverAnnounced(t *testing.T) {
	var r Receiver
	r.Data(0, 0, 7, 0, 100)
	if r.Announced(7) {
		t.Error("announced by data alone")
	}
	r.KeyPair(7, 1, 0)
	if !r.Announced(7) || r.Announced(8) {
		t.Error("Announced(7), Announced(8):", r.Announced(7), r.Announced(8))
	}
}

func TestReceiverNoAllocations(t *testing.T) {
	var r Receiver
	var f wire.Feedback
	now, c := time.Duration(0), uint64(0)
	r.KeyPair(7, 1, 0)
	burst := func() {
		for range 64 {
			now += 100 * time.Microsecond
			if c%50 != 0 { // holes, so that there are ranges
				r.Data(now, schedulers.PathID(c%4), 7, c, 1500)
			}
			c++
		}
		r.Void(7, c-64, c-63)
		r.Report(now, &f)
	}
	for range 1000 {
		burst()
	}
	if n := testing.AllocsPerRun(100, burst); n != 0 {
		t.Errorf("%v allocations per 64 packets and a report", n)
	}
}

func BenchmarkReceiver(b *testing.B) {
	for _, every := range []uint64{1 << 62, 100} {
		b.Run(fmt.Sprintf("lost 1 in %d", every), func(b *testing.B) {
			var r Receiver
			var f wire.Feedback
			now, c := time.Duration(0), uint64(1)
			r.KeyPair(7, 1, 0)
			b.ReportAllocs()
			for b.Loop() {
				if c%every != 0 {
					r.Data(now, schedulers.PathID(c%4), 7, c, 1500)
				}
				if c++; c%64 == 0 {
					now += 10 * ms
					r.Report(now, &f)
				}
			}
		})
	}
}

// TestReceiverExpress: a path's newest packet is the one that came last, though
// it may have been sent behind one of a higher counter.
func TestReceiverExpress(t *testing.T) {
	var r Receiver
	r.KeyPair(7, 1, 0)
	for i, step := range []struct {
		counter uint64
		express bool
		newest  uint64
	}{
		{0, false, 0}, {9, true, 9}, {1, false, 1}, {2, false, 2}, {12, true, 12}, {13, true, 13},
		{11, true, 13}, // overtaken on the way
		{4, false, 4},
		{3, false, 4}, // overtaken on the way
	} {
		if step.express {
			r.Express(time.Duration(i), 0, 7, step.counter, 100)
		} else {
			r.Data(time.Duration(i), 0, 7, step.counter, 1500)
		}
		var f wire.Feedback
		r.Report(time.Duration(i), &f)
		if got := f.Paths[0].Last; got != step.newest {
			t.Errorf("after %d the newest is %d, want %d", step.counter, got, step.newest)
		}
	}
}
