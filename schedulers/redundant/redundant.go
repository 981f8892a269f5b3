// Package redundant sends every packet on every path.
//
// Use it for what must arrive and arrive soon, and is thin: voice, remote
// control. The first copy counts, so delay is that of the quickest path at each
// moment and a packet is lost only if all paths lose it. It costs as many times
// the bytes as there are paths, and gives no more speed than the fastest; a
// path that cannot keep up drops its copies.
//
// The side file's table [plugin.redundant] may set
//
//	bulk = false   # copy only small packets; for the others it is earliest
//
// and then earliest's parameters as well.
//
// Source: the redundant scheduler of multipath TCP (Frömmgen and others,
// "ReMP TCP", ICC 2016).
package redundant

import (
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Configure reads the user's parameters and returns what makes the scheduler.
func Configure(t *parameters.Table) func() schedulers.Scheduler {
	if t.Bool("bulk", true) {
		return func() schedulers.Scheduler { return scheduler{} }
	}
	inner := earliest.Configure(t)
	return func() schedulers.Scheduler { return scheduler{inner()} }
}

// scheduler copies what bulk does not plan; nil: everything.
type scheduler struct{ bulk schedulers.Scheduler }

func (r scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	classes := []schedulers.Class{schedulers.Small, schedulers.Bulk}
	if r.bulk != nil {
		r.bulk.Plan(s, p)
		classes = classes[:1]
	}
	for _, c := range classes {
		for _, q := range paths {
			p.Classes[c].Paths[q.ID] = schedulers.PathPlan{Use: true, Base: q.Delay, PerByte: q.PerByte(), Cap: q.Cap(float64(lay.Standing))}
			p.Classes[c].Copies |= 1 << q.ID
		}
	}
}
