// Command wg-bond brings up WireGuard interfaces that use several links at
// once, and serves them at the other end.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/wg-bond/wg-bond/cmd/internal/clidoc"
	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
)

// commands is the command line. Each command is a file of its own.
type commands struct {
	Up     upCommand     `cmd:"" help:"Bring up a WireGuard interface over several paths."`
	Down   downCommand   `cmd:"" help:"Take down what up or serve has brought up."`
	Save   saveCommand   `cmd:"" help:"Write what an interface is now into its NAME.conf."`
	Strip  stripCommand  `cmd:"" help:"Print NAME.conf without the keys that only wg-quick knows."`
	Status statusCommand `cmd:"" help:"Show interfaces, their peers and paths, in the manner of wg show."`
	Serve  serveCommand  `cmd:"" help:"Stand before a stock WireGuard and join what bonded clients send."`
	Doctor doctorCommand `cmd:"" help:"Say what keeps a bond from the sum of its links, and what to do."`

	Device deviceCommand `cmd:"" help:"Run a bare WireGuard device, as wireguard-go does. wg-bond NAME is the same."`

	Relays relaysCommand `cmd:"" help:"List those who lend nearby, their terms, and what was measured of them."`
	Borrow borrowCommand `cmd:"" help:"Redeem an invitation to borrow."`

	Scheduler schedulerCommand `cmd:"" help:"List, try, change and compare what decides which path a packet takes."`

	Completion clidoc.CompletionCommand `cmd:"" help:"Print a script that completes this command in a shell."`
	Man        clidoc.ManCommand        `cmd:"" help:"Print the manual page."`

	Version kong.VersionFlag `help:"Print the version and quit."`
}

const description = `WireGuard over several links at once, with the links of neighbours if they lend them.

An interface is configured by two files: the stock /etc/wireguard/NAME.conf, which stays as it is, and beside it
NAME.bond.toml, which says what is bonded. With none, every interface with a default route is a path.`

func main() {
	process := daemon.Current()
	cli := new(commands)
	parser := kong.Must(cli, append(options(), kong.Bind(process))...)
	ctx, err := parser.Parse(wireguardGo(os.Args[1:], names(parser)))
	parser.FatalIfErrorf(err)
	if err := ctx.Run(); err != nil {
		if !process.Failed(err) {
			fmt.Fprintf(os.Stderr, "wg-bond: %v\n", err)
		}
		os.Exit(1)
	}
}

// names are those of the commands.
func names(parser *kong.Kong) []string {
	var all []string
	for _, child := range parser.Model.Children {
		all = append(all, child.Name)
	}
	return all
}

func options() []kong.Option {
	return []kong.Option{
		kong.Name("wg-bond"),
		kong.Description(description),
		kong.Vars{"version": versionText()},
		kong.Bind(page()),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	}
}

// page is what the manual page says beyond --help.
func page() *clidoc.Page {
	return &clidoc.Page{Section: 8, Version: version, Sections: []clidoc.Section{
		{Title: "ENVIRONMENT", Text: `LOG_LEVEL (verbose, error or silent) says how much up and serve log. WG_HIDE_KEYS=never has status show keys.
NO_COLOR and WG_COLOR_MODE (always, never, auto) are honoured by status and doctor.`},
		{Title: "FILES", Text: `/etc/wireguard/NAME.conf is the stock WireGuard configuration, /etc/wireguard/NAME.bond.toml says what is bonded. In /run/wg-bond
are the control sockets, and what must be undone of each interface.`},
		{Title: "EXIT STATUS", Text: "0, or 1 after an error, which is told on standard error; doctor also ends with 1 if it found a problem."},
		{Title: "SEE ALSO", Text: "wg(8), wg-quick(8), wg-bond-relayd(8), systemd.unit(5); the README and the pages in /usr/share/doc/wg-bond."},
	}}
}

// version is set by the Makefile, from git.
var version = "unknown"

// versionText tells what was built.
func versionText() string {
	return fmt.Sprintf("wg-bond %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
