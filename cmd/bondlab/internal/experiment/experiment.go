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

	// Of bulk runs with an outage event: the goodput while the link is dark
	// (from half a second into it) and from one second after its return to
	// the end; negative: does not apply.
	During, After float64
}

// Series is the readings of one congestion control, one a run.
type Series struct {
	Congestion string
	Single     [][]Reading // by link, in the scenario's order
	Bonded     []Reading
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
		if err := checkCongestion(l, cc); err != nil {
			return nil, err
		}
		r.Series = append(r.Series, Series{Congestion: cc, Single: make([][]Reading, len(l.Links))})
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
				p.Progress("run %d/%d  %-8s %s\n", run+1, p.Runs, link.Name, got.describe(series.Congestion))
			}
			if p.StockClient {
				continue
			}
			got, err := bonded(l, series.Congestion)
			if err != nil {
				return r, fmt.Errorf("run %d, bonded: %w", run+1, err)
			}
			series.Bonded = append(series.Bonded, got)
			p.Progress("run %d/%d  %-8s %s\n", run+1, p.Runs, "bonded", got.describe(series.Congestion))
		}
	}
	return r, nil
}

func (r *Reading) describe(cc string) string {
	s := fmt.Sprintf("%6.2f Mbit/s", r.Goodput/1e6)
	if r.Took > 0 {
		s += fmt.Sprintf("  %6.2f s", r.Took.Seconds())
	}
	s += fmt.Sprintf("  gap %4d ms", r.Gap.Milliseconds())
	if n := r.Pings.Sent; n > 0 {
		s += fmt.Sprintf("  ping p50 %d p95 %d ms, %d of %d lost", measure.Quantile(r.Pings.RTTs, .5).Milliseconds(),
			measure.Quantile(r.Pings.RTTs, .95).Milliseconds(), n-len(r.Pings.RTTs), n)
	}
	return s + "  " + cc
}

func checkCongestion(l *lab.Lab, cc string) error {
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
	w := &l.Scenario.Workload
	if err := l.ConfigureLinks(w.CleanBaseline, nil); err != nil {
		return Reading{}, err
	}
	var c *lab.Client
	var err error
	if p.StockClient || w.Baseline == "stock" {
		c, err = l.StartStock(link)
	} else {
		c, err = l.StartBond([]*lab.Link{link})
	}
	return with(c, err, func() (Reading, error) {
		if err := l.ConfigureLinks(w.CleanBaseline, nil); err != nil {
			return Reading{}, err
		}
		return workload(l, cc, nil)
	})
}

// bonded measures all paths together, with the scenario's events.
func bonded(l *lab.Lab, cc string) (Reading, error) {
	if err := l.ConfigureLinks(false, nil); err != nil {
		return Reading{}, err
	}
	c, err := l.StartBond(l.Links)
	return with(c, err, func() (Reading, error) {
		if err := l.ConfigureLinks(false, l.Scenario.Events); err != nil {
			return Reading{}, err
		}
		stop := events(l)
		got, err := workload(l, cc, l.Scenario.Events)
		l.LogStatus()
		if e := stop(); err == nil {
			err = e
		}
		return got, err
	})
}

// with measures with a client that has been started, or failed to be, and
// stops it in any case.
func with(c *lab.Client, err error, measure func() (Reading, error)) (got Reading, _ error) {
	if err == nil {
		got, err = measure()
	}
	if c != nil {
		if e := c.Stop(); err == nil {
			err = e
		}
	}
	return got, err
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

// workload downloads and pings over the tunnel that is up.
func workload(l *lab.Lab, cc string, events []scenario.Event) (Reading, error) {
	w := &l.Scenario.Workload
	c := l.Host(lab.Borrower)
	var pinger *measure.Pinger
	var err error
	if w.Ping > 0 {
		if pinger, err = measure.StartPings(c, lab.WebAddr, time.Duration(w.Ping)); err != nil {
			return Reading{}, err
		}
	}
	fetches := startFetches(l, w, cc)
	curl := measure.Curl{Host: c, Patience: 5 * time.Minute}
	if w.Download > 0 {
		curl.URL = l.URL(int64(w.Download), cc)
	} else {
		curl.URL, curl.Limit = l.URL(-1, cc), time.Duration(w.Bulk)
	}
	a, err := curl.Run()
	got := Reading{During: -1, After: -1}
	got.Fetches = fetches()
	if pinger != nil {
		got.Pings = pinger.Stop()
	}
	if err != nil {
		return got, err
	}
	if w.Download > 0 {
		if a.Total() != int64(w.Download) {
			return got, fmt.Errorf("curl got %d bytes of %d", a.Total(), w.Download)
		}
		got.Took = a.Took
		got.Goodput = float64(a.Total()) * 8 / a.Took.Seconds()
		got.Gap = a.Gap(0, a.Last())
		return got, nil
	}
	skip, end := time.Duration(w.Skip), time.Duration(w.Bulk)
	got.Goodput = a.Rate(skip, end)
	got.Gap = a.Gap(skip, end)
	for _, e := range events {
		if e.What != scenario.EventOutage {
			continue
		}
		o := e.Outage()
		got.During = a.Rate(o.From+500*time.Millisecond, min(o.To, end))
		if back := o.To + time.Second; o.To < end && back < end {
			got.After = a.Rate(back, end)
		}
	}
	return got, nil
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
