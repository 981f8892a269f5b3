// Package trial tries a scheduler: first whether it can be followed at all
// (schedulers/schedtest), then what it is worth, in the scenarios by which the
// bond itself is judged (wgbond/sim/judge), in virtual time beside the
// built-ins.
package trial

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/schedtest"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/judge"
)

// Subject is a scheduler on trial.
type Subject struct {
	Name string
	// New makes the scheduler of one session.
	New func() schedulers.Scheduler
}

// Conform runs the conformance suite, and prints what is wrong.
func Conform(w io.Writer, s Subject, seed uint64) error {
	// The suite compares two schedulers at a time.
	made := &maker{new: s.New}
	var failed []error
	closeAll := func() {
		if err := made.close(); err != nil {
			failed = append(failed, err)
		}
	}
	wrong := schedtest.Conform(seed, func() schedulers.Scheduler {
		if len(made.made) == 2 {
			closeAll()
		}
		return made.make()
	})
	closeAll()
	wrong = append(failed, wrong...) // a failure explains what it led to
	if len(wrong) == 0 {
		fmt.Fprintf(w, "%s conforms: %d awkward snapshots, %d random sessions of %d (first seed %d)\n", s.Name, len(schedtest.Awkward()), schedtest.Runs, schedtest.Steps, seed)
		return nil
	}
	for _, err := range wrong {
		fmt.Fprintf(w, "wrong: %v\n", err)
	}
	return fmt.Errorf("%s does not conform: its plans would be refused, and the default would decide instead", s.Name)
}

// Scenarios are those that need nothing but themselves, by name.
func Scenarios() []judge.Scenario {
	return []judge.Scenario{
		judge.Seed(), judge.Equal(), judge.Unequal(), judge.Lossy(.01, 0), judge.Lossy(.01, 1),
		judge.Extreme(), judge.Four(), judge.Cold(), judge.Outage(),
	}
}

// Result is what a subject did in a scenario.
type Result struct {
	Report *judge.Report
	Err    error
}

// Run runs every scenario with every subject: the answer is indexed by
// scenario, then subject. Runs do not depend on each other, so several are
// under way at once.
func Run(scenarios []judge.Scenario, subjects []Subject) [][]Result {
	results := make([][]Result, len(scenarios))
	work := make(chan func())
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for f := range work {
				f()
			}
		}()
	}
	for i, s := range scenarios {
		results[i] = make([]Result, len(subjects))
		for j, subject := range subjects {
			work <- func() {
				s := s
				made := &maker{new: subject.New}
				s.Scheduler = made.make
				report, err := judge.Run(s)
				results[i][j] = Result{report, cmp.Or(err, made.close())}
			}
		}
	}
	close(work)
	wg.Wait()
	return results
}

// maker keeps what it makes, to see whether it failed, and closes it.
type maker struct {
	new  func() schedulers.Scheduler
	made []schedulers.Scheduler
}

func (m *maker) make() schedulers.Scheduler {
	s := m.new()
	m.made = append(m.made, s)
	return s
}

func (m *maker) close() (err error) {
	for _, s := range m.made {
		if f, ok := s.(interface{ Err() error }); ok {
			err = cmp.Or(err, f.Err())
		}
		if c, ok := s.(io.Closer); ok {
			_ = c.Close()
		}
	}
	m.made = nil
	return err
}

// Table prints the results: goodput in Mbit/s, or the time that a download of
// a given size took, and what a ping meanwhile.
func Table(w io.Writer, scenarios []judge.Scenario, subjects []Subject, results [][]Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t")
	for _, s := range subjects {
		fmt.Fprintf(t, "%s\t", s.Name)
	}
	fmt.Fprintln(t)
	for i, s := range scenarios {
		first, second := "Mbit/s", "ping ms"
		if s.Bytes > 0 {
			first, second = "s", ""
		}
		row(t, s.Name+" "+first, results[i], func(r *judge.Report) string {
			if s.Bytes > 0 {
				if r.Done == sim.Never {
					return "not done"
				}
				return fmt.Sprintf("%.2f", r.Done.Seconds())
			}
			return fmt.Sprintf("%.2f", r.Goodput/1e6)
		})
		if second != "" {
			row(t, second, results[i], func(r *judge.Report) string {
				return fmt.Sprintf("%d", (r.Ping.P50+time.Millisecond/2)/time.Millisecond)
			})
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range scenarios {
		for j, r := range results[i] {
			if r.Err != nil {
				fmt.Fprintf(w, "%s, %s: %v\n", scenarios[i].Name, subjects[j].Name, r.Err)
			}
		}
	}
	return nil
}

func row(w io.Writer, head string, results []Result, cell func(*judge.Report) string) {
	fmt.Fprintf(w, "%s\t", head)
	for _, r := range results {
		if r.Err != nil {
			fmt.Fprint(w, "failed\t")
			continue
		}
		fmt.Fprintf(w, "%s\t", cell(r.Report))
	}
	fmt.Fprintln(w)
}

// Pick keeps the scenarios of the names, all without names.
func Pick(names []string) ([]judge.Scenario, error) {
	all := Scenarios()
	if len(names) == 0 {
		return all, nil
	}
	var picked []judge.Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s judge.Scenario) bool { return s.Name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("found the scenario %q; want one of %q", name, known)
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
