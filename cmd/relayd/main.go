// Command relayd lends this machine's network link to borrowers nearby: it
// forwards their WireGuard datagrams, unread, to the one server that each of
// them names.
package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/wg-bond/wg-bond/cmd/internal/clidoc"
)

// commands is the command line. Each command is a file of its own.
type commands struct {
	Run         runCommand         `cmd:"" default:"withargs" help:"Lend (what relayd does unless told otherwise)."`
	Invite      inviteCommand      `cmd:"" help:"Make an invitation for somebody to borrow, as a code and a QR code."`
	Invitations invitationsCommand `cmd:"" help:"List invitations."`
	Uninvite    uninviteCommand    `cmd:"" help:"Revoke invitations, or a borrower's leave, at once."`

	Status statusCommand `cmd:"" help:"Show who borrows how much, now and this month."`
	Pause  pauseCommand  `cmd:"" help:"Lend nothing from now on."`
	Resume resumeCommand `cmd:"" help:"Lend again."`

	Genkey genkeyCommand `cmd:"" help:"Print a new private key, as wg genkey does."`
	Pubkey pubkeyCommand `cmd:"" help:"Read a private key from standard input and print its public key, as wg pubkey does."`

	Completion clidoc.CompletionCommand `cmd:"" help:"Print a script that completes this command in a shell."`
	Man        clidoc.ManCommand        `cmd:"" help:"Print the manual page."`

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
  metrics = "127.0.0.1:9587"        # for Prometheus, on loopback or as unix:/PATH; off, if not given
  state-dir = "/var/lib/relayd"     # keeps invitations, what was lent this month, and audit.jsonl: who had what when
  rate = "5 Mbit/s"                 # most that is lent, both directions together; without: all that you leave
  volume = "20 GB"                  # most that is lent in a month, both directions; never a byte more
  reset-day = 1                     # on which the month begins
  hours = ["22:00-06:30"]           # lend only then
  battery-floor = 30                # on battery, lend only while so many percent are left
  only-on-mains = false             # lend nothing on battery
  not-on-wifi = false               # lend nothing while the lent device is a Wi-Fi device
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

// called finds commands of ours in texts.
var called = regexp.MustCompile(`\brelayd (genkey|run|--config)`)

// name is how the program is called: Debian has another package relayd, and
// ours is wg-bond-relayd there.
func name() string {
	if n := filepath.Base(os.Args[0]); n == "wg-bond-relayd" {
		return n
	}
	return "relayd"
}

// page is what the manual page says beyond --help.
func page() *clidoc.Page {
	return &clidoc.Page{Section: 8, Version: cmp.Or(version, "unknown"), Sections: []clidoc.Section{
		{Title: "FILES", Text: "/etc/wg-bond/relayd.toml and /etc/wg-bond/relayd.key are what wg-bond-relayd.service reads; " + defaultControl + " is the control socket."},
		{Title: "SIGNALS", Text: "SIGTERM ends all leases, tells the borrowers, and quits. SIGUSR1 writes statistics to the log."},
		{Title: "SEE ALSO", Text: "wg-bond(8), wg(8), systemd.unit(5); the README in /usr/share/doc/wg-bond."},
	}}
}

func options() []kong.Option {
	return []kong.Option{
		kong.Name(name()),
		kong.Description(called.ReplaceAllString(description, name()+" $1")),
		kong.Vars{"control": defaultControl, "version": name() + " " + versionText()},
		kong.Bind(page()),
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
