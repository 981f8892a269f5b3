// Command bondlab is the laboratory: it repeats the original experiment with
// real programs in network namespaces, over emulated WWANs, and measures.
// The packages below internal do the work:
//
//	sandbox     namespaces that leave nothing behind
//	emulator    links between TUN devices
//	scenario    what the scenario files say
//	lab         hosts, links and programs of a scenario
//	measure     curl, pings and statistics
//	experiment  runs, figures, tables
//	peers       which WireGuards work together
//	relays      what relaying costs the processor
//	guest       a kernel with WireGuard, in qemu
//	bench       the design's table: aims, peers, virtual time beside it, charts
//	virtual     scenarios in virtual time
//	replay      what a session's trace tells
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// version is set by the Makefile.
var version = "unknown"

type commands struct {
	Demo demoCmd `cmd:"" help:"Repeat the experiment in this process, without root: real programs, emulated links."`

	Replay replayCmd `cmd:"" help:"Show what a trace tells: by the second, what is worth noting, the worst second."`

	labCommands // those that need Linux

	Version kong.VersionFlag `help:"Print the version."`
}

func main() {
	var c commands
	ctx := kong.Parse(&c, kong.Name("bondlab"),
		kong.Description("Repeats the original experiment with real programs over emulated links, in network namespaces. All but the demo needs root."),
		kong.UsageOnError(), kong.Vars{"version": "bondlab " + version})
	if err := ctx.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bondlab:", err)
		os.Exit(1)
	}
}
