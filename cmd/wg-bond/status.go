package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/tui"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/report"
)

type statusCommand struct {
	Interface string        `arg:"" optional:"" name:"name" complete:"interface" help:"Only this interface."`
	JSON      bool          `xor:"form" help:"Print JSON: an object for one interface, a list of them without NAME."`
	Watch     bool          `short:"w" xor:"form" help:"Show it as it changes, until q is pressed."`
	Interval  time.Duration `default:"1s" help:"With --watch: how often to look."`
}

// Help is what --help says besides.
func (statusCommand) Help() string {
	return `What WireGuard knows is shown as "wg show" does, WG_HIDE_KEYS=never included (text only). Each peer is followed by its
bond and its paths, whose transfer counts whole IP packets, copies and control messages too: what the link's owner pays.

On a terminal it is coloured, unless NO_COLOR is set; WG_COLOR_MODE=always or never counts first, as for wg.`
}

// Run runs the command.
func (c *statusCommand) Run() error {
	if !c.Watch {
		all, err := c.all()
		if err != nil {
			return err
		}
		return c.print(os.Stdout, all)
	}
	if c.Interval <= 0 {
		return fmt.Errorf("--interval=%v: want more than 0, like 500ms", c.Interval)
	}
	if !term.IsTerminal(os.Stdout.Fd()) {
		return errors.New("--watch draws on a terminal, and standard output is none; `wg-bond status --json` is for programs")
	}
	if _, err := c.all(); err != nil {
		return err // said once, where it can be read
	}
	_, err := tea.NewProgram(tui.New(c.all, c.Interval)).Run()
	return err
}

// all asks every interface that is wanted.
func (c *statusCommand) all() ([]*status.Interface, error) {
	names := []string{c.Interface}
	if c.Interface == "" {
		var err error
		if names, err = uapi.Names(ctl.Dir); err != nil {
			return nil, err
		}
	}
	all := []*status.Interface{}
	for _, name := range names {
		i, err := ask(name)
		if errors.Is(err, ctl.ErrNotRunning) {
			if c.Interface == "" {
				continue // its socket was left behind by a crash
			}
			return nil, fmt.Errorf("%s is not up; `wg-bond status` lists what is, `wg-bond up %s` brings it up", name, name)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
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
	var b strings.Builder
	for n, i := range all {
		if n > 0 {
			b.WriteString("\n")
		}
		if err := status.Text(&b, i, os.Getenv("WG_HIDE_KEYS") == "never", time.Now()); err != nil {
			return err
		}
	}
	_, err := io.WriteString(status.Terminal(w), status.Paint(b.String()))
	return err
}
