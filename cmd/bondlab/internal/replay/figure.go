package replay

import (
	"math"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/chart"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// figureStep is one point of a Figure; longer if there would be too many.
const (
	figureStep   = 100 * time.Millisecond
	figurePoints = 1200
)

// Figure shows throughput, round-trip time and waiting over time; path −1: of
// all paths.
func (r *Run) Figure(path int) *chart.Panels {
	var title []string
	for _, s := range []string{r.Header.Scenario, r.Header.Role, r.Header.Session} {
		if s != "" {
			title = append(title, s)
		}
	}
	fig := &chart.Panels{Title: strings.Join(title, ", "), X: "seconds"}
	rate := chart.Panel{Unit: "Mbit/s"}
	rtt := chart.Panel{Unit: "RTT, ms"}
	wait := chart.Panel{Unit: "waiting, ms"}

	step := r.step()
	sum := chart.Line{Name: "all", Hue: 4}
	for i := 0; i < len(r.ticks); i += step {
		n := 0
		part := r.ticks[i:min(i+step, len(r.ticks))]
		for j := range part {
			n += r.total(&part[j])
		}
		sum.Points = append(sum.Points, chart.Point{X: r.at(i), Y: mbit(float64(n) / (time.Duration(len(part)) * tickLength).Seconds())})
	}
	ids := r.Paths()
	for hue, id := range ids {
		if path >= 0 && path != int(id) {
			continue
		}
		name := r.Name(id)
		carried := chart.Line{Name: name, Hue: hue}
		estimate := chart.Line{Name: name + ", estimate", Hue: hue, Thin: true}
		srtt := chart.Line{Name: name, Hue: hue}
		lowest := chart.Line{Name: name + ", lowest", Hue: hue, Thin: true}
		for i := 0; i < len(r.ticks); i += step {
			part := r.ticks[i:min(i+step, len(r.ticks))]
			n := 0
			for j := range part {
				n += r.carried(&part[j].paths[id])
			}
			last := &part[len(part)-1].paths[id]
			add := func(l *chart.Line, y float64) { l.Points = append(l.Points, chart.Point{X: r.at(i), Y: y}) }
			add(&carried, mbit(float64(n)/(time.Duration(len(part))*tickLength).Seconds()))
			add(&estimate, known(mbit(float64(last.rate))))
			add(&srtt, known(float64(last.srtt)/1e3))
			add(&lowest, known(float64(last.minRTT)/1e3))
		}
		rate.Lines = append(rate.Lines, carried)
		if r.sending {
			rate.Lines = append(rate.Lines, estimate)
		}
		rtt.Lines = append(rtt.Lines, srtt, lowest)
	}
	if path < 0 && len(ids) > 1 {
		rate.Lines = append(rate.Lines, sum)
	}
	wait.Lines = r.waits(step)
	fig.Panels = []chart.Panel{rate, rtt}
	if len(wait.Lines) > 0 {
		fig.Panels = append(fig.Panels, wait)
	}
	return fig
}

// known breaks a line where a value is not known.
func known(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

// step is a point's length in ticks.
func (r *Run) step() int {
	step := int(figureStep / tickLength)
	return max(step, (len(r.ticks)+figurePoints-1)/figurePoints)
}

// at is a tick's time on the x axis.
func (r *Run) at(i int) float64 { return (r.From + time.Duration(i)*tickLength).Seconds() }

// waits are the lines of what waits for what.
func (r *Run) waits(step int) (lines []chart.Line) {
	for hue, l := range []struct {
		name string
		of   func(part []tick) trace.Micros
	}{
		{"sent after (longest)", func(part []tick) (w trace.Micros) {
			for i := range part {
				w = max(w, part[i].waited)
			}
			return w
		}},
		{"reordered by (mean)", func(part []tick) trace.Micros {
			var n uint64
			var sum trace.Micros
			for i := range part {
				n += part[i].released
				sum += part[i].heldFor
			}
			return sum / trace.Micros(max(n, 1))
		}},
		{"longest gap", func(part []tick) (w trace.Micros) {
			for i := range part {
				w = max(w, part[i].gap)
			}
			return w
		}},
	} {
		line, any := chart.Line{Name: l.name, Hue: hue}, false
		for i := 0; i < len(r.ticks); i += step {
			w := l.of(r.ticks[i:min(i+step, len(r.ticks))])
			any = any || w > 0
			line.Points = append(line.Points, chart.Point{X: r.at(i), Y: float64(w) / 1e3})
		}
		if any {
			lines = append(lines, line)
		}
	}
	return lines
}
