package earliest

import (
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const (
	mbit = 1e6 / 8
	// far is the offset between the clocks of the two ends, which no plan
	// may depend on.
	far = -400 * 24 * time.Hour
)

// link is an active path of so many Mbit/s and ms, with nothing under way.
func link(id schedulers.PathID, rate float64, rtt time.Duration) schedulers.Path {
	rtt *= time.Millisecond
	return schedulers.Path{ID: id, State: schedulers.Active, Rate: rate * mbit, MinRTT: rtt, SRTT: rtt, MinOWD: far + rtt/2, OWD: far + rtt/2}
}

func with(p schedulers.Path, change func(*schedulers.Path)) schedulers.Path {
	change(&p)
	return p
}

// bulk is what the plan says of a path in class Bulk: base in ms, cap in
// bytes; unused paths are left out.
type bulk struct {
	id   int
	base float64
	cap  int
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []schedulers.Path
		want  []bulk
	}{
		{"one path: 10 ms of queue", []schedulers.Path{link(0, 8, 50)}, []bulk{{0, 0, 3_000}}},
		{"never less than two packets", []schedulers.Path{link(0, 0.8, 50)}, []bulk{{0, 0, 3000}}},
		{"the near path may queue until the far one is as near",
			[]schedulers.Path{link(0, 20, 30), link(1, 5, 120)},
			[]bulk{{0, 0, 55e-3 * 20 * mbit}, {1, 45, 10e-3 * 5 * mbit}}},
		{"a slow far path beside a fast one is left out",
			[]schedulers.Path{link(0, 50, 20), link(1, 2, 300)},
			[]bulk{{0, 0, 2e-3 * 50 * mbit}}},
		{"15 ms more are always worth it",
			[]schedulers.Path{link(0, 50, 20), link(1, 1, 50)},
			[]bulk{{0, 0, 25e-3 * 50 * mbit}, {1, 15, 3000}}},
		{"more than 200 ms never",
			[]schedulers.Path{link(0, 5, 20), link(1, 50, 422)},
			[]bulk{{0, 0, 3_000}}},
		{"the rates of all nearer paths count",
			[]schedulers.Path{link(0, 5, 20), link(1, 5, 40), link(2, 2, 200)}, // 90 ms: worth it beside 5, not beside 10
			[]bulk{{0, 0, 20e-3 * 5 * mbit}, {1, 10, 10e-3 * 5 * mbit}}},
		{"a path that queues is farther by its queue",
			[]schedulers.Path{with(link(0, 8, 50), func(p *schedulers.Path) { p.InFlight = 50_000 + 30_000 }), link(1, 8, 60)},
			[]bulk{{0, 30, 10e-3 * 8 * mbit}, {1, 5, 35e-3 * 8 * mbit}}},
		{"what is in flight on an empty link is no queue",
			[]schedulers.Path{with(link(0, 8, 50), func(p *schedulers.Path) { p.InFlight = 50_000 })},
			[]bulk{{0, 0, 3_000}}},
		{"a path that is late to acknowledge is farther by that",
			[]schedulers.Path{with(link(0, 8, 50), func(p *schedulers.Path) { p.OldestUnacked = 50e6 + 2*10e6 + 40e6 }), link(1, 8, 60)},
			[]bulk{{0, 40, 10e-3 * 8 * mbit}, {1, 5, 45e-3 * 8 * mbit}}},
		{"and left out when it is very late",
			[]schedulers.Path{with(link(0, 8, 50), func(p *schedulers.Path) { p.OldestUnacked = 500e6 }), link(1, 8, 60)},
			[]bulk{{1, 5, 3_000}}},
		{"with no rate known a path may have 32 packets",
			[]schedulers.Path{with(link(0, 0, 50), func(p *schedulers.Path) { p.MaxRate = 0 })},
			[]bulk{{0, 0, 48_000}}},
		{"a far one of which nothing is known is left alone",
			[]schedulers.Path{link(0, 50, 20), link(1, 0, 300)},
			[]bulk{{0, 0, 2e-3 * 50 * mbit}}},
		{"one as near as the nearest is tried",
			[]schedulers.Path{link(0, 0, 60), link(1, 0, 61)},
			[]bulk{{0, 0, 48_000}, {1, 0.5, 48_000 * 60 / 61}}},
		{"a backup is left alone",
			[]schedulers.Path{link(0, 8, 50), with(link(1, 8, 20), func(p *schedulers.Path) { p.Backup = true })},
			[]bulk{{0, 0, 3_000}}},
		{"until it is the last",
			[]schedulers.Path{with(link(0, 8, 50), func(p *schedulers.Path) { p.State = schedulers.Suspect }), with(link(1, 8, 20), func(p *schedulers.Path) { p.Backup = true })},
			[]bulk{{1, 0, 3_000}}},
		{"the user's limit is a rate",
			[]schedulers.Path{with(link(0, 80, 50), func(p *schedulers.Path) { p.MaxRate = 8 * mbit })},
			[]bulk{{0, 0, 3_000}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := schedulers.Snapshot{Seq: 1, FeedbackInterval: 10 * time.Millisecond, Paths: c.paths}
			var p schedulers.Plan
			New().Plan(&s, &p)
			if err := schedulers.Validate(&p, &s); err != nil {
				t.Fatal(err)
			}
			var got []bulk
			for id, path := range p.Classes[schedulers.Bulk].Paths {
				if path.Use {
					got = append(got, bulk{id, path.Base / 1e6, path.Cap})
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("plan %+v, want %+v", got, c.want)
			}
			for i, w := range c.want {
				g := got[i]
				// Floats: equal to a microsecond and a byte.
				if d := g.base - w.base; g.id != w.id || d > 1e-3 || d < -1e-3 || g.cap-w.cap > 1 || w.cap-g.cap > 1 {
					t.Errorf("path %+v, want %+v", g, w)
				}
			}
		})
	}
}

// TestUnknown: what a path of unknown rate gets, beside one of 16 Mbit/s that is
// 50 ms nearer, goes by how much waits, and for how long.
func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		name   string
		queue  int           // bytes
		flying int           // on the unknown path, bytes
		waited time.Duration // that there was a queue
		cap    int           // 0: not used
		copies uint32
	}{
		{"nothing waits", 0, 0, time.Second, 0, 0},
		{"the near path has sent it before", 90_000, 0, 0, 0, 0},
		{"so it has, but this is going on for a while", 90_000, 0, 25 * time.Millisecond, 0, 1 << 1},
		// The cold window is 16 kB in 150 ms. At 2 MB/s for 78.5 ms and 107 kB/s
		// for 28.5 ms all is sent.
		{"it takes as long by either", 160_000, 0, 0, 3_037, 0},
		{"what is under way counts", 200_000, 3_000, 0, 5_063 - 3_000, 0},
		{"more than the cold window never", 1_000_000, 0, 0, 16_000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			sched := New()
			near, away := link(0, 16, 50), link(1, 0, 150)
			away.InFlight = c.flying
			s := schedulers.Snapshot{Seq: 1, FeedbackInterval: 10 * time.Millisecond, Queue: c.queue, Paths: []schedulers.Path{near, away}}
			var p schedulers.Plan
			for s.Now = 0; ; s.Now += 5 * time.Millisecond {
				p = schedulers.Plan{}
				if s.Now == 0 {
					s.Queue = 0
				} else {
					s.Queue = c.queue
				}
				sched.Plan(&s, &p)
				if s.Now >= c.waited+5*time.Millisecond {
					break
				}
			}
			if err := schedulers.Validate(&p, &s); err != nil {
				t.Fatal(err)
			}
			b := p.Classes[schedulers.Bulk]
			if got := b.Paths[1]; got.Use != (c.cap > 0) || c.cap > 0 && (got.Cap > c.cap+1 || got.Cap < c.cap-1) {
				t.Errorf("plan %+v, want a cap of %d", got, c.cap)
			}
			if b.Copies != c.copies {
				t.Errorf("copies on %b, want %b", b.Copies, c.copies)
			}
		})
	}
}

// TestBurst: while nothing is known of the near path either, and more is under
// way than it may have, the far one sends copies of all.
func TestBurst(t *testing.T) {
	for _, c := range []struct {
		name                  string
		queue, queued, flying int // the latter two of the near path
		rate                  float64
		copies                uint32
	}{
		{"a flow's beginning", 0, 3_000, 12_000, 0, 0},
		{"a burst waits", 60_000, 0, 0, 0, 1 << 1},
		{"or is under way", 0, 20_000, 30_000, 0, 1 << 1},
		{"the near path's rate is known", 60_000, 0, 0, 16, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			near := link(0, c.rate, 50)
			near.Queued, near.InFlight = c.queued, c.flying
			s := schedulers.Snapshot{Seq: 1, FeedbackInterval: 10 * time.Millisecond, Queue: c.queue, Paths: []schedulers.Path{near, link(1, 0, 150)}}
			var p schedulers.Plan
			New().Plan(&s, &p)
			if err := schedulers.Validate(&p, &s); err != nil {
				t.Fatal(err)
			}
			for _, class := range []schedulers.Class{schedulers.Bulk, schedulers.Small} {
				if got := p.Classes[class]; got.Copies != c.copies || got.Paths[1].Use {
					t.Errorf("class %d: copies on %b, want %b; %+v", class, got.Copies, c.copies, got.Paths[1])
				}
			}
		})
	}
}

func TestClasses(t *testing.T) {
	s := schedulers.Snapshot{Paths: []schedulers.Path{
		link(0, 20, 30), link(1, 5, 120),
		with(link(2, 5, 120), func(p *schedulers.Path) { p.State = schedulers.Probing }),
		with(link(3, 5, 120), func(p *schedulers.Path) { p.State = schedulers.Dead }),
		with(link(4, 5, 120), func(p *schedulers.Path) { p.Backup = true }),
	}}
	var p schedulers.Plan
	New().Plan(&s, &p)
	if c := p.Classes[schedulers.Control].Copies; c != 0b10111 {
		t.Errorf("handshakes are copied to %#b, want all paths but the dead", c)
	}
	for _, c := range []schedulers.Class{schedulers.Small, schedulers.Bulk} {
		if p.Classes[c].Copies != 0 {
			t.Errorf("class %v is copied", c)
		}
	}
	for id := range 2 {
		small, bulk := p.Classes[schedulers.Small].Paths[id], p.Classes[schedulers.Bulk].Paths[id]
		if small.Base != bulk.Base || small.PerByte*2 != bulk.PerByte || small.Cap != bulk.Cap+smallSlack {
			t.Errorf("path %d: small %+v, bulk %+v", id, small, bulk)
		}
		if want := s.Paths[id].Rate; p.Drain[id] != want || bulk.PerByte != 1e9/want {
			t.Errorf("path %d drains at %v and costs %v ns a byte, its rate is %v", id, p.Drain[id], bulk.PerByte, want)
		}
	}
}

// TestStalls: a path that stalled is left out while that costs more than it
// adds, and is tried again when it has been well for a while.
func TestStalls(t *testing.T) {
	late := func(p *schedulers.Path) { p.SRTT = p.MinRTT + 900*time.Millisecond }
	well := func(p *schedulers.Path) { p.SRTT = p.MinRTT + 20*time.Millisecond }
	for _, c := range []struct {
		name  string
		rates [2]float64
		now   [2]func(*schedulers.Path)
		used  [2]bool
	}{
		{"a small share is not worth it", [2]float64{20, 2}, [2]func(*schedulers.Path){well, late}, [2]bool{true, false}},
		{"even if it is nearer", [2]float64{2, 20}, [2]func(*schedulers.Path){late, well}, [2]bool{false, true}},
		{"a path as fast as the best stays", [2]float64{20, 40}, [2]func(*schedulers.Path){late, late}, [2]bool{true, true}},
		{"what all paths do is no reason", [2]float64{20, 4}, [2]func(*schedulers.Path){late, late}, [2]bool{true, true}},
		{"nor is a queue", [2]float64{20, 2}, [2]func(*schedulers.Path){well, well}, [2]bool{true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sched := New()
			plan := func(now time.Duration, change [2]func(*schedulers.Path)) (used [2]bool) {
				s := schedulers.Snapshot{Seq: 1, Now: now, FeedbackInterval: 10 * time.Millisecond}
				for i := range change {
					s.Paths = append(s.Paths, with(link(schedulers.PathID(i), c.rates[i], time.Duration(50+10*i)), change[i]))
				}
				var p schedulers.Plan
				sched.Plan(&s, &p)
				for i := range used {
					used[i] = p.Classes[schedulers.Bulk].Paths[i].Use
				}
				return used
			}
			if got := plan(time.Second, c.now); got != c.used {
				t.Errorf("used %v, want %v", got, c.used)
			}
			both := [2]func(*schedulers.Path){well, well}
			if got := plan(2*time.Second, both); got != c.used {
				t.Errorf("a second later used %v, want %v", got, c.used)
			}
			if got := plan(20*time.Second, both); got != [2]bool{true, true} {
				t.Errorf("when it has been well for long: used %v", got)
			}
		})
	}
}
