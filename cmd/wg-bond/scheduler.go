package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
)

type schedulerCommand struct {
	List schedulerListCommand `cmd:"" help:"List the schedulers there are."`
	Use  schedulerUseCommand  `cmd:"" help:"Put another scheduler in charge, or in shadow, while packets flow."`
	Show schedulerShowCommand `cmd:"" help:"Show which scheduler is in charge and how it does, beside the one in shadow."`
	Test schedulerTestCommand `cmd:"" help:"Try a scheduler: the conformance suite, then every scenario in virtual time beside the built-ins."`
}

// on says which interface is meant.
type on struct {
	Interface string `short:"i" placeholder:"NAME" complete:"interface" help:"The interface; may be left out if only one is up."`
}

// call calls an operation of the interface's wg-bond.
func (o *on) call(operation string, result any, arguments ...string) error {
	name := o.Interface
	if name == "" {
		names, err := uapi.Names(ctl.Dir)
		switch {
		case err != nil:
			return err
		case len(names) == 0:
			return errors.New("no interface is up; `wg-bond up NAME` brings one up")
		case len(names) > 1:
			return fmt.Errorf("several interfaces are up; say which: --interface %s", strings.Join(names, " or "))
		}
		name = names[0]
	}
	err := ctl.Call(ctl.SocketPath(name), operation, result, arguments...)
	if errors.Is(err, ctl.ErrNotRunning) {
		return fmt.Errorf("%s is not up; `wg-bond status` lists what is", name)
	}
	return err
}

type schedulerListCommand struct {
	on
	JSON bool `help:"Print JSON."`
}

// Help is what --help says besides.
func (schedulerListCommand) Help() string {
	return `Plugins are programs in /usr/local/lib/wg-bond/schedulers or /usr/lib/wg-bond/schedulers, or named by a table [plugin.NAME]
with a path in NAME.bond.toml; the latter are listed if their interface is up.`
}

// Run runs the command.
func (c *schedulerListCommand) Run() error {
	var list []decide.Known
	if err := c.call("scheduler-list", &list); err != nil {
		if c.Interface != "" {
			return err
		}
		list = decide.List(nil)
	}
	if c.JSON {
		return printJSON(list)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, s.From, s.Does)
	}
	return t.Flush()
}

type schedulerUseCommand struct {
	on
	Name   string `arg:"" optional:"" name:"scheduler" help:"A built-in's or a plugin's name."`
	Shadow bool   `help:"Only let it watch, and score it; without SCHEDULER, end that."`
}

// Help is what --help says besides.
func (schedulerUseCommand) Help() string {
	return `The change lasts until the interface goes down or SIGHUP has the side file read again; to keep it, write scheduler = "…"
there. The table [plugin.SCHEDULER] is read anew, so this also starts a plugin again that was updated.`
}

// Run runs the command.
func (c *schedulerUseCommand) Run() error {
	arguments := []string{c.Name}
	switch {
	case c.Shadow:
		arguments = append(arguments, "shadow")
	case c.Name == "":
		return errors.New("use which scheduler? `wg-bond scheduler list` lists them")
	}
	var show decide.Show
	if err := c.call("scheduler-use", &show, arguments...); err != nil {
		return err
	}
	return show.Text(os.Stdout)
}

type schedulerShowCommand struct {
	on
	JSON bool `help:"Print JSON."`
}

// Help is what --help says besides.
func (schedulerShowCommand) Help() string {
	return `A scheduler in shadow is shown the same paths as the one in charge, but not obeyed. Both plans are judged by the one-way delays
that the paths have a moment later. Since these are with the traffic of the one in charge, a shadow that would load a path more
is flattered.`
}

// Run runs the command.
func (c *schedulerShowCommand) Run() error {
	var show decide.Show
	if err := c.call("scheduler-show", &show); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(show)
	}
	return show.Text(os.Stdout)
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
