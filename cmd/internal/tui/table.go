package tui

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// row is one path, and what was measured between two answers.
type row struct {
	path    *status.Path
	rates   rates
	share   float64 // of all that all paths of the session carried, 0 to 1
	history []float64
}

// column is one of the table's. Those of a higher rank leave first where the
// screen is too narrow for all.
type column struct {
	title string
	rank  int
	right bool // numbers
	cell  func(*row) string
}

var columns = []column{
	{"PATH", 0, false, func(r *row) string { return r.path.Name }},
	{"STATE", 0, false, func(r *row) string { return status.StateStyle(r.path.State).Render(r.path.State) }},
	{"IN", 0, true, func(r *row) string { return status.Rate(r.rates.rx) }},
	{"OUT", 0, true, func(r *row) string { return status.Rate(r.rates.tx) }},
	{"CARRIES", 3, true, func(r *row) string { return known(r.path.Rate, status.Rate) }},
	{"RTT", 0, true, func(r *row) string { return known(1000*r.path.RTT, milliseconds) }},
	{"LOSS", 1, true, func(r *row) string { return loss(r.path.Loss) }},
	{"SHARE", 1, true, func(r *row) string { return fmt.Sprintf("%.0f %%", 100*r.share) }},
	{"QUEUE", 2, true, func(r *row) string { return status.Bytes(uint64(r.path.Queued)) }},
	{"IN FLIGHT", 4, true, func(r *row) string {
		return fmt.Sprintf("%s of %s", status.Bytes(uint64(r.path.InFlight)), status.Bytes(uint64(r.path.Window)))
	}},
	{"SCHEDULER", 2, false, func(r *row) string { return thinks(r.path) }},
	{"LATELY", 5, false, func(r *row) string { return status.Accent.Render(sparks(r.history)) }},
}

func milliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func known(v float64, show func(float64) string) string {
	if v == 0 {
		return "?"
	}
	return show(v)
}

func loss(ratio float64) string {
	text := fmt.Sprintf("%.1f %%", 100*ratio)
	switch {
	case ratio >= .05:
		return status.Bad.Render(text)
	case ratio >= .005:
		return status.Doubt.Render(text)
	}
	return text
}

// thinks is what the scheduler makes of a path: whether it is used, and what
// the next packet would cost there.
func thinks(p *status.Path) string {
	text := p.Verdict()
	if p.Plan != nil && p.Plan.Use && !p.Plan.Blocked && p.Plan.Cost > 0 {
		text += fmt.Sprintf(", costs %.0f ms", 1000*p.Plan.Cost)
	}
	if p.Plan != nil && p.Plan.Hold > 0 {
		text += fmt.Sprintf(", held %.0f ms", 1000*p.Plan.Hold)
	}
	return text
}

// sparks draws values as bars, the highest of them as high as a line.
func sparks(values []float64) string {
	if len(values) == 0 || slices.Max(values) <= 0 {
		return ""
	}
	top := slices.Max(values)
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(bars[min(int(v/top*float64(len(bars))), len(bars)-1)])
	}
	return b.String()
}

const gap = "  "

// table lays out rows under the columns for which there is room.
func table(rows []row, width int) []string {
	cells := make([][]string, len(columns)) // by column; the title first
	widths := make([]int, len(columns))
	for c, col := range columns {
		cells[c] = []string{faint.Render(col.title)}
		for r := range rows {
			cells[c] = append(cells[c], col.cell(&rows[r]))
		}
		for _, text := range cells[c] {
			widths[c] = max(widths[c], lipgloss.Width(text))
		}
	}
	shown := make([]int, len(columns))
	for c := range shown {
		shown[c] = c
	}
	total := func() (sum int) {
		for _, c := range shown {
			sum += len(gap) + widths[c]
		}
		return sum
	}
	for len(shown) > 1 && total() > width {
		last := slices.MaxFunc(shown, func(a, b int) int { return columns[a].rank - columns[b].rank })
		if columns[last].rank == 0 {
			break // the rest is cut off
		}
		shown = slices.DeleteFunc(shown, func(c int) bool { return c == last })
	}
	lines := make([]string, len(rows)+1)
	for n := range lines {
		var b strings.Builder
		for _, c := range shown {
			fill := strings.Repeat(" ", widths[c]-lipgloss.Width(cells[c][n]))
			if columns[c].right {
				b.WriteString(gap + fill + cells[c][n])
			} else {
				b.WriteString(gap + cells[c][n] + fill)
			}
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
