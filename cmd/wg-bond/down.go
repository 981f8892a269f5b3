package main

import "github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"

type downCommand struct {
	Interface string `arg:"" name:"name" complete:"interface" help:"An interface with a file /etc/wireguard/NAME.conf, or the path of a file NAME.conf."`
}

// Help is what --help says besides.
func (downCommand) Help() string {
	return `Runs the PreDown hooks, writes NAME.conf if it says SaveConfig = true, removes the interface and everything that up has
set besides, and runs the PostDown hooks. After a crash it removes what was left behind. A wg-bond serve it ends.`
}

// Run runs the command.
func (c *downCommand) Run() error { return up.Down(c.Interface) }
