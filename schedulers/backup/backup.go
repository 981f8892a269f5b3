// Package backup uses one path at a time: the first that works, in the order
// of the user's configuration.
//
// Use it when the other paths are costly or only for emergencies. It adds no
// speed. When the path in use dies, what was under way on it is sent again on
// the next, so a change of path costs no packet and about as long as it takes
// to notice (under 300 ms); when it returns, it is used again.
//
// The order is by path id, with the paths that the user marked as backup after
// all others.
//
// Source: the active-backup mode of Linux's bonding driver.
package backup

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
)

// New makes the scheduler. It keeps no state.
func New() schedulers.Scheduler { return scheduler{} }

type scheduler struct{}

func (scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	if len(paths) == 0 {
		return
	}
	q := &paths[0]
	path := schedulers.PathPlan{Use: true, Cap: q.Cap(float64(lay.Standing))}
	p.Classes[schedulers.Small].Paths[q.ID] = path
	p.Classes[schedulers.Bulk].Paths[q.ID] = path
}
