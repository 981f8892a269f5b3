//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Quick runs are that short: long enough for a TCP that starts on such links to
// be cut a few times and to recover, not for the last 2 %.
const (
	quickBulk = 8 * time.Second
	quickCell = 16 * time.Second // drawn links change over seconds
	quickSkip = 2 * time.Second
	afterward = 3 * time.Second // what is left after the last event
)

// shorten makes a scenario's transfers those of a quick run.
func shorten(s *scenario.Scenario) {
	w := &s.Workload
	if w.Bulk == 0 {
		return
	}
	if slices.Contains(tooLong, s.Name) {
		return // what they are about comes late
	}
	long := quickBulk
	if drawn(s) {
		long = quickCell
	}
	for _, e := range s.Events {
		long = max(long, time.Duration(e.At+e.For)+afterward)
	}
	w.Bulk = min(w.Bulk, scenario.Duration(long))
	w.Skip = min(w.Skip, scenario.Duration(quickSkip))
}

// step is one measurement of a run.
type step struct {
	as   experiment.As
	link int // of StockAlone
	bulk scenario.Duration
	// wanted is how many readings there shall be after it: with as many it is
	// left out.
	wanted int
}

// steps lists what run number n measures of a scenario. What rows are compared
// with comes in every run, in quick ones once: over links that do not vary it is
// the same every time within a hundredth. Over drawn links it comes in every
// third run, and what is to be equalled (Reference) in all. Baselines have no
// events, so they need not be as long.
func steps(s *scenario.Scenario, opt Options, n int) (list []step) {
	w := &s.Workload
	add := func(as experiment.As, link int, bulk scenario.Duration, wanted int) {
		list = append(list, step{as, link, bulk, wanted})
	}
	alone, peers := n+1, n+1
	if opt.Quick {
		alone, peers = 1, 1
		if drawn(s) {
			alone += n / 3
		}
		if slices.Contains(tooLong, s.Name) {
			if n == 0 { // once, and nothing beside it
				add(experiment.Bonded, 0, w.Bulk, 1)
			}
			return list
		}
	}
	bulk := w.Bulk
	if opt.Quick && len(s.Events) > 0 {
		bulk = min(bulk, scenario.Duration(quickBulk))
	}
	for k := range s.Links {
		if k == 0 || !w.Alike {
			add(experiment.StockAlone, k, bulk, alone)
		}
	}
	if opt.MPTCP && !w.Alike && !w.Reference {
		add(experiment.MPTCP, 0, w.Bulk, peers)
	}
	if w.Reference {
		add(experiment.Reference, 0, w.Bulk, n+1)
	}
	add(experiment.Bonded, 0, w.Bulk, n+1)
	return list
}

// drawn tells whether links vary by themselves.
func drawn(s *scenario.Scenario) bool {
	return slices.ContainsFunc(s.Links, func(l scenario.Link) bool { return l.Down.Cell != nil || l.Down.Trace != "" })
}

// shelf has all readings, by what was measured (Outcome.key).
type shelf map[string][]experiment.Reading

// key names what a step measures. It is the row's own, but for stock
// wireguard-go over a link: several rows have the same links, and the same
// transfers over them.
func (o *Outcome) key(s *scenario.Scenario, st step) string {
	own := fmt.Sprint(o.Name(), st.as, st.link)
	if st.as != experiment.StockAlone {
		return own
	}
	l := &s.Links[st.link]
	way := l // whose way its packets go
	for i := range s.Links {
		if s.Links[i].Name == l.Behind {
			way = &s.Links[i]
		}
	}
	w := s.Workload
	same := struct {
		Relayed  bool
		Down, Up sim.LinkConfig
		Workload scenario.Workload
		Traffic  experiment.Traffic
	}{
		l.Via != "", way.Down.Config(w.CleanBaseline), way.Up.Config(w.CleanBaseline),
		scenario.Workload{
			Download: w.Download, Bulk: st.bulk, Skip: w.Skip, Ping: w.Ping, Fetch: w.Fetch, Flows: w.Flows, Repeat: w.Repeat, Against: w.Against,
		}, o.traffic(),
	}
	for _, c := range []*sim.LinkConfig{&same.Down, &same.Up} {
		if c.Trace != nil || c.Loss > 0 || c.Burst != nil || c.Overtaken != nil || c.Jitter > 0 {
			return own // drawn: by seeds and traces
		}
		c.Seed = 0 // of nothing, then
	}
	b, err := json.Marshal(same)
	if err != nil {
		return own
	}
	return string(b)
}

// What a measurement takes beside its transfers, a laboratory to be built, and a
// row in virtual time: measured on two processors.
const (
	overhead  = 900 * time.Millisecond
	building  = 2 * time.Second
	computing = 1200 * time.Millisecond
)

// estimate is how long rows will take.
func estimate(jobs []*job, opt Options) (sum time.Duration) {
	have := map[string]int{}
	for _, j := range jobs {
		if slices.ContainsFunc(j.rows, (*Outcome).wanted) {
			sum += building
		}
		for _, o := range j.rows {
			sum += computing
			if !o.wanted() {
				continue
			}
			for n := range opt.Runs {
				for _, st := range steps(j.scenario, opt, n) {
					if key := o.key(j.scenario, st); have[key] < st.wanted {
						have[key]++
						sum += overhead + j.takes(st)
					}
				}
			}
		}
	}
	return sum
}

// takes is how long a step's transfers should take.
func (j *job) takes(st step) time.Duration {
	s := j.scenario
	w := &s.Workload
	if w.Bulk > 0 {
		return time.Duration(st.bulk)
	}
	rate := 0.
	for k, l := range s.Links {
		if st.as != experiment.StockAlone || k == st.link {
			rate += l.Down.MeanRate()
		}
	}
	if rate == 0 { // the first of the links that it is behind
		rate = s.Links[0].Down.MeanRate()
	}
	bits := float64(w.Download) * 8 * float64(max(1, w.Flows))
	once := time.Duration(bits/(.85*rate)*float64(time.Second)) + 300*time.Millisecond
	return once * time.Duration(max(1, w.Repeat))
}
