package equalize

import (
	"math"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/schedulers/internal/lay"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

const (
	// A path is left idle if it carries less than idle of its rate for a
	// window in which the nearer ones carry more than full of theirs. It would
	// pay if it has at least share of all rates, and needs holding if it is at
	// least apart farther away: less, the flows' own queues bridge.
	window = 2 * time.Second
	marks  = 8 // in a window
	idle   = .3
	full   = .85
	share  = .08
	apart  = 10 * ms

	// stretch is by how much the round trip grows in stretchTime at most. BBR
	// looks for its lowest round trip every ten seconds and keeps twice that in
	// flight: a round trip that doubles sooner would starve it.
	stretch     = 1.7
	stretchTime = 10 * time.Second

	// After settle, the bond must carry pays times what it carried before.
	settle = 8 * time.Second
	pays   = 1.05
	// waitFirst is how long not to try again if it does not, unless the user
	// says otherwise; it doubles up to waitMost. waitShort is for flows that ended or changed meanwhile.
	waitFirst = time.Minute
	waitMost  = 15 * time.Minute
	waitShort = 5 * time.Second

	// pause without plans: nothing is sent, what comes then is new.
	pause = 2 * time.Second
)

// NewAuto makes the scheduler that is earliest, and equalises while that pays.
//
//	          a path is left idle
//	nearest ──────────────────────▶ stretching ── as slow as the slowest ──▶ equal
//	   ▲                                │                                      │
//	   └── carries much less than before┘          does not pay, or is not needed
//	   └───────────────────────────────────────────────────────────────────────┘
func NewAuto() schedulers.Scheduler { return ConfigureAuto(parameters.New(nil))() }

// ConfigureAuto reads the user's parameters and returns what makes the
// scheduler.
func ConfigureAuto(t *parameters.Table) func() schedulers.Scheduler {
	near, worth := earliest.Configure(t), lay.ReadWorth(t)
	wait := t.Duration("wait", waitFirst, time.Second, time.Hour)
	return func() schedulers.Scheduler { return &auto{worth: worth, near: near(), first: wait, wait: wait} }
}

type autoState uint8

const (
	nearest autoState = iota
	stretching
	equal
)

type auto struct {
	direction
	peaks
	worth  lay.Worth
	near   schedulers.Scheduler
	meter  meter
	state  autoState
	since  time.Duration // of the state
	before float64       // what the bond carried, bytes per second
	judged bool
	rest   time.Duration // no attempt before
	first  time.Duration // of the waits
	wait   time.Duration
	last   time.Duration // of the snapshots
}

func (a *auto) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	if s.Now-a.last > pause {
		a.meter = meter{}
		a.enter(s.Now, nearest)
	}
	a.last = s.Now
	a.meter.sample(s)
	a.peaks.remember(s)
	if a.carriesAcks(s) {
		a.enter(s.Now, nearest)
	}
	a.step(s)
	switch a.state {
	case nearest:
		a.near.Plan(s, p)
	case stretching:
		a.near.Plan(s, p)
		paths, longest := a.alike(s)
		for i := range paths {
			hold(p, &paths[i], min(longest-paths[i].Delay, a.stretched(s, paths)))
		}
	case equal:
		plan(&a.worth, &a.peaks, s, p)
	}
}

func (a *auto) enter(now time.Duration, to autoState) {
	if to != a.state {
		a.state, a.since, a.judged = to, now, false
		a.meter = meter{}
	}
}

// alike is what would be equalised, the nearest first, and the delay of the
// farthest, nanoseconds.
func (a *auto) alike(s *schedulers.Snapshot) (paths []lay.Path, longest float64) {
	var scratch schedulers.Plan
	if paths = lay.Begin(s, &scratch); len(paths) == 0 {
		return nil, 0
	}
	paths, _ = sort(&a.worth, &a.peaks, paths)
	for i := range paths {
		longest = max(longest, paths[i].Delay)
	}
	return paths, longest
}

// stretched is how long the nearest path's packets may be held by now,
// nanoseconds.
func (a *auto) stretched(s *schedulers.Snapshot, paths []lay.Path) float64 {
	for1 := float64(s.Now-a.since) / float64(stretchTime)
	return float64(max(paths[0].MinRTT, 0)) * (math.Pow(stretch, for1) - 1)
}

// step goes to another state if it is time.
func (a *auto) step(s *schedulers.Snapshot) {
	total, ok := a.meter.total()
	if !ok {
		return
	}
	paths, longest := a.alike(s)
	if len(paths) == 0 {
		return
	}
	switch a.state {
	case nearest:
		if s.Now >= a.rest && a.leftIdle(paths) {
			a.before = total
			a.enter(s.Now, stretching)
		}
	case stretching:
		switch {
		case total < a.before*full*full: // the flow has ended, or suffers
			a.rest = s.Now + waitShort
			a.enter(s.Now, nearest)
		case a.stretched(s, paths) >= longest-paths[0].Delay:
			a.enter(s.Now, equal)
		}
	case equal:
		switch {
		case !a.judged && s.Now-a.since >= settle:
			a.judged = true
			if total < a.before*pays {
				a.rest = s.Now + a.wait
				a.wait = min(2*a.wait, max(waitMost, a.first))
				a.enter(s.Now, nearest)
				return
			}
			a.wait = a.first
		case total < a.nearerRates(paths)*full:
			a.rest = s.Now + waitShort
			a.enter(s.Now, nearest)
		}
	}
}

// leftIdle reports whether a path that would pay is left idle.
func (a *auto) leftIdle(paths []lay.Path) bool {
	var all, rates, carried float64
	for i := range paths {
		all += paths[i].Shown
	}
	for i := range paths {
		q := &paths[i]
		c := a.meter.rate(q.ID)
		if q.Delay-paths[0].Delay >= apart && q.Shown >= share*all && c < idle*q.Shown && carried >= full*rates {
			return true
		}
		rates += q.Shown
		carried += c
	}
	return false
}

// nearerRates is the rate of all paths but the farthest, bytes per second.
func (a *auto) nearerRates(paths []lay.Path) (rates float64) {
	for i := range paths[:len(paths)-1] {
		rates += paths[i].Shown
	}
	return rates
}

// meter measures what each path carries, over the last window.
type meter struct {
	marks [marks + 1]mark // in turn
	n     int             // taken so far
	now   mark
}

type mark struct {
	at   time.Duration
	sent [schedulers.MaxPaths]uint64
}

func (m *meter) sample(s *schedulers.Snapshot) {
	m.now = mark{at: s.Now}
	for i := range s.Paths {
		m.now.sent[s.Paths[i].ID] = s.Paths[i].Sent
	}
	if m.n == 0 || s.Now-m.marks[(m.n-1)%len(m.marks)].at >= window/marks {
		m.marks[m.n%len(m.marks)] = m.now
		m.n++
	}
}

// since is the oldest mark; false if that is not a window ago.
func (m *meter) since() (*mark, bool) {
	if m.n < len(m.marks) {
		return nil, false
	}
	return &m.marks[m.n%len(m.marks)], true
}

// rate is what path id carried, bytes per second.
func (m *meter) rate(id schedulers.PathID) float64 {
	from, ok := m.since()
	if !ok || m.now.sent[id] < from.sent[id] || m.now.at <= from.at {
		return 0 // a new path by an old number
	}
	return float64(m.now.sent[id]-from.sent[id]) / (m.now.at - from.at).Seconds()
}

// total is what all carried; false while the window is not full.
func (m *meter) total() (sum float64, ok bool) {
	_, ok = m.since()
	for id := range m.now.sent {
		sum += m.rate(schedulers.PathID(id))
	}
	return sum, ok
}
