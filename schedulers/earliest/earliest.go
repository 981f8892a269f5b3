// Package earliest sends each packet where it arrives soonest. It is the
// default.
//
// Use it for everything, above all when the paths differ: a slower path is
// used exactly when the faster one's queue has grown longer than the
// difference of their delays, so packets arrive nearly in order and the rates
// add up. It costs delay only while the faster path is overfilled, and then at
// most what the slowest path in use has.
//
// A packet on path p arrives after
//
//	base    = MinOWD + max(0, InFlight − Rate × MinRTT) / Rate
//	          and at least MinOWD + (OldestUnacked − MinRTT − 2 × FeedbackInterval)
//	perByte = 1 / Rate, for each byte that waits before it
//
// so a path that queues, or stops to acknowledge, looks farther away within a
// plan period. The cap must let a near path's queue grow to the delay of the
// farthest path in use and a little more,
//
//	cap = (max base + 10 ms − base) × Rate,
//
// for with shorter ones this policy decays to lowest RTT. (A path that is alone
// in use needs 2 ms: what waits for it is better seen by the send queue.) A path is left out
// when it adds little for what it delays: if it is farther than the nearest by
// more than 400 ms × its share of the rate of the nearer ones (15 ms are
// always allowed, 200 ms never exceeded). It is also left out after it was late
// for longer than the fastest path was, by more than 300 ms and 400 ms × its
// share of that path's rate; a lateness is forgotten with a time constant of
// five seconds. What is in flight on a path that stalls holds up the order of
// all that follows.
//
// A path whose rate is unknown is assumed to carry schedulers.ColdWindow a round
// trip, and if it is farther, gets only what would then arrive by it no later than
// by the nearer paths. All else stays in the send queue until more is known: of a
// page of 200 kB the nearest path has sent most before the first packet by a path
// of 300 ms has come. If the near path's rate is unknown too, it may be the slow
// one: of a first burst of more than its cold window the far paths send copies.
//
// The side file's table [plugin.earliest] may set, each a duration in quotes
// from 0 to 10 s:
//
//	margin   = "10 ms"    # of the cap: less costs rate, more costs delay
//	tolerate = "15 ms"    # a path this much farther than the nearest is always used,
//	farthest = "200 ms"   # one farther than this never, and between them
//	gain     = "400 ms"   # what the delay of a path is worth that would double the rate
//
// These constants are from simulation: with 20 Mbit/s, RTT 30 ms, and 5 Mbit/s,
// 120 ms, the bond has .93 of what the slower path could add; 2 Mbit/s, 300 ms
// beside 50 Mbit/s, 20 ms is left out. The idea is that of earliest-delivery
// schedulers such as OTIAS (Yang and others, 2014), STTF and QAware (Shreedhar
// and others, 2018); waiting for the faster path as ECF does (Lim and others,
// 2017).
//
// What it cannot do: an inner BBR flow keeps no queue, so with unlike delays it
// never spills to the slower path and gets what the best path alone gives.
package earliest

import (
	"math"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// All in nanoseconds.
const (
	ms        = 1e6
	alone     = 2. * ms   // the margin of a path that nothing is to be in step with
	usualRisk = 300 * ms  // that much later than the fastest path, any path may be
	memory    = 5000 * ms // time constant of forgetting a stall
	worstMost = 5000 * ms // of a stall that is remembered
	level     = 2. * ms   // paths are as near as each other
)

// smallSlack is how much more backlog, bytes, a path may have for small
// packets: they need not wait for a bulk transfer's place.
const smallSlack = 16 << 10

// New makes the scheduler.
func New() schedulers.Scheduler { return &scheduler{worth: lay.Usual} }

// Configure reads the user's parameters and returns what makes the scheduler.
func Configure(t *parameters.Table) func() schedulers.Scheduler {
	worth := lay.ReadWorth(t)
	return func() schedulers.Scheduler { return &scheduler{worth: worth} }
}

// scheduler remembers how late each path was of late.
type scheduler struct {
	worth lay.Worth
	worst [schedulers.MaxPaths]float64 // delay above the least, nanoseconds; fades
	now   time.Duration                // of the latest snapshot
	since time.Duration                // packets have waited at every plan since then
}

// remember takes in how late the paths are.
func (m *scheduler) remember(s *schedulers.Snapshot) {
	if s.Queue == 0 || s.Now-m.now > lay.Valid {
		m.since = s.Now
	}
	fade := math.Exp(-float64(max(0, s.Now-m.now)) / memory)
	m.now = s.Now
	for i := range m.worst {
		m.worst[i] *= fade
	}
	for i := range s.Paths {
		q := &s.Paths[i]
		if q.MinRTT > 0 {
			late := max(q.SRTT, q.OldestUnacked-2*s.FeedbackInterval) - q.MinRTT
			m.worst[q.ID] = min(max(m.worst[q.ID], float64(late)), worstMost)
		}
	}
}

// dependable leaves out the paths whose stalls cost more than they add.
func (m *scheduler) dependable(cs []candidate) []candidate {
	if len(cs) < 2 {
		return cs
	}
	best := cs[0]
	for _, c := range cs {
		if c.Speed > best.Speed {
			best = c
		}
	}
	return slices.DeleteFunc(cs, func(c candidate) bool {
		risk := m.worst[c.ID] - m.worst[best.ID] - usualRisk
		return c.ID != best.ID && c.Known && risk > m.worth.Gain*c.Speed/best.Speed
	})
}

// candidate is a path with the delay of a packet sent on it now.
type candidate struct {
	lay.Path
	base float64 // nanoseconds, from the same unknown start for all
	room int     // what may wait for it at most, bytes; 0: as the plan has it
}

func (m *scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	var cs []candidate
	for _, q := range lay.Begin(s, p) {
		cs = append(cs, candidate{Path: q, base: base(&q, float64(s.FeedbackInterval))})
	}
	if len(cs) == 0 {
		return
	}
	m.remember(s)
	cs = m.inTime(s, p, worthwhile(&m.worth, m.dependable(cs)))

	last := cs[0].base
	for _, c := range cs {
		if c.Known && (c.MTU == 0 || c.MTU >= s.Largest) {
			last = max(last, c.base)
		}
	}
	margin := m.worth.Margin
	if len(cs) == 1 {
		margin = min(margin, alone)
	}
	for _, c := range cs {
		cap := c.Cap(last + margin - c.base)
		if c.room > 0 {
			cap = min(cap, c.room)
		}
		p.Classes[schedulers.Bulk].Paths[c.ID] = schedulers.PathPlan{Use: true, Base: c.base, PerByte: c.PerByte(), Cap: cap}
		// A small packet is more often part of a conversation: it prefers
		// the near path, whose queue counts half.
		p.Classes[schedulers.Small].Paths[c.ID] = schedulers.PathPlan{Use: true, Base: c.base, PerByte: c.PerByte() / 2, Cap: min(cap, schedulers.NoCap-smallSlack) + smallSlack}
	}
}

// base is the delay of a packet that finds no backlog.
func base(q *lay.Path, feedback float64) float64 {
	var queue float64
	if q.Known && q.MinRTT > 0 {
		queue = float64(q.InFlight)*1e9/q.Speed - float64(q.MinRTT)
	}
	overdue := float64(q.OldestUnacked) - float64(max(q.MinRTT, 0)) - 2*feedback
	return min(q.Delay+max(queue, overdue, 0), schedulers.MaxBase)
}

// worthwhile returns the candidates to use, the nearest first: there is at
// least one.
func worthwhile(w *lay.Worth, cs []candidate) []candidate {
	slices.SortStableFunc(cs, func(a, b candidate) int {
		switch {
		case a.base < b.base:
			return -1
		case a.base > b.base:
			return 1
		}
		return 0
	})
	use := cs[:1]
	rate := cs[0].Speed // of the nearer paths in use
	for _, c := range cs[1:] {
		extra := c.base - cs[0].base
		// What a path is worth whose rate is unknown, only packets tell.
		if w.Of(extra, c.Speed, rate) || !c.Known && extra <= w.Farthest {
			use = append(use, c)
			if c.Known {
				rate += c.Speed
			}
		}
	}
	return use
}

// inTime bounds what the farther paths may have while their rate is unknown to
// what would arrive by them no later than by the nearer ones, and leaves out those
// by which nothing would. If packets wait for half as long as such a path is
// farther, it is tried all the same, with copies: they hold up nothing when they
// come late. A first burst is copied at once and whole. cs is in the order of
// worthwhile.
func (m *scheduler) inTime(s *schedulers.Snapshot, p *schedulers.Plan, cs []candidate) []candidate {
	end := allSent(s, cs)
	burst := !cs[0].Known && s.Queue+cs[0].Queued+cs[0].InFlight > schedulers.ColdWindow(0, 0)
	bulk, small := &p.Classes[schedulers.Bulk], &p.Classes[schedulers.Small]
	use := cs[:1]
	for _, c := range cs[1:] {
		if extra := c.base - cs[0].base; !c.Known && c.MinRTT > 0 && c.Delay-cs[0].Delay > level {
			if burst {
				bulk.Copies |= 1 << c.ID
				small.Copies |= 1 << c.ID // the files' ends
				continue
			}
			c.room = min(int((end-extra)*c.Speed/1e9)-c.InFlight, c.Cold)
			if c.room < lay.Packet {
				if s.Queue > 0 && float64(s.Now-m.since) >= extra/2 {
					bulk.Copies |= 1 << c.ID
				}
				continue
			}
		}
		use = append(use, c)
	}
	return use
}

// allSent is when all that waits would have been sent if every path that is in
// time took its part, nanoseconds from now on, at the nearest path.
func allSent(s *schedulers.Snapshot, cs []candidate) (end float64) {
	bytes, rate := float64(s.Queue), 0.0
	for _, c := range cs {
		bytes += float64(c.Queued)
	}
	for _, c := range cs {
		extra := c.base - cs[0].base
		if rate > 0 && end <= extra {
			break
		}
		bytes += extra * c.Speed / 1e9
		rate += c.Speed
		end = bytes / rate * 1e9
	}
	return end
}
