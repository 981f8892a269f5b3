// Package redundant sends every packet on every path.
//
// Use it for what must arrive and arrive soon, and is thin: voice, remote
// control. The first copy counts, so delay is that of the quickest path at each
// moment and a packet is lost only if all paths lose it. It costs as many times
// the bytes as there are paths, and gives no more speed than the fastest; a
// path that cannot keep up drops its copies.
//
// Source: the redundant scheduler of multipath TCP (Frömmgen and others,
// "ReMP TCP", ICC 2016).
package redundant

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
)

// New makes the scheduler. It keeps no state.
func New() schedulers.Scheduler { return scheduler{} }

type scheduler struct{}

func (scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	for _, c := range []schedulers.Class{schedulers.Small, schedulers.Bulk} {
		for _, q := range paths {
			p.Classes[c].Paths[q.ID] = schedulers.PathPlan{Use: true, Base: q.Delay, PerByte: q.PerByte(), Cap: q.Cap(float64(lay.Standing))}
			p.Classes[c].Copies |= 1 << q.ID
		}
	}
}
