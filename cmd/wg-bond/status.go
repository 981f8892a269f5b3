package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/report"
)

type statusCommand struct {
	Interface string `arg:"" optional:"" name:"name" help:"Only this interface."`
	JSON      bool   `help:"Print JSON: an object for one interface, a list of them without NAME."`
}

// Help is what --help says besides.
func (statusCommand) Help() string {
	return `What WireGuard knows is shown as "wg show" does, WG_HIDE_KEYS=never included (text only). Each peer is followed by its
bond and its paths, whose transfer counts whole IP packets, copies and control messages too: what the link's owner pays.`
}

// Run runs the command.
func (c *statusCommand) Run() error {
	names := []string{c.Interface}
	if c.Interface == "" {
		var err error
		if names, err = uapi.Names(ctl.Dir); err != nil {
			return err
		}
	}
	all := []*status.Interface{}
	for _, name := range names {
		i, err := ask(name)
		if errors.Is(err, ctl.ErrNotRunning) {
			if c.Interface == "" {
				continue // its socket was left behind by a crash
			}
			return fmt.Errorf("%s is not up; `wg-bond status` lists what is, `wg-bond up %s` brings it up", name, name)
		}
		if err != nil {
			return err
		}
		all = append(all, i)
	}
	return c.print(os.Stdout, all)
}

// ask asks the wg-bond that runs the interface, and WireGuard itself if that
// can be reached.
func ask(name string) (*status.Interface, error) {
	i := new(status.Interface)
	if err := ctl.Call(ctl.SocketPath(name), "status", i); err != nil {
		return nil, err
	}
	client, err := wgctrl.New()
	if err != nil {
		return i, nil
	}
	defer client.Close()
	if d, err := client.Device(name); err == nil {
		report.AddDevice(i, d)
	}
	return i, nil
}

func (c *statusCommand) print(w io.Writer, all []*status.Interface) error {
	if c.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if c.Interface != "" {
			return e.Encode(all[0])
		}
		return e.Encode(all)
	}
	for n, i := range all {
		if n > 0 {
			fmt.Fprintln(w)
		}
		if err := status.Text(w, i, os.Getenv("WG_HIDE_KEYS") == "never", time.Now()); err != nil {
			return err
		}
	}
	return nil
}
