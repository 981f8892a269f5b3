// Command relayd lends this machine's network link to borrowers nearby: it
// forwards their WireGuard datagrams, unread, to the one server that each of
// them names.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// commands is the command line. Each command is a file of its own.
type commands struct {
	Run         runCommand         `cmd:"" default:"withargs" help:"Lend (what relayd does unless told otherwise)."`
	Invite      inviteCommand      `cmd:"" help:"Make an invitation for somebody to borrow, as a code and a QR code."`
	Invitations invitationsCommand `cmd:"" help:"List invitations."`
	Uninvite    uninviteCommand    `cmd:"" help:"Revoke invitations, at once."`

	Genkey genkeyCommand `cmd:"" help:"Print a new private key, as wg genkey does."`
	Pubkey pubkeyCommand `cmd:"" help:"Read a private key from standard input and print its public key, as wg pubkey does."`

	Version kong.VersionFlag `help:"Print the version and quit."`
}

const description = `Lends this machine's network link to borrowers nearby.

What it forwards is WireGuard traffic and nothing else, to one server for each borrower: those whose WireGuard public keys
are listed, those who were invited, or, if it is open, whoever is near.

Settings come from a file, as in relayd --config /etc/relayd.toml, or from flags, which relayd run --help lists. The
file:

  listen = ":51900"                 # where borrowers reach us
  device = "wwan0"                  # the device to lend; whatever the routes say, if not given
  private-key-file = "relayd.key"   # or private-key = "…"; made by relayd genkey
  allow-private-targets = false     # may borrowers' servers be in private networks, such as yours?
  announce = ["wlan0"]              # let those nearby find us there, by DNS-SD; never on the device that is lent
  name = "Anna"                     # what they see; the host's name, if not given
  state-dir = "/var/lib/relayd"     # keeps invitations
  user = "nobody"                   # whom to become once started as root; relayd or nobody, if not given
  [[allow]]                         # one for each borrower
  public-key = "…"                  # what wg show prints at the borrower
  [open]                            # to strangers on our own links; they share what it says
  leases = 2
  rate = "1 Mbit/s"
  per-day = "200 MB"`

func main() {
	ctx := kong.Parse(new(commands), options()...)
	if err := ctx.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "relayd: %v\n", err)
		os.Exit(1)
	}
}

func options() []kong.Option {
	return []kong.Option{
		kong.Name("relayd"),
		kong.Description(description),
		kong.Vars{"control": defaultControl, "version": "relayd " + versionText()},
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	}
}

// version is set by the Makefile.
var version string

func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("%s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
