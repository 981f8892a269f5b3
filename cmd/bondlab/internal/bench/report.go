//go:build linux

package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
)

// Report is a whole bench, complete or so far.
type Report struct {
	Machine  Machine
	Options  Options
	Estimate time.Duration
	Took     time.Duration
	Outcomes []*Outcome
}

type figures map[string]experiment.Metric

// real and virtual are the figures of both, by name; nil: there are none.
func (o *Outcome) real() figures {
	switch {
	case o.Kept != nil:
		return o.Kept.Real
	case !o.measured():
		return nil
	}
	return byName(o.Result)
}

func (o *Outcome) virtual() figures {
	if o.Virtual == nil {
		return nil
	}
	return byName(o.Virtual)
}

// loaded says why the row's figures are not to be trusted; empty: they are, or
// there are none.
func (o *Outcome) loaded() string {
	if o.real() == nil {
		return ""
	}
	return o.Load.Loaded()
}

func byName(r *experiment.Result) figures {
	f := figures{}
	for _, m := range r.Of(r.Series[0]) {
		f[m.Name] = m
	}
	return f
}

// median is a figure for a table; "–" if it is not there.
func (f figures) median(name string) string {
	m, ok := f[name]
	if !ok {
		return "–"
	}
	return number(m.Median)
}

// spread is "0.95 [0.93, 0.97]", or the one figure if it is always the same.
func (f figures) spread(name string) string {
	m, ok := f[name]
	if !ok {
		return "–"
	}
	if m.Min == m.Max {
		return number(m.Median)
	}
	return fmt.Sprintf("%s [%s, %s]", number(m.Median), number(m.Min), number(m.Max))
}

func number(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 20 || v <= -20:
		return fmt.Sprintf("%.1f", v)
	case v == 0:
		return "0"
	}
	return fmt.Sprintf("%.3g", v)
}

// single is the suffix of what stock wireguard-go did over the best path.
const single = "_single_best"

// peer is the same figure of another: name_mptcp, name_single_best. Those of
// the bond alone have names that say so.
func (f figures) peer(name, suffix string) string {
	if f != nil && suffix == single {
		switch name { // by definition
		case "ab":
			return "0"
		case "speedup":
			return "1"
		}
	}
	return f.median(strings.TrimSuffix(name, "_bonded") + suffix)
}

// Markdown writes the tables: against the aims, then all that was measured.
func (r *Report) Markdown(w io.Writer) error {
	var b bytes.Buffer
	kind := "full"
	if r.Options.Quick {
		kind = "quick (short transfers)"
	}
	fmt.Fprintf(&b, "wg-bond %s, %s: %d runs, %s, in %v. Linux %s, %d × %s; load average before %s, after %s.\n\n",
		r.Options.Version, r.Machine.Start.UTC().Format("2006-01-02 15:04 MST"), r.Options.Runs, kind, r.Took.Round(time.Second),
		r.Machine.Kernel, r.Machine.Processors, r.Machine.Processor, r.Machine.LoadBefore, r.Machine.LoadAfter)
	b.WriteString("| scenario | inner TCP | way | figure | aim | real kernel: median [min, max] | virtual time | stock, best path | kernel MPTCP | verdict |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, o := range r.Outcomes {
		real, virtual := o.real(), o.virtual()
		for _, a := range o.Aims {
			verdict := "not measured"
			if len(o.Notes) > 0 {
				verdict = "**failed**" // see the notes
			}
			judged := real
			if r.Options.Virtual {
				judged = virtual
			}
			if m, ok := judged[a.Metric]; ok {
				verdict = "**missed**"
				if a.met(m.Median) {
					verdict = "met"
				}
			}
			if o.loaded() != "" {
				verdict += ", loaded"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %v | %s | %s | %s | %s | %s |\n", o.Scenario, o.Congestion, o.Way(), a.What, a,
				real.spread(a.Metric), virtual.median(a.Metric), real.peer(a.Metric, single), real.peer(a.Metric, "_mptcp"), verdict)
		}
	}
	b.WriteString("\n| scenario | inner TCP | way | Mbit/s | AB | × best | stock, best | MPTCP | ping p50, p95 | gap ms | µs a packet (stock) | virtual Mbit/s | others' processors, late p99 |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, o := range r.Outcomes {
		real := o.real()
		if r.Options.Virtual {
			real = o.virtual()
		}
		if real == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s, %s | %s | %s (%s) | %s | %.2f, %v |\n", o.Scenario, o.Congestion, o.Way(),
			real.spread("goodput_bonded"), real.spread("ab"), real.spread("speedup"), real.median("goodput_single_best"), real.median("goodput_mptcp"),
			real.median("ping_p50"), real.median("ping_p95"), real.median("gap_max"), real.median("cpu_packet"), real.median("cpu_packet_single_best"),
			o.virtual().median("goodput_bonded"), o.Load.Others, o.Load.Late.Round(100*time.Microsecond))
	}
	for i, o := range r.Outcomes {
		if !slices.ContainsFunc(r.Outcomes[:i], func(e *Outcome) bool { return e.Scenario == o.Scenario }) {
			fmt.Fprintf(&b, "\n* *%s*: %s", o.Scenario, o.About)
		}
	}
	b.WriteString("\n")
	for _, o := range r.Outcomes {
		notes := o.Notes
		if o.Kept != nil && o.Kept.Version != r.Options.Version {
			notes = append(notes, "measured of "+o.Kept.Version)
		}
		if why := o.loaded(); why != "" {
			notes = append(notes, "not to be trusted: "+why)
		}
		for _, n := range notes {
			first, _, _ := strings.Cut(n, "\n")
			fmt.Fprintf(&b, "\n* %s: %s", o.Name(), first)
		}
	}
	b.WriteString("\n")
	_, err := w.Write(b.Bytes())
	return err
}

// document is what table.json holds: the machine, and for every row its figures
// by name.
type document struct {
	Version string        `json:"version"`
	Machine Machine       `json:"machine"`
	Runs    int           `json:"runs"`
	Quick   bool          `json:"quick"`
	Took    time.Duration `json:"took_ns"`
	Rows    []*row        `json:"rows"`
}

type row struct {
	Scenario   string   `json:"scenario"`
	Congestion string   `json:"congestion"`
	Direction  string   `json:"direction"`
	Aims       []aim    `json:"aims"`
	Real       figures  `json:"real"`
	Virtual    figures  `json:"virtual"`
	Load       Load     `json:"load"`
	Loaded     string   `json:"loaded,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	// Version and Start are of the bench that measured Real.
	Version string    `json:"version"`
	Start   time.Time `json:"start"`
}

type aim struct {
	Metric string  `json:"metric"`
	AtMost bool    `json:"at_most,omitempty"`
	Value  float64 `json:"value"`
}

// JSON writes one object, a document.
func (r *Report) JSON(w io.Writer) error {
	d := document{Version: r.Options.Version, Machine: r.Machine, Runs: r.Options.Runs, Quick: r.Options.Quick, Took: r.Took}
	for _, o := range r.Outcomes {
		x := &row{
			Scenario: o.Scenario, Congestion: o.Congestion, Direction: o.Way(), Real: o.real(), Virtual: o.virtual(),
			Load: o.Load, Loaded: o.loaded(), Notes: o.Notes, Version: d.Version, Start: d.Machine.Start,
		}
		if o.Kept != nil {
			x.Version, x.Start = o.Kept.Version, o.Kept.Start
		}
		for _, a := range o.Aims {
			x.Aims = append(x.Aims, aim{a.Metric, a.AtMost, a.Value})
		}
		d.Rows = append(d.Rows, x)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// keep has rows keep the figures that Out's table.json has of as many runs, as
// long; those that something disturbed until they are measured again.
func (r *Report) keep() error {
	name := filepath.Join(r.Options.Out, "table.json")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("%s: found what no bench wrote: %w; move it away to begin anew", name, err)
	}
	if d.Runs != r.Options.Runs || d.Quick != r.Options.Quick {
		return fmt.Errorf("%s: found a bench of %d runs (quick: %v); want one of %d (%v) to go on with, or another directory", name, d.Runs, d.Quick, r.Options.Runs, r.Options.Quick)
	}
	for _, x := range d.Rows {
		// (One that is too long has a note that it is measured but once.)
		if x.Real == nil || len(x.Notes) > 0 && !slices.Contains(tooLong, x.Scenario) {
			continue
		}
		for _, o := range r.Outcomes {
			if o.Scenario == x.Scenario && o.Congestion == x.Congestion && o.Way() == x.Direction {
				x.Version = cmp.Or(x.Version, d.Version)
				o.Kept, o.Load, o.Notes, o.again = x, x.Load, x.Notes, x.Loaded != ""
			}
		}
	}
	return nil
}

// write puts the reports where the options say.
func (r *Report) write() error {
	if r.Options.Out != "" {
		for name, to := range map[string]func(io.Writer) error{"table.md": r.Markdown, "table.json": r.JSON} {
			f, err := create(r.Options.Out, name)
			if err != nil {
				return err
			}
			if err := errors.Join(to(f), f.Close()); err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
		}
	}
	if r.Options.Docs == "" {
		return nil
	}
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		return err
	}
	old, err := os.ReadFile(r.Options.Docs)
	if err != nil {
		return err
	}
	text, err := Update(string(old), b.String())
	if err != nil {
		return fmt.Errorf("%s: %w", r.Options.Docs, err)
	}
	return os.WriteFile(r.Options.Docs, []byte(text), 0o644)
}

// The lines of a Markdown file between which Update puts its tables.
const (
	beginMark = "<!-- bondlab bench: begin -->"
	endMark   = "<!-- bondlab bench: end -->"
)

// Update puts tables between the marks in a document, in place of what is there.
func Update(doc, tables string) (string, error) {
	head, rest, ok := strings.Cut(doc, beginMark+"\n")
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("found no lines %q and, after it, %q: put them where the tables shall be", beginMark, endMark)
	}
	return head + beginMark + "\n\n" + strings.TrimSpace(tables) + "\n\n" + endMark + tail, nil
}
