// Package equalize makes all paths as slow as the slowest in use, so that
// senders which keep no queue (BBR) get the sum of unlike paths.
//
// Use it for long transfers whose sender runs BBR, over paths of unlike delay.
// Such a sender takes the lowest round trip it has seen for the path's, keeps
// twice that in flight at most, and never queues: with earliest arrival it does
// not reach for the slower path, and when its packets are spread all the same,
// the slower ones make it starve. So the receiver holds back what came by the
// faster paths:
//
//	hold = delay of the slowest path in use − the path's own
//
// and the bytes are shared by the paths' rates, also while nothing waits anywhere:
// such a sender fills what it is given, and is given what it fills. (Each packet
// where the least waits is then one by each path in turn.) The rate of a path that
// is starting is what is tried next. While packets wait for a path, each goes where
// the least waits, and small ones by the nearest path always.
//
// A path is in use if it is worth its delay, by the rule of package earliest, by
// the most that it delivered within half a minute and what the nearer ones have
// shown to carry.
//
// The side file's tables [plugin.equalize] and [plugin.auto] may set margin,
// tolerate, farthest and gain, as earliest's, and the latter also
//
//	wait = "1m"   # how long auto rests first after it did not pay, 1 s to 1 h
//
// It costs that delay: every round trip is that of the slowest path in use, for
// whatever else goes through the tunnel that way, too. The way that carries but
// acknowledgements is not delayed. Short transfers pay: 3 MB over new
// connections on the links of "unequal" take twice as long. And a BBR flow that
// began before the delay did is slow until it looks for its lowest round trip
// again, up to ten seconds. CUBIC gains nothing, and loses with loss on the slow path.
//
// The scheduler "auto" (NewAuto) is earliest until a flow fills the nearer
// paths and leaves idle one that would pay. Then it makes the delays alike, as
// slowly as a BBR flow bears (in 17 s for 30 to 75 ms), and leaves it so if the
// bond then carries more; if not, it waits a minute, then two, up to a quarter
// of an hour, before it tries again. It costs those attempts: half a minute of
// the slow path's round trip, where a flow has no more to send.
//
// Measured in virtual time (make bench-sim's scenarios, seed 1, 60 s of one
// flow's download; AB is the aggregation benefit: 0 the best path alone, 1 the
// sum; ping is the median beside it, and p95):
//
//	rate/RTT, Mbit/s and ms       inner   earliest: AB  ping ms    equalize: AB  ping ms
//	unequal: 20/30, 5/120         CUBIC   .96  38/44               .96  84/89
//	                              BBR     -.01  34/37              .94  83/89
//	equal: 3.6/60, 3.6/60         CUBIC   .97  76/87               .97  82/96
//	                              BBR     .97  73/83               .97  76/90
//	four: 3.6/60 10/40 5/90 20/30 CUBIC   .99  38/44               .99  72/78
//	                              BBR     .96  38/44               .98  69/78
//	extreme: 50/20, 2/300         CUBIC   .00  26/30               .00  26/29
//	                              BBR     .00  20/22               .00  20/22
//	unequal, 1 % loss on fast     CUBIC   .93  36/44               .92  83/99
//	                              BBR     .70  35/42               .92  82/93
//	unequal, 1 % loss on slow     CUBIC   .90  39/44               .76  84/89
//	                              BBR     .00  33/35               .93  83/90
//
// With "auto" the minute's AB is .66 on unequal with BBR (the first twenty
// seconds it is earliest's), .97 on four, .85 and .63 with loss on the fast and
// the slow path; everywhere else, and with CUBIC, what earliest has.
//
// (Kernel MPTCP without a tunnel has .89 with BBR at 65 ms on "unequal".)
//
// Source: the multipath reordering of MP-DCCP knows an equalising mode at the
// receiver (draft-amend-iccrg-multipath-reordering); that BBR needs it, our own
// simulation.
package equalize

import (
	"cmp"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

const ms = 1e6 // nanoseconds

const (
	// fullSize is a payload, bytes, that only bulk traffic's data has:
	// acknowledgements, requests and interactive traffic are smaller.
	fullSize = 1000
	// acksInFlight is what is in flight, bytes, where small packets are a
	// transfer's acknowledgements and not a conversation: those of its first flight.
	acksInFlight = 600
)

// New makes the scheduler. It remembers whether this direction carries a
// transfer's acknowledgements.
func New() schedulers.Scheduler { return Configure(parameters.New(nil))() }

// Configure reads the user's parameters and returns what makes the scheduler.
func Configure(t *parameters.Table) func() schedulers.Scheduler {
	inner, worth := earliest.Configure(t), lay.ReadWorth(t)
	return func() schedulers.Scheduler { return &scheduler{worth: worth, earliest: inner()} }
}

type scheduler struct {
	direction
	peaks
	worth    lay.Worth
	earliest schedulers.Scheduler
}

func (e *scheduler) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	if e.carriesAcks(s) {
		e.earliest.Plan(s, p)
		return
	}
	e.peaks.remember(s)
	plan(&e.worth, &e.peaks, s, p)
}

func plan(w *lay.Worth, peaks *peaks, s *schedulers.Snapshot, p *schedulers.Plan) {
	paths := lay.Begin(s, p)
	if len(paths) == 0 {
		return
	}
	alike, aside := sort(w, peaks, paths)
	longest, most := 0.0, 0.0
	for i := range alike {
		longest = max(longest, alike[i].Delay)
		most = max(most, queue(&alike[i]))
	}
	use := func(q *lay.Path, bulk, small, perByte, cap float64) {
		path := schedulers.PathPlan{Use: true, Base: bulk, PerByte: perByte, Cap: q.Cap(cap)}
		p.Classes[schedulers.Bulk].Paths[q.ID] = path
		path.Base, path.PerByte = min(small, schedulers.MaxBase), 0
		p.Classes[schedulers.Small].Paths[q.ID] = path
	}
	for i := range alike {
		q := &alike[i]
		hold(p, q, longest-q.Delay)
		if s.Queue > 0 {
			use(q, queue(q), q.Delay, q.PerByte(), most+w.Margin-queue(q))
			continue
		}
		use(q, 0, q.Delay, 1e9/tried(q), w.Margin)
		p.Drain[q.ID] = 0 // an account
	}
	for i := range aside {
		use(&aside[i], last, last, 0, w.Margin)
	}
}

// last is the cost of a path, nanoseconds, that is for what finds the others
// full: more than any account has between two plans.
const last = 1e10

// hold has what comes by q held for ns nanoseconds.
func hold(p *schedulers.Plan, q *lay.Path, ns float64) {
	if q.MinRTT > 0 { // else its delay is unknown
		p.Hold[q.ID] = min(time.Duration(ns), schedulers.MaxHold)
	}
}

// peaks are the most that paths delivered within keep. By that they are in use or
// not: one that was late for a moment, or was given up to its owner, shows what it can
// carry only if it is given it.
type peaks [schedulers.MaxPaths]struct {
	rate float64 // bytes per second
	at   time.Duration
}

const keep = 30 * time.Second

func (k *peaks) remember(s *schedulers.Snapshot) {
	for i := range s.Paths {
		q := &s.Paths[i]
		if p := &k[q.ID]; q.Delivered >= p.rate || s.Now-p.at > keep {
			p.rate, p.at = q.Delivered, s.Now
		}
	}
}

// direction knows what goes this way.
type direction struct{ acks bool }

// carriesAcks reports whether all that goes this way is a transfer's
// acknowledgements. While nothing tells, it is what it was.
func (d *direction) carriesAcks(s *schedulers.Snapshot) bool {
	inFlight := 0
	for i := range s.Paths {
		inFlight += s.Paths[i].InFlight
	}
	switch {
	case s.Largest >= fullSize:
		d.acks = false
	case s.Largest > 0 && inFlight >= acksInFlight:
		d.acks = true
	}
	return d.acks
}

// queue is what a packet waits for on the path itself, nanoseconds, beside the
// delay that all paths have.
func queue(q *lay.Path) float64 {
	if !q.Known || q.MinRTT <= 0 {
		return 0
	}
	excess := float64(q.InFlight)*1e9/q.Speed - float64(q.MinRTT)
	return min(max(excess, 0), schedulers.MaxBase)
}

// tried is what to think of q's rate, bytes per second: while it is starting, no
// less than what a near path is assumed to carry at first. An inner BBR fills only
// what it is given: a path that is given by what it has carried so far carries no
// more, as the others do.
func tried(q *lay.Path) float64 {
	if q.Starting && q.MinRTT > 0 && q.MaxRate == 0 {
		return max(q.Speed, float64(schedulers.ColdWindow(0, 0))/q.MinRTT.Seconds())
	}
	return q.Speed
}

// sort returns the paths that are worth their delay, which all others then
// have too: there is at least one. The rule is earliest's, by the delays of the
// empty paths. Of a path that seems not to be, but whose rate is unknown, only
// packets tell: such paths are for what finds the others full.
func sort(w *lay.Worth, peaks *peaks, paths []lay.Path) (alike, aside []lay.Path) {
	slices.SortStableFunc(paths, func(a, b lay.Path) int { return cmp.Compare(a.Delay, b.Delay) })
	rate := 0.0
	for _, q := range paths {
		switch extra := q.Delay - paths[0].Delay; {
		case rate == 0 || w.Of(extra, max(tried(&q), peaks[q.ID].rate), rate):
			alike = append(alike, q)
			rate += q.Shown
		case extra <= w.Farthest && !q.Known:
			aside = append(aside, q)
		}
	}
	return alike, aside
}
