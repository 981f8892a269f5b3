// Package dispatch follows a schedulers.Plan, packet by packet.
//
//	Scheduler ── Plan, about every 25 ms ──→ SetPlan
//	                                            │
//	packet of a class and size ──→ Pick ──→ the cheapest path with room, or none
//	                                 ↑
//	Charge: what was sent on it      └─ backlog by path, which drains with time
//
// Each path has one backlog counter for all classes. With a drain rate it
// stands for what waits in the path's pacing queue, and the costs for arrival
// times. With a drain rate of 0 it is the account of a weighted round robin:
// what each path has carried, times its cost per byte, stays level between the
// paths. Only differences matter there, so the accounts are set back together
// (an epoch) with every plan, and a path that joins or returns starts level
// with the others instead of catching up on what it missed.
package dispatch

import (
	"math"
	"math/bits"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// epoch is the backlog, in bytes, at which round robin accounts are set back
// even if no new plan comes.
const epoch = 1 << 30

// choice is one path's part in a class.
type choice struct {
	base, perByte, cap float64
	id                 schedulers.PathID
}

// class is the plan of one class, with only the paths that it uses, and of
// those the ones that are open: not blocked. Both are by ascending id.
type class struct {
	choices [schedulers.MaxPaths]choice
	n       int
	open    [schedulers.MaxPaths]choice
	nOpen   int
	copies  uint32
}

// reopen makes the open choices anew.
func (c *class) reopen(blocked uint32) {
	c.nOpen = 0
	for _, p := range c.choices[:c.n] {
		if blocked>>p.id&1 == 0 {
			c.open[c.nOpen] = p
			c.nOpen++
		}
	}
}

// Executor follows a plan. The zero value follows the empty plan: it picks no
// path. Times are the engine's clock, which must not run backwards. An Executor
// belongs to one session and is not safe for concurrent use.
type Executor struct {
	classes [schedulers.NumClasses]class
	used    uint32 // a bit for each path that any class uses
	drain   [schedulers.MaxPaths]float64
	// draining has a bit set for each path with a drain rate.
	draining uint32
	backlog  [schedulers.MaxPaths]float64 // bytes, at time now
	now      time.Duration
	blocked  uint32
	seq      uint64
	expires  time.Duration
	fit      [schedulers.MaxPaths]choice // see fitting
}

// SetPlan follows p, which schedulers.Validate has found sound, from now on.
// Backlogs stay. It keeps nothing of p.
func (e *Executor) SetPlan(now time.Duration, p *schedulers.Plan) {
	e.advance(now)
	e.level()
	e.used = 0
	for c := range e.classes {
		from, to := &p.Classes[c], &e.classes[c]
		to.n, to.copies = 0, from.Copies
		for id := range from.Paths {
			if path := &from.Paths[id]; path.Use {
				cap := float64(path.Cap)
				if p.Drain[id] == 0 {
					cap = math.Inf(1) // an account's height says nothing of what waits
				}
				to.choices[to.n] = choice{max(0, path.Base), path.PerByte, cap, schedulers.PathID(id)}
				to.n++
				e.used |= 1 << id
			}
		}
		to.reopen(e.blocked)
	}
	e.draining = 0
	for id, rate := range p.Drain {
		if rate == 0 && (e.drain[id] > 0 || e.used>>id&1 == 0) {
			e.backlog[id] = 0 // a round robin account begins
		}
		if rate > 0 {
			e.draining |= 1 << id
		}
	}
	e.drain = p.Drain
	e.seq, e.expires = p.Seq, now+p.Valid
}

// Seq is that of the plan followed.
func (e *Executor) Seq() uint64 { return e.seq }

// Expires is until when the plan may be followed. It is followed beyond, for
// that is better than to stop: the caller sees to a new one.
func (e *Executor) Expires() time.Duration { return e.expires }

// Pick names the path for a packet of a class and size (bytes of the whole IP
// packet): the one with the lowest cost among those that the plan uses, that
// are not blocked, and whose backlog leaves room for the packet under the cap,
// is empty, or is an account (what waits there is the caller's to bound). Of equals it is the one with the lowest id. It is false if
// there is none. A bit in unfit excludes a path: the packet is too large for it.
func (e *Executor) Pick(now time.Duration, c schedulers.Class, size int, unfit uint32) (id schedulers.PathID, ok bool) {
	if now != e.now {
		e.advance(now)
	}
	// Costs are not negative, so their bits order as they do. The id takes the
	// place of the lowest four (a part in 2^48), so that the choice is an
	// integer minimum, without a branch that the processor cannot foresee.
	cl := &e.classes[c]
	best, s := uint64(math.MaxUint64), float64(size)
	open := cl.open[:cl.nOpen]
	if unfit != 0 {
		open = e.fitting(open, unfit)
	}
	for i := range open {
		p := &open[i]
		b := e.backlog[p.id%schedulers.MaxPaths]
		if b+s > p.cap && b > 0 {
			continue
		}
		best = min(best, math.Float64bits(p.base+p.perByte*b)&^15|uint64(p.id))
	}
	return schedulers.PathID(best & 15), best != math.MaxUint64
}

// fitting is open without the paths of unfit: scratch, good until the next call.
func (e *Executor) fitting(open []choice, unfit uint32) []choice {
	n := 0
	for i := range open {
		if unfit>>open[i].id&1 == 0 {
			e.fit[n] = open[i]
			n++
		}
	}
	return e.fit[:n]
}

// Uses has a bit set for each path that the plan uses for a class, blocked or
// not.
func (e *Executor) Uses(c schedulers.Class) (mask uint32) {
	cl := &e.classes[c]
	for i := range cl.choices[:cl.n] {
		mask |= 1 << cl.choices[i].id
	}
	return mask
}

// Charge adds a packet of size bytes to the backlog of path id, whether it was
// picked or is a copy or a repair.
func (e *Executor) Charge(now time.Duration, id schedulers.PathID, size int) {
	if now != e.now {
		e.advance(now)
	}
	if e.backlog[id] += float64(size); e.backlog[id] > epoch && e.drain[id] == 0 {
		e.level()
	}
}

// Copies has a bit set for each path that is not blocked and that carries a
// copy of each packet of the class. It may contain the path picked.
func (e *Executor) Copies(c schedulers.Class) uint32 { return e.classes[c].copies &^ e.blocked }

// Override blocks path id, or lifts the block, whatever the plan says: it is
// dead, or its window is full. That cannot wait for the next plan.
func (e *Executor) Override(id schedulers.PathID, blocked bool) {
	bit := uint32(1) << id
	if blocked == (e.blocked&bit != 0) {
		return
	}
	e.blocked ^= bit
	for c := range e.classes {
		e.classes[c].reopen(e.blocked)
	}
	if !blocked && e.drain[id] == 0 {
		e.rejoin(id)
	}
}

// Blocked has a bit set for each path that is blocked.
func (e *Executor) Blocked() uint32 { return e.blocked }

// Backlog is the backlog of path id at now, bytes.
func (e *Executor) Backlog(now time.Duration, id schedulers.PathID) int {
	if now != e.now {
		e.advance(now)
	}
	return int(math.Ceil(e.backlog[id]))
}

// SetBacklog corrects the backlog of path id to what is known to wait for it,
// bytes. A round robin account is left as it is.
func (e *Executor) SetBacklog(now time.Duration, id schedulers.PathID, bytes int) {
	if now != e.now {
		e.advance(now)
	}
	if e.drain[id] > 0 {
		e.backlog[id] = float64(max(bytes, 0))
	}
}

// advance drains the backlogs until now.
func (e *Executor) advance(now time.Duration) {
	dt := float64(now-e.now) / 1e9
	e.now = now
	for d := e.draining; d != 0; d &= d - 1 {
		id := bits.TrailingZeros32(d) % schedulers.MaxPaths
		b := e.backlog[id] - e.drain[id]*dt
		if b < 0 {
			b = 0
		}
		e.backlog[id] = b
	}
}

// accounts calls f for each path with a round robin account, with its cost per
// byte. Accounts go by the class Bulk, which has nearly all bytes.
func (e *Executor) accounts(skip uint32, f func(*choice)) {
	cl := &e.classes[schedulers.Bulk]
	for i := range cl.choices[:cl.n] {
		if p := &cl.choices[i]; e.drain[p.id] == 0 && p.perByte > 0 && skip>>p.id&1 == 0 {
			f(p)
		}
	}
}

// level sets all round robin accounts back by the same cost, so that the
// lowest one of a path that is not blocked is empty.
func (e *Executor) level() {
	lowest := math.Inf(1)
	e.accounts(e.blocked, func(p *choice) { lowest = min(lowest, p.perByte*e.backlog[p.id]) })
	if !math.IsInf(lowest, 1) {
		e.accounts(0, func(p *choice) { e.backlog[p.id] = max(0, e.backlog[p.id]-lowest/p.perByte) })
	}
	// What no cost is counted for means nothing, but must not grow for ever.
	for id := range e.backlog {
		if e.drain[id] == 0 && e.backlog[id] > epoch {
			e.backlog[id] = 0
		}
	}
}

// rejoin brings the round robin account of path id level with the others.
func (e *Executor) rejoin(id schedulers.PathID) {
	lowest := math.Inf(1)
	e.accounts(e.blocked|1<<id, func(p *choice) { lowest = min(lowest, p.base+p.perByte*e.backlog[p.id]) })
	if math.IsInf(lowest, 1) {
		return
	}
	e.accounts(^(uint32(1) << id), func(p *choice) {
		e.backlog[id] = max(e.backlog[id], (lowest-p.base)/p.perByte)
	})
}
