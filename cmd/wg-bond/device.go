package main

import (
	"os"
	"slices"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/conferr"
	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
)

type deviceCommand struct {
	Interface  string `arg:"" name:"name" help:"The interface to make."`
	Foreground bool   `short:"f" help:"Stay in the foreground."`
}

// Help is what --help says besides.
func (deviceCommand) Help() string {
	return `What "wireguard-go NAME" does: makes the interface, without keys or addresses, serves "wg" and goes on in the background. It
ends on a signal, when the interface is deleted or its socket in /var/run/wireguard is. So a stock wg-quick can use it:

    WG_QUICK_USERSPACE_IMPLEMENTATION=wg-bond wg-quick up wg0

Paths are those of /etc/wireguard/NAME.bond.toml. The environment is wireguard-go's: WG_TUN_FD and WG_UAPI_FD are
descriptors of an open TUN device and of a listening socket, WG_PROCESS_FOREGROUND=1 is -f, LOG_LEVEL is verbose, error
or silent.`
}

// Run runs the command.
func (c *deviceCommand) Run(process *daemon.Process) error {
	if c.Foreground || process.Background() || os.Getenv("WG_PROCESS_FOREGROUND") == "1" {
		return up.Device(c.Interface, process)
	}
	return daemon.StartWith(up.DeviceDescriptors, "device", "--", c.Interface)
}

// elsewhere are commands of programs like ours, which somebody may try here.
var elsewhere = []string{
	"help", "version", "list", "start", "stop", "restart", "reload",
	"show", "showconf", "set", "setconf", "addconf", "syncconf", "genkey", "genpsk", "pubkey",
}

// wireguardGo puts the command's name before arguments as wireguard-go takes
// them: NAME or -f NAME. A NAME alone that has no configuration, and is nearly
// a command or one of another program's, is taken for a slip and left for kong
// to complain of.
func wireguardGo(args, commands []string) []string {
	words := args
	if len(words) == 2 && (words[0] == "-f" || words[0] == "--foreground") {
		words = words[1:]
	}
	if len(words) != 1 || strings.HasPrefix(words[0], "-") || slices.Contains(commands, words[0]) {
		return args
	}
	if len(args) == 1 && (conferr.Nearest(words[0], commands) != "" || slices.Contains(elsewhere, words[0])) {
		if _, _, err := quick.Locate(words[0]); err != nil {
			return args
		}
	}
	return append([]string{"device"}, args...)
}
