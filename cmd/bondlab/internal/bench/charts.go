//go:build linux

package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/chart"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
)

// charts draws a figure of every row into dir, NAME.png.
func (j *job) charts(dir string) error {
	if dir == "" {
		return nil
	}
	for _, o := range j.rows {
		if !o.measured() {
			continue
		}
		f, err := create(dir, o.Name()+".png")
		if err != nil {
			return err
		}
		if err := errors.Join(o.figure().PNG(f), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return nil
}

// point is a figure's resolution.
const point = 200 * time.Millisecond

// figure shows the run whose goodput is the median: throughput by path, gaps in
// delivery, round trips; thin: the peers'.
func (o *Outcome) figure() *chart.Panels {
	s := &o.Result.Series[0]
	run := middle(s.Bonded)
	rate, gap, rtt := chart.Panel{Unit: "Mbit/s"}, chart.Panel{Unit: "longest gap, ms"}, chart.Panel{Unit: "RTT, ms"}
	for hue, p := range run.Course.Paths {
		l := chart.Line{Name: p.Name, Hue: hue}
		carried := p.Down
		if o.Upload {
			carried = p.Up
		}
		for i := 1; i < len(p.At); i++ {
			if d := p.At[i] - p.At[i-1]; d > 0 {
				l.Points = append(l.Points, chart.Point{X: p.At[i].Seconds(), Y: float64(carried[i]-carried[i-1]) * 8 / 1e6 / d.Seconds()})
			}
		}
		rate.Lines = append(rate.Lines, l)
	}
	add := func(r experiment.Reading, name string, hue int, thin bool) {
		a := r.Course.Arrivals
		delivered := chart.Line{Name: name + ", payload", Hue: hue, Thin: thin}
		gaps, pings := chart.Line{Name: name, Hue: hue, Thin: thin}, chart.Line{Name: name, Hue: hue, Thin: thin}
		for at := time.Duration(0); at+point <= a.Last(); at += point {
			x := (at + point).Seconds()
			delivered.Points = append(delivered.Points, chart.Point{X: x, Y: a.Rate(at, at+point) / 1e6})
			gaps.Points = append(gaps.Points, chart.Point{X: x, Y: milliseconds(a.Gap(at, at+point))})
		}
		for i, at := range r.Pings.At {
			pings.Points = append(pings.Points, chart.Point{X: at.Seconds(), Y: milliseconds(r.Pings.RTTs[i])})
		}
		slices.SortFunc(pings.Points, func(a, b chart.Point) int { return cmp.Compare(a.X, b.X) })
		if !thin {
			rate.Lines = append(rate.Lines, delivered)
		}
		gap.Lines, rtt.Lines = append(gap.Lines, gaps), append(rtt.Lines, pings)
	}
	add(run, "bonded", 4, false)
	var alone []experiment.Reading
	for _, single := range s.Single {
		if len(single) > 0 {
			alone = append(alone, middle(single))
		}
	}
	if len(alone) > 0 {
		best := slices.MaxFunc(alone, func(a, b experiment.Reading) int { return cmp.Compare(a.Goodput, b.Goodput) })
		add(best, "stock, best path", 0, true)
	}
	if len(s.MPTCP) > 0 {
		add(middle(s.MPTCP), "kernel MPTCP", 1, true)
	}
	fig := &chart.Panels{Title: fmt.Sprintf("%s, inner %s, %s", o.Scenario, o.Congestion, o.Way()), X: "seconds", Panels: []chart.Panel{rate, gap}}
	if len(run.Pings.At) > 0 {
		fig.Panels = append(fig.Panels, rtt)
	}
	return fig
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// middle is the reading whose goodput is the median, the lower one of two.
func middle(readings []experiment.Reading) experiment.Reading {
	sorted := slices.SortedFunc(slices.Values(readings), func(a, b experiment.Reading) int { return cmp.Compare(a.Goodput, b.Goodput) })
	return sorted[(len(sorted)-1)/2]
}
