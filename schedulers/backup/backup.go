// Package backup uses one path at a time: the first that works, in the order
// of the user's configuration.
//
// Use it when the other paths are costly or only for emergencies. It adds no
// speed. When the path in use dies, what was under way on it is sent again on
// the next, so a change of path costs no packet and about as long as it takes
// to notice (under 300 ms); when it returns, it is used again.
//
// The order is by path id, with the paths that the user marked as backup after
// all others. The side file's table [plugin.backup] may say otherwise:
//
//	order = ["wlan0", "wwan0"]   # paths by name; those not named come after
//
// At the server's end paths have no names: there the order is always by id.
//
// Source: the active-backup mode of Linux's bonding driver.
package backup

import (
	"cmp"
	"slices"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Configure reads the user's parameters and returns what makes the scheduler,
// which keeps no state.
func Configure(t *parameters.Table) func() schedulers.Scheduler {
	order := t.Names("order")
	return func() schedulers.Scheduler { return scheduler{order} }
}

type scheduler struct{ order []string }

// place is a path's in the order.
func (b scheduler) place(q lay.Path) int {
	if i := slices.Index(b.order, q.Name); i >= 0 {
		return i
	}
	return len(b.order)
}

func (b scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	if len(paths) == 0 {
		return
	}
	// Of those not named, the first by id.
	q := slices.MinFunc(paths, func(x, y lay.Path) int { return cmp.Compare(b.place(x), b.place(y)) })
	path := schedulers.PathPlan{Use: true, Cap: q.Cap(float64(lay.Standing))}
	p.Classes[schedulers.Small].Paths[q.ID] = path
	p.Classes[schedulers.Bulk].Paths[q.ID] = path
}
