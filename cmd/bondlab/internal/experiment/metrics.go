//go:build linux

package experiment

import (
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
)

// Metric is one figure over all runs.
type Metric struct {
	Name   string  `json:"-"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Unit   string  `json:"unit"`
}

// Metrics computes the figures that apply. The first congestion control's
// have the plain names, the others' end in _NAME.
//
//	goodput_single_PATH  payload rate of a path alone
//	goodput_single_best  the same of the path whose mean is highest
//	goodput_bonded       payload rate of all paths
//	speedup              goodput_bonded of each run over the mean of goodput_single_best
//	ab                   aggregation benefit of each run over the means of the single paths
//	time_…               of a download, from SYN to the last byte
//	ping_p50, ping_p95   round trips through the tunnel while bonded and loaded, per run
//	ping_p50_single_best the same over the best path alone
//	ping_loss            share of unanswered pings while bonded
//	gap_max              the longest time without a byte while bonded
//	gap_EVENT_at_TIME    the same from an event until 2 s after its end
//	ping_gap             the longest time without an answered ping while bonded
//	fetch_p50            a small fetch on a new connection meanwhile
//	goodput_during, _after  payload rate in and after an outage event
//	during_share         the first over that of the best path alone
//	after_share          the second over the sum of the paths alone
//	goodput_against      payload rate of the transfer the other way, bonded
//	goodput_reference    payload rate bonded, without what Workload.Reference leaves out
//	of_reference         goodput_bonded of each run over the mean of goodput_reference
//	ab_lost              how much lower ab is than that of goodput_reference
//	goodput_mptcp, speedup_mptcp, ab_mptcp, time_mptcp, ping_p50_mptcp, gap_max_mptcp
//	                     the same of kernel MPTCP without a tunnel; the single
//	                     paths' goodput is raised by what a tunnel costs
//	cpu_packet           processor time of wg-bond, both ends, per whole IP packet on the links
//	cpu_packet_single_best  the same of the client over the best path alone
func (r *Result) Metrics() []Metric {
	var out []Metric
	for i, s := range r.Series {
		suffix := ""
		if i > 0 {
			suffix = "_" + s.Congestion
		}
		for _, m := range r.Of(s) {
			m.Name += suffix
			out = append(out, m)
		}
	}
	return out
}

// bare is how much more of a link the payload of TCP is without a tunnel: 1448
// bytes of a 1500 byte packet in place of 1368 of 1480.
const bare = 1448. / 1500 / (1368. / 1480)

// Of computes the figures of one series, which keep their plain names.
func (r *Result) Of(s Series) (out []Metric) {
	add := func(name, unit string, values []float64) {
		if len(values) > 0 {
			out = append(out, Metric{name, measure.Median(values), slices.Min(values), slices.Max(values), unit})
		}
	}
	goodput := func(r Reading) float64 { return r.Goodput / 1e6 }

	best, singles := 0, make([]float64, len(s.Single))
	alone := true // every path was measured, and carried something
	for k, readings := range s.Single {
		alone = alone && len(readings) > 0
		if singles[k] = measure.Mean(each(readings, goodput)); singles[k] > singles[best] {
			best = k
		}
		add("goodput_single_"+r.Scenario.Links[k].Name, "Mbit/s", each(readings, goodput))
	}
	add("goodput_single_best", "Mbit/s", each(s.Single[best], goodput))
	add("goodput_bonded", "Mbit/s", each(s.Bonded, goodput))
	alone = alone && singles[best] > 0
	if alone {
		add("speedup", "ratio", each(s.Bonded, func(r Reading) float64 { return goodput(r) / singles[best] }))
	}
	if alone && len(singles) > 1 {
		add("ab", "ratio", each(s.Bonded, func(r Reading) float64 { return measure.Benefit(goodput(r), singles) }))
	}
	if r.Scenario.Workload.Download > 0 {
		took := func(r Reading) float64 { return r.Took.Seconds() }
		add("time_single_best", "s", each(s.Single[best], took))
		add("time_bonded", "s", each(s.Bonded, took))
	}
	if r.Scenario.Workload.Ping > 0 {
		quantile := func(q float64) func(Reading) float64 {
			return func(r Reading) float64 { return ms(measure.Quantile(r.Pings.RTTs, q)) }
		}
		add("ping_p50_single_best", "ms", each(s.Single[best], quantile(.5)))
		add("ping_p50", "ms", each(s.Bonded, quantile(.5)))
		add("ping_p95", "ms", each(s.Bonded, quantile(.95)))
		add("ping_loss", "ratio", each(s.Bonded, func(r Reading) float64 {
			return 1 - float64(len(r.Pings.RTTs))/float64(max(r.Pings.Sent, 1))
		}))
		add("ping_gap", "ms", each(s.Bonded, func(r Reading) float64 { return ms(r.Pings.Gap) }))
	}
	add("gap_max", "ms", each(s.Bonded, func(r Reading) float64 { return ms(r.Gap) }))
	if r.Scenario.Workload.Fetch > 0 {
		add("fetch_p50", "s", each(s.Bonded, func(r Reading) float64 { return measure.Quantile(r.Fetches, .5).Seconds() }))
	}
	for i, e := range r.Scenario.Events {
		add(fmt.Sprintf("gap_%s_at_%v", e.String(), time.Duration(e.At)), "ms", those(s.Bonded, func(r Reading) float64 {
			if i >= len(r.Gaps) {
				return -1
			}
			return ms(r.Gaps[i])
		}))
	}
	add("goodput_during", "Mbit/s", those(s.Bonded, func(r Reading) float64 { return r.During / 1e6 }))
	add("goodput_after", "Mbit/s", those(s.Bonded, func(r Reading) float64 { return r.After / 1e6 }))
	sum := 0.
	for _, c := range singles {
		sum += c
	}
	if alone {
		add("during_share", "ratio", those(s.Bonded, func(r Reading) float64 { return r.During / 1e6 / singles[best] }))
		add("after_share", "ratio", those(s.Bonded, func(r Reading) float64 { return r.After / 1e6 / sum }))
	}
	if r.Scenario.Workload.Against {
		add("goodput_against", "Mbit/s", each(s.Bonded, func(r Reading) float64 { return r.Against / 1e6 }))
	}
	if len(s.Reference) > 0 {
		add("goodput_reference", "Mbit/s", each(s.Reference, goodput))
		mean := measure.Mean(each(s.Reference, goodput))
		add("of_reference", "ratio", each(s.Bonded, func(r Reading) float64 { return goodput(r) / mean }))
		if alone {
			add("ab_lost", "ratio", each(s.Bonded, func(r Reading) float64 {
				return measure.Benefit(mean, singles) - measure.Benefit(goodput(r), singles)
			}))
		}
	}
	if len(s.MPTCP) > 0 {
		add("goodput_mptcp", "Mbit/s", each(s.MPTCP, goodput))
		if alone {
			add("speedup_mptcp", "ratio", each(s.MPTCP, func(r Reading) float64 { return goodput(r) / bare / singles[best] }))
		}
		if alone && len(singles) > 1 {
			add("ab_mptcp", "ratio", each(s.MPTCP, func(r Reading) float64 { return measure.Benefit(goodput(r)/bare, singles) }))
		}
		if r.Scenario.Workload.Download > 0 {
			add("time_mptcp", "s", each(s.MPTCP, func(r Reading) float64 { return r.Took.Seconds() }))
		}
		if r.Scenario.Workload.Ping > 0 {
			add("ping_p50_mptcp", "ms", each(s.MPTCP, func(r Reading) float64 { return ms(measure.Quantile(r.Pings.RTTs, .5)) }))
		}
		add("gap_max_mptcp", "ms", each(s.MPTCP, func(r Reading) float64 { return ms(r.Gap) }))
	}
	cpu := func(r Reading) float64 { return float64(r.CPU) / float64(time.Microsecond) }
	if len(s.Bonded) > 0 && s.Bonded[0].CPU > 0 {
		add("cpu_packet", "µs", each(s.Bonded, cpu))
		add("cpu_packet_single_best", "µs", each(s.Single[best], cpu))
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func each(readings []Reading, value func(Reading) float64) []float64 {
	var out []float64
	for _, r := range readings {
		out = append(out, value(r))
	}
	return out
}

// those is each without the negative values, which do not apply.
func those(readings []Reading, value func(Reading) float64) []float64 {
	return slices.DeleteFunc(each(readings, value), func(v float64) bool { return v < 0 })
}
