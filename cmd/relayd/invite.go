package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
)

// reach is how a command finds the relayd that runs.
type reach struct {
	Control string `placeholder:"SOCKET" default:"${control}" type:"path" help:"Where the relayd listens for this, as its file says."`
}

func (r *reach) call(operation string, result any, arguments ...string) error {
	err := ctl.Call(r.Control, operation, result, arguments...)
	if errors.Is(err, ctl.ErrNotRunning) {
		return fmt.Errorf("no relayd answers at %s; start it first, or name its socket with --control", r.Control)
	}
	return err
}

type inviteCommand struct {
	GB   float64 `name:"gb" default:"1" help:"How much may be borrowed, 10⁹ bytes of whole IP packets; 0: without limit."`
	Days float64 `default:"7" help:"For how long."`
	For  string  `placeholder:"NAME" help:"For whom, to tell invitations apart."`
	At   string  `placeholder:"ADDRESS:PORT" help:"Where the borrower reaches us, if it cannot find us by DNS-SD; goes into the QR code."`
	NoQR bool    `name:"no-qr" help:"Print no QR code."`
	reach
}

// Help is what --help says besides.
func (inviteCommand) Help() string {
	return `Prints an invitation: a code for one borrower, who redeems it by "wg-bond borrow CODE" or relay-code = "CODE" in its
side file. The first who does has it, until it has run out, its volume is used up, or "relayd uninvite" ends it.`
}

// invited is the answer to the operation invite.
type invited struct {
	Code string `json:"code"`
	Link string `json:"link"`
	ID   string `json:"id"`
}

// Run runs the command.
func (c *inviteCommand) Run() error {
	if !(c.GB >= 0 && c.GB <= 1e6) || !(c.Days > 0 && c.Days <= 3660) {
		return fmt.Errorf("--gb=%g --days=%g: want from 0 to 1000000, and up to 3660 days", c.GB, c.Days)
	}
	if c.At != "" {
		if _, err := netip.ParseAddrPort(c.At); err != nil {
			return fmt.Errorf("--at=%s: want ADDRESS:PORT: %w", c.At, err)
		}
	}
	life := time.Duration(c.Days * 24 * float64(time.Hour))
	var got invited
	if err := c.call("invite", &got, strconv.FormatUint(uint64(c.GB*1e9), 10), life.String(), c.For, c.At); err != nil {
		return err
	}
	c.print(os.Stdout, &got, time.Now().Add(life))
	return nil
}

func (c *inviteCommand) print(w io.Writer, got *invited, until time.Time) {
	if !c.NoQR {
		qrterminal.GenerateWithConfig(got.Link, qrterminal.Config{Level: qrterminal.L, Writer: w, HalfBlocks: true,
			BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
			BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK, QuietZone: 2})
	}
	volume := "as much as there is"
	if c.GB > 0 {
		volume = fmt.Sprintf("%g GB", c.GB)
	}
	fmt.Fprintf(w, "%s\n\nGood for one borrower and %s, until %s.\nThere: wg-bond borrow %s\nTo take it back: relayd uninvite %s\n",
		got.Code, volume, until.Format(time.DateTime), got.Code, got.ID)
}

// invite is an operation of the control socket: bytes, life, for, at.
func (d *daemon) invite(args []string) (any, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("invite takes 4 arguments, not %d", len(args))
	}
	if d.cfg.StateDir == "" {
		return nil, errors.New(`this relayd has no state-dir = "…" in its file: without one it would forget its invitations`)
	}
	volume, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return nil, err
	}
	life, err := time.ParseDuration(args[1])
	if err != nil {
		return nil, err
	}
	inv := lease.Invitation{Lender: d.cfg.PrivateKey.Public()}
	if args[3] != "" {
		if inv.At, err = netip.ParseAddrPort(args[3]); err != nil {
			return nil, err
		}
	}
	if inv.Code, err = d.relay.Book().Invite(time.Now(), rand.Reader, access.Terms{For: args[2], Volume: volume, Life: life}); err != nil {
		return nil, err
	}
	return invited{inv.Code.String(), inv.String(), inv.Code.ID().String()}, nil
}

type invitationsCommand struct {
	JSON bool `help:"Print JSON."`
	reach
}

// Run runs the command.
func (c *invitationsCommand) Run() error {
	var all []access.Invitation
	if err := c.call("invitations", &all); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(all)
	}
	return printInvitations(os.Stdout, all, time.Now())
}

func printInvitations(w io.Writer, all []access.Invitation, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tFOR\tSTATE\tUSED\tOF\tUNTIL\tBORROWER")
	for _, i := range all {
		state, of := "open", "no limit"
		switch {
		case i.Revoked:
			state = "revoked"
		case !now.Before(i.Expires):
			state = "over"
		case i.Borrower != "":
			state = "redeemed"
		}
		if i.Volume > 0 {
			of = status.Bytes(i.Volume)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.ID, i.For, state, status.Bytes(i.Used), of, i.Expires.Local().Format(time.DateTime), i.Borrower)
	}
	return t.Flush()
}

func (d *daemon) invitations([]string) (any, error) { return d.relay.Book().List(), nil }

type uninviteCommand struct {
	What string `arg:"" help:"An invitation's ID, or a borrower's public key."`
	reach
}

// Help is what --help says besides.
func (uninviteCommand) Help() string {
	return "The leases end at once. A borrower who is listed under [[allow]] borrows no more until relayd starts again: take it out of the file, too."
}

// Run runs the command.
func (c *uninviteCommand) Run() error {
	var n int
	if err := c.call("uninvite", &n, c.What); err != nil {
		return err
	}
	fmt.Printf("%d revoked\n", n)
	return nil
}

func (d *daemon) uninvite(args []string) (any, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("uninvite takes 1 argument, not %d", len(args))
	}
	n, err := d.relay.Book().Revoke(args[0])
	d.relay.Review()
	return n, err
}
