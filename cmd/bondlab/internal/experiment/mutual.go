//go:build linux

package experiment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
)

// Mutual is the readings of two machines that lend to each other.
type Mutual struct {
	Scenario *scenario.Scenario
	Runs     int
	Cases    []MutualCase
}

// MutualCase is one congestion control of the downloads, and its readings, one a
// run.
type MutualCase struct {
	Congestion string
	Readings   []MutualReading
}

// MutualReading is what one run showed. Shares are of the payload that links can
// carry through the tunnel.
type MutualReading struct {
	// Alone is what each had while the other downloaded nothing, as a share of
	// both links; Both what each had while both downloaded, of its own link. First
	// the borrower's, then the neighbour's.
	Alone, Both [2]float64
	// Carried is what the links carried down while both downloaded, over what their
	// payload takes: a packet that crosses both links counts twice.
	Carried float64
}

// tunnelled is the share of payload in a packet on a link: 1368 bytes of 1480,
// with TCP's time stamps in an inner packet of 1420.
const tunnelled = 1368. / 1480

// Mutually measures a mutual scenario.
func Mutually(l *lab.Lab, p Plan) (*Mutual, error) {
	out := &Mutual{Scenario: l.Scenario, Runs: p.Runs}
	for _, cc := range l.Scenario.Workload.Congestions() {
		if err := CheckCongestion(l, cc); err != nil {
			return nil, err
		}
		out.Cases = append(out.Cases, MutualCase{Congestion: cc})
	}
	for run := range p.Runs {
		for i := range out.Cases {
			c := &out.Cases[i]
			got, err := mutually(l, c.Congestion)
			if err != nil {
				return out, fmt.Errorf("run %d, %s: %w", run+1, c.Congestion, err)
			}
			c.Readings = append(c.Readings, got)
			p.Progress("run %d/%d  %-6s alone %.2f, %.2f of both links; together %.2f, %.2f of the own link each, %.3f carried\n",
				run+1, p.Runs, c.Congestion, got.Alone[0], got.Alone[1], got.Both[0], got.Both[1], got.Carried)
		}
	}
	return out, nil
}

// mutually is one run.
func mutually(l *lab.Lab, congestion string) (got MutualReading, err error) {
	if err := l.ConfigureLinks(false, nil); err != nil {
		return got, err
	}
	for _, start := range []func() (*lab.Client, error){
		func() (*lab.Client, error) { return l.StartBond(l.Links) },
		l.StartNeighbour,
	} {
		c, e := start()
		if c != nil {
			defer func() { err = errors.Join(err, c.Stop()) }()
		}
		if e != nil {
			return got, e
		}
	}
	defer l.LogStatus()
	m := &mutual{l: l, congestion: congestion}
	first, second := []int{0}, []int{1}
	for _, part := range []struct {
		who  []int
		take func(rates [2]float64, carried float64)
	}{
		{first, func(r [2]float64, _ float64) { got.Alone[0] = r[0] / m.both() }},
		{[]int{0, 1}, func(r [2]float64, carried float64) {
			got.Both = [2]float64{r[0] / m.rate(0), r[1] / m.rate(1)}
			got.Carried = carried * tunnelled / (r[0] + r[1])
		}},
		{second, func(r [2]float64, _ float64) { got.Alone[1] = r[1] / m.both() }},
	} {
		rates, carried, err := m.download(part.who)
		if err != nil {
			return got, err
		}
		part.take(rates, carried)
	}
	return got, m.lentOn()
}

// mutual is a run under way.
type mutual struct {
	l          *lab.Lab
	congestion string
}

// rate is what a link can carry of payload, bit/s.
func (m *mutual) rate(link int) float64 { return float64(m.l.Links[link].Down.Rate) * tunnelled }

func (m *mutual) both() float64 { return m.rate(0) + m.rate(1) }

// host is the one whose own link it is.
func (m *mutual) host(link int) string { return m.l.Links[link].Host }

// download has some of the two download for a phase, and returns their rates,
// payload, and what the links carried meanwhile, both bit/s.
func (m *mutual) download(who []int) (rates [2]float64, carried float64, err error) {
	epoch := time.Now()
	var flows [2]*measure.Running
	var got [2]*measure.Arrivals
	stop := func() {
		for i, f := range flows {
			if f != nil {
				got[i] = end(&flows[i])
			}
		}
	}
	defer stop()
	for _, i := range who {
		flows[i], err = measure.Flow{Client: m.l.Host(m.host(i)), Server: m.l.Host(lab.Web), Addr: lab.WebAddr, Congestion: m.congestion}.Start(epoch)
		if err != nil {
			return rates, 0, err
		}
	}
	time.Sleep(settle)
	from, before := time.Since(epoch), m.carried()
	time.Sleep(time.Duration(m.l.Scenario.Mutual.Phase))
	to := time.Since(epoch)
	carried = float64(m.carried()-before) * 8 / (to - from).Seconds()
	stop()
	for _, i := range who {
		rates[i] = got[i].Rate(from, to)
	}
	return rates, carried, nil
}

// carried is what all links delivered down so far, bytes.
func (m *mutual) carried() (sum uint64) {
	for _, link := range m.l.Links {
		down, _ := link.Carried()
		sum += down.Bytes
	}
	return sum
}

// lentOn is an error if a lender carried anything else than what the other one
// borrows, by its own link, to the server.
func (m *mutual) lentOn() error {
	for i := range m.l.Links {
		lender, borrower := m.host(i), m.host(1-i)
		r, err := m.l.Lent(lender)
		if err != nil {
			return err
		}
		if len(r.Leases) != 1 || len(r.Month.Borrowers) != 1 {
			return fmt.Errorf("%s lends to %d by %d leases, want one: the other", lender, len(r.Month.Borrowers), len(r.Leases))
		}
		if lease := &r.Leases[0]; lease.Address.Addr() != m.l.AirAddr(borrower) || lease.Device != m.l.Links[i].Device || lease.Target != m.l.Endpoint() || lease.Down == 0 {
			return fmt.Errorf("%s lends %+v; want its own link %s, to %s, for the server", lender, *lease, m.l.Links[i].Device, borrower)
		}
	}
	return nil
}

// Metrics are the figures over all cases and runs, then those of each congestion
// control with its name behind theirs.
//
//	alone     what one has of both links while the other is idle, at least
//	kept      what each has of its own link while both download, at least
//	carried   what the links carried then, over what the payload takes, at most
func (r *Mutual) Metrics() []Metric {
	cases := map[string][]MutualReading{}
	var names []string
	for _, c := range r.Cases {
		names = append(names, c.Congestion)
		cases[c.Congestion] = c.Readings
	}
	return summary(names, cases, []figured[MutualReading]{
		{"alone", "ratio", func(g *MutualReading) float64 { return slices.Min(g.Alone[:]) }},
		{"kept", "ratio", func(g *MutualReading) float64 { return slices.Min(g.Both[:]) }},
		{"carried", "ratio", func(g *MutualReading) float64 { return g.Carried }},
	})
}

// WriteJSON writes one object: scenario, runs, metrics by name.
func (r *Mutual) WriteJSON(w io.Writer) error {
	return writeJSON(w, r.Scenario.Name, r.Runs, r.Metrics())
}

// WriteTable writes the figures for people.
func (r *Mutual) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "\n%s: %s\n\n", r.Scenario.Name, r.Scenario.About)
	return writeMetrics(w, r.Metrics())
}
