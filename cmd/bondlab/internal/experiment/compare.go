//go:build linux

package experiment

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
)

// Comparison is readings of all paths bonded, by who decides.
type Comparison struct {
	Scenario string
	Subjects []Compared // the first is what the others are compared with
}

// Compared is one scheduler, or some that took turns, with one congestion
// control.
type Compared struct {
	Name, Congestion string
	Readings         []Reading // one a run
}

// Compare measures with each scheduler, as lab.Use takes them, and if swaps is
// not 0 also with so many changes among them, spread over the transfer. They
// alternate, so that a change of the machine's load meets all.
func Compare(l *lab.Lab, p Plan, schedulers []string, swaps int) (*Comparison, error) {
	w := &l.Scenario.Workload
	c := &Comparison{Scenario: l.Scenario.Name}
	during := lab.Swaps{Among: schedulers, Times: swaps}
	if swaps > 0 {
		if w.Bulk == 0 {
			return nil, fmt.Errorf("the scenario %s is a download of %d bytes; want one of bulk for swaps, like unequal", c.Scenario, w.Download)
		}
		// Some time is left at the end, for swaps take theirs.
		during.After = time.Duration(w.Skip)
		during.Every = (time.Duration(w.Bulk-w.Skip) * 9 / 10) / time.Duration(swaps)
	}
	for run := range p.Runs {
		i := 0
		for _, cc := range w.Congestions() {
			for k := range len(schedulers) + min(swaps, 1) {
				one := Compared{Congestion: cc}
				if k < len(schedulers) {
					one.Name = schedulers[k]
					l.Options.Scheduler, l.Options.Swaps = schedulers[k], lab.Swaps{}
				} else {
					one.Name = fmt.Sprintf("%d swaps of %s", swaps, strings.Join(schedulers, ", "))
					// The first swap is for another.
					l.Options.Scheduler, l.Options.Swaps = schedulers[len(schedulers)-1], during
				}
				if run == 0 {
					c.Subjects = append(c.Subjects, one)
				}
				got, err := bonded(l, cc)
				if err != nil {
					return c, fmt.Errorf("run %d, %s: %w", run+1, one.Name, err)
				}
				c.Subjects[i].Readings = append(c.Subjects[i].Readings, got)
				p.Progress("run %d/%d  %s, %s: %.2f Mbit/s, gap %d ms\n", run+1, p.Runs, one.Name, cc, got.Goodput/1e6, got.Gap.Milliseconds())
				i++
			}
		}
	}
	return c, nil
}

type comparedFigure struct {
	name, unit string
	of         func(Reading) float64
}

// comparedFigures are what Comparison prints, each a median over the runs.
var comparedFigures = []comparedFigure{
	{"goodput", "Mbit/s", func(r Reading) float64 { return r.Goodput / 1e6 }},
	{"time", "s", func(r Reading) float64 { return r.Took.Seconds() }},
	{"ping_p50", "ms", func(r Reading) float64 { return ms(measure.Quantile(r.Pings.RTTs, .5)) }},
	{"ping_p95", "ms", func(r Reading) float64 { return ms(measure.Quantile(r.Pings.RTTs, .95)) }},
	{"ping_lost", "packets", func(r Reading) float64 { return float64(r.Pings.Sent - len(r.Pings.RTTs)) }},
	{"ping_gap", "ms", func(r Reading) float64 { return ms(r.Pings.Gap) }},
	{"gap", "ms", func(r Reading) float64 { return ms(r.Gap) }},
}

// WriteTable writes a row for each, goodputs also as a ratio to the first with
// the same congestion control, with the spread over the runs.
func (c *Comparison) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n%s, bonded, medians\t", c.Scenario)
	figures := slices.DeleteFunc(slices.Clone(comparedFigures), func(f comparedFigure) bool {
		return f.name == "time" && f.of(c.Subjects[0].Readings[0]) == 0 // bulk
	})
	for _, f := range figures {
		fmt.Fprintf(t, "%s %s\t", f.name, f.unit)
	}
	fmt.Fprintf(t, "of the first\tgoodput min to max\t\n")
	for _, s := range c.Subjects {
		fmt.Fprintf(t, "%s, %s\t", s.Name, s.Congestion)
		for _, f := range figures {
			fmt.Fprintf(t, "%s\t", figure(measure.Median(each(s.Readings, f.of))))
		}
		goodput := comparedFigures[0].of
		all := each(s.Readings, goodput)
		first := slices.IndexFunc(c.Subjects, func(o Compared) bool { return o.Congestion == s.Congestion })
		fmt.Fprintf(t, "%.3f\t%s to %s\t\n", measure.Median(all)/measure.Median(each(c.Subjects[first].Readings, goodput)),
			figure(slices.Min(all)), figure(slices.Max(all)))
	}
	return t.Flush()
}

// WriteJSON writes one object: the scenario, and of each subject its figures.
func (c *Comparison) WriteJSON(w io.Writer) error {
	type subject struct {
		Scheduler  string            `json:"scheduler"`
		Congestion string            `json:"congestion"`
		Metrics    map[string]Metric `json:"metrics"`
	}
	out := struct {
		Scenario string    `json:"scenario"`
		Subjects []subject `json:"subjects"`
	}{Scenario: c.Scenario}
	for _, s := range c.Subjects {
		one := subject{s.Name, s.Congestion, map[string]Metric{}}
		for _, f := range comparedFigures {
			v := each(s.Readings, f.of)
			one.Metrics[f.name] = Metric{f.name, measure.Median(v), slices.Min(v), slices.Max(v), f.unit}
		}
		out.Subjects = append(out.Subjects, one)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
