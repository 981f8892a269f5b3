package judge

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// TestRemembered: what is remembered of the paths helps where it is right, and
// where it is wrong by ten costs little. Single runs are bistable, so these are means
// over seven sizes.
func TestRemembered(t *testing.T) {
	if testing.Short() {
		t.Skip("ten seconds of computing")
	}
	for _, c := range []struct {
		cold Scenario
		mean float64 // size, bytes
		bbr  bool
		// Most of the time without a memory, if that is right, ten times too high, and
		// a tenth of what is right.
		right, high, low float64
	}{
		{Cold(), 3e6, false, 1.01, 1.08, 1.03},          // .981, 1.066, 1.005
		{Cold(), 3e6, true, 1.02, 1.04, 1.03},           // 1.005, 1.026, 1.010
		{Cold(), 3e5, false, 1.02, 1.02, 1.02},          // 1.000, 1.000, 1.000
		{Cold(), 3e5, true, 1.02, 1.02, 1.02},           // 1.000, 1.000, 1.000
		{ColdFour(), 3e6, false, 0.94, 1.03, 1.11},      // .910, 1.007, 1.094
		{ColdFour(), 3e6, true, 0.95, 1.03, 1.03},       // .924, 1.000, 1.004
		{Page(Unequal()), 1e4, false, 1.02, 1.02, 1.02}, // 1.000, 1.000, 1.000
		{Page(Extreme()), 1e4, false, 1.02, 1.02, 1.02}, // 1.000, .999, .999
	} {
		name := c.cold.Name + "/cubic"
		if c.bbr {
			name = c.cold.Name + "/bbr"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var times [7]float64 // of the cold runs
			var lost [7]uint64   // to queues, in them
			for _, m := range []struct {
				off, most float64
			}{{0, 0}, {1, c.right}, {10, c.high}, {.1, c.low}} {
				ratio := 0.0
				for k := range times {
					s := c.cold
					if m.off > 0 {
						s = Remembered(s, m.off)
					}
					s = bonded(s)
					if c.bbr {
						s.TCP = tcp.NewBBR
					}
					s.Bytes = int64(c.mean * (0.7 + 0.1*float64(k)))
					r := mustRun(t, s)
					if m.off == 0 {
						times[k] = r.Done.Seconds()
					}
					ratio += r.Done.Seconds() / times[k] / float64(len(times))
					drops := uint64(0) // by queues of 150 ms
					for _, l := range r.Links {
						drops += l.Down.Dropped.Queue
					}
					if m.off == 0 {
						lost[k] = drops
					} else if drops > lost[k]+20 { // of 2,000 packets; 18
						t.Errorf("%s: %d packets lost to queues, without a memory %d", s.Name, drops, lost[k])
					}
				}
				t.Logf("remembered × %g: %.3f × the time of cold paths, %.3f s at %.0f bytes", m.off, ratio, times[3], c.mean)
				if m.off > 0 && ratio > m.most {
					t.Errorf("remembered × %g: %.3f × the time of cold paths, at most %.3f is allowed", m.off, ratio, m.most)
				}
			}
		})
	}
}

// TestLearned: what a session learned in ten seconds of bulk is as good as the
// truth.
func TestLearned(t *testing.T) {
	first := bonded(Four())
	first.Time, first.End, first.Warmup, first.Ping = 40*time.Second, 10*time.Second, 0, 0
	learned := make([]wgbond.Memory, len(first.Paths))
	first.Trace = func(_ time.Duration, w *World) {
		for i := range learned {
			learned[i] = w.Client.Session.Learned(w.loop.Now(), schedulers.PathID(i))
		}
	}
	mustRun(t, first)
	s := bonded(ColdFour())
	for i, m := range learned {
		truth := Remembered(s, 1).Paths[i].Config.Memory
		if m.Down < .9*truth.Down || m.Down > 1.1*truth.Down || m.RTT < truth.RTT/2 || m.RTT > truth.RTT*3/2 {
			t.Errorf("path %d: learned %+v, it is %+v", i, m, truth)
		}
		s.Paths[i].Config.Memory = m
	}
	r, truth := mustRun(t, s), mustRun(t, Remembered(s, 1))
	if r.Done > truth.Done*21/20 {
		t.Errorf("3 MB took %v, with what is true %v", r.Done, truth.Done)
	}
}
