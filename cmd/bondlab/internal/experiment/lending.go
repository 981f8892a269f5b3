//go:build linux

package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
)

// settle is how long after a change of what runs nothing is measured.
const settle = 2 * time.Second

// Lent is the readings of a lending scenario.
type Lent struct {
	Scenario *scenario.Scenario
	Runs     int
	Cases    []LentCase
}

// LentCase is one direction with one queue and one congestion control of the
// lender's, and its readings, one a run.
type LentCase struct {
	Up         bool
	Queue      time.Duration
	Congestion string
	Readings   []LentReading
}

// turns is how often the owner's transfer is alone, with the borrower beside it
// between one time and the next: what drifts, as a queue does that CUBIC fills,
// is then no difference.
const turns = 3

// LentReading is what one run showed. Rates are bit/s.
type LentReading struct {
	// The owner's payload while it transfers, and the median of its pings: alone,
	// beside the borrower, alone again and so on.
	Own   [2*turns - 1]float64
	Pings [2*turns - 1]time.Duration
	// The median of all its pings while it transfers alone, and beside the borrower.
	PingOwn, PingBeside time.Duration
	// What the link carried besides the owner's packets while the owner transferred
	// and the borrower joined in.
	Beside float64
	// What the borrower took of what the owner left: all, and half.
	TakenIdle, TakenHalf float64
	// The owner's pings on the idle link and then with the borrower; while it uses
	// half alone, and then with the borrower.
	PingQuiet, PingIdle, PingAlone, PingHalf time.Duration
}

func (c *LentCase) name() string {
	way := "down"
	if c.Up {
		way = "up"
	}
	return fmt.Sprintf("%s_%s_%s", way, c.Queue, c.Congestion)
}

// kept is the share of its rate that the owner keeps.
func (r *LentReading) kept() float64 {
	var alone, beside float64
	for i, rate := range r.Own {
		if i%2 == 0 {
			alone += rate / turns
		} else {
			beside += rate / (turns - 1)
		}
	}
	return beside / alone
}

// taken is the least share of what was left that the borrower took.
func (r *LentReading) taken() float64 { return min(r.TakenIdle, r.TakenHalf) }

// rise is by how much the owner's ping rose at most.
func (r *LentReading) rise() time.Duration {
	return max(r.PingBeside-r.PingOwn, r.PingIdle-r.PingQuiet, r.PingHalf-r.PingAlone)
}

// Lend measures a lending scenario.
func Lend(l *lab.Lab, p Plan) (*Lent, error) {
	out := &Lent{Scenario: l.Scenario, Runs: p.Runs}
	for _, up := range []bool{false, true} {
		for _, queue := range l.Scenario.Lending.Queues {
			for _, cc := range l.Scenario.Workload.Congestions() {
				if err := CheckCongestion(l, cc); err != nil {
					return nil, err
				}
				out.Cases = append(out.Cases, LentCase{Up: up, Queue: time.Duration(queue), Congestion: cc})
			}
		}
	}
	for run := range p.Runs {
		for i := range out.Cases {
			c := &out.Cases[i]
			got, err := lend(l, c)
			if err != nil {
				return out, fmt.Errorf("run %d, %s: %w", run+1, c.name(), err)
			}
			c.Readings = append(c.Readings, got)
			p.Progress("run %d/%d  %-16s owner %s Mbit/s, ping %s, in all %.0f and %.0f ms, %.3f Mbit/s beside it; taken %.3f of all, %.3f of half, ping %.0f, %.0f; %.0f, %.0f ms\n",
				run+1, p.Runs, c.name(), list(got.Own[:], "%.2f", func(r float64) float64 { return r / 1e6 }), list(got.Pings[:], "%.0f", ms),
				ms(got.PingOwn), ms(got.PingBeside), got.Beside/1e6, got.TakenIdle, got.TakenHalf,
				ms(got.PingQuiet), ms(got.PingIdle), ms(got.PingAlone), ms(got.PingHalf))
		}
	}
	return out, nil
}

// list writes figures one behind the other.
func list[T any](all []T, format string, of func(T) float64) string {
	var text []string
	for _, v := range all {
		text = append(text, fmt.Sprintf(format, of(v)))
	}
	return strings.Join(text, ", ")
}

// lend is one run of one case.
func lend(l *lab.Lab, c *LentCase) (LentReading, error) {
	link := l.Links[slices.IndexFunc(l.Links, func(k *lab.Link) bool { return k.Name == l.Scenario.Lending.Link })]
	link.Down.Queue = scenario.Queue{Time: scenario.Duration(c.Queue)}
	link.Up.Queue = link.Down.Queue
	if err := l.ConfigureLinks(false, nil); err != nil {
		return LentReading{}, err
	}
	client, err := l.StartBond(l.Links)
	var got LentReading
	if err == nil {
		m := &lending{l: l, c: c, link: link, owner: l.Host(link.Via), epoch: time.Now()}
		err = m.run(&got)
		l.LogStatus()
		m.stop()
	}
	if client != nil {
		err = errors.Join(err, client.Stop())
	}
	return got, err
}

// lending is a run under way.
type lending struct {
	l              *lab.Lab
	c              *LentCase
	link           *lab.Link
	owner          *sandbox.Host
	epoch          time.Time
	owns, borrowed *measure.Running // nil: nothing runs
}

// stop ends what still runs after a failure.
func (m *lending) stop() {
	for _, f := range []*measure.Running{m.owns, m.borrowed} {
		if f != nil {
			f.Stop()
		}
	}
}

// own starts the owner's flow with the server, outside the tunnel: of so many
// bit/s, or all that goes if 0.
func (m *lending) own(rate float64) (err error) {
	m.owns, err = measure.Flow{Client: m.owner, Server: m.l.Host(lab.Server), Addr: m.l.ServerAddr(),
		Up: m.c.Up, Congestion: m.c.Congestion, Rate: rate}.Start(m.epoch)
	return err
}

// borrow starts the borrower's, through the tunnel.
func (m *lending) borrow() (err error) {
	m.borrowed, err = measure.Flow{Client: m.l.Host(lab.Borrower), Server: m.l.Host(lab.Web), Addr: lab.WebAddr,
		Up: m.c.Up, Congestion: "cubic"}.Start(m.epoch)
	return err
}

func end(f **measure.Running) *measure.Arrivals {
	a := (*f).Stop()
	*f = nil
	return a
}

// part is a time that is measured.
type part struct {
	from, to time.Duration // since epoch
	carried  uint64        // by the link, bytes
	pings    []time.Duration
}

func (p *part) ping() time.Duration { return measure.Quantile(p.pings, .5) }

// measure lets a phase go by, after things have settled.
func (m *lending) measure() (part, error) {
	time.Sleep(settle)
	pinger, err := measure.StartPings(m.owner, m.l.ServerAddr(), time.Duration(m.l.Scenario.Workload.Ping))
	if err != nil {
		return part{}, err
	}
	before := m.carried()
	p := part{from: time.Since(m.epoch)}
	time.Sleep(time.Duration(m.l.Scenario.Lending.Phase))
	p.to = time.Since(m.epoch)
	p.carried = m.carried() - before
	p.pings = pinger.Stop().RTTs
	return p, nil
}

// carried is what the link delivered so far in the case's direction, bytes.
func (m *lending) carried() uint64 {
	down, up := m.link.Carried()
	if m.c.Up {
		return up.Bytes
	}
	return down.Bytes
}

// ownerOverhead is what an IP packet of the owner's has beside 1448 bytes of
// payload.
const ownerOverhead = 1500. / 1448

// taken is the share of what the owner left in a part that somebody else took.
func (m *lending) taken(p part, owns *measure.Arrivals) float64 {
	d := &m.link.Down
	if m.c.Up {
		d = &m.link.Up
	}
	own := 0.
	if owns != nil {
		own = owns.Rate(p.from, p.to) * ownerOverhead
	}
	return m.beside(p, owns) / (float64(d.Rate) - own)
}

// beside is what the link carried in a part besides the owner's packets, bit/s.
func (m *lending) beside(p part, owns *measure.Arrivals) float64 {
	rate := float64(p.carried) * 8 / (p.to - p.from).Seconds()
	if owns != nil {
		rate -= owns.Rate(p.from, p.to) * ownerOverhead
	}
	return rate
}

// run has the owner use half of what the link carries, then lets the borrower
// have the idle link, and the owner joins in with half again; after a pause the
// owner transfers all along, and the borrower joins in and ends, in turns.
func (m *lending) run(got *LentReading) error {
	none := func() error { return nil }
	useHalf := func() error { return m.own(float64(m.link.Down.Rate) / 2 / ownerOverhead) }
	borrowIdle := func() error { end(&m.owns); return m.borrow() }
	var half, all *measure.Arrivals
	useAll := func() error { half = end(&m.owns); end(&m.borrowed); return m.own(0) }
	endBorrowing := func() error { end(&m.borrowed); return nil }

	steps := []func() error{none, useHalf, borrowIdle, useHalf, useAll}
	first := len(steps) - 1
	for range turns - 1 {
		steps = append(steps, m.borrow, endBorrowing)
	}
	parts := make([]part, len(steps))
	for i, step := range steps {
		err := step()
		if err == nil {
			parts[i], err = m.measure()
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	all = end(&m.owns)
	*got = LentReading{
		TakenIdle: m.taken(parts[2], nil), TakenHalf: m.taken(parts[3], half),
		PingQuiet: parts[0].ping(), PingAlone: parts[1].ping(), PingIdle: parts[2].ping(), PingHalf: parts[3].ping(),
	}
	var alone, beside []time.Duration
	for i, p := range parts[first:] {
		got.Own[i], got.Pings[i] = all.Rate(p.from, p.to), p.ping()
		if i%2 == 0 {
			alone = append(alone, p.pings...)
		} else {
			beside = append(beside, p.pings...)
			got.Beside += m.beside(p, all) / (turns - 1)
		}
	}
	got.PingOwn, got.PingBeside = measure.Quantile(alone, .5), measure.Quantile(beside, .5)
	return nil
}

// Metrics are the figures over all cases and runs, then those of each case with
// its name behind theirs.
//
//	owner_kept       the owner's rate while the borrower borrows, over that without
//	taken_of_spare   what the borrower takes of what the owner leaves, at least
//	owner_ping_rise  by how much the owner's median ping rises, at most of three: while it
//	                 transfers, uses half, does nothing
func (r *Lent) Metrics() []Metric {
	cases := map[string][]LentReading{}
	var names []string
	for i := range r.Cases {
		c := &r.Cases[i]
		names = append(names, c.name())
		cases[c.name()] = c.Readings
	}
	return summary(names, cases, []figured[LentReading]{
		{"owner_kept", "ratio", (*LentReading).kept},
		{"taken_of_spare", "ratio", (*LentReading).taken},
		{"owner_ping_rise", "ms", func(g *LentReading) float64 { return ms(g.rise()) }},
	})
}

// WriteJSON writes one object: scenario, runs, metrics by name.
func (r *Lent) WriteJSON(w io.Writer) error {
	return writeJSON(w, r.Scenario.Name, r.Runs, r.Metrics())
}

// WriteTable writes the figures for people.
func (r *Lent) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "\n%s: %s\n\n", r.Scenario.Name, r.Scenario.About)
	return writeMetrics(w, r.Metrics())
}

// figured is a figure of a reading.
type figured[R any] struct {
	name, unit string
	of         func(*R) float64
}

// summary has each figure over all readings, then over those of each case, in the
// order of their names.
func summary[R any](names []string, cases map[string][]R, figures []figured[R]) (out []Metric) {
	add := func(suffix string, readings []R) {
		for _, f := range figures {
			var v []float64
			for i := range readings {
				v = append(v, f.of(&readings[i]))
			}
			if len(v) > 0 {
				out = append(out, Metric{f.name + suffix, measure.Median(v), slices.Min(v), slices.Max(v), f.unit})
			}
		}
	}
	var all []R
	for _, name := range names {
		all = append(all, cases[name]...)
	}
	add("", all)
	for _, name := range names {
		add("_"+name, cases[name])
	}
	return out
}

func writeJSON(w io.Writer, scenario string, runs int, all []Metric) error {
	metrics := map[string]Metric{}
	for _, m := range all {
		metrics[m.Name] = m
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Scenario string            `json:"scenario"`
		Runs     int               `json:"runs"`
		Metrics  map[string]Metric `json:"metrics"`
	}{scenario, runs, metrics})
}

func writeMetrics(w io.Writer, all []Metric) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "metric\tmedian\tmin\tmax\tunit\t\n")
	for _, m := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", m.Name, figure(m.Median), figure(m.Min), figure(m.Max), m.Unit)
	}
	return t.Flush()
}
