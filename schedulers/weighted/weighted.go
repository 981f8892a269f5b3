// Package weighted shares the bytes among the paths by the weights that the
// user gave them.
//
// Use it when the shares matter more than speed: by price, by contract, or to
// reproduce an experiment. It costs throughput and delay when the weights do
// not match the rates: the bond runs at the pace of the path that is first
// full, and nothing regards delay. A path whose window is full is passed over,
// so the shares are exact only while no path is saturated.
//
// The weights are those of the side file's [[path]] tables; it takes no other
// parameters.
//
// Source: weighted round robin by bytes, as in deficit round robin (Shreedhar
// and Varghese, SIGCOMM 1995), here as accounts that are kept level.
package weighted

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// smallest is the smallest share beside the largest: 1 to 1000.
const smallest = 1e-3

// Configure returns what makes the scheduler, which keeps no state.
func Configure(*parameters.Table) func() schedulers.Scheduler {
	return func() schedulers.Scheduler {
		return scheduler{func(p *schedulers.Path) float64 { return p.Weight }}
	}
}

// Equal makes one that gives every path the same weight.
func Equal() schedulers.Scheduler {
	return scheduler{func(*schedulers.Path) float64 { return 1 }}
}

type scheduler struct {
	weight func(*schedulers.Path) float64
}

func (w scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	var heaviest float64
	for _, q := range paths {
		heaviest = max(heaviest, w.sound(q.Path))
	}
	for _, q := range paths {
		share := max(w.sound(q.Path)/heaviest, smallest)
		path := schedulers.PathPlan{Use: true, PerByte: 1 / share, Cap: schedulers.NoCap}
		p.Classes[schedulers.Small].Paths[q.ID] = path
		p.Classes[schedulers.Bulk].Paths[q.ID] = path
		p.Drain[q.ID] = 0 // an account, not a queue
	}
}

// sound is the path's weight, or 1 if that is no positive number.
func (w scheduler) sound(p *schedulers.Path) float64 {
	if v := w.weight(p); v > 0 && v < 1e12 {
		return v
	}
	return 1
}
