package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
)

const (
	ms     = time.Millisecond
	mbit   = 1e6 // bit/s
	buffer = 150 * ms
)

// The scenarios by which a bond is judged, as the design has them: rate/RTT in
// Mbit/s and ms, 150 ms of queue. The caller sets Scheduler, and TCP if it is
// not to be CUBIC.

func bulk(name string, paths ...Path) Scenario {
	return Scenario{Name: name, Paths: paths, Time: 60 * time.Second, Warmup: 5 * time.Second, Ping: 100 * ms, Seed: 1}
}

func steady(name string, rate float64, rtt time.Duration) Path {
	return Steady(name, rate*mbit, rate*mbit, rtt, buffer)
}

// Seed is the original experiment: 3 MB over 3.6/60 and 3.6/60, one through a
// relay.
func Seed() Scenario {
	relayed := steady("relayed", 3.6, 60*ms)
	lan := sim.LinkConfig{Rate: 100 * mbit, Delay: ms / 2}
	relayed.Config.Lent = true
	relayed.Down = append(relayed.Down, lan)
	relayed.Up = append([]sim.LinkConfig{lan}, relayed.Up...)
	return Scenario{Name: "seed", Paths: []Path{steady("own", 3.6, 60*ms), relayed}, Bytes: 3e6, Time: time.Minute, Seed: 1}
}

// Equal is bulk over the links of Seed.
func Equal() Scenario { return bulk("equal", steady("a", 3.6, 60*ms), steady("b", 3.6, 60*ms)) }

// Unequal is bulk over 20/30 and 5/120, with a fetch of 10 kB every two
// seconds.
func Unequal() Scenario {
	s := bulk("unequal", steady("fast", 20, 30*ms), steady("slow", 5, 120*ms))
	for at := 10 * time.Second; at < s.Time; at += 2 * time.Second {
		s.Fetch = append(s.Fetch, at)
	}
	return s
}

// Lossy is Unequal with random loss on path i.
func Lossy(loss float64, i int) Scenario {
	s := Unequal()
	s.Name = fmt.Sprintf("lossy-%s-%g%%", s.Paths[i].Config.Name, loss*100)
	s.Fetch = nil
	s.Paths[i] = s.Paths[i].With(func(c *sim.LinkConfig) { c.Loss = loss })
	return s
}

// Lossless takes random loss away, for Judge.
func Lossless(c *sim.LinkConfig) { c.Loss = 0 }

// Extreme is bulk over 50/20 and 2/300.
func Extreme() Scenario { return bulk("extreme", steady("fast", 50, 20*ms), steady("slow", 2, 300*ms)) }

// Four is bulk over 3.6/60, 10/40, 5/90 and 20/30.
func Four() Scenario {
	return bulk("four", steady("a", 3.6, 60*ms), steady("b", 10, 40*ms), steady("c", 5, 90*ms), steady("d", 20, 30*ms))
}

// Cold is 3 MB over the links of Unequal, nothing learned before.
func Cold() Scenario { return cold("cold", Unequal()) }

// ColdFour is 3 MB over the links of Four, nothing learned before.
func ColdFour() Scenario { return cold("cold-four", Four()) }

func cold(name string, s Scenario) Scenario {
	s.Name, s.Bytes, s.Warmup, s.Fetch, s.Ping = name, 3e6, 0, nil, 0
	return s
}

// Remembered is s where what the paths carry and their round trips are
// remembered, the rates off times too high.
func Remembered(s Scenario, off float64) Scenario {
	if s.Name += "-remembered"; off != 1 {
		s.Name += fmt.Sprintf("×%g", off)
	}
	s.Paths = slices.Clone(s.Paths)
	for i := range s.Paths {
		p := &s.Paths[i]
		down, up := slowest(p.Down), slowest(p.Up)
		p.Config.Memory = wgbond.Memory{Up: up.Rate / 8 * off, Down: down.Rate / 8 * off, RTT: down.Delay + up.Delay}
	}
	return s
}

// slowest is the link with the least rate.
func slowest(hops []sim.LinkConfig) sim.LinkConfig {
	return slices.MinFunc(hops, func(a, b sim.LinkConfig) int { return cmp.Compare(a.Rate, b.Rate) })
}

// Outage is bulk over two links 10/40, of which the second goes dark from
// 20 s to 30 s.
func Outage() Scenario {
	dark := steady("goes", 10, 40*ms).With(func(c *sim.LinkConfig) {
		c.Outages = []sim.Outage{{From: 20 * time.Second, To: 30 * time.Second}}
	})
	return bulk("outage", steady("stays", 10, 40*ms), dark)
}

// Cellular is bulk over two recorded links, each given as its traces down and
// up, with RTTs of 50 and 90 ms and queues of 750 kB.
func Cellular(a, b [2]*sim.Trace) Scenario {
	return cellular("cellular", a, b)
}

func cellular(name string, a, b [2]*sim.Trace) Scenario {
	path := func(name string, t [2]*sim.Trace, rtt time.Duration) Path {
		link := func(t *sim.Trace) []sim.LinkConfig {
			return []sim.LinkConfig{{Trace: t, Delay: rtt / 2, Queue: 750_000}}
		}
		return Path{Config: wgbond.PathConfig{Name: name}, Down: link(t[0]), Up: link(t[1])}
	}
	return bulk(name, path("a", a, 50*ms), path("b", b, 90*ms))
}

// Modelled is Cellular with links that are drawn, not recorded: 16 and
// 8 Mbit/s down, half of that up, with ten outages of 0.1 s a minute.
func Modelled(seed uint64) Scenario {
	return cellular("modelled", modelled(16, 0.5, 5*time.Second, 100*ms, 2*seed), modelled(8, 0.5, 5*time.Second, 100*ms, 2*seed+1))
}

// BadNeighbour is bulk over a good link like those of Modelled and one of
// 8 Mbit/s that is gone for three seconds out of eleven.
func BadNeighbour(seed uint64) Scenario {
	return cellular("bad-neighbour", modelled(16, 0.5, 5*time.Second, 100*ms, 2*seed), modelled(8, 0.7, 8*time.Second, 3*time.Second, 2*seed+1))
}

func modelled(rate, spread float64, every, lasts time.Duration, seed uint64) (t [2]*sim.Trace) {
	for i := range t {
		link := sim.Cellular{Rate: rate * mbit, Spread: spread, Turn: 2 * time.Second, Grant: 4 * ms, Every: every, Lasts: lasts, Seed: 2*seed + uint64(i)}
		rate /= 2
		var err error
		if t[i], err = link.Trace(); err != nil {
			panic(err) // not with these numbers
		}
	}
	return t
}

// lending is a borrower with a link of its own, 3.6/60, and that of a lender,
// 10/40 with as much of a queue as stated.
func lending(name string, queue time.Duration) Scenario {
	lent := Steady("lent", 10*mbit, 10*mbit, 40*ms, queue)
	lent.Config.Lent = true
	lan := sim.LinkConfig{Rate: 100 * mbit, Delay: ms / 2}
	lent.Down = append(lent.Down, lan)
	lent.Up = append([]sim.LinkConfig{lan}, lent.Up...)
	s := bulk(name, steady("own", 3.6, 60*ms), lent)
	s.Owner = &Owner{Path: 1, Ping: 50 * ms}
	return s
}

// LendingBusy: the lender transfers all along, and the borrower joins in from
// 20 s to 40 s.
func LendingBusy(queue time.Duration) Scenario {
	s := lending("lending-busy", queue)
	s.Owner.Use = []Use{{To: s.Time}}
	s.Begin, s.End = 20*time.Second, 40*time.Second
	return s
}

// LendingSpare: the borrower transfers all along. The lender does nothing,
// speaks from 15 s at half the link's rate, transfers from 30 s to 45 s, and does
// nothing again.
func LendingSpare(queue time.Duration) Scenario {
	s := lending("lending-spare", queue)
	s.Owner.Use = []Use{{15 * time.Second, 30 * time.Second, 5 * mbit}, {30 * time.Second, 45 * time.Second, 0}}
	return s
}

// Many is bulk over n equal paths of 10/40, 1 to 16.
func Many(n int) Scenario {
	var paths []Path
	for i := range n {
		paths = append(paths, steady(fmt.Sprint("p", i), 10, 40*ms))
	}
	return bulk(fmt.Sprintf("many-%d", n), paths...)
}

// Reverse is s with an upload at full rate during the download, or the other
// way about.
func Reverse(s Scenario) Scenario {
	s.Name, s.Against = "reverse-"+s.Name, 1
	return s
}

// Shared is bulk over two paths that are one link, 10/40: two addresses behind
// one modem. There is nothing to gain.
func Shared() Scenario {
	return bulk("shared", steady("one", 10, 40*ms), Path{Config: wgbond.PathConfig{Name: "same"}, Behind: "one"})
}

// Shuffled is Unequal where one packet in twenty of path i comes late after its
// time, and those behind overtake it.
func Shuffled(i int, late time.Duration) Scenario {
	s := Unequal()
	s.Name, s.Fetch = fmt.Sprintf("shuffled-%s-%v", s.Paths[i].Config.Name, late), nil
	s.Paths[i] = s.Paths[i].With(func(c *sim.LinkConfig) { c.Overtaken = &sim.Overtaken{Share: 0.05, Late: late} })
	return s
}

// Rekeyed is s with a new WireGuard key pair every 20 s.
func Rekeyed(s Scenario) Scenario {
	s.Name, s.Rekey = "rekeyed-"+s.Name, 20*time.Second
	return s
}

// Parallel is s with 30 flows.
func Parallel(s Scenario) Scenario {
	s.Name, s.Flows, s.Fetch = "parallel-"+s.Name, 30, nil
	return s
}

// Page is a page of 20 files of 10 kB, each over a connection of its own, over
// the paths of s, nothing learned before.
func Page(s Scenario) Scenario {
	s.Name, s.Flows, s.Bytes, s.Warmup, s.Fetch, s.Ping = "page-"+s.Name, 20, 10_000, 0, nil, 0
	return s
}

// Uploaded is s the other way.
func Uploaded(s Scenario) Scenario {
	s.Name, s.Upload = "up-"+s.Name, true
	return s
}
