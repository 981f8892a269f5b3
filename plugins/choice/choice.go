// Package choice decides which scheduler decides, while packets flow:
//
//	session ── Plan ──→ Seat ──→ the scheduler in charge ──→ the plan
//	                     └─────→ the candidate, in shadow ──→ its score
//
// Each session has a Seat of its own, which stays as long as the session. Who
// sits in it can be changed at any time: the next plan, which is asked for at
// once, is the new one's. No packet waits for that, for packets follow plans
// and the last plan stays in force.
//
// A candidate in shadow is shown what the one in charge is shown; its plans
// are compared and then dropped. See Score.
package choice

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
)

// Option is a scheduler that can be chosen.
type Option struct {
	Name string
	// New makes the scheduler of one session.
	New func() schedulers.Scheduler
	// Plugin is what runs it; nil for a built-in. Who drops the Option closes
	// it.
	Plugin *host.Plugin
}

func (o *Option) close() {
	if o != nil && o.Plugin != nil {
		o.Plugin.Close()
	}
}

// FromPlugin is the Option of a plugin that runs.
func FromPlugin(name string, p *host.Plugin) *Option {
	return &Option{Name: name, Plugin: p, New: func() schedulers.Scheduler { return p.NewScheduler() }}
}

// Choice is what all sessions of one interface follow.
type Choice struct {
	mu     sync.Mutex // guards all below
	charge *Option
	since  time.Time
	shadow *Option
	score  *board
	seats  map[*Seat]struct{}
	swaps  uint64
}

// New begins with the Option in charge.
func New(charge *Option) *Choice {
	return &Choice{charge: charge, since: time.Now(), seats: map[*Seat]struct{}{}}
}

// NewScheduler makes the Seat of one session.
func (c *Choice) NewScheduler() schedulers.Scheduler {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Seat{choice: c}
	c.seats[s] = struct{}{}
	c.seatLocked(s)
	return s
}

// Use puts o in charge of all sessions, and drops the one that was. The choice
// owns o from now on.
func (c *Choice) Use(o *Option) {
	c.mu.Lock()
	was := c.charge
	c.charge, c.since = o, time.Now()
	c.swaps++
	seats := c.reseatLocked()
	c.mu.Unlock()
	for _, s := range seats {
		s.replan()
	}
	was.close()
}

// Shadow lets o watch; nil: nobody. The choice owns o from now on. The score
// begins anew.
func (c *Choice) Shadow(o *Option) {
	c.mu.Lock()
	was := c.shadow
	c.shadow, c.score = o, newBoard()
	c.reseatLocked()
	c.mu.Unlock()
	was.close()
}

// Close ends all plugins. Sessions that are left plan by the fallback.
func (c *Choice) Close() {
	c.mu.Lock()
	charge, shadow := c.charge, c.shadow
	c.shadow = nil
	c.mu.Unlock()
	charge.close()
	shadow.close()
}

// reseatLocked puts those who are chosen into every seat.
func (c *Choice) reseatLocked() []*Seat {
	var seats []*Seat
	for s := range c.seats {
		c.seatLocked(s)
		seats = append(seats, s)
	}
	return seats
}

func (c *Choice) seatLocked(s *Seat) {
	was := s.sitting.Load()
	next := &sitting{option: c.charge, watcher: c.shadow, score: c.score}
	if was != nil && was.option == c.charge {
		next.charge = was.charge
	} else {
		next.charge = c.charge.New()
		notify(next.charge, s.replan)
	}
	switch {
	case c.shadow == nil:
	case was != nil && was.watcher == c.shadow:
		next.shadow, next.last = was.shadow, was.last
	default:
		next.shadow, next.last = c.shadow.New(), new(observation)
	}
	s.sitting.Store(next)
	if was == nil {
		return
	}
	// Schedulers themselves may be of types that cannot be compared.
	if was.option != next.option {
		closeScheduler(was.charge)
	}
	if was.watcher != next.watcher {
		closeScheduler(was.shadow)
	}
}

func notify(s schedulers.Scheduler, f func()) {
	if n, ok := s.(interface{ Notify(func()) }); ok {
		n.Notify(f)
	}
}

func closeScheduler(s schedulers.Scheduler) {
	if c, ok := s.(io.Closer); ok {
		_ = c.Close()
	}
}

// Seat is a session's scheduler, whoever that is.
type Seat struct {
	choice  *Choice
	sitting atomic.Pointer[sitting]
	told    atomic.Pointer[func()]
}

// sitting is who sits in a seat; it does not change.
type sitting struct {
	option, watcher *Option
	charge, shadow  schedulers.Scheduler // shadow may be nil
	score           *board
	last            *observation // the session's, for score
}

// Plan has the scheduler in charge plan, and shows the snapshot to the one in
// shadow.
func (s *Seat) Plan(snap *schedulers.Snapshot, p *schedulers.Plan) {
	in := s.sitting.Load()
	in.charge.Plan(snap, p)
	if in.shadow == nil {
		return
	}
	var q schedulers.Plan
	in.shadow.Plan(snap, &q)
	if f, ok := in.shadow.(interface{ Followed() bool }); ok && !f.Followed() {
		in.score.unanswered()
		return
	}
	in.score.observe(in.last, snap, p, &q)
}

// Notify sets what makes the session plan again.
func (s *Seat) Notify(f func()) { s.told.Store(&f) }

func (s *Seat) replan() {
	if f := s.told.Load(); f != nil {
		(*f)()
	}
}

// Close gives the seat up.
func (s *Seat) Close() error {
	c := s.choice
	c.mu.Lock()
	delete(c.seats, s)
	in := s.sitting.Load()
	c.mu.Unlock()
	closeScheduler(in.charge)
	closeScheduler(in.shadow)
	return nil
}

// Status is what there is to tell of a choice.
type Status struct {
	Charge, Shadow string // names; "" for no shadow
	Since          time.Time
	Swaps          uint64
	Sessions       int
	// ChargePlugin and ShadowPlugin are nil for built-ins.
	ChargePlugin, ShadowPlugin *host.Status
	Score                      *Score // nil without a shadow
}

// Status tells who decides and how they do.
func (c *Choice) Status() Status {
	c.mu.Lock()
	charge, shadow, score := c.charge, c.shadow, c.score
	st := Status{Charge: charge.Name, Since: c.since, Swaps: c.swaps, Sessions: len(c.seats)}
	c.mu.Unlock()
	st.ChargePlugin = pluginStatus(charge)
	if shadow != nil {
		st.Shadow, st.ShadowPlugin = shadow.Name, pluginStatus(shadow)
		sum := score.sum()
		st.Score = &sum
	}
	return st
}

func pluginStatus(o *Option) *host.Status {
	if o.Plugin == nil {
		return nil
	}
	st := o.Plugin.Status()
	return &st
}
