//go:build !linux

package main

import "errors"

// labCommands exist on Linux only; elsewhere `run` says so.
type labCommands struct {
	Run unsupported `cmd:"" help:"Measure in network namespaces: on Linux only."`
}

type unsupported struct {
	Args []string `arg:"" optional:"" passthrough:""`
}

// Run explains.
func (unsupported) Run() error {
	return errors.New("network namespaces exist on Linux only; `make demo` repeats the experiment anywhere")
}
