package dispatch

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const ms = time.Millisecond

// bulk is a plan whose classes all have these paths, by id.
func bulk(paths ...schedulers.PathPlan) *schedulers.Plan {
	p := &schedulers.Plan{Valid: 200 * ms}
	for c := range p.Classes {
		copy(p.Classes[c].Paths[:], paths)
	}
	return p
}

// send picks and charges n packets of size bytes and counts them by path;
// what finds no path is counted under -1.
func send(e *Executor, now time.Duration, n, size int) map[int]int {
	sent := map[int]int{}
	for range n {
		if id, ok := e.Pick(now, schedulers.Bulk, size, 0); ok {
			e.Charge(now, id, size)
			sent[int(id)]++
		} else {
			sent[-1]++
		}
	}
	return sent
}

func expect(t *testing.T, what string, got map[int]int, want map[int]int) {
	t.Helper()
	for _, m := range []map[int]int{got, want} {
		for id := range m {
			if got[id] != want[id] {
				t.Errorf("%s: path %d got %d packets, want %d", what, id, got[id], want[id])
			}
		}
	}
}

func TestLowestCostWins(t *testing.T) {
	var e Executor
	if _, ok := e.Pick(0, schedulers.Bulk, 1000, 0); ok {
		t.Error("the empty plan picks a path")
	}
	// Path 1 is nearer; at 1000 ns a byte it is as far as path 2 after 10 kB.
	e.SetPlan(0, bulk(
		schedulers.PathPlan{},
		schedulers.PathPlan{Use: true, Base: 10e6, PerByte: 1000, Cap: schedulers.NoCap},
		schedulers.PathPlan{Use: true, Base: 20e6, PerByte: 4000, Cap: schedulers.NoCap},
	))
	expect(t, "near path first, equals to the lowest id", send(&e, 0, 11, 1000), map[int]int{1: 11})
	expect(t, "then one to four", send(&e, 0, 5, 1000), map[int]int{1: 4, 2: 1})
	if b := e.Backlog(0, 1); b != 15000 {
		t.Errorf("backlog %d bytes, want 15000", b)
	}
}

func TestCap(t *testing.T) {
	var e Executor
	p := bulk(
		schedulers.PathPlan{Use: true, Cap: 2500},
		schedulers.PathPlan{Use: true, Base: 1, Cap: 0},
	)
	p.Drain[0], p.Drain[1] = 1, 1
	e.SetPlan(0, p)
	expect(t, "two fit, one on an empty path whatever its cap", send(&e, 0, 5, 1000), map[int]int{0: 2, 1: 1, -1: 2})
	p.Drain[0] = 0
	e.SetPlan(0, p)
	expect(t, "an account has no cap", send(&e, 0, 5, 1000), map[int]int{0: 5})
}

func TestDrain(t *testing.T) {
	var e Executor
	p := bulk(schedulers.PathPlan{Use: true, Cap: 3000})
	p.Drain[0] = 100e3 // 100 bytes a millisecond
	e.SetPlan(0, p)
	expect(t, "until the cap", send(&e, 0, 5, 1000), map[int]int{0: 3, -1: 2})
	expect(t, "one drained", send(&e, 10*ms, 2, 1000), map[int]int{0: 1, -1: 1})
	if b := e.Backlog(15*ms, 0); b != 2500 {
		t.Errorf("backlog %d, want 2500", b)
	}
	e.SetBacklog(15*ms, 0, 700)
	if b := e.Backlog(20*ms, 0); b != 200 {
		t.Errorf("corrected backlog %d, want 200", b)
	}
	if b := e.Backlog(time.Second, 0); b != 0 {
		t.Errorf("backlog %d, want 0", b)
	}
	p.Drain[0] = 1
	e.SetPlan(2*time.Second, p)
	e.Charge(2*time.Second, 0, 10)
	if b := e.Backlog(5*time.Second, 0); b != 7 {
		t.Errorf("backlog %d with the new drain, want 7", b)
	}
}

func TestOverrideAndCopies(t *testing.T) {
	var e Executor
	p := bulk(schedulers.PathPlan{Use: true}, schedulers.PathPlan{Use: true, Base: 1})
	p.Classes[schedulers.Control].Copies = 0b11
	p.Seq = 9
	e.SetPlan(5*ms, p)
	if e.Seq() != 9 || e.Expires() != 205*ms {
		t.Errorf("plan %d, expires %v", e.Seq(), e.Expires())
	}
	e.Override(0, true)
	if id, ok := e.Pick(5*ms, schedulers.Bulk, 100, 0); !ok || id != 1 {
		t.Errorf("picks %d, %v; want 1", id, ok)
	}
	if c := e.Copies(schedulers.Control); c != 0b10 {
		t.Errorf("copies %#b", c)
	}
	e.Override(1, true)
	if _, ok := e.Pick(5*ms, schedulers.Bulk, 100, 0); ok {
		t.Error("picks a blocked path")
	}
	e.SetPlan(6*ms, p) // a plan lifts no block
	if e.Blocked() != 0b11 {
		t.Errorf("blocked: %#b", e.Blocked())
	}
	e.Override(0, false)
	if id, ok := e.Pick(6*ms, schedulers.Bulk, 100, 0); !ok || id != 0 {
		t.Errorf("picks %d, %v; want 0", id, ok)
	}
}

// weighted is a plan of a weighted round robin.
func weighted(weights ...float64) *schedulers.Plan {
	var paths []schedulers.PathPlan
	for _, w := range weights {
		paths = append(paths, schedulers.PathPlan{Use: w > 0, PerByte: 1 / max(w, 0.001), Cap: schedulers.NoCap})
	}
	return bulk(paths...)
}

func TestRoundRobin(t *testing.T) {
	var e Executor
	e.SetPlan(0, weighted(1, 1, 1))
	for n := range 6 {
		id, _ := e.Pick(0, schedulers.Bulk, 1000, 0)
		e.Charge(0, id, 1000)
		if int(id) != n%3 {
			t.Errorf("packet %d goes to path %d", n, id)
		}
	}
}

func TestWeightsHold(t *testing.T) {
	var e Executor
	e.SetPlan(0, weighted(1, 2, 5))
	expect(t, "one plan", send(&e, 0, 800, 1000), map[int]int{0: 100, 1: 200, 2: 500})
	sum := map[int]int{}
	for n := range 80 {
		now := time.Duration(n) * 25 * ms
		e.SetPlan(now, weighted(1, 2, 5))
		for id, k := range send(&e, now, 10, 1000) {
			sum[id] += k
		}
	}
	expect(t, "a plan every 10 packets", sum, map[int]int{0: 100, 1: 200, 2: 500})
}

// A path that joins, or returns, gets its share from then on, not what it
// missed.
func TestNoCatchingUp(t *testing.T) {
	var e Executor
	e.SetPlan(0, weighted(1, 1))
	send(&e, 0, 1000, 1000)
	e.SetPlan(0, weighted(1, 1, 2))
	expect(t, "joined", send(&e, 0, 400, 1000), map[int]int{0: 100, 1: 100, 2: 200})
	e.Override(1, true)
	expect(t, "blocked", send(&e, 0, 300, 1000), map[int]int{0: 100, 2: 200})
	e.Override(1, false)
	expect(t, "back", send(&e, 0, 400, 1000), map[int]int{0: 100, 1: 100, 2: 200})
	e.Override(1, true)
	send(&e, 0, 300, 1000)
	e.SetPlan(0, weighted(1, 1, 2))
	e.Override(1, false)
	expect(t, "back after another plan", send(&e, 0, 400, 1000), map[int]int{0: 100, 1: 100, 2: 200})
	e.SetPlan(0, weighted(1, 1, 0))
	send(&e, 0, 1000, 1000)
	e.SetPlan(0, weighted(1, 1, 2))
	expect(t, "rejoined", send(&e, 0, 400, 1000), map[int]int{0: 100, 1: 100, 2: 200})
	p := weighted(1, 1, 2)
	p.Drain = [schedulers.MaxPaths]float64{1e6, 1e6, 1e6}
	e.SetPlan(0, p)
	e.Charge(0, 0, 1e6)
	e.SetPlan(0, weighted(1, 1, 2))
	expect(t, "after another policy", send(&e, 0, 400, 1000), map[int]int{0: 100, 1: 100, 2: 200})
}

// Accounts stay exact however long one plan is followed.
func TestAccountsAreSetBack(t *testing.T) {
	var e Executor
	e.SetPlan(0, weighted(1, 3))
	expect(t, "4 TB", send(&e, 0, 400_000, 10_000_000), map[int]int{0: 100_000, 1: 300_000})
	for id := range 2 {
		if b := e.Backlog(0, schedulers.PathID(id)); b > 2*epoch {
			t.Errorf("path %d has an account of %d bytes", id, b)
		}
	}
	e.SetPlan(0, bulk(schedulers.PathPlan{Use: true, Cap: schedulers.NoCap})) // no cost per byte
	for range 3000 {
		e.Charge(0, 0, 1e6)
		e.Charge(0, 9, 1e6) // a copy on a path that the plan does not use
	}
	if b := max(e.Backlog(0, 0), e.Backlog(0, 9)); b > 2*epoch {
		t.Errorf("%d bytes", b)
	}
}

// naive follows a plan as its definition says: all paths, no shortcuts.
type naive struct {
	plan    schedulers.Plan
	backlog [schedulers.MaxPaths]float64
	now     time.Duration
	blocked map[int]bool
}

func (n *naive) advance(now time.Duration) {
	for id := range n.backlog {
		n.backlog[id] = math.Max(0, n.backlog[id]-n.plan.Drain[id]*(now-n.now).Seconds())
	}
	n.now = now
}

func (n *naive) pick(c schedulers.Class, size int) (best int) {
	best = -1
	cost := func(id int) float64 {
		p := n.plan.Classes[c].Paths[id]
		return p.Base + p.PerByte*n.backlog[id]
	}
	for id, p := range n.plan.Classes[c].Paths {
		room := n.plan.Drain[id] == 0 || n.backlog[id] == 0 || n.backlog[id]+float64(size) <= float64(p.Cap)
		if p.Use && room && !n.blocked[id] && (best < 0 || cost(id) < cost(best)) {
			best = id
		}
	}
	return best
}

func TestAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("first seed %d", seed)
	for run := range uint64(100) {
		r := rand.New(rand.NewPCG(seed+run, 0))
		var e Executor
		n := naive{blocked: map[int]bool{}}
		var now time.Duration
		for step := range 300 {
			if r.IntN(3) == 0 {
				now += time.Duration(r.IntN(int(5 * ms)))
			}
			n.advance(now)
			switch op := r.IntN(20); op {
			case 0:
				p := schedulers.Plan{Valid: time.Second}
				for id := range p.Drain {
					p.Drain[id] = 1 + float64(r.IntN(5e6)) // round robins have tests of their own
					for c := range p.Classes {
						p.Classes[c].Paths[id] = schedulers.PathPlan{Use: r.IntN(3) == 0, Base: float64(r.IntN(5)) * 1e6, PerByte: float64(r.IntN(1000)), Cap: r.IntN(20000)}
					}
				}
				n.plan = p
				e.SetPlan(now, &p)
			case 1:
				id, blocked := r.IntN(schedulers.MaxPaths), r.IntN(2) == 0
				n.blocked[id] = blocked
				e.Override(schedulers.PathID(id), blocked)
			default:
				c, size := schedulers.Class(r.IntN(schedulers.NumClasses)), 40+r.IntN(1460)
				want := n.pick(c, size)
				id, ok := e.Pick(now, c, size, 0)
				if got := int(id); ok != (want >= 0) || ok && got != want {
					t.Fatalf("seed %d step %d: picks %d, %v, want %d", seed+run, step, got, ok, want)
				}
				if ok {
					n.backlog[id] += float64(size)
					e.Charge(now, id, size)
				}
			}
		}
	}
}

func fourPaths() *Executor {
	var e Executor
	p := bulk(
		schedulers.PathPlan{Use: true, Base: 10e6, PerByte: 400, Cap: schedulers.NoCap},
		schedulers.PathPlan{Use: true, Base: 15e6, PerByte: 800, Cap: schedulers.NoCap},
		schedulers.PathPlan{Use: true, Base: 30e6, PerByte: 1600, Cap: schedulers.NoCap},
		schedulers.PathPlan{Use: true, Base: 45e6, PerByte: 3200, Cap: schedulers.NoCap},
	)
	p.Drain = [schedulers.MaxPaths]float64{2.5e6, 1.25e6, 0.625e6, 0.3e6}
	e.SetPlan(0, p)
	return &e
}

// TestUnfit: a packet too large for a path goes by the next best one that the
// plan has, or by none.
func TestUnfit(t *testing.T) {
	var e Executor
	e.SetPlan(0, bulk(schedulers.PathPlan{}, schedulers.PathPlan{Use: true}, schedulers.PathPlan{Use: true, Base: 2}, schedulers.PathPlan{Use: true, Base: 1}))
	for _, c := range []struct {
		unfit uint32
		want  schedulers.PathID
		ok    bool
	}{{0, 1, true}, {0b0010, 3, true}, {0b1010, 2, true}, {0b0101, 1, true}, {0b1110, 0, false}} {
		if id, ok := e.Pick(0, schedulers.Bulk, 1500, c.unfit); ok != c.ok || ok && id != c.want {
			t.Errorf("without %#b: picks %d, %v; want %d, %v", c.unfit, id, ok, c.want, c.ok)
		}
	}
	e.Override(3, true)
	if id, ok := e.Pick(0, schedulers.Bulk, 1500, 0b0010); !ok || id != 2 {
		t.Errorf("without path 1, and 3 blocked: picks %d, %v; want 2", id, ok)
	}
	if got := e.Uses(schedulers.Bulk); got != 0b1110 {
		t.Errorf("uses %#b, want 0b1110: blocked ones, too", got)
	}
}

func TestNoAllocations(t *testing.T) {
	e, p := fourPaths(), bulk(schedulers.PathPlan{Use: true})
	now := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += 300 * time.Microsecond
		id, ok := e.Pick(now, schedulers.Bulk, 1500, 0)
		if !ok {
			t.Fatal("no path")
		}
		if _, ok := e.Pick(now, schedulers.Bulk, 1500, 1<<id); !ok {
			t.Fatal("no other path")
		}
		e.Charge(now, id, 1500)
		e.Override(id, true)
		e.Override(id, false)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if n := testing.AllocsPerRun(10, func() { e.SetPlan(now, p) }); n != 0 {
		t.Errorf("%v allocations a plan", n)
	}
}

// A packet is one Pick and one Charge; a batch's packets have the same time.
// Four paths, offered what they can carry (one packet each 400 µs is below it).
func BenchmarkPacket(b *testing.B) {
	for _, c := range []struct {
		name  string
		batch int
	}{{"batches of 64", 64}, {"each at its own time", 1}} {
		b.Run(c.name, func(b *testing.B) {
			e := fourPaths()
			b.ReportAllocs()
			now, n := time.Duration(0), 0
			for b.Loop() {
				if n++; n == c.batch {
					n, now = 0, now+time.Duration(c.batch)*400*time.Microsecond
				}
				id, _ := e.Pick(now, schedulers.Bulk, 1500, 0)
				e.Charge(now, id, 1500)
			}
		})
	}
}
