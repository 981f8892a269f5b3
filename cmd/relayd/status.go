package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/relayd/ledger"
)

type statusCommand struct {
	JSON  bool `xor:"form" help:"Print JSON: volumes in bytes of whole IP packets, rates in bytes per second."`
	Watch bool `short:"w" xor:"form" help:"Show it anew every second, until Ctrl-C."`
	reach
}

// Run runs the command.
func (c *statusCommand) Run() error {
	var r relayd.Report
	if err := c.call("status", &r); err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if !c.Watch {
		return printReport(os.Stdout, &r, time.Now())
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, os.Interrupt)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		fmt.Print("\x1b[H\x1b[2J") // home, clear
		if err := printReport(os.Stdout, &r, time.Now()); err != nil {
			return err
		}
		select {
		case <-quit:
			return nil
		case <-tick.C:
		}
		r = relayd.Report{}
		if err := c.call("status", &r); err != nil {
			return err
		}
	}
}

// short is enough of a key to know it again.
func short(key string) string { return key[:min(len(key), 10)] + "…" }

func printReport(w io.Writer, r *relayd.Report, now time.Time) error {
	state := "lending"
	if r.Shut != "" {
		state = "lends nothing: " + r.Shut
	}
	device := r.Device
	if device == "" {
		device = "whatever the routes say"
	}
	fmt.Fprintf(w, "%s, device: %s\n", state, device)
	month := fmt.Sprintf("%s lent since %s", status.Bytes(r.Month.Used), r.Month.Since.Local().Format(time.DateOnly))
	if r.Month.Quota > 0 {
		month += fmt.Sprintf(", of %s until %s", status.Bytes(r.Month.Quota), r.Month.Until.Local().Format(time.DateOnly))
	}
	if r.Rate > 0 {
		month += fmt.Sprintf("; at most %s", status.Rate(float64(r.Rate)))
	}
	fmt.Fprintf(w, "%s\n", month)

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Leases) > 0 {
		fmt.Fprintln(t, "\nNOW\tKIND\tAT\tTO\tFOR\tUP\tDOWN\tUP NOW\tDOWN NOW\tSPARE UP\tSPARE DOWN")
		for _, l := range r.Leases {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", short(l.Borrower), l.Kind, l.Address, l.Target,
				status.Span(now.Sub(l.Since)), status.Bytes(l.Up), status.Bytes(l.Down),
				status.Rate(float64(l.UpRate)), status.Rate(float64(l.DownRate)), spared(l.UpSpare), spared(l.DownSpare))
		}
	}
	if len(r.Month.Borrowers) > 0 {
		fmt.Fprintln(t, "\nTHIS MONTH\tUP\tDOWN")
		sum := func(k string) uint64 { return r.Month.Borrowers[k].Up + r.Month.Borrowers[k].Down }
		keys := slices.SortedFunc(maps.Keys(r.Month.Borrowers), func(a, b string) int {
			if sum(a) != sum(b) {
				return int(min(max(int64(sum(b))-int64(sum(a)), -1), 1))
			}
			return strings.Compare(a, b)
		})
		var named ledger.Carried
		for _, k := range keys {
			b := r.Month.Borrowers[k]
			named.Up += b.Up
			named.Down += b.Down
			fmt.Fprintf(t, "%s\t%s\t%s\n", short(k), status.Bytes(b.Up), status.Bytes(b.Down))
		}
		if lost := r.Month.Used - min(r.Month.Used, named.Up+named.Down); lost > 0 {
			fmt.Fprintf(t, "(set aside and lost in a crash)\t\t%s\n", status.Bytes(lost))
		}
	}
	if drops := r.Stats.DropsByReason(); len(drops) > 0 {
		fmt.Fprintln(t, "\nDROPPED\tDATAGRAMS")
		for _, reason := range slices.Sorted(maps.Keys(drops)) {
			fmt.Fprintf(t, "%s\t%d\n", reason, drops[reason])
		}
	}
	return t.Flush()
}

func spared(rate *uint64) string {
	if rate == nil {
		return "all"
	}
	return status.Rate(float64(*rate))
}

func (d *daemon) status([]string) (any, error) {
	r, ok := d.relay.Report()
	if !ok {
		return nil, errors.New("this relayd is about to stop")
	}
	return r, nil
}

type pauseCommand struct{ reach }

// Run runs the command.
func (c *pauseCommand) Run() error { return c.call("pause", new(bool), "on") }

type resumeCommand struct{ reach }

// Run runs the command.
func (c *resumeCommand) Run() error { return c.call("pause", new(bool), "off") }

// pause is an operation of the control socket: on or off.
func (d *daemon) pause(args []string) (any, error) {
	if len(args) != 1 || args[0] != "on" && args[0] != "off" {
		return nil, fmt.Errorf("pause takes one argument, on or off, not %q", args)
	}
	d.relay.Pause(args[0] == "on")
	return true, nil
}
