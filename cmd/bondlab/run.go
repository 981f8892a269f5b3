//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/cmd/bondlab/scenarios"
	"golang.org/x/sys/unix"
)

type runCmd struct {
	Scenario  string   `arg:"" help:"A scenario's name (see list) or the path of a .toml file."`
	Runs      int      `help:"How often to measure; 0: as the scenario says." default:"0"`
	JSON      bool     `help:"Print one JSON object instead of a table."`
	Keep      bool     `help:"Keep the laboratory after the runs, with the tunnel up, for bondlab shell, until Ctrl-C."`
	Verbose   bool     `short:"v" help:"Show the output of the programs under test, on standard error."`
	Bin       string   `help:"Where wg-bond, relayd and wireguard-go are; what is not there is looked for in $PATH. Default: where bondlab is." type:"path" placeholder:"DIR"`
	Client    string   `help:"The borrower's end: bond, wg-bond over all paths; or stock, wireguard-go over one path at a time." enum:"bond,stock" default:"bond"`
	Server    string   `help:"The server's end: bond, a stock WireGuard behind wg-bond serve; or stock, that WireGuard alone." enum:"bond,stock" default:"bond"`
	Scheduler []string `help:"Who decides at both ends: a built-in, plugin:BUILTIN for that one as a process, or plugin:FILE. Several are compared, without the paths alone." placeholder:"NAME"`
	Swaps     int      `help:"With --scheduler: also measure with so many changes among them during each transfer."`
	Pcap      string   `help:"Write pcap files of every link, at both ends, into this directory." type:"path" placeholder:"DIR"`
	Trace     string   `help:"Write the traces of both wg-bonds, for replay, into this directory." type:"path" placeholder:"DIR"`
}

// programs is the directory of the programs under test: where bondlab is, unless
// the user says otherwise.
func programs(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	self, err := os.Executable()
	return filepath.Dir(self), err
}

func (r *runCmd) Validate() error {
	if r.Runs < 0 {
		return fmt.Errorf("--runs %d: want 1 or more", r.Runs)
	}
	if r.Swaps < 0 || r.Swaps > 0 && len(r.Scheduler) == 0 {
		return fmt.Errorf("--swaps %d: want 1 or more, and --scheduler, the first of those that take turns", r.Swaps)
	}
	if len(r.Scheduler) > 0 && (r.Client == "stock" || r.Server == "stock") {
		return errors.New("--scheduler needs wg-bond at both ends, without --client stock and --server stock")
	}
	return nil
}

// Run is both halves of a run: the outer one starts the program again in a
// sandbox, the inner one measures.
func (r *runCmd) Run() error {
	s, err := scenario.Find(scenarios.Files, r.Scenario)
	if err != nil {
		return err
	}
	if (s.Lending != nil || s.Mutual != nil) && (r.Client == "stock" || r.Server == "stock" || len(r.Scheduler) > 1 || r.Swaps > 0) {
		return fmt.Errorf("the scenario %s needs wg-bond at both ends, with one scheduler", s.Name)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return measure.ErrNoCurl
	}
	if sandbox.ID() != "" {
		return r.measure(s)
	}
	if _, _, err := sandbox.Clean(false); err != nil {
		return err
	}
	code, err := sandbox.Run(context.Background(), "run "+s.Name)
	if err == nil && code != 0 {
		os.Exit(code) // the inner half has said why
	}
	return err
}

// leaveConnected starts the client once more, over links without outages, for
// whoever looks around.
func (r *runCmd) leaveConnected(l *lab.Lab) error {
	if err := l.ConfigureLinks(false, nil); err != nil {
		return err
	}
	var err error
	if r.Client == "stock" {
		_, err = l.StartStock(l.Links[0])
	} else {
		_, err = l.StartBond(l.Links)
	}
	return err
}

func (r *runCmd) measure(s *scenario.Scenario) error {
	if err := sandbox.Setup(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	// When this process, the sandbox's first, exits, the kernel ends the rest.
	measured := context.AfterFunc(ctx, func() {
		fmt.Fprintln(os.Stderr, "bondlab: interrupted")
		os.Exit(130)
	})

	bin, err := programs(r.Bin)
	if err != nil {
		return err
	}
	opt := lab.Options{Bin: bin, StockServer: r.Server == "stock", Captures: r.Pcap, Traces: r.Trace}
	if r.Verbose {
		opt.Log = os.Stderr
	}
	for _, dir := range []string{r.Pcap, r.Trace} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "%s: building %s\n", sandbox.ID(), s.Name)
	l, err := lab.Build(s, opt)
	if err != nil {
		return err
	}
	if len(r.Scheduler) == 1 {
		l.Options.Scheduler = r.Scheduler[0]
	}
	plan := experiment.Plan{
		Runs: r.Runs, StockClient: r.Client == "stock",
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) },
	}
	if plan.Runs == 0 {
		plan.Runs = max(1, s.Workload.Runs)
	}
	var res interface {
		WriteJSON(io.Writer) error
		WriteTable(io.Writer) error
	}
	switch {
	case s.Lending != nil:
		res, err = experiment.Lend(l, plan)
	case s.Mutual != nil:
		res, err = experiment.Mutually(l, plan)
	case len(r.Scheduler) > 1 || r.Swaps > 0:
		res, err = experiment.Compare(l, plan, r.Scheduler, r.Swaps)
	default:
		res, err = experiment.Run(l, plan)
	}
	late := l.Lateness()
	fmt.Fprintf(os.Stderr, "emulator: packets delivered late by p50 %v, p99 %v\n", late.Quantile(.5), late.Quantile(.99))
	if err == nil {
		if r.JSON {
			err = res.WriteJSON(os.Stdout)
		} else {
			err = res.WriteTable(os.Stdout)
		}
	}
	measured()
	if r.Keep {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bondlab:", err)
		}
		if err := r.leaveConnected(l); err != nil {
			fmt.Fprintln(os.Stderr, "bondlab: the borrower has no tunnel now:", err)
		}
		fmt.Fprintf(os.Stderr, "%s stays up: `bondlab shell HOST [COMMAND…]`, c is the borrower, s the server; Ctrl-C ends it\n", sandbox.ID())
		<-ctx.Done()
	}
	return errors.Join(err, l.Close())
}
