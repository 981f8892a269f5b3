// Package schedtest is the conformance suite that every scheduler must pass,
// built-in or plugged in:
//
//	func TestConformance(t *testing.T) {
//		schedtest.Run(t, func(testing.TB) schedulers.Scheduler { return earliest.New() })
//	}
//
// It asks for what the engine relies on, not for a good policy: plans that can
// be followed, for any snapshot; a path for every class while one is usable;
// backups left alone; the same answers to the same questions; nothing kept of
// a snapshot.
package schedtest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// Runs and Steps are how many sessions Run plays, of how many snapshots each.
const (
	Runs  = 50
	Steps = 60
)

// Run plays random sessions, and the awkward ones that people met, to
// schedulers that make makes: a new one for each. It is deterministic up to a
// seed, which it logs.
func Run(t *testing.T, make func(testing.TB) schedulers.Scheduler) {
	seed := rand.Uint64()
	t.Logf("first seed %d", seed)
	for _, err := range Conform(seed, func() schedulers.Scheduler { return make(t) }) {
		t.Error(err)
	}
}

// Conform is Run outside a test, with the random sessions from seed on. It
// answers what is wrong: of the random sessions, only the first.
func Conform(seed uint64, make func() schedulers.Scheduler) (wrong []error) {
	awkward := Awkward()
	for _, name := range slices.Sorted(maps.Keys(awkward)) {
		if err := Check(make(), make(), []schedulers.Snapshot{awkward[name]}); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	for run := range uint64(Runs) {
		if err := Check(make(), make(), Session(seed+run, Steps)); err != nil {
			return append(wrong, fmt.Errorf("seed %d: %w", seed+run, err))
		}
	}
	return wrong
}

// Check shows the snapshots to a and b, two new schedulers of a kind, and
// returns what they do wrong first.
func Check(a, b schedulers.Scheduler, snapshots []schedulers.Snapshot) error {
	for i := range snapshots {
		s := &snapshots[i]
		p, err := answer(a, s)
		if err != nil {
			return fmt.Errorf("snapshot %d, %+v: %w", i, *s, err)
		}
		if err := follow(p, s); err != nil {
			return fmt.Errorf("snapshot %d, %+v: %w", i, *s, err)
		}
		again, err := answer(b, s)
		if err != nil {
			return fmt.Errorf("snapshot %d, %+v: %w", i, *s, err)
		}
		if *p != *again {
			return fmt.Errorf("snapshot %d, %+v: two schedulers that saw the same differ:\n%+v\n%+v", i, *s, *p, *again)
		}
	}
	return nil
}

// answer asks for a plan with a copy of s, which it then spoils, so that what
// was kept of it cannot be used.
func answer(sched schedulers.Scheduler, s *schedulers.Snapshot) (*schedulers.Plan, error) {
	shown := *s
	shown.Paths = append([]schedulers.Path(nil), s.Paths...)
	var p schedulers.Plan
	sched.Plan(&shown, &p)
	// Compared as text, in which NaN equals NaN.
	if fmt.Sprintf("%+v", shown) != fmt.Sprintf("%+v", *s) {
		return nil, fmt.Errorf("it changed the snapshot to %+v", shown)
	}
	for i := range shown.Paths {
		shown.Paths[i] = schedulers.Path{Rate: math.NaN(), MinRTT: -1, InFlight: math.MinInt}
	}
	return &p, nil
}

// follow reports why p cannot be followed after s.
func follow(p *schedulers.Plan, s *schedulers.Snapshot) error {
	if err := schedulers.Validate(p, s); err != nil {
		return err
	}
	usable := schedulers.Usable(s)
	for i := range p.Classes {
		var used uint32
		for id := range p.Classes[i].Paths {
			if p.Classes[i].Paths[id].Use {
				used |= 1 << id
			}
		}
		class := schedulers.Class(i)
		if usable != 0 && used&usable == 0 {
			return fmt.Errorf("class %v uses no path, of %#b usable", class, usable)
		}
		if class == schedulers.Control {
			continue // may be sent by any path
		}
		if out := (used | p.Classes[i].Copies) &^ usable; out != 0 {
			return fmt.Errorf("class %v uses the paths %#b, which are dead, or backups not needed; usable are %#b", class, out, usable)
		}
	}
	return nil
}

// Awkward returns snapshots that schedulers stumble over, by name.
func Awkward() map[string]schedulers.Snapshot {
	const day = 24 * time.Hour
	active := schedulers.Path{State: schedulers.Active, Rate: 1e6, MinRTT: 50 * time.Millisecond, SRTT: 60 * time.Millisecond, Weight: 1, MTU: 1420}
	with := func(change ...func(*schedulers.Path)) schedulers.Snapshot {
		s := schedulers.Snapshot{Seq: 1, FeedbackInterval: 10 * time.Millisecond}
		for i, f := range change {
			p := active
			p.ID = schedulers.PathID(i)
			f(&p)
			s.Paths = append(s.Paths, p)
		}
		return s
	}
	same := func(*schedulers.Path) {}
	all := make([]func(*schedulers.Path), schedulers.MaxPaths)
	for i := range all {
		all[i] = same
	}
	return map[string]schedulers.Snapshot{
		"no path":               {Seq: 3},
		"one path":              with(same),
		"all paths there are":   with(all...),
		"nothing known":         with(func(p *schedulers.Path) { *p = schedulers.Path{State: schedulers.Active} }),
		"zero rate beside one":  with(same, func(p *schedulers.Path) { p.Rate = 0 }),
		"a byte a minute":       with(same, func(p *schedulers.Path) { p.Rate = 1.0 / 60 }),
		"faster than light":     with(same, func(p *schedulers.Path) { p.Rate = 1e30 }),
		"no number for a rate":  with(same, func(p *schedulers.Path) { p.Rate, p.Delivered = math.NaN(), math.NaN() }),
		"a negative rate":       with(same, func(p *schedulers.Path) { p.Rate = -1 }),
		"no round-trip time":    with(same, func(p *schedulers.Path) { p.MinRTT, p.SRTT = 0, 0 }),
		"a negative one":        with(same, func(p *schedulers.Path) { p.MinRTT, p.SRTT = -1, -1 }),
		"clocks years apart":    with(func(p *schedulers.Path) { p.MinOWD = -9e3 * day }, func(p *schedulers.Path) { p.MinOWD = -9e3*day + 5*time.Millisecond }),
		"a path days away":      with(same, func(p *schedulers.Path) { p.MinOWD = 3 * day }),
		"opposite ends of time": with(func(p *schedulers.Path) { p.MinOWD = math.MinInt64 }, func(p *schedulers.Path) { p.MinOWD = math.MaxInt64 }),
		"silent for a day":      with(same, func(p *schedulers.Path) { p.OldestUnacked = day }),
		"a terabyte in flight":  with(same, func(p *schedulers.Path) { p.InFlight = 1 << 40 }),
		"weightless":            with(same, func(p *schedulers.Path) { p.Weight = 0 }),
		"heavy":                 with(same, func(p *schedulers.Path) { p.Weight = 1e300 }),
		"no number for weight":  with(same, func(p *schedulers.Path) { p.Weight = math.NaN() }),
		"no rate allowed":       with(same, func(p *schedulers.Path) { p.MaxRate = 1e-9 }),
		"all dead":              with(func(p *schedulers.Path) { p.State = schedulers.Dead }, func(p *schedulers.Path) { p.State = schedulers.Dead }),
		"all suspect":           with(func(p *schedulers.Path) { p.State = schedulers.Suspect }, func(p *schedulers.Path) { p.State = schedulers.Suspect }),
		"only probing":          with(func(p *schedulers.Path) { p.State = schedulers.Probing }),
		"only backups":          with(func(p *schedulers.Path) { p.Backup = true }, func(p *schedulers.Path) { p.Backup = true }),
		"a backup is enough":    with(func(p *schedulers.Path) { p.State = schedulers.Dead }, func(p *schedulers.Path) { p.Backup = true }),
		"high ids":              with(func(p *schedulers.Path) { p.ID = schedulers.MaxPaths - 1 }),
		"ids out of order":      with(func(p *schedulers.Path) { p.ID = 7 }, func(p *schedulers.Path) { p.ID = 2 }),
	}
}

// Session returns snapshots such as one session might show: links of many
// kinds that come, fill, die, return and go.
func Session(seed uint64, steps int) []schedulers.Snapshot {
	r := rand.New(rand.NewPCG(seed, 0))
	var out []schedulers.Snapshot
	var paths []schedulers.Path
	var now time.Duration
	offset := time.Duration(r.Int64N(1e18)) - 5e17
	between := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(r.Int64N(int64(hi-lo))) }
	for seq := range steps {
		now += between(5*time.Millisecond, 50*time.Millisecond)
		if r.IntN(8) == 0 && len(paths) > 0 {
			i := r.IntN(len(paths))
			paths = append(paths[:i:i], paths[i+1:]...)
		}
		if id := schedulers.PathID(r.IntN(schedulers.MaxPaths)); (len(paths) < 2 || r.IntN(8) == 0) && r.IntN(20) > 0 {
			free := true
			for _, p := range paths {
				free = free && p.ID != id
			}
			if free {
				paths = append(paths, schedulers.Path{
					ID: id, Name: fmt.Sprint("path", id), State: schedulers.Probing,
					Backup: r.IntN(5) == 0, Metered: r.IntN(5) == 0, Weight: float64(r.IntN(5)), MTU: 1280 + r.IntN(220),
					MaxRate: float64(r.IntN(2)*r.IntN(2)) * 1e6,
				})
			}
		}
		for i := range paths {
			p := &paths[i]
			switch r.IntN(12) {
			case 0:
				p.State = schedulers.PathState(r.IntN(4))
			case 1, 2, 3:
				p.State = schedulers.Active
			case 4:
				p.Delivered = math.Pow(10, 2+7*r.Float64())
				p.Rate = p.Delivered * (1 + 2*r.Float64())
			case 5:
				p.MinRTT = between(100*time.Microsecond, time.Second)
				p.SRTT = p.MinRTT + between(0, 200*time.Millisecond)
				p.RTTVar = between(0, 50*time.Millisecond)
				p.MinOWD = offset + p.MinRTT/2
				p.OWD = p.MinOWD + between(0, 200*time.Millisecond)
			}
			p.InFlight, p.OldestUnacked, p.Queued = 0, 0, 0
			if r.IntN(3) > 0 {
				p.InFlight = r.IntN(1e6)
				p.OldestUnacked = between(0, 2*time.Second)
				p.Queued = r.IntN(1e5)
			}
			p.Loss = r.Float64() * r.Float64()
		}
		out = append(out, schedulers.Snapshot{
			Seq: uint64(seq) + 1, Now: now, Queue: r.IntN(1e6), FeedbackInterval: between(0, 50*time.Millisecond),
			Paths: append([]schedulers.Path(nil), paths...),
		})
	}
	return out
}
