//go:build linux

// Package experiment runs a scenario's measurements in a laboratory: each
// path alone, then all bonded, as often as asked, and what the readings say.
package experiment

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
)

// Plan says what to measure.
type Plan struct {
	Runs int
	// StockClient measures single paths only, with a stock wireguard-go.
	StockClient bool
	// Progress is told of every reading as it comes.
	Progress func(format string, args ...any)
}

// Reading is what one download showed.
type Reading struct {
	Goodput float64       // bit/s of payload, after the workload's Skip
	Took    time.Duration // a download's; 0 for bulk
	Gap     time.Duration // the longest time without a byte, after Skip
	Pings   measure.Pings
	Fetches []time.Duration
	Against float64 // bit/s, of the transfer the other way; 0: there was none
	// CPU is what a packet cost the programs that send and receive over the links
	// (Client.CPU), per whole IP packet on any link and either way.
	CPU time.Duration
	// Course is how it went; nil of a reading in virtual time.
	Course *Course

	// Of bulk runs with an outage event: the goodput while the link is dark
	// (from half a second into it) and from one second after its return to
	// the end; negative: does not apply.
	During, After float64

	// Gaps has, for each event that a scenario has, the longest time without a
	// byte from it until 2 s after its end, in bulk runs.
	Gaps []time.Duration
}

// Series is the readings of one kind of traffic, of each subject one a run, or
// fewer.
type Series struct {
	Traffic
	Single    [][]Reading // by link, in the scenario's order
	Bonded    []Reading
	Reference []Reading
	MPTCP     []Reading
}

// Result is all readings of a scenario.
type Result struct {
	Scenario *scenario.Scenario
	Runs     int
	Series   []Series
}

// Run measures. Baselines and bonded runs alternate, so that a change of the
// machine's load meets both.
func Run(l *lab.Lab, p Plan) (*Result, error) {
	s := l.Scenario
	r := &Result{Scenario: s, Runs: p.Runs}
	for _, cc := range s.Workload.Congestions() {
		if err := CheckCongestion(l, cc); err != nil {
			return nil, err
		}
		r.Series = append(r.Series, Series{Traffic: Traffic{Congestion: cc}, Single: make([][]Reading, len(l.Links))})
	}
	for run := range p.Runs {
		for i := range r.Series {
			series := &r.Series[i]
			for k, link := range l.Links {
				got, err := single(l, p, link, series.Congestion)
				if err != nil {
					return r, fmt.Errorf("run %d, %s alone: %w", run+1, link.Name, err)
				}
				series.Single[k] = append(series.Single[k], got)
				p.Progress("run %d/%d  %-8s %s\n", run+1, p.Runs, link.Name, got.Describe()+"  "+series.Congestion)
			}
			if p.StockClient {
				continue
			}
			got, err := bonded(l, series.Congestion)
			if err != nil {
				return r, fmt.Errorf("run %d, bonded: %w", run+1, err)
			}
			series.Bonded = append(series.Bonded, got)
			p.Progress("run %d/%d  %-8s %s\n", run+1, p.Runs, "bonded", got.Describe()+"  "+series.Congestion)
		}
	}
	return r, nil
}

// Describe is the reading in a line, for those who watch.
func (r *Reading) Describe() string {
	s := fmt.Sprintf("%6.2f Mbit/s", r.Goodput/1e6)
	if r.Took > 0 {
		s += fmt.Sprintf("  %6.2f s", r.Took.Seconds())
	}
	s += fmt.Sprintf("  gap %4d ms", r.Gap.Milliseconds())
	if n := r.Pings.Sent; n > 0 {
		s += fmt.Sprintf("  ping p50 %d p95 %d ms, %d of %d lost", measure.Quantile(r.Pings.RTTs, .5).Milliseconds(),
			measure.Quantile(r.Pings.RTTs, .95).Milliseconds(), n-len(r.Pings.RTTs), n)
	}
	return s
}

// CheckCongestion says that this kernel lacks a congestion control, if it does.
func CheckCongestion(l *lab.Lab, cc string) error {
	var have string
	err := l.Host(lab.Web).Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
		have = string(b)
		return err
	})
	if err == nil && !slices.Contains(strings.Fields(have), cc) {
		err = fmt.Errorf("this kernel has no TCP congestion control %q; it has %s", cc, strings.TrimSpace(have))
	}
	return err
}

// single measures one path alone.
func single(l *lab.Lab, p Plan, link *lab.Link, cc string) (Reading, error) {
	as := BondAlone
	if p.StockClient || l.Scenario.Workload.Baseline == "stock" {
		as = StockAlone
	}
	return Measure(l, Subject{As: as, Link: link}, Traffic{Congestion: cc})
}

// bonded measures all paths together, with the scenario's events.
func bonded(l *lab.Lab, cc string) (Reading, error) {
	return Measure(l, Subject{As: Bonded}, Traffic{Congestion: cc})
}

// events makes the scenario's events happen that are not the links' own. The
// function it returns ends what has not happened yet, and reports failures.
func events(l *lab.Lab) (stop func() error) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex // of failed, and of the laboratory
	var failed error
	var stopped []string // relays
	start := time.Now()
	for _, e := range l.Scenario.Events {
		if e.What == scenario.EventOutage {
			continue // ConfigureLinks did
		}
		wg.Go(func() {
			select {
			case <-time.After(time.Until(start.Add(time.Duration(e.At)))):
			case <-quit:
				return
			}
			mu.Lock()
			defer mu.Unlock()
			var err error
			switch e.What {
			case scenario.EventRestartServe:
				l.KillServe()
				err = l.StartServe()
			case scenario.EventStopRelay:
				l.StopRelay(e.Host)
				stopped = append(stopped, e.Host)
			default:
				err = device(l, e, quit)
			}
			if failed == nil {
				failed = err
			}
		})
	}
	return func() error {
		close(quit)
		wg.Wait()
		for _, n := range stopped { // the next run needs it again
			failed = errors.Join(failed, l.StartRelay(n))
		}
		return failed
	}
}

// device makes what happens to a link's device happen, and waits until it is
// over. If quit is closed meanwhile, it is over at once.
func device(l *lab.Lab, e scenario.Event, quit chan struct{}) error {
	link := l.Link(e.Link)
	var begin, end func(*lab.Link) error
	switch e.What {
	case scenario.EventUnplug:
		begin, end = l.Unplug, l.Plug
	case scenario.EventRoam:
		begin, end = l.Leave, l.Arrive
	case scenario.EventRenumber:
		return l.Renumber(link)
	case scenario.EventRebind:
		return l.Rebind(link)
	}
	if err := begin(link); err != nil {
		return err
	}
	select {
	case <-time.After(time.Duration(e.For)):
	case <-quit:
	}
	return end(link)
}

// startFetches fetches a small file every second, each over a new connection,
// until the function it returns is called; that returns the times taken.
func startFetches(l *lab.Lab, w *scenario.Workload, cc string) (stop func() []time.Duration) {
	if w.Fetch == 0 {
		return func() []time.Duration { return nil }
	}
	quit := make(chan struct{})
	var took []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			a, err := (measure.Curl{Host: l.Host(lab.Borrower), URL: l.URL(int64(w.Fetch), cc), Patience: 30 * time.Second}).Run()
			if err == nil {
				took = append(took, a.Took)
			} else {
				took = append(took, 30*time.Second)
			}
		}
	})
	return func() []time.Duration {
		close(quit)
		wg.Wait()
		return took
	}
}
