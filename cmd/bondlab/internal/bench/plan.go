//go:build linux

package bench

import (
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
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
	long := quickBulk
	for _, l := range s.Links {
		if l.Down.Cell != nil || l.Down.Trace != "" {
			long = quickCell
		}
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
}

// steps lists what run number n measures of a scenario. Baselines and peers come
// in every run, in quick ones in the first and every third after it. Baselines
// have no events, so they need not be as long.
func steps(s *scenario.Scenario, opt Options, n int) (list []step) {
	w := &s.Workload
	if !opt.Quick || n%3 == 0 {
		bulk := w.Bulk
		if opt.Quick && len(s.Events) > 0 {
			bulk = min(bulk, scenario.Duration(quickBulk))
		}
		for k := range s.Links {
			if k == 0 || !w.Alike {
				list = append(list, step{experiment.StockAlone, k, bulk})
			}
		}
		if opt.MPTCP && !w.Alike && !w.Reference {
			list = append(list, step{as: experiment.MPTCP, bulk: w.Bulk})
		}
		if w.Reference {
			list = append(list, step{as: experiment.Reference, bulk: w.Bulk})
		}
	}
	return append(list, step{as: experiment.Bonded, bulk: w.Bulk})
}

// What a measurement takes beside its transfers, and a laboratory to be built:
// measured on two processors.
const (
	overhead = 900 * time.Millisecond
	building = 2 * time.Second
)

// Estimate is how long rows will take.
func estimate(jobs []*job, opt Options) (sum time.Duration) {
	for _, j := range jobs {
		sum += building
		for range j.rows {
			for n := range opt.Runs {
				for _, st := range steps(j.scenario, opt, n) {
					sum += overhead + j.takes(st)
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
