// Package minrtt fills the path with the lowest round-trip time first, then
// the next.
//
// Use it to compare with multipath TCP, whose default this is, or where delay
// matters and the best path usually suffices. It costs throughput when the
// paths differ: a packet goes to the slow path as soon as the fast one is full
// for a moment, arrives late, and all after it wait (in simulation, 20 Mbit/s,
// RTT 30 ms with 5 Mbit/s, 120 ms: .75 of the gain against .93 for earliest
// arrival; 50/20 with 2/300: worse than the fast path alone).
//
// The side file's table [plugin.minrtt] may set
//
//	queue = "10 ms"   # what may wait for a path before the next takes over, 0 to 1 s
//
// Source: the default scheduler of Linux's multipath TCP; Paasch and others,
// "Experimental evaluation of multipath TCP schedulers", CSWS 2014.
package minrtt

import (
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// Configure reads the user's parameters and returns what makes the scheduler,
// which keeps no state.
func Configure(t *parameters.Table) func() schedulers.Scheduler {
	queue := t.Duration("queue", lay.Standing, 0, time.Second)
	return func() schedulers.Scheduler { return scheduler{float64(queue)} }
}

type scheduler struct{ queue float64 } // nanoseconds

func (m scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	for _, q := range lay.Begin(s, p) {
		rtt := q.SRTT
		if rtt <= 0 {
			rtt = max(q.MinRTT, 0)
		}
		if rtt == 0 {
			rtt = lay.ColdRTT
		}
		path := schedulers.PathPlan{Use: true, Base: min(float64(rtt), schedulers.MaxBase), Cap: q.Cap(m.queue)}
		p.Classes[schedulers.Small].Paths[q.ID] = path
		p.Classes[schedulers.Bulk].Paths[q.ID] = path
	}
}
