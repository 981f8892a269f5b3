package main

import (
	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/serve"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
)

type serveCommand struct {
	Interface  string `arg:"" name:"name" complete:"interface" help:"An interface with a file /etc/wireguard/NAME.conf, or the path of a file NAME.conf."`
	Foreground bool   `short:"f" help:"Stay in the foreground."`
	Metrics    string `placeholder:"ADDRESS" help:"Serve metrics for Prometheus at ADDRESS of loopback, like 127.0.0.1:9586, or at unix:/PATH, whatever NAME.bond.toml says."`
	Trace      string `type:"path" placeholder:"FILE" help:"Write every decision for the first client that bonds into FILE, for bondlab replay; for the second into FILE.2, and so on."`
}

// Help is what --help says besides.
func (serveCommand) Help() string {
	return `NAME.bond.toml must have a table [serve]: listen is the port that clients know, upstream where the stock WireGuard
listens (127.0.0.1 and its ListenPort, unless set). Its key and peers are read from the WireGuard device NAME, and followed
as they change; without such a device, from NAME.conf. Clients that do not bond are passed on as they are.

"wg-bond down NAME" ends a server in the background.`
}

// Run runs the command.
func (c *serveCommand) Run(process *daemon.Process) error {
	opt := up.Options{Trace: c.Trace, Metrics: c.Metrics}
	if !c.Foreground && !process.Background() {
		return daemon.Start(append(opt.Args("serve"), "--", c.Interface)...)
	}
	return serve.Run(c.Interface, opt, process)
}
