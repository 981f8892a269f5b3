package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/schedulers"
)

// period is about how long a plan of the engine's is in force.
const period = 25 * time.Millisecond

// soon is how long after a snapshot the next is not worth an answer of its
// own, and how long an answer may take before it can be late: plans are made
// between the periods too, as when an answer has come.
const soon = 10 * time.Millisecond

// Scheduler is a plugin's part in one session. Its Plan never waits for the
// plugin.
type Scheduler struct {
	plugin   *Plugin
	fallback schedulers.Scheduler
	cancel   context.CancelFunc
	wake     chan struct{} // room for one: a snapshot waits
	last     verdict       // of the latest Plan; its caller's

	mu      sync.Mutex // guards all below; held for as long as a snapshot takes to copy
	waiting schedulers.Snapshot
	fresh   bool // waiting has not been taken
	handed  mark // of the last snapshot that was handed over
	slow    bool // the one before was not answered until then
	answer  answer
	notify  func()
}

// mark is a snapshot's number and time.
type mark struct {
	seq uint64
	now time.Duration
}

// answer is the last that came of the plugin.
type answer struct {
	mark
	plan  schedulers.Plan
	sound bool
}

// NewScheduler makes the Scheduler of one session. Close ends it.
func (p *Plugin) NewScheduler() *Scheduler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Scheduler{plugin: p, fallback: p.cfg.Fallback(), cancel: cancel, wake: make(chan struct{}, 1)}
	go s.run(ctx)
	return s
}

// Notify sets what is called, on a goroutine of the Scheduler's, when there is
// a new plan: it should make the session plan again.
func (s *Scheduler) Notify(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = f
}

// Close ends the session with the plugin. Plan may still be called: it
// answers with the fallback's plans.
func (s *Scheduler) Close() error {
	s.cancel()
	return nil
}

// verdict is what Plan follows, and why.
type verdict uint8

const (
	followed verdict = iota
	late
	invalid
	unfit
	expired
	notThere
)

// Plan hands the snapshot over and fills *p with the plan to follow now.
func (s *Scheduler) Plan(snap *schedulers.Snapshot, p *schedulers.Plan) {
	proc, _ := s.plugin.present()
	s.mu.Lock()
	v := s.judgeLocked(snap, p, proc != nil)
	valid := time.Duration(0)
	if snap.Now-s.handed.now < 2*period { // else it is the traffic that paused
		valid = s.answer.plan.Valid
	}
	if last := s.handed; last.seq == 0 || snap.Now-last.now >= soon || snap.Seq <= last.seq {
		paths := append(s.waiting.Paths[:0], snap.Paths...)
		s.waiting = *snap
		s.waiting.Paths = paths
		s.fresh = true
		s.slow = last.seq != 0 && s.answer.seq != last.seq
		s.handed = mark{snap.Seq, snap.Now}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.last = v
	if v != followed {
		*p = schedulers.Plan{}
		s.fallback.Plan(snap, p)
	}
	s.plugin.count(v, valid)
}

// Followed reports whether the latest Plan was the plugin's and not the
// fallback's. It must be called by whoever calls Plan.
func (s *Scheduler) Followed() bool { return s.last == followed }

// judgeLocked fills *p with the plugin's plan, if that can be followed. While it
// thinks about a snapshot, its last plan can, but not longer than a period: one
// that is always slower does not take turns with the fallback.
func (s *Scheduler) judgeLocked(snap *schedulers.Snapshot, p *schedulers.Plan, running bool) verdict {
	a, last := &s.answer, s.handed
	switch {
	case !running:
		return notThere
	case a.seq == 0 && (last.seq == 0 || snap.Now-last.now < soon):
		return expired // just begun
	case a.seq != last.seq && (s.slow || snap.Now-last.now >= soon):
		return late
	case !a.sound:
		return invalid
	case snap.Now-a.now > a.plan.Valid || snap.Now < a.now:
		return expired
	}
	*p = a.plan
	p.Seq = snap.Seq
	if schedulers.Validate(p, snap) != nil {
		return unfit // the paths have changed since
	}
	return followed
}

// count counts a verdict. valid is how long the last plan could be followed, 0
// if it had no reason to expire.
func (p *Plugin) count(v verdict, valid time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.counts
	if v == followed {
		c.Followed++
		return
	}
	c.Fallback++
	if v == late || v == expired && valid > 0 {
		p.missed = missed{v, valid, time.Now()}
	}
	switch v {
	case late:
		c.Late++
	case invalid:
		c.Invalid++
	case unfit:
		c.Unfit++
	case expired:
		c.Expired++
	case notThere:
		c.NotThere++
	}
}

// run keeps a stream to whichever process there is.
func (s *Scheduler) run(ctx context.Context) {
	for ctx.Err() == nil {
		proc, changed := s.plugin.present()
		if proc != nil {
			if err := s.stream(ctx, proc); ctx.Err() == nil {
				s.interrupted(proc, err)
			}
			s.forget()
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// interrupted gives a process up whose stream has ended, unless it has.
func (s *Scheduler) interrupted(proc *process, err error) {
	select {
	case <-proc.ended():
	case <-proc.failed:
	case <-time.After(2 * time.Second): // its end explains more than the stream's
		select {
		case <-proc.ended(): // both, after a pause of this machine's
		default:
			proc.fail("it broke off: " + rpcError(err) + proc.said())
		}
	}
}

// forget drops an answer of a process that is gone.
func (s *Scheduler) forget() {
	s.mu.Lock()
	s.answer = answer{}
	s.mu.Unlock()
}

// stream exchanges snapshots and plans with a process until that fails or ctx
// ends.
func (s *Scheduler) stream(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := proc.rpc.Plan(ctx)
	if err != nil {
		return err
	}
	limit := s.plugin.cfg.Limits.Answer
	watchdog := time.AfterFunc(time.Hour, func() {
		proc.fail(fmt.Sprintf("it hung: no plan within %v", limit))
		cancel()
	})
	watchdog.Stop()
	defer watchdog.Stop()
	var snap schedulers.Snapshot
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-proc.failed:
			return nil
		case <-proc.ended():
			return nil
		case <-s.wake:
		}
		if !s.take(&snap) {
			continue
		}
		began := time.Now()
		watchdog.Reset(limit)
		if err := stream.Send(schedpb.FromSnapshot(&snap)); err != nil {
			_, err = stream.Recv() // which says why
			return err
		}
		m, err := stream.Recv()
		watchdog.Stop()
		if err != nil {
			return err
		}
		s.answered(&snap, m, time.Since(began))
	}
}

// take copies the waiting snapshot.
func (s *Scheduler) take(snap *schedulers.Snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fresh {
		return false
	}
	s.fresh = false
	paths := append(snap.Paths[:0], s.waiting.Paths...)
	*snap = s.waiting
	snap.Paths = paths
	return true
}

// answered judges a plan and has the session follow it.
func (s *Scheduler) answered(snap *schedulers.Snapshot, m *schedpb.SchedulerPlan, took time.Duration) {
	a := answer{mark: mark{snap.Seq, snap.Now}}
	err := schedpb.ToPlan(m, &a.plan)
	if err == nil {
		err = schedulers.Validate(&a.plan, snap)
	}
	a.sound = err == nil
	s.mu.Lock()
	s.answer = a
	notify := s.notify
	s.mu.Unlock()
	s.plugin.answered(took, err)
	if notify != nil {
		notify()
	}
}

func (p *Plugin) answered(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency.add(took)
	if err != nil {
		p.reason, p.at = "its plan was refused: "+clip(err.Error()), time.Now()
	}
}
