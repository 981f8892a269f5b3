//go:build linux

// Package virtual runs the laboratory's scenarios in virtual time: the same links
// and traffic as on the real kernel, the same engine, under models of TCP and
// WireGuard (wgbond/sim/judge). What it gives is what the real run would if
// processors, timers and sockets cost nothing.
package virtual

import (
	"fmt"
	"io"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/judge"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// Run measures a scenario once for one kind of traffic: every path alone (with
// stock WireGuard), all bonded, and the reference if the scenario wants one. It
// is the same every time. A Workload.Repeat is made once: the first time.
//
// record, unless it is nil, says where the traces of the bonded run's two ends
// go. Events other than outages are of programs, and make an error.
func Run(s *scenario.Scenario, t experiment.Traffic, record func(wgbond.Role) io.Writer) (*experiment.Result, error) {
	series := experiment.Series{Traffic: t, Single: make([][]experiment.Reading, len(s.Links))}
	for k := range s.Links {
		if s.Workload.Alike && k > 0 {
			series.Single[k] = series.Single[0]
			continue
		}
		j, err := build(s, t, s.Workload.CleanBaseline, nil)
		if err != nil {
			return nil, err
		}
		got, err := run(s, j.Stock(k), nil)
		if err != nil {
			return nil, err
		}
		series.Single[k] = []experiment.Reading{got}
	}
	bonded := func(s *scenario.Scenario, clean bool, record func(wgbond.Role) io.Writer) ([]experiment.Reading, error) {
		j, err := build(s, t, clean, s.Events)
		if err != nil {
			return nil, err
		}
		if _, err := builtin.New(s.Scheduler); err != nil {
			return nil, err
		}
		j.Record = record
		j.Scheduler = func() schedulers.Scheduler {
			made, _ := builtin.New(s.Scheduler) // there is one of this name: we just made it
			return made
		}
		got, err := run(s, j, s.Events)
		return []experiment.Reading{got}, err
	}
	var err error
	if series.Bonded, err = bonded(s, false, record); err != nil {
		return nil, err
	}
	if s.Workload.Reference {
		plain := *s
		plain.Events, plain.Workload.Against = nil, false
		if series.Reference, err = bonded(&plain, true, nil); err != nil {
			return nil, err
		}
	}
	return &experiment.Result{Scenario: s, Runs: 1, Series: []experiment.Series{series}}, nil
}

// patience is when a transfer of a finite size is given up.
const patience = 5 * time.Minute

// build is the judge's scenario, without a scheduler.
func build(s *scenario.Scenario, t experiment.Traffic, clean bool, events []scenario.Event) (judge.Scenario, error) {
	w := &s.Workload
	j := judge.Scenario{
		Name: s.Name, Upload: t.Upload, Bytes: int64(w.Download), Flows: w.Flows,
		Time: time.Duration(w.Bulk), Warmup: time.Duration(w.Skip), Ping: time.Duration(w.Ping), Seed: 1,
	}
	if w.Download > 0 {
		j.Time = patience
	}
	if w.Against {
		j.Against = 1
	}
	if w.Fetch > 0 {
		for at := time.Second; at < j.Time; at += time.Second {
			j.Fetch = append(j.Fetch, at)
		}
	}
	switch t.Congestion {
	case "cubic":
		j.TCP = tcp.NewCubic
	case "bbr":
		j.TCP = tcp.NewBBR
	default:
		return j, fmt.Errorf("no model of TCP's congestion control %q: there are cubic and bbr", t.Congestion)
	}
	for i := range s.Links {
		l := &s.Links[i]
		path := judge.Path{Config: wgbond.PathConfig{Name: l.Name, Lent: l.Via != ""}, Behind: l.Behind}
		var outages []sim.Outage
		for _, e := range events {
			if e.What != scenario.EventOutage {
				return j, fmt.Errorf("event %s is one of programs: there are none in virtual time", e.What)
			}
			if e.Link == l.Name {
				outages = append(outages, e.Outage())
			}
		}
		if l.Behind == "" {
			path.Down = []sim.LinkConfig{l.Down.Config(clean, outages...)}
			path.Up = []sim.LinkConfig{l.Up.Config(clean, outages...)}
		}
		j.Paths = append(j.Paths, path)
	}
	return j, nil
}

func run(s *scenario.Scenario, j judge.Scenario, events []scenario.Event) (experiment.Reading, error) {
	r, err := judge.Run(j)
	if err != nil {
		return experiment.Reading{}, err
	}
	if j.Bytes > 0 && r.Done == sim.Never {
		return experiment.Reading{}, fmt.Errorf("%s: the transfer is not over after %v", j.Name, j.Time)
	}
	got := experiment.Reading{
		Goodput: r.Goodput, Gap: r.Gap, Fetches: r.Fetches, Against: r.Against, During: -1, After: -1,
		Pings: measure.Pings{Sent: r.Pings - r.Underway, RTTs: r.PingRTT, Gap: r.PingGap},
	}
	if j.Bytes > 0 {
		got.Took = r.Done
	}
	for i, f := range got.Fetches {
		if f == sim.Never { // under way at the end
			got.Fetches = got.Fetches[:i]
			break
		}
	}
	got.AtEvents(events, j.Time, r.Rate)
	return got, nil
}
