package choice

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// A plan is judged by what it does with a train of bulk packets on empty
// backlogs: enough to fill a path's queue and spill to the next.
const (
	trainPackets = 64
	trainSize    = 1400 // bytes
)

// Score compares a candidate with the scheduler in charge, by the same
// snapshots. What a plan is worth shows one snapshot later, as far as that
// tells: in the one-way delays that the paths then have. They have them with
// the traffic of the one in charge, so a candidate that would load a path more
// is flattered.
type Score struct {
	Plans      uint64 // compared
	Unanswered uint64 // the candidate had no plan in time
	Differs    uint64 // the first bulk packet would have gone elsewhere
	// Delay is by how much the bytes would have arrived later, on average,
	// than by the nearest path of all.
	ChargeDelay, ShadowDelay time.Duration
	// Error is by how much the expected differences of the paths' arrivals
	// were wrong, on average; NoError if the costs were not arrival times.
	ChargeError, ShadowError time.Duration
	Shares                   []Share // by path
}

// NoError stands for an Error that cannot be told.
const NoError = time.Duration(math.MinInt64)

// Share is a path's part, 0 to 1, of what each would send.
type Share struct {
	Path           string
	Charge, Shadow float64
}

// board gathers the score of all sessions.
type board struct {
	mu             sync.Mutex // guards all below
	plans, late    uint64
	differs        uint64
	charge, shadow side
	paths          map[string]*[2]float64
}

type side struct {
	delay, delays  float64 // nanoseconds; how many
	wrong, guesses float64
}

func newBoard() *board { return &board{paths: map[string]*[2]float64{}} }

// observation is what the two said of the last snapshot of a session. It
// belongs to the session's goroutine.
type observation struct {
	is             bool
	charge, shadow course
}

// course is what a plan does with a train.
type course struct {
	share   [schedulers.MaxPaths]float64
	base    [schedulers.MaxPaths]float64
	first   int // path of the first packet; -1: none
	arrival bool
}

func (b *board) unanswered() {
	b.mu.Lock()
	b.late++
	b.mu.Unlock()
}

func (b *board) observe(last *observation, s *schedulers.Snapshot, charge, shadow *schedulers.Plan) {
	now := observation{is: true, charge: follow(charge), shadow: follow(shadow)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last.is {
		b.charge.judge(&last.charge, s)
		b.shadow.judge(&last.shadow, s)
	}
	*last = now
	b.plans++
	if now.charge.first != now.shadow.first {
		b.differs++
	}
	for i := range s.Paths {
		p := &s.Paths[i]
		name := p.Name
		if name == "" {
			name = fmt.Sprint(p.ID)
		}
		sums := b.paths[name]
		if sums == nil {
			if len(b.paths) >= 64 {
				continue // a client that makes up names
			}
			sums = new([2]float64)
			b.paths[name] = sums
		}
		sums[0] += now.charge.share[p.ID]
		sums[1] += now.shadow.share[p.ID]
	}
}

// follow sends the train.
func follow(p *schedulers.Plan) course {
	c := course{first: -1, arrival: true}
	bulk := &p.Classes[schedulers.Bulk]
	var backlog [schedulers.MaxPaths]float64
	for range trainPackets {
		best, cost := -1, math.Inf(1)
		for id := range bulk.Paths {
			path := &bulk.Paths[id]
			if !path.Use || backlog[id] > 0 && backlog[id]+trainSize > float64(path.Cap) {
				continue
			}
			if v := path.Base + path.PerByte*backlog[id]; v < cost {
				best, cost = id, v
			}
		}
		if best < 0 {
			break // the rest would wait
		}
		if c.first < 0 {
			c.first = best
		}
		backlog[best] += trainSize
	}
	var sum float64
	for _, n := range backlog {
		sum += n
	}
	for id, n := range backlog {
		if sum > 0 {
			c.share[id] = n / sum
		}
		c.base[id] = bulk.Paths[id].Base
		if bulk.Paths[id].Use && p.Drain[id] <= 0 {
			c.arrival = false
		}
	}
	return c
}

// judge compares what a plan meant to do with the delays of one snapshot later.
func (d *side) judge(c *course, s *schedulers.Snapshot) {
	nearest := math.Inf(1)
	var owd [schedulers.MaxPaths]float64
	var known [schedulers.MaxPaths]bool
	for i := range s.Paths {
		p := &s.Paths[i]
		if p.State == schedulers.Active && p.SRTT > 0 {
			owd[p.ID], known[p.ID] = float64(p.OWD), true
			nearest = min(nearest, owd[p.ID])
		}
	}
	var late, part float64
	for id, share := range c.share {
		if share > 0 && known[id] {
			late += share * (owd[id] - nearest)
			part += share
		}
	}
	if part > 0 {
		d.delay += late / part
		d.delays++
	}
	if !c.arrival || c.first < 0 || !known[c.first] {
		return
	}
	for id, share := range c.share {
		if id != c.first && share > 0 && known[id] {
			d.wrong += math.Abs((c.base[id] - c.base[c.first]) - (owd[id] - owd[c.first]))
			d.guesses++
		}
	}
}

func (b *board) sum() Score {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Score{Plans: b.plans, Unanswered: b.late, Differs: b.differs}
	s.ChargeDelay, s.ChargeError = b.charge.mean()
	s.ShadowDelay, s.ShadowError = b.shadow.mean()
	for name, sums := range b.paths {
		s.Shares = append(s.Shares, Share{name, sums[0] / float64(b.plans), sums[1] / float64(b.plans)})
	}
	slices.SortFunc(s.Shares, func(a, b Share) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

func (d *side) mean() (delay, wrong time.Duration) {
	wrong = NoError
	if d.delays > 0 {
		delay = time.Duration(d.delay / d.delays)
	}
	if d.guesses > 0 {
		wrong = time.Duration(d.wrong / d.guesses)
	}
	return delay, wrong
}
