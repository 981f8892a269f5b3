package main

import (
	"os"

	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
)

type stripCommand struct {
	Interface string `arg:"" name:"name" complete:"interface" help:"An interface with a file /etc/wireguard/NAME.conf, or the path of a file NAME.conf."`
}

// Help is what --help says besides.
func (stripCommand) Help() string {
	return `Prints NAME.conf without the keys that wg does not know, as "wg-quick strip" does. It holds the private key. Changes of a
running interface's peers: wg syncconf NAME <(wg-bond strip NAME)`
}

// Run runs the command.
func (c *stripCommand) Run() error { return up.Strip(c.Interface, os.Stdout) }
