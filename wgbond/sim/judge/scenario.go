package judge

import (
	"io"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// Scenario is what happens. Times, those of its links too, are since the
// flows' start; the paths are attached in the seconds before.
type Scenario struct {
	Name  string
	Paths []Path
	// Scheduler makes each end's; it must not be shared. Nil: no engine, stock
	// WireGuard over the first path.
	Scheduler func() schedulers.Scheduler

	Upload bool // default: download
	// Against flows go the other way meanwhile, as fast as they can. They are
	// no part of the goodput; Report.Against has what they got.
	Against int
	// Bytes per flow; 0: as much as goes, for Time. With Bytes, Time is when
	// to give up.
	Bytes int64
	Time  time.Duration
	// Warmup is left out of the goodput, the RTTs and the gaps.
	Warmup time.Duration
	// Begin and End bound the flows in time; 0: from the start, to the end.
	Begin, End time.Duration
	Flows      int                               // 1 if 0
	TCP        func(int) tcp.Control             // tcp.NewCubic if nil
	Trains     bool                              // of segments, as paced senders on Linux make them; see tcp.Config
	Ping       time.Duration                     // interval of pings beside the flows; 0: none
	Fetch      []time.Duration                   // when to fetch 10 kB on a new connection
	Script     []Event                           // whatever else happens
	Owner      *Owner                            // of one of the paths, which is lent; nil: none is
	Seed       uint64                            // of keys, losses and jitter
	Settle     time.Duration                     // for attaching the paths; 3 s if 0
	Rekey      time.Duration                     // interval of WireGuard's rekeys; 0: none
	Trace      func(now time.Duration, w *World) // called every 100 ms; may be nil
	// Record says where the trace of an end's session goes (wgbond/trace); nil,
	// or nil from it: nowhere. A session that begins anew has a trace of its own.
	Record func(r wgbond.Role) io.Writer
}

// Event is something done to the world at a time.
type Event struct {
	At time.Duration
	Do func(now time.Duration, w *World)
}

// Path is one path: hops in the order of the way down (server to client) and
// of the way up. Most have one hop each way; a relay is a second one. The lender
// of one that is lent says that it uses nothing, but for Scenario.Owner.
type Path struct {
	Config   wgbond.PathConfig
	Down, Up []sim.LinkConfig
	// Behind names an earlier path whose links this one's packets take too, in
	// place of Down and Up: two addresses, one bottleneck.
	Behind string
	// Hostile is what somebody on the path does to what it carries; nil: nothing.
	Hostile *Hostile
}

// Steady is a path of one hop with the given rates in bit/s, half of rtt each
// way, and queues that hold queue's worth of bytes at the link's rate (at
// least 10 packets).
func Steady(name string, down, up float64, rtt, queue time.Duration) Path {
	link := func(rate float64) []sim.LinkConfig {
		return []sim.LinkConfig{{Rate: rate, Delay: rtt / 2, Queue: max(15_000, int(rate/8*queue.Seconds()))}}
	}
	return Path{Config: wgbond.PathConfig{Name: name}, Down: link(down), Up: link(up)}
}

// With changes every hop of the path, both ways.
func (p Path) With(change func(*sim.LinkConfig)) Path {
	each := func(links []sim.LinkConfig) []sim.LinkConfig {
		out := append([]sim.LinkConfig(nil), links...)
		for i := range out {
			change(&out[i])
		}
		return out
	}
	p.Down, p.Up = each(p.Down), each(p.Up)
	return p
}

// Verdict is a scenario's report beside those of its paths alone.
type Verdict struct {
	Bond   *Report
	Alone  []*Report // stock WireGuard over each path
	AB     float64   // aggregation benefit, see Benefit
	Factor float64   // goodput over that of the best path alone
}

// Judge runs a scenario, and stock WireGuard over each of its paths without
// the losses that clean takes away (nil: as they are).
func Judge(s Scenario, clean func(*sim.LinkConfig)) (*Verdict, error) {
	v := &Verdict{}
	var cs []float64
	best := 0.0
	for i := range s.Paths {
		alone := s.Stock(i)
		alone.Fetch, alone.Script = nil, nil
		if clean != nil {
			alone.Paths = []Path{alone.Paths[0].With(clean)}
		}
		r, err := Run(alone)
		if err != nil {
			return nil, err
		}
		v.Alone = append(v.Alone, r)
		cs = append(cs, r.Goodput)
		best = max(best, r.Goodput)
	}
	var err error
	if v.Bond, err = Run(s); err != nil {
		return nil, err
	}
	v.AB, v.Factor = Benefit(v.Bond.Goodput, cs...), v.Bond.Goodput/best
	return v, nil
}

// Stock is the scenario without the engine, over path i alone.
func (s Scenario) Stock(i int) Scenario {
	s = s.Only(i)
	s.Scheduler = nil
	return s
}

// Only is the scenario with path i alone.
func (s Scenario) Only(i int) Scenario {
	p := s.Paths[i]
	s.Name += "/" + p.Config.Name
	for _, q := range s.Paths {
		if q.Config.Name == p.Behind {
			p.Down, p.Up, p.Behind = q.Down, q.Up, ""
		}
	}
	s.Paths = []Path{p}
	return s
}

// Benefit is the aggregation benefit (Kaspar; Paasch et al. 2014) of goodput g
// where the paths alone have cs: 0 is as good as the best path, 1 as all
// together, −1 nothing at all.
func Benefit(g float64, cs ...float64) float64 {
	best, sum := 0.0, 0.0
	for _, c := range cs {
		best, sum = max(best, c), sum+c
	}
	if g < best || sum == best {
		return (g - best) / best
	}
	return (g - best) / (sum - best)
}
