package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/trial"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

type schedulerTestCommand struct {
	Plugin   string   `arg:"" help:"The plugin's program, or a built-in's name."`
	Set      []string `placeholder:"KEY=VALUE" sep:"none" help:"A parameter, as in [plugin.NAME], like --set 'budget=\"5 GB\"'."`
	Against  []string `placeholder:"NAME" help:"The built-ins to compare with; all if not given."`
	Scenario []string `placeholder:"NAME" help:"Only these scenarios."`
	Conform  bool     `help:"Only the conformance suite."`
	Seed     uint64   `help:"The conformance suite's first seed; random if not given."`
}

// Help is what --help says besides.
func (schedulerTestCommand) Help() string {
	return `Nothing is touched but the plugin's own process, and no time passes but the computer's: the scenarios run in virtual time. Rows are
the goodput of a TCP download (CUBIC) and a ping's median beside it, or the time that a download of 3 MB takes.`
}

// Run runs the command.
func (c *schedulerTestCommand) Run() error {
	scenarios, err := trial.Pick(c.Scenario)
	if err != nil {
		return err
	}
	subject, end, err := c.subject()
	if err != nil {
		return err
	}
	defer end()
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if err := trial.Conform(os.Stdout, subject, c.Seed); err != nil || c.Conform {
		return err
	}
	subjects := []trial.Subject{subject}
	if len(c.Against) == 0 {
		c.Against = builtin.Names()
	}
	for _, name := range c.Against {
		maker, err := builtin.Configured(name, nil)
		if err != nil {
			return err
		}
		subjects = append(subjects, trial.Subject{Name: name, New: maker})
	}
	fmt.Println()
	return trial.Table(os.Stdout, scenarios, subjects, trial.Run(scenarios, subjects))
}

// subject is who is on trial.
func (c *schedulerTestCommand) subject() (trial.Subject, func(), error) {
	parameters := map[string]any{}
	if err := toml.Unmarshal([]byte(strings.Join(c.Set, "\n")), &parameters); err != nil {
		return trial.Subject{}, nil, fmt.Errorf("--set: %w; want KEY=VALUE as in a TOML file, texts in quotes", err)
	}
	if slices.Contains(builtin.Names(), c.Plugin) {
		maker, err := builtin.Configured(c.Plugin, parameters)
		return trial.Subject{Name: c.Plugin, New: maker}, func() {}, err
	}
	path, err := filepath.Abs(c.Plugin)
	if err != nil {
		return trial.Subject{}, nil, err
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	p, err := host.Launch(context.Background(), host.Config{
		Name: name, Path: path, Parameters: parameters,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		return trial.Subject{}, nil, err
	}
	return trial.Subject{Name: name, New: func() schedulers.Scheduler {
		d, err := p.NewDirect()
		if err != nil {
			return failed{err}
		}
		return d
	}}, p.Close, nil
}

// failed is a scheduler that could not be made.
type failed struct{ err error }

// Plan makes none.
func (failed) Plan(*schedulers.Snapshot, *schedulers.Plan) {}

// Err says why.
func (f failed) Err() error {
	if f.err == nil {
		return errors.New("not made")
	}
	return f.err
}
