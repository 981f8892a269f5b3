//go:build linux

package experiment

import (
	"fmt"
	"io"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
)

// WriteJSON writes one object: scenario, runs, metrics by name.
func (r *Result) WriteJSON(w io.Writer) error {
	return writeJSON(w, r.Scenario.Name, r.Runs, r.Metrics())
}

// WriteTable writes the figures and a chart of the rates for people.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "\n%s: %s\n\n", r.Scenario.Name, r.Scenario.About)
	if err := writeMetrics(w, r.Metrics()); err != nil {
		return err
	}
	for _, s := range r.Series {
		if err := r.chart(w, s); err != nil {
			return err
		}
	}
	return nil
}

func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// chart draws mean goodputs as bars, up to the sum of the single paths.
func (r *Result) chart(w io.Writer, s Series) error {
	const width = 50
	goodput := func(r Reading) float64 { return r.Goodput / 1e6 }
	type bar struct {
		name string
		rate float64
	}
	var bars []bar
	sum := 0.
	for k, readings := range s.Single {
		rate := measure.Mean(each(readings, goodput))
		bars = append(bars, bar{r.Scenario.Links[k].Name, rate})
		sum += rate
	}
	if len(s.Bonded) > 0 {
		bars = append(bars, bar{"bonded", measure.Mean(each(s.Bonded, goodput))})
	}
	bars = append(bars, bar{"(sum)", sum})
	full := sum
	for _, b := range bars {
		full = max(full, b.rate)
	}
	if _, err := fmt.Fprintf(w, "\nmean goodput, inner %s\n", s.Congestion); err != nil {
		return err
	}
	for _, b := range bars {
		n := 0
		if full > 0 {
			n = int(b.rate / full * width)
		}
		if _, err := fmt.Fprintf(w, "%9s  %-*s %6.2f Mbit/s\n", b.name, width, strings.Repeat("█", n), b.rate); err != nil {
			return err
		}
	}
	return nil
}
