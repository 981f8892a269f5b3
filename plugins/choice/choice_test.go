package choice

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

// fake plans by one path only, and counts its schedulers that are open.
type fake struct {
	path   schedulers.PathID
	base   float64
	open   *atomic.Int32
	notify func()
}

func (f *fake) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	p.Seq, p.Valid = s.Seq, time.Second
	for c := range p.Classes {
		p.Classes[c].Paths[f.path] = schedulers.PathPlan{Use: true, Base: f.base, Cap: schedulers.NoCap}
	}
	p.Drain[f.path] = 1e6
}

func (f *fake) Notify(g func()) { f.notify = g }

func (f *fake) Close() error {
	f.open.Add(-1)
	return nil
}

func fakeOption(name string, path schedulers.PathID) (*Option, *atomic.Int32) {
	open := new(atomic.Int32)
	return &Option{Name: name, New: func() schedulers.Scheduler {
		open.Add(1)
		return &fake{path: path, open: open}
	}}, open
}

func usedBy(t *testing.T, s schedulers.Scheduler) schedulers.PathID {
	t.Helper()
	snap := snapshot(0, 0)
	var p schedulers.Plan
	s.Plan(&snap, &p)
	if err := schedulers.Validate(&p, &snap); err != nil {
		t.Fatal(err)
	}
	for id, path := range p.Classes[schedulers.Bulk].Paths {
		if path.Use {
			return schedulers.PathID(id)
		}
	}
	t.Fatal("no path")
	return 0
}

// snapshot has two paths with those one-way delays.
func snapshot(a, b time.Duration) schedulers.Snapshot {
	s := schedulers.Snapshot{Seq: 1}
	for id, owd := range []time.Duration{a, b} {
		s.Paths = append(s.Paths, schedulers.Path{
			ID: schedulers.PathID(id), Name: []string{"near", "far"}[id], State: schedulers.Active,
			Rate: 1e6, MinRTT: 40e6, SRTT: 40e6, MinOWD: owd, OWD: owd, Weight: 1, MTU: 1420,
		})
	}
	return s
}

// Every session follows a change at once, those to come as well, and whoever
// was in charge is closed.
func TestUse(t *testing.T) {
	first, firstOpen := fakeOption("first", 0)
	second, secondOpen := fakeOption("second", 1)
	c := New(first)
	seats := []schedulers.Scheduler{c.NewScheduler(), c.NewScheduler()}
	told := 0
	for _, s := range seats {
		s.(*Seat).Notify(func() { told++ })
		if got := usedBy(t, s); got != 0 {
			t.Errorf("path %d", got)
		}
	}
	c.Use(second)
	if told != 2 {
		t.Errorf("%d sessions told to plan again, of 2", told)
	}
	for _, s := range append(seats, c.NewScheduler()) {
		if got := usedBy(t, s); got != 1 {
			t.Errorf("path %d after the change", got)
		}
	}
	if firstOpen.Load() != 0 || secondOpen.Load() != 3 {
		t.Errorf("open: %d of the first, %d of the second", firstOpen.Load(), secondOpen.Load())
	}
	if err := seats[0].(*Seat).Close(); err != nil {
		t.Fatal(err)
	}
	if st := c.Status(); secondOpen.Load() != 2 || st.Sessions != 2 || st.Swaps != 1 || st.Charge != "second" {
		t.Errorf("%d open, status %+v", secondOpen.Load(), st)
	}
}

// Schedulers of a type that cannot be compared can be exchanged all the same.
func TestUncomparable(t *testing.T) {
	option := func() *Option {
		return &Option{Name: "f", New: func() schedulers.Scheduler {
			return schedulers.Func((&fake{path: 1}).Plan)
		}}
	}
	c := New(option())
	s := c.NewScheduler()
	for range 2 {
		c.Use(option())
		c.Shadow(option())
	}
	if got := usedBy(t, s); got != 1 {
		t.Errorf("path %d", got)
	}
}

// A scheduler elsewhere that has a plan reaches the session through its seat,
// as long as it is in charge.
func TestNotify(t *testing.T) {
	first, _ := fakeOption("first", 0)
	c := New(first)
	s := c.NewScheduler().(*Seat)
	told := 0
	s.Notify(func() { told++ })
	s.sitting.Load().charge.(*fake).notify()
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	second, _ := fakeOption("second", 1)
	c.Shadow(second)
	if s.sitting.Load().shadow.(*fake).notify != nil {
		t.Error("a shadow can make the session plan")
	}
}

// The score of one that prefers a path that is 30 ms farther.
func TestShadow(t *testing.T) {
	near, _ := fakeOption("near", 0)
	far, farOpen := fakeOption("far", 1)
	c := New(near)
	s := c.NewScheduler()
	c.Shadow(far)
	for seq := range uint64(10) {
		snap := snapshot(10e6, 40e6)
		snap.Seq = seq
		var p schedulers.Plan
		s.Plan(&snap, &p)
		if !p.Classes[schedulers.Bulk].Paths[0].Use || p.Classes[schedulers.Bulk].Paths[1].Use {
			t.Fatal("the shadow is obeyed")
		}
	}
	score := c.Status().Score
	want := Score{
		Plans: 10, Differs: 10, ShadowDelay: 30e6, ChargeError: NoError, ShadowError: NoError,
		Shares: []Share{{"far", 0, 1}, {"near", 1, 0}},
	}
	if score == nil || score.Plans != want.Plans || score.Differs != want.Differs || score.ChargeDelay != 0 || score.ShadowDelay != want.ShadowDelay ||
		score.ChargeError != NoError || score.ShadowError != NoError || len(score.Shares) != 2 || score.Shares[0] != want.Shares[0] || score.Shares[1] != want.Shares[1] {
		t.Errorf("score %+v, want %+v", score, want)
	}
	c.Shadow(nil)
	if st := c.Status(); st.Score != nil || st.Shadow != "" || farOpen.Load() != 0 {
		t.Errorf("after the end: %+v, %d open", st, farOpen.Load())
	}
}

// A scheduler that expects the true difference of the paths has no error; one
// that expects them alike is off by it.
func TestExpectations(t *testing.T) {
	plan := func(bases ...float64) *schedulers.Plan {
		p := new(schedulers.Plan)
		for id, base := range bases {
			p.Classes[schedulers.Bulk].Paths[id] = schedulers.PathPlan{Use: true, Base: base, PerByte: 1000, Cap: schedulers.NoCap}
			p.Drain[id] = 1e6
		}
		return p
	}
	b := newBoard()
	var last observation
	for range 5 {
		s := snapshot(10e6, 40e6)
		b.observe(&last, &s, plan(10e6, 40e6), plan(10e6, 10e6))
	}
	got := b.sum()
	if got.ChargeError != 0 || got.ShadowError != 30*time.Millisecond {
		t.Errorf("errors %v and %v, want 0 and 30 ms", got.ChargeError, got.ShadowError)
	}
	// 64 packets of 1400 bytes at 1 ms a 1000 bytes: the far path's share is
	// what would arrive as early.
	if far := got.Shares[0]; far.Path != "far" || math.Abs(far.Charge-.33) > .02 || math.Abs(far.Shadow-.5) > .02 {
		t.Errorf("shares %+v", got.Shares)
	}
}

// Two that are the same never differ.
func TestSame(t *testing.T) {
	option := func() *Option {
		return &Option{Name: "earliest", New: func() schedulers.Scheduler { s, _ := builtin.New(""); return s }}
	}
	c := New(option())
	c.Shadow(option())
	s := c.NewScheduler()
	for range 20 {
		snap := snapshot(10e6, 20e6)
		s.Plan(&snap, new(schedulers.Plan))
	}
	if got := c.Status().Score; got.Differs != 0 || got.ChargeDelay != got.ShadowDelay || got.Shares[0].Charge != got.Shares[0].Shadow {
		t.Errorf("score %+v", got)
	}
}
