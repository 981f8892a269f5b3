// Command metered is a plugin that sends by unmetered paths while they
// carry the traffic, and keeps each metered path within a monthly budget.
//
//	scheduler = "metered"
//	[plugin.metered]
//	budget = "5 GB"            # a month, for each path that is marked metered
//	[plugin.metered.budgets]   # or for a path by name, metered or not
//	wwan0 = "2 GB"
//
// A plugin can keep no file, so it does not know what was spent before it
// began. A budget is therefore spent evenly: a path earns budget/month all the
// time and saves up what a day brings; beginning, it has an hour's worth. While
// it has something, it is used when the unmetered paths are full; when not, it
// is a backup. So a month costs no more than its budget, and an hour's worth
// for each time that the plugin is started.
//
// What a path costs is what it carries in both directions (Path.Sent and
// Path.Received), but a scheduler decides about one: run it at both ends. A
// server does not know the paths' names, only that they are metered.
package main

import (
	"time"

	"github.com/wg-bond/wg-bond/plugins/sdk"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

func main() {
	sdk.Serve(sdk.Plugin{Name: "metered", Does: "unmetered paths first, metered ones within a monthly budget", Version: "1", New: configure})
}

const (
	month = 30 * 24 * time.Hour
	day   = 24 * time.Hour
	// spill is how much later a packet may arrive by an unmetered path before
	// it is worth a metered one's bytes, nanoseconds.
	spill = 100e6
)

// config is the user's.
type config struct {
	metered float64            // budget of paths marked metered, bytes a month
	byName  map[string]float64 // bytes a month
}

func configure(p *sdk.Parameters) func() schedulers.Scheduler {
	c := config{metered: p.Bytes("budget", 5e9), byName: map[string]float64{}}
	if p.Has("budgets") {
		budgets := p.Table("budgets")
		for _, name := range budgets.Keys() {
			c.byName[name] = budgets.Bytes(name, 0)
		}
	}
	return func() schedulers.Scheduler {
		inner, _ := builtin.New("") // there is always a default
		return &scheduler{config: c, inner: inner}
	}
}

// scheduler is one session's. The default plans; this only decides which paths
// it may use and which are dearer.
type scheduler struct {
	config
	inner    schedulers.Scheduler
	accounts [schedulers.MaxPaths]account
	shown    schedulers.Snapshot
}

// account is what a path may spend. A path that comes again under its number
// goes on with it.
type account struct {
	open  bool
	at    time.Duration // of the last entry
	bytes uint64        // carried by then
	left  float64       // may be negative: what was carried was carried
}

// budget is p's, bytes a month; false for a path without.
func (c *config) budget(p *schedulers.Path) (float64, bool) {
	if b, ok := c.byName[p.Name]; ok {
		return b, true
	}
	return c.metered, p.Metered
}

// enter brings the account up to date and returns what is left.
func (a *account) enter(now time.Duration, carried uint64, budget float64) float64 {
	perNano := budget / float64(month)
	if !a.open {
		*a = account{open: true, at: now, bytes: carried, left: perNano * float64(time.Hour)}
	}
	if carried < a.bytes { // another path under the same number
		a.bytes = carried
	}
	a.left += perNano*float64(max(now-a.at, 0)) - float64(carried-a.bytes)
	a.left = min(a.left, perNano*float64(day))
	a.at, a.bytes = now, carried
	return a.left
}

// Plan lets the default plan with overdrawn paths as backups, and puts a price
// on the bytes of the others that are metered.
func (s *scheduler) Plan(snap *schedulers.Snapshot, p *schedulers.Plan) {
	paths := append(s.shown.Paths[:0], snap.Paths...)
	s.shown = *snap
	s.shown.Paths = paths
	var dear uint32
	for i := range paths {
		path := &paths[i]
		budget, ok := s.budget(path)
		if !ok {
			continue
		}
		dear |= 1 << path.ID
		if s.accounts[path.ID].enter(snap.Now, path.Sent+path.Received, budget) <= 0 {
			path.Backup = true
		}
	}
	s.inner.Plan(&s.shown, p)
	for c := schedulers.Small; c <= schedulers.Bulk; c++ {
		s.price(&p.Classes[c], p, dear)
	}
}

// price makes metered paths dearer, and lets the free ones queue that much
// longer, but only if there is a free one to wait for.
func (s *scheduler) price(c *schedulers.ClassPlan, p *schedulers.Plan, dear uint32) {
	free := false
	for id := range c.Paths {
		free = free || c.Paths[id].Use && dear>>id&1 == 0
	}
	if !free {
		return
	}
	for id := range c.Paths {
		path := &c.Paths[id]
		if !path.Use {
			continue
		}
		if dear>>id&1 != 0 {
			path.Base = min(path.Base+spill, schedulers.MaxBase)
		} else if path.Cap < schedulers.NoCap {
			path.Cap = int(min(float64(path.Cap)+spill/1e9*p.Drain[id], schedulers.NoCap))
		}
	}
}
