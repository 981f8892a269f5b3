package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/replay"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

type replayCmd struct {
	File  string        `arg:"" help:"A trace: of wg-bond up or serve, or of bondlab run, with --trace." type:"existingfile"`
	From  time.Duration `help:"Show what happened from here on, since the trace's start." placeholder:"TIME"`
	To    time.Duration `help:"… and until here. Default: the end." placeholder:"TIME"`
	Path  int           `help:"Show one path only, by its number." default:"-1" placeholder:"N"`
	Names []string      `help:"What to call the paths, by number: a server does not know." placeholder:"NAME,…"`
	Worst bool          `help:"Show the worst second only."`
	SVG   string        `name:"svg" help:"Draw throughput, round-trip time and waiting into this file." type:"path" placeholder:"FILE"`
	PNG   string        `name:"png" help:"The same, as a PNG." type:"path" placeholder:"FILE"`
}

// Validate checks what kong cannot.
func (r *replayCmd) Validate() error {
	if r.From < 0 || r.To < 0 || r.To > 0 && r.To <= r.From {
		return fmt.Errorf("--from %v --to %v: want times since the trace's start, the second later than the first", r.From, r.To)
	}
	if r.Path < -1 || r.Path >= schedulers.MaxPaths {
		return fmt.Errorf("--path %d: paths are numbered from 0 to %d", r.Path, schedulers.MaxPaths-1)
	}
	return nil
}

// Run shows what a trace tells.
func (r *replayCmd) Run() error {
	run, err := r.gather()
	if err != nil {
		return err
	}
	if err := r.text(os.Stdout, run); err != nil {
		return err
	}
	figure := run.Figure(r.Path)
	return errors.Join(draw(r.SVG, figure.SVG), draw(r.PNG, figure.PNG))
}

func (r *replayCmd) gather() (*replay.Run, error) {
	f, err := os.Open(r.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, entries, err := trace.Read(f)
	if err == nil {
		h.Paths = append(slices.Clone(r.Names), h.Paths[min(len(r.Names), len(h.Paths)):]...)
		var run *replay.Run
		if run, err = replay.Gather(h, entries, replay.Options{From: r.From, To: r.To}); err == nil {
			return run, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", filepath.Base(r.File), err)
}

func (r *replayCmd) text(w io.Writer, run *replay.Run) error {
	steps := []func() error{
		func() error { return run.Summary(w) },
	}
	if !r.Worst {
		steps = append(steps,
			heading(w, "By the second"),
			func() error { return run.Table(w, r.Path) },
			heading(w, "Worth noting (at, in seconds)"),
			func() error { return run.Notes(w, r.Path, run.From, run.To) },
		)
	}
	if at, ok := run.Worst(); ok {
		steps = append(steps,
			heading(w, fmt.Sprintf("The worst second, from %v on", at)),
			func() error { return run.Zoom(w, r.Path, at) },
		)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func heading(w io.Writer, text string) func() error {
	return func() error {
		_, err := fmt.Fprintf(w, "\n## %s\n\n", text)
		return err
	}
}

// draw writes a figure into a file; name empty: none.
func draw(name string, figure func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(figure(f), f.Close())
}
