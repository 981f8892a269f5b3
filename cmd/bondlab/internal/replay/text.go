package replay

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

func mbit(bytesPerSecond float64) float64 { return bytesPerSecond * 8 / 1e6 }

// Summary writes what the trace is of.
func (r *Run) Summary(w io.Writer) error {
	b := bufio.NewWriter(w)
	h := &r.Header
	fmt.Fprintf(b, "%s", orUnknown(h.Role))
	for _, f := range []struct{ name, value string }{{"session", h.Session}, {"scenario", h.Scenario}, {"started", h.Started}} {
		if f.value != "" {
			fmt.Fprintf(b, ", %s %s", f.name, f.value)
		}
	}
	if h.Seed != 0 {
		fmt.Fprintf(b, ", seed %d", h.Seed)
	}
	kind := "got"
	if r.sending {
		kind = "sent and reported delivered"
	}
	all := 0
	for i := range r.ticks {
		all += r.total(&r.ticks[i])
	}
	took := r.To - r.From
	fmt.Fprintf(b, "\n%v to %v: %.1f MB %s, %.2f Mbit/s\n", r.From, r.To, float64(all)/1e6, kind, mbit(float64(all)/took.Seconds()))
	return b.Flush()
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown role"
	}
	return s
}

// columns explains those of Table and Zoom.
const columns = `sent, deliv, got, rate: Mbit/s sent, reported delivered, received, and the estimate that paces; again: % of sent sent before;
srtt/min, queue: ms, the last what one-way delay is above its minimum; flight/win, wait: kB under way, allowed, waiting for the pacer;
lost: packets; share: % of all sent; slack, full: % of the time that the path lacked packets, or filled its window
`

// Table writes a row for every second and path, and one for all paths; path −1:
// all of them.
func (r *Run) Table(w io.Writer, path int) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, columns)
	fmt.Fprintf(b, "\n%8s %-10s %7s %7s %7s %7s %5s %9s %6s %10s %6s %5s %5s %5s %5s  %s\n",
		"second", "path", "sent", "deliv", "got", "rate", "again", "srtt/min", "queue", "flight/win", "wait", "lost", "share", "slack", "full", "mode")
	per := int(time.Second / tickLength)
	for i := 0; i < len(r.ticks); i += per {
		part := r.ticks[i:min(i+per, len(r.ticks))]
		at := (r.From + time.Duration(i)*tickLength).Seconds()
		sent := 0
		for j := range part {
			for k := range part[j].paths {
				sent += part[j].paths[k].sent
			}
		}
		for _, id := range r.Paths() {
			if (path < 0 || path == int(id)) && there(part, id) {
				fmt.Fprintf(b, "%8.2f ", at)
				r.row(b, id, part, sent)
			}
		}
		if path < 0 {
			fmt.Fprintf(b, "%8.2f ", at)
			r.sum(b, part)
		}
	}
	return b.Flush()
}

// there reports whether a path was there in the last of some ticks, or at work
// in any.
func there(part []tick, id schedulers.PathID) bool {
	for i := range part {
		if t := &part[i].paths[id]; t.sent+t.got+t.acked+t.control > 0 {
			return true
		}
	}
	state := part[len(part)-1].paths[id].state
	return state != "" && state != "gone"
}

// row writes one path's part of some ticks.
func (r *Run) row(b io.Writer, id schedulers.PathID, part []tick, sentByAll int) {
	var p pathTick
	slack, full := 0, 0
	for i := range part {
		t := &part[i].paths[id]
		p.sent += t.sent
		p.again += t.again
		p.acked += t.acked
		p.got += t.got
		p.lost += t.lost
		slack += count(t.slack)
		full += count(t.full)
	}
	last := &part[len(part)-1].paths[id]
	took := (time.Duration(len(part)) * tickLength).Seconds()
	rate := func(bytes int) string { return figure(mbit(float64(bytes) / took)) }
	fmt.Fprintf(b, "%-10s %7s %7s %7s %7s %5s %9s %6s %10s %6s %5s %5s %5s %5s  %s\n",
		clip(r.Name(id), 10), rate(p.sent), rate(p.acked), rate(p.got), figure(mbit(float64(last.rate))),
		percent(p.again, p.sent), pair(ms(last.srtt), ms(last.minRTT)), ms(last.queueing),
		pair(kB(last.inFlight), kB(last.window)), kB(last.queued), whole(p.lost), percent(p.sent, sentByAll),
		percent(slack, len(part)), percent(full, len(part)), strings.Trim(last.state+" "+last.mode, " "))
}

// sum writes the session's part of some ticks.
func (r *Run) sum(b io.Writer, part []tick) {
	var sent, acked, got, queue, held int
	var t tick
	for i := range part {
		x := &part[i]
		for j := range x.paths {
			sent += x.paths[j].sent
			acked += x.paths[j].acked
			got += x.paths[j].got
		}
		queue, held = max(queue, x.queue), max(held, x.held)
		t.waited, t.gap = max(t.waited, x.waited), max(t.gap, x.gap)
		t.released += x.released
		t.heldFor += x.heldFor
		t.voids += x.voids
		t.disorder += x.disorder
	}
	took := (time.Duration(len(part)) * tickLength).Seconds()
	rate := func(bytes int) string { return figure(mbit(float64(bytes) / took)) }
	fmt.Fprintf(b, "%-10s %7s %7s %7s  ", "all", rate(sent), rate(acked), rate(got))
	var more []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			more = append(more, fmt.Sprintf(format, args...))
		}
	}
	add(t.waited > 0, "sent after %s ms at most", ms(t.waited))
	add(queue > 0, "queue %s kB", kB(queue))
	add(t.released > 0, "%d reordered by %s ms, longest gap %s ms, held %d", t.released, ms(t.heldFor/trace.Micros(max(t.released, 1))), ms(t.gap), held)
	add(t.voids > 0, "%d given up", t.voids)
	add(t.disorder > 0, "%d out of order", t.disorder)
	fmt.Fprintln(b, strings.Join(more, "; "))
}

// Notes writes what is worth noting, of one path or (−1) of all, between two
// times.
func (r *Run) Notes(w io.Writer, path int, from, to time.Duration) error {
	b := bufio.NewWriter(w)
	for _, n := range r.notes {
		if n.T >= from && n.T < to && (path < 0 || n.Path < 0 || n.Path == path) {
			fmt.Fprintf(b, "%s\n", r.noteLine(n))
		}
	}
	return b.Flush()
}

func (r *Run) noteLine(n Note) string {
	who := ""
	if n.Path >= 0 {
		who = r.Name(schedulers.PathID(n.Path)) + ": "
	}
	return fmt.Sprintf("%10.3f  %s%s", n.T.Seconds(), who, n.Text)
}

// Worst is the beginning of the second in which the least got through, once
// the session had come up to its usual rate; false if the trace has no second
// to compare with. Idle times are none: nothing through, nothing waiting, for
// longer than an outage may take.
func (r *Run) Worst() (time.Duration, bool) {
	per, step := int(time.Second/tickLength), int(100*time.Millisecond/tickLength)
	totals := make([]int, len(r.ticks))
	for i := range r.ticks {
		totals[i] = r.total(&r.ticks[i])
	}
	// What is after the last packet is no second of the transfer.
	for len(totals) > 0 && totals[len(totals)-1] == 0 {
		totals = totals[:len(totals)-1]
	}
	idle := r.idle()
	var sums, busy []int // busy: of the seconds without idle times
	for i := 0; i+per <= len(totals); i += step {
		n := 0
		for _, x := range totals[i : i+per] {
			n += x
		}
		sums = append(sums, n)
		if !slices.Contains(idle[i:i+per], true) {
			busy = append(busy, n)
		}
	}
	if len(busy) < 2 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(busy))
	usual := sorted[len(sorted)/2]
	begin := 0
	for i := range sums {
		n := 0
		for _, x := range totals[i*step : (i+1)*step] {
			n += x
		}
		if n*per*5 >= usual*step*4 {
			begin = i
			break
		}
	}
	worst := -1
	for i := begin; i < len(sums); i++ {
		switch {
		case slices.Contains(idle[i*step:i*step+per], true):
			continue
		case worst < 0 || sums[i] < sums[worst] || sums[i] == sums[worst] && r.longest(i*step, per) > r.longest(worst*step, per):
			worst = i
		}
	}
	if worst < 0 {
		return 0, false
	}
	return r.From + time.Duration(worst*step)*tickLength, true
}

// idleAfter is the longest time without anything that counts as an outage.
const idleAfter = time.Second

// idle tells of each tick whether it is of a time with nothing to do.
func (r *Run) idle() []bool {
	idle := make([]bool, len(r.ticks))
	from := 0
	for i := range len(r.ticks) + 1 {
		if i < len(r.ticks) && r.total(&r.ticks[i]) == 0 && r.ticks[i].queue == 0 && r.ticks[i].held == 0 {
			continue
		}
		if time.Duration(i-from)*tickLength >= idleAfter {
			for j := from; j < i; j++ {
				idle[j] = true
			}
		}
		from = i + 1
	}
	return idle
}

// longest is the longest gap that ended in n ticks from i on.
func (r *Run) longest(i, n int) (gap trace.Micros) {
	for _, t := range r.ticks[i : i+n] {
		gap = max(gap, t.gap)
	}
	return gap
}

// zoomStep is a row of Zoom.
const zoomStep = 40 * time.Millisecond

// Zoom writes a timeline of one second: a row for every path each 40 ms, with
// the notes between them.
func (r *Run) Zoom(w io.Writer, path int, from time.Duration) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%8s %-10s %7s %7s %7s %7s %6s %6s %11s %6s %5s %5s  %s\n",
		"ms", "path", "sent", "deliv", "got", "rate", "srtt", "queue", "flight/win", "wait", "lost", "again", "")
	per := int(zoomStep / tickLength)
	first := int((from - r.From) / tickLength)
	notes := slices.DeleteFunc(slices.Clone(r.notes), func(n Note) bool {
		return n.T < from || path >= 0 && n.Path >= 0 && n.Path != path
	})
	for i := first; i < min(first+int(time.Second/tickLength), len(r.ticks)); i += per {
		part := r.ticks[i:min(i+per, len(r.ticks))]
		at := r.From + time.Duration(i)*tickLength
		for _, id := range r.Paths() {
			if (path < 0 || path == int(id)) && there(part, id) {
				fmt.Fprintf(b, "%8.0f ", (at-from).Seconds()*1e3)
				r.zoomRow(b, id, part)
			}
		}
		for len(notes) > 0 && notes[0].T < at+zoomStep {
			fmt.Fprintf(b, "%s\n", r.noteLine(notes[0]))
			notes = notes[1:]
		}
	}
	return b.Flush()
}

func (r *Run) zoomRow(b io.Writer, id schedulers.PathID, part []tick) {
	var sent, acked, got, lost, again int
	var marks []string
	full, slack := false, false
	for i := range part {
		t := &part[i].paths[id]
		sent, acked, got = sent+t.sent, acked+t.acked, got+t.got
		lost, again = lost+t.lost, again+t.repairs
		full, slack = full || t.full, slack || t.slack
	}
	if full {
		marks = append(marks, "full")
	}
	if slack {
		marks = append(marks, "slack")
	}
	last := &part[len(part)-1].paths[id]
	marks = append(marks, last.state, last.mode)
	took := (time.Duration(len(part)) * tickLength).Seconds()
	rate := func(bytes int) string { return figure(mbit(float64(bytes) / took)) }
	fmt.Fprintf(b, "%-10s %7s %7s %7s %7s %6s %6s %11s %6s %5s %5s  %s\n",
		clip(r.Name(id), 10), rate(sent), rate(acked), rate(got), figure(mbit(float64(last.rate))), ms(last.srtt), ms(last.queueing),
		pair(kB(last.inFlight), kB(last.window)), kB(last.queued), whole(lost), whole(again), strings.Trim(strings.Join(marks, " "), " "))
}

// Figures, short: nothing is a dot, so that something stands out.

const nothing = "·"

func figure(v float64) string {
	switch {
	case v == 0:
		return nothing
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func whole(n int) string {
	if n == 0 {
		return nothing
	}
	return fmt.Sprint(n)
}

func percent(part, all int) string {
	if part == 0 || all == 0 {
		return nothing
	}
	if p := 100 * float64(part) / float64(all); p < 9.95 {
		return fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("%.0f", 100*float64(part)/float64(all))
}

func ms(m trace.Micros) string {
	if m == 0 {
		return nothing
	}
	return fmt.Sprintf("%.0f", float64(m)/1e3)
}

func kB(bytes int) string {
	if bytes == 0 {
		return nothing
	}
	return fmt.Sprintf("%.0f", float64(bytes)/1e3)
}

func pair(a, b string) string {
	if a == nothing && b == nothing {
		return nothing
	}
	return a + "/" + b
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clip cuts a name to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
