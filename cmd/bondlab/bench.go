//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/bench"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/scenarios"
	"golang.org/x/sys/unix"
)

type benchCmd struct {
	Scenario   []string `arg:"" optional:"" help:"Scenarios' names (see list); none: all that have aims."`
	Direction  string   `help:"Which way the transfers go: down, up or both. Default: down, and up for some." enum:",down,up,both" default:""`
	CC         []string `name:"cc" help:"The inner TCP's congestion control. Default: as the rows are." enum:"cubic,bbr" placeholder:"cubic,bbr"`
	Runs       int      `help:"How often to measure." default:"5"`
	Quick      bool     `help:"Transfers of 8 to 17 s, baselines and peers once: all rows in under 45 minutes."`
	Virtual    bool     `help:"In virtual time only: the column of that name, the same on every machine, in a minute. No root, no programs."`
	Trace      string   `help:"Write the traces of both ends, for replay, into this directory: of virtual time ROW-client.jsonl and ROW-server.jsonl, else SCENARIO/client-1.jsonl, server-1.jsonl and so on." type:"path" placeholder:"DIR"`
	NoMPTCP    bool     `name:"no-mptcp" help:"Leave out the kernel's multipath TCP."`
	Out        string   `help:"Write table.md, table.json and a chart of every row into this directory." type:"path" placeholder:"DIR"`
	Resume     bool     `help:"Measure only the rows of which --out has no figures yet, or such as were disturbed by other load."`
	UpdateDocs string   `help:"Put the tables into this Markdown file, between its marks." type:"existingfile" placeholder:"FILE"`
	Bin        string   `help:"Where wg-bond, relayd and wireguard-go are; what is not there is looked for in $PATH. Default: where bondlab is." type:"path" placeholder:"DIR"`
	Verbose    bool     `short:"v" help:"Show the output of the programs under test, on standard error."`
}

func (c *benchCmd) Validate() error {
	if c.Runs < 1 {
		return fmt.Errorf("--runs %d: want 1 or more", c.Runs)
	}
	if c.Resume && (c.Out == "" || c.Virtual) {
		return errors.New("--resume goes on with what is measured in a directory: want --out DIR with it, and no --virtual")
	}
	return nil
}

// Run measures the design's table; see runCmd.Run for the two halves.
func (c *benchCmd) Run() error {
	if c.Virtual {
		return c.bench("")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return measure.ErrNoCurl
	}
	if sandbox.ID() != "" {
		return c.measure()
	}
	if _, _, err := sandbox.Clean(false); err != nil {
		return err
	}
	code, err := sandbox.Run(context.Background(), "bench")
	if err == nil && code != 0 {
		os.Exit(code) // the inner half has said why
	}
	return err
}

func (c *benchCmd) measure() error {
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
	bin, err := programs(c.Bin)
	if err != nil {
		return err
	}
	err = c.bench(bin)
	measured()
	return err
}

// bench measures, with the programs in a directory.
func (c *benchCmd) bench(bin string) error {
	opt := bench.Options{
		Runs: c.Runs, Quick: c.Quick, MPTCP: !c.NoMPTCP && !c.Virtual, Lab: lab.Options{Bin: bin}, Scenarios: scenarios.Files,
		Virtual: c.Virtual, Out: c.Out, Resume: c.Resume, Traces: c.Trace, Docs: c.UpdateDocs, Version: version,
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) },
	}
	if c.Verbose {
		opt.Lab.Log = os.Stderr
	}
	if opt.MPTCP {
		if err := lab.CanMPTCP(); err != nil {
			fmt.Fprintf(os.Stderr, "kernel MPTCP is left out: %v\n", err)
			opt.MPTCP = false
		}
	}
	return bench.Run(bench.Choose(c.Scenario, c.Direction, c.CC), opt, os.Stdout)
}
