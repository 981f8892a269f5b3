//go:build linux

package main

import (
	"fmt"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/cmd/bondlab/scenarios"
)

type listCmd struct{}

// Run prints every scenario's name and what it is about.
func (listCmd) Run() error {
	for _, name := range scenario.Names(scenarios.Files) {
		s, err := scenario.Find(scenarios.Files, name)
		if err != nil {
			return err
		}
		fmt.Printf("%-14s %s\n", name, s.About)
	}
	return nil
}
