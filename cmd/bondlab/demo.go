package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/demo"
)

type demoCmd struct {
	Runs int     `default:"3" help:"Downloads each way."`
	Size float64 `default:"3" help:"Size of the file, in MB (10⁶ bytes)."`
	PNG  string  `default:"demo.png" help:"Where to write the chart; empty: nowhere."`
}

// Run repeats the experiment in this process.
func (c *demoCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return demo.Run(ctx, demo.Options{
		Runs:  c.Runs,
		Bytes: int(c.Size * 1e6),
		PNG:   c.PNG,
		Out:   os.Stdout,
		Live:  isTerminal(os.Stdout),
	})
}

// isTerminal reports whether somebody watches f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
