//go:build linux

// Package bench measures the design's table: scenarios on the real kernel, each
// beside its single paths, its peers (the kernel's multipath TCP, stock
// wireguard-go), its aim and the same scenario in virtual time.
//
//	Choose → rows ─┬─ virtual.Run             what the engine alone would do
//	               └─ lab.Build ─ experiment.Measure × runs ─▶ report, charts
package bench

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/virtual"
	"github.com/wg-bond/wg-bond/wgbond"
)

// Options say how to measure rows.
type Options struct {
	Runs      int
	Quick     bool // shorter transfers, see shorten
	MPTCP     bool // measure the kernel's multipath TCP, too
	Virtual   bool // in virtual time only
	Lab       lab.Options
	Scenarios fs.FS
	Out       string // directory for table.md, table.json and charts; empty: none
	Resume    bool   // measure only rows of which Out has no figures to be trusted, see keep
	Traces    string // directory for traces, see compute; the laboratory's into one of the scenario's name; empty: none
	Docs      string // a Markdown file to put the tables into, see Update; empty: none
	Version   string // of what is measured
	Progress  func(format string, args ...any)
}

// job is a scenario with its rows, which share a laboratory.
type job struct {
	scenario *scenario.Scenario
	rows     []*Outcome
}

// Outcome is what a row gave.
type Outcome struct {
	Row
	About   string             // the scenario's, in a line
	Result  *experiment.Result // with one series; nil if nothing could be measured
	Virtual *experiment.Result // nil: not there, see Notes
	Kept    *row               // an earlier bench's, in place of Result; nil: none
	again   bool               // Kept is disturbed: to be shown until there is better
	Load    Load
	Notes   []string // what went wrong
}

// Run measures rows and writes the tables to w at the end, and the reports of
// Options anew after every scenario: what is interrupted keeps what it has.
func Run(rows []Row, opt Options, w io.Writer) error {
	jobs, err := arrange(rows, opt)
	if err != nil {
		return err
	}
	report := Report{Machine: thisMachine(), Options: opt}
	for _, j := range jobs {
		report.Outcomes = append(report.Outcomes, j.rows...)
	}
	if opt.Resume {
		if err := report.keep(); err != nil {
			return err
		}
	}
	report.Estimate = estimate(jobs, opt)
	if !opt.Virtual {
		opt.Progress("%d rows, %d runs: about %v, until %s\n", len(rows), opt.Runs, report.Estimate.Round(time.Minute),
			time.Now().Add(report.Estimate).Format("15:04"))
	}
	opt.Progress("load average %s on %d processors\n", report.Machine.LoadBefore, report.Machine.Processors)
	var failed error
	have := shelf{}
	for _, j := range jobs {
		if err := j.run(opt, have); err != nil {
			opt.Progress("%s: %v\n", j.scenario.Name, err)
			for _, o := range j.rows {
				o.Notes = append(o.Notes, err.Error())
			}
			failed = errors.Join(failed, fmt.Errorf("%s: %w", j.scenario.Name, err))
		}
		report.Machine.LoadAfter = loadavg()
		report.Took = time.Since(report.Machine.Start)
		if err := errors.Join(j.charts(opt.Out), report.write()); err != nil {
			return err
		}
	}
	opt.Progress("took %v of %v; load average %s\n", report.Took.Round(time.Second), report.Estimate.Round(time.Second), report.Machine.LoadAfter)
	return errors.Join(failed, report.Markdown(w))
}

// arrange groups rows by scenario.
func arrange(rows []Row, opt Options) (jobs []*job, err error) {
	by := map[string]*job{}
	for _, r := range rows {
		j := by[r.Scenario]
		if j == nil {
			j = &job{}
			if j.scenario, err = scenario.Find(opt.Scenarios, r.Scenario); err != nil {
				return nil, err
			}
			// The baselines are what a user has today.
			j.scenario.Workload.Baseline = "stock"
			if opt.Quick {
				shorten(j.scenario)
			}
			by[r.Scenario] = j
			jobs = append(jobs, j)
		}
		j.rows = append(j.rows, &Outcome{Row: r, About: j.scenario.About})
	}
	return jobs, nil
}

// run measures a scenario's rows. An error is one of all rows; those of one are
// among its notes.
func (j *job) run(opt Options, have shelf) error {
	for _, o := range j.rows {
		if err := o.compute(j.scenario, opt); err != nil {
			o.Notes = append(o.Notes, fmt.Sprintf("no virtual time: %v", err))
		}
	}
	if opt.Virtual || !slices.ContainsFunc(j.rows, (*Outcome).wanted) {
		return nil
	}
	if opt.Traces != "" {
		opt.Lab.Traces = filepath.Join(opt.Traces, filepath.Base(j.scenario.Name))
		if err := os.MkdirAll(opt.Lab.Traces, 0o755); err != nil {
			return err
		}
	}
	l, err := lab.Build(j.scenario, opt.Lab)
	if err != nil {
		return err
	}
	for _, o := range j.rows {
		if !o.wanted() {
			continue
		}
		if err := experiment.CheckCongestion(l, o.Congestion); err != nil {
			o.Notes = append(o.Notes, err.Error())
			continue
		}
		before, err := newMeter()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		o.Kept, o.again = nil, false
		o.measure(l, opt, have)
		if o.Load, err = before.load(); err != nil {
			return errors.Join(err, l.Close())
		}
		late := l.Lateness()
		o.Load.Late = late.Quantile(.99)
		if why := o.Load.Loaded(); why != "" {
			opt.Progress("%s: not to be trusted: %s\n", o.Name(), why)
		}
	}
	return l.Close()
}

// compute runs a row in virtual time. Its traces, if they are wanted, are
// NAME-client.jsonl and NAME-server.jsonl.
func (o *Outcome) compute(s *scenario.Scenario, opt Options) (err error) {
	var record func(wgbond.Role) io.Writer
	if opt.Virtual && opt.Traces != "" {
		var files [2]*os.File
		for role, end := range []string{wgbond.Client: "client", wgbond.Server: "server"} {
			f, err := create(opt.Traces, o.Name()+"-"+end+".jsonl")
			if err != nil {
				return err
			}
			defer f.Close()
			files[role] = f
		}
		record = func(r wgbond.Role) io.Writer { return files[r] }
	}
	o.Virtual, err = virtual.Run(s, o.traffic(), record)
	return err
}

func (o *Outcome) traffic() experiment.Traffic {
	return experiment.Traffic{Upload: o.Upload, Congestion: o.Congestion}
}

// measure makes all runs of a row. What fails is noted, and tried again in the
// next run if it would not come there anyway.
func (o *Outcome) measure(l *lab.Lab, opt Options, have shelf) {
	s := l.Scenario
	long := s.Workload.Bulk
	defer func() { s.Workload.Bulk = long }()
	for n := range opt.Runs {
		for _, st := range steps(s, opt, n) {
			key := o.key(s, st)
			if len(have[key]) >= st.wanted {
				continue
			}
			s.Workload.Bulk = st.bulk
			subject := experiment.Subject{As: st.as, Link: l.Links[st.link]}
			got, err := experiment.Measure(l, subject, o.traffic())
			s.Workload.Bulk = long
			if err != nil {
				note := fmt.Sprintf("run %d, %s: %v", n+1, subject, err)
				opt.Progress("%-26s %s\n", o.Name(), note)
				o.Notes = append(o.Notes, note)
				continue
			}
			opt.Progress("%-26s %d/%d %-9s %s\n", o.Name(), n+1, opt.Runs, subject, got.Describe())
			have[key] = append(have[key], got)
		}
	}
	series := experiment.Series{Traffic: o.traffic(), Single: make([][]experiment.Reading, len(s.Links))}
	for _, st := range steps(s, opt, 0) {
		readings := have[o.key(s, st)]
		switch st.as {
		case experiment.Bonded:
			series.Bonded = readings
		case experiment.Reference:
			series.Reference = readings
		case experiment.MPTCP:
			series.MPTCP = readings
		default:
			series.Single[st.link] = readings
		}
	}
	if s.Workload.Alike {
		for k := range series.Single {
			series.Single[k] = series.Single[0]
		}
	}
	if n := len(series.Bonded); n < opt.Runs {
		o.Notes = append(o.Notes, fmt.Sprintf("%d runs, not %d", n, opt.Runs))
	}
	o.Result = &experiment.Result{Scenario: s, Runs: opt.Runs, Series: []experiment.Series{series}}
}

// wanted tells whether the row is to be measured in this bench.
func (o *Outcome) wanted() bool { return o.Kept == nil || o.again }

// measured tells whether there are figures of the row, of this bench.
func (o *Outcome) measured() bool { return o.Result != nil && len(o.Result.Series[0].Bonded) > 0 }

// create makes a file in a directory that it makes if need be.
func create(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(dir, name))
}
