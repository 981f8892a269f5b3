// Command wg-bond brings up WireGuard interfaces that use several links at
// once, and serves them at the other end.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
)

// commands is the command line. Each command is a file of its own.
type commands struct {
	Up     upCommand     `cmd:"" help:"Bring up a WireGuard interface over several paths."`
	Down   downCommand   `cmd:"" help:"Take down what up or serve has brought up."`
	Status statusCommand `cmd:"" help:"Show interfaces, their peers and paths, in the manner of wg show."`
	Serve  serveCommand  `cmd:"" help:"Stand before a stock WireGuard and join what bonded clients send."`

	Scheduler schedulerCommand `cmd:"" help:"List, try, change and compare what decides which path a packet takes."`

	Version kong.VersionFlag `help:"Print the version and quit."`
}

const description = `WireGuard over several links at once, with the links of neighbours if they lend them.

An interface is configured by two files: the stock /etc/wireguard/NAME.conf, which stays as it is, and beside it
NAME.bond.toml, which says what is bonded. With none, every interface with a default route is a path.`

func main() {
	process := daemon.Current()
	cli := new(commands)
	ctx := kong.Parse(cli, append(options(), kong.Bind(process))...)
	if err := ctx.Run(); err != nil {
		if !process.Failed(err) {
			fmt.Fprintf(os.Stderr, "wg-bond: %v\n", err)
		}
		os.Exit(1)
	}
}

func options() []kong.Option {
	return []kong.Option{
		kong.Name("wg-bond"),
		kong.Description(description),
		kong.Vars{"version": versionText()},
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	}
}

// version is set by the Makefile, from git.
var version = "unknown"

// versionText tells what was built.
func versionText() string {
	return fmt.Sprintf("wg-bond %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
