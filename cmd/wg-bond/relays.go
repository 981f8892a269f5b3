package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/seek"
	"github.com/wg-bond/wg-bond/relayd/discover"
)

type relaysCommand struct {
	Devices []string      `arg:"" optional:"" name:"device" help:"Look on these alone; unless set, on all that have neighbours."`
	Wait    time.Duration `default:"3s" help:"How long to look."`
	JSON    bool          `help:"Print JSON."`
}

// Help is what --help says besides.
func (relaysCommand) Help() string {
	return `Lists those who lend nearby, as they announce it: their terms, and, of those that an interface of ours uses, what was
measured. A [[path]] with relay = "auto" uses any that accept us. The terms that count are those of the lease.`
}

// nearby is a lender with what our interfaces know of it.
type nearby struct {
	Name      string `json:"name"`
	Device    string `json:"device"`
	Address   string `json:"address"`
	PublicKey string `json:"public_key"`
	Open      bool   `json:"open"`           // to whoever is near; else by invitation, or if listed
	Rate      uint64 `json:"rate,omitempty"` // bytes per second; absent: no limit said
	Left      uint64 `json:"left,omitempty"` // bytes, if Limited
	Limited   bool   `json:"limited"`
	// Of each path through it.
	Used []usedBy `json:"used"`
}

type usedBy struct {
	Interface string      `json:"interface"`
	Path      status.Path `json:"path"`
}

// Run runs the command.
func (c *relaysCommand) Run() error {
	if c.Wait <= 0 {
		return fmt.Errorf("--wait=%v: want more than 0, like 3s", c.Wait)
	}
	devices := c.Devices
	if len(devices) == 0 {
		tunnels, err := uapi.Names(uapi.SocketDir)
		if err != nil {
			return err
		}
		if devices, err = seek.Devices(tunnels); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Wait)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	found := seek.Nearby(ctx, devices, log)
	interfaces, err := (&statusCommand{}).all()
	if err != nil {
		return err
	}
	all := join(found, interfaces)
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(all)
	}
	return printRelays(os.Stdout, all, devices)
}

// join adds to the lenders found what our interfaces know of them.
func join(found []discover.Lender, interfaces []*status.Interface) []nearby {
	all := []nearby{}
	for _, l := range found {
		n := nearby{Name: l.Name, Device: l.Device, Address: l.At.String(), PublicKey: l.Key.String(),
			Open: l.Terms.Open, Rate: l.Terms.Rate, Left: l.Terms.Left, Limited: l.Terms.Limited, Used: []usedBy{}}
		for _, i := range interfaces {
			for _, peer := range i.Peers {
				if peer.Bond == nil {
					continue
				}
				for _, p := range peer.Bond.Paths {
					if p.Relay == n.Address && p.Device == n.Device {
						n.Used = append(n.Used, usedBy{i.Name, p})
					}
				}
			}
		}
		all = append(all, n)
	}
	return all
}

func printRelays(w io.Writer, all []nearby, devices []string) error {
	if len(all) == 0 {
		_, err := fmt.Fprintf(w, "nobody announces that he lends; looked on %v\n", devices)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tDEVICE\tADDRESS\tTO WHOM\tAT MOST\tLEFT\tUSED BY\tSTATE\tROUND TRIP\tRATE\tLOSS\tPUBLIC KEY")
	for _, n := range all {
		whom, most, left := "by invitation", "-", "-"
		if n.Open {
			whom = "all nearby"
		}
		if n.Rate > 0 {
			most = status.Rate(float64(n.Rate))
		}
		if n.Limited {
			left = status.Bytes(n.Left)
		}
		row := func(by, state, rtt, rate, loss string) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Device, n.Address, whom, most, left, by, state, rtt, rate, loss, n.PublicKey)
		}
		if len(n.Used) == 0 {
			row("-", "-", "-", "-", "-")
		}
		for _, u := range n.Used {
			rtt, rate, loss := "-", "-", "-"
			if u.Path.RTT > 0 {
				rtt = fmt.Sprintf("%.1f ms", 1000*u.Path.RTT)
				loss = fmt.Sprintf("%.1f %%", 100*u.Path.Loss)
			}
			if u.Path.Rate > 0 {
				rate = status.Rate(u.Path.Rate)
			}
			row(u.Interface, u.Path.State, rtt, rate, loss)
		}
	}
	return t.Flush()
}
