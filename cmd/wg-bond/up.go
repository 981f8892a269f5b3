package main

import (
	"os"

	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
)

type upCommand struct {
	Interface  string `arg:"" name:"name" complete:"interface" help:"An interface with a file /etc/wireguard/NAME.conf, or the path of a file NAME.conf."`
	Foreground bool   `short:"f" help:"Stay in the foreground."`
	DryRun     bool   `help:"Print what would be done, step by step, and do nothing of it."`
	Metrics    string `placeholder:"ADDRESS" help:"Serve metrics for Prometheus at ADDRESS of loopback, like 127.0.0.1:9586, or at unix:/PATH, whatever NAME.bond.toml says."`
	Trace      string `type:"path" placeholder:"FILE" help:"Write every decision of the bond into FILE, for bondlab replay; of a second session into FILE.2, and so on."`
}

// Help is what --help says besides.
func (upCommand) Help() string {
	return `Does what "wg-quick up" does: the same keys of NAME.conf, in the same order, with the same hooks, and all undone if a step
fails. --dry-run shows the steps, as the commands that would do the same. The interface then is wg-bond's own, in the background; "wg show", "wg set" and "wg-quick down" work on it.

LOG_LEVEL (verbose, error or silent) says how much is logged to standard error; if it is set, a wg-bond in the background
keeps that open.`
}

// Run runs the command.
func (c *upCommand) Run(process *daemon.Process) error {
	if c.DryRun {
		return up.DryRun(c.Interface, os.Stdout)
	}
	opt := up.Options{Trace: c.Trace, Metrics: c.Metrics}
	if !c.Foreground && !process.Background() {
		return daemon.Start(append(opt.Args("up"), "--", c.Interface)...)
	}
	return up.Run(c.Interface, opt, process)
}
