//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/relays"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

type relaysCmd struct {
	Rounds  int           `help:"How often each has its turn." default:"5"`
	For     time.Duration `help:"How long a turn is." default:"2s"`
	Verbose bool          `short:"v" help:"Show the output of the programs under test, on standard error."`
	Bin     string        `help:"Where relayd is. Default: where bondlab is." type:"path" placeholder:"DIR"`
}

// Help is what --help says besides.
func (relaysCmd) Help() string {
	return `Datagrams like WireGuard's with inner packets of 1,420 bytes go through the kernel's own forward (nft's NAT), relayd and pion's TURN
server in turns, and directly; first in trains (GSO), then one by one. The table has the processor's seconds for each gigabit. Measure on a
machine that does nothing else: what other programs use is not counted, but told in the last column, for it disturbs.`
}

// Validate refuses what cannot be measured.
func (c *relaysCmd) Validate() error {
	if c.Rounds < 1 || c.For < 100*time.Millisecond {
		return fmt.Errorf("--rounds %d --for %v: want 1 or more, of 100ms or more", c.Rounds, c.For)
	}
	return nil
}

// Run is both halves: the outer one starts the program again in a sandbox.
func (c *relaysCmd) Run() error {
	if sandbox.ID() == "" {
		code, err := sandbox.Run(context.Background(), "relays")
		if err == nil && code != 0 {
			os.Exit(code) // the inner half has said why
		}
		return err
	}
	threads, err := measure.OpenSoftIRQ()
	if err != nil {
		return err
	}
	if err := sandbox.Setup(); err != nil {
		return err
	}
	bin, err := programs(c.Bin)
	if err != nil {
		return err
	}
	o := relays.Options{Bin: bin, Rounds: c.Rounds, For: c.For, SoftIRQ: threads,
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) }}
	if c.Verbose {
		o.Log = os.Stderr
	}
	r, err := relays.Run(o)
	if err != nil {
		return err
	}
	return r.WriteTable(os.Stdout)
}

type turnCmd struct {
	At    netip.AddrPort `arg:"" help:"Address and port to listen on."`
	Relay netip.Addr     `arg:"" help:"Address of what is relayed."`
}

// Run serves until the process is ended.
func (c *turnCmd) Run() error { return relays.ServeTURN(c.At, c.Relay) }
