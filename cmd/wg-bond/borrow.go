package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/seek"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/up"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

type borrowCommand struct {
	Invitation string        `arg:"" help:"The code that relayd invite prints, or what its QR code says."`
	Name       string        `arg:"" optional:"" help:"The interface that borrows; unless set, the one that is up."`
	Wait       time.Duration `default:"10s" help:"How long to look for the lender, and then to wait for it."`
}

// Help is what --help says besides.
func (borrowCommand) Help() string {
	return `Redeems an invitation to borrow: from then on the interface's public key is known to the lender, until the invitation
has run out or its volume is used up. A [[path]] with relay = "auto" then finds the lender by itself.`
}

// Run runs the command.
func (c *borrowCommand) Run() error {
	inv, err := lease.ParseInvitation(c.Invitation)
	if err != nil {
		return err
	}
	name, err := c.name()
	if err != nil {
		return err
	}
	files, err := up.Load(name)
	if err != nil {
		return err
	}
	r := seek.Redemption{Code: inv.Code, Lender: inv.Lender, At: inv.At, Private: control.Key(files.WireGuard.Interface.PrivateKey)}
	if r.Private.IsZero() {
		return fmt.Errorf("%s has no PrivateKey: the invitation is redeemed with it", files.Path)
	}
	for _, p := range files.WireGuard.Peers {
		if !p.Endpoint.IsZero() && !r.Target.IsValid() {
			ctx, cancel := context.WithTimeout(context.Background(), c.Wait)
			r.Target, err = quick.SystemResolver(os.Stderr).Resolve(ctx, p.Endpoint)
			cancel()
			if err != nil {
				return err
			}
		}
	}
	if !r.Target.IsValid() {
		return fmt.Errorf("%s has no peer with an Endpoint: what is borrowed leads to one", files.Path)
	}
	if !r.At.IsValid() || r.Lender.IsZero() {
		if err := c.find(&r); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Wait)
	defer cancel()
	terms, err := seek.Redeem(ctx, r)
	if err != nil {
		return err
	}
	left := "without limit"
	if terms.Left != lease.Unlimited {
		left = status.Bytes(terms.Left)
	}
	fmt.Printf("redeemed: %v lends to %s, %s\n", r.At, name, left)
	for _, p := range files.Bond.Paths {
		if p.Auto || p.Relay == r.At {
			return nil
		}
	}
	fmt.Printf("%s does not use it yet; this would:\n\n[[path]]\ndevice = \"…\" # on which the lender is near\nrelay = \"auto\"\n", name+".bond.toml")
	return nil
}

func (c *borrowCommand) name() (string, error) {
	if c.Name != "" {
		return c.Name, nil
	}
	names, err := uapi.Names(ctl.Dir)
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", fmt.Errorf("which interface borrows? there are %d up: wg-bond borrow CODE NAME", len(names))
	}
	return names[0], nil
}

// find looks for the lender whose invitation it is.
func (c *borrowCommand) find(r *seek.Redemption) error {
	tunnels, err := uapi.Names(uapi.SocketDir)
	if err != nil {
		return err
	}
	devices, err := seek.Devices(tunnels)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	for end, wait := time.Now().Add(c.Wait), time.Second; time.Now().Before(end); wait *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), min(wait, time.Until(end)))
		found := seek.Nearby(ctx, devices, log)
		cancel()
		for _, l := range found {
			if r.Code.Of(l.Key) {
				r.Lender, r.At = l.Key, l.At
				return nil
			}
		}
	}
	return fmt.Errorf("the lender of this invitation does not announce itself on %v; what its QR code says (relayd invite --at=ADDRESS:PORT) does without that", devices)
}
