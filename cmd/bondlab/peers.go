//go:build linux

package main

import (
	"context"
	"errors"
	"os"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/peers"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

type peersCmd struct {
	JSON    bool   `help:"Print one JSON object instead of a table."`
	Rekey   bool   `help:"Wait, over two minutes, for the new keys that WireGuard makes by itself, with pings under way."`
	Verbose bool   `short:"v" help:"Show the output of the programs under test, on standard error."`
	Bin     string `help:"Where wg-bond and the stock wireguard-go are. Default: where bondlab is." type:"path" placeholder:"DIR"`
}

// Help is what --help says besides.
func (peersCmd) Help() string {
	return `Clients: wg-bond up, the wireguard-go of go.mod, Debian's, and the kernel's in qemu. Servers: wg-bond up, wg-bond serve before
wireguard-go and before the kernel's (both in qemu), and wireguard-go alone. Each pair: handshake, ping, 3 MB each way with checksum,
and new keys by either end. .ci/install-test-deps fetches what is needed. The exit code is 1 if any pair fails.`
}

// Run is both halves: the outer one starts the program again in a sandbox.
func (c *peersCmd) Run() error {
	if sandbox.ID() == "" {
		code, err := sandbox.Run(context.Background(), "peers")
		if err == nil && code != 0 {
			os.Exit(code) // the inner half has said why
		}
		return err
	}
	if err := sandbox.Setup(); err != nil {
		return err
	}
	bin, err := programs(c.Bin)
	if err != nil {
		return err
	}
	opt := peers.Options{Bin: bin, Size: 3_000_000, Rekey: c.Rekey}
	if c.Verbose {
		opt.Log = os.Stderr
	}
	r, err := peers.Run(opt)
	if err != nil {
		return err
	}
	write := r.WriteMarkdown
	if c.JSON {
		write = r.WriteJSON
	}
	if err := write(os.Stdout); err != nil {
		return err
	}
	if len(r.Failed()) > 0 {
		return errors.New("not every pair works")
	}
	return nil
}
