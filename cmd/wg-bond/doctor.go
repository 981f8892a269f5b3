package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/doctor"
)

type doctorCommand struct {
	Interface string        `arg:"" optional:"" name:"name" complete:"interface" help:"Only this interface; all that are up unless given."`
	JSON      bool          `help:"Print JSON: a list of reports."`
	For       time.Duration `default:"3s" help:"How long to look. Have something download meanwhile."`
}

// Help is what --help says besides.
func (doctorCommand) Help() string {
	return `Looks at a bond for a few seconds and says what keeps it from the sum of its links, each with what to do: a server without a
bond, paths that do not work, a wrong route, a missing mark, an MTU, a throttled link, a bottleneck that two paths share, the
CPU, the clock. Most shows only while something is being transferred.

The exit status is 1 if there is a problem; notes are none.`
}

// Run runs the command.
func (c *doctorCommand) Run() error {
	names := []string{c.Interface}
	if c.Interface == "" {
		var err error
		if names, err = uapi.Names(ctl.Dir); err != nil {
			return err
		}
		if len(names) == 0 {
			return errors.New("no interface is up: `wg-bond up NAME` brings one up")
		}
	}
	reports := []*doctor.Report{}
	problems := 0
	for _, name := range names {
		facts, err := doctor.Gather(name, func() (*status.Interface, error) { return ask(name) }, c.For)
		if errors.Is(err, ctl.ErrNotRunning) {
			facts, err = &doctor.Facts{Name: name}, nil
		}
		if err != nil {
			return err
		}
		r := doctor.Examine(facts)
		problems += r.Problems()
		reports = append(reports, r)
	}
	if err := c.print(os.Stdout, reports); err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("problems found: %d", problems)
	}
	return nil
}

func (c *doctorCommand) print(w io.Writer, reports []*doctor.Report) error {
	if c.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	}
	w = status.Terminal(w)
	for n, r := range reports {
		if n > 0 {
			fmt.Fprintln(w)
		}
		if err := r.Text(w); err != nil {
			return err
		}
	}
	return nil
}
