package main

import "github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"

type saveCommand struct {
	Interface string `arg:"" name:"name" complete:"interface" help:"An interface that is up, with a file /etc/wireguard/NAME.conf, or the path of a file NAME.conf."`
}

// Help is what --help says besides.
func (saveCommand) Help() string {
	return `Replaces the keys, port, mark, peers, addresses and MTU in NAME.conf by those that the interface has now, as "wg-quick save"
does; hooks, DNS and Table stay, comments are lost.`
}

// Run runs the command.
func (c *saveCommand) Run() error { return up.Save(c.Interface) }
