//go:build linux

package main

import (
	"fmt"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

type cleanCmd struct {
	All bool `help:"End running laboratories as well."`
}

// Run removes what killed runs left and says what it did.
func (c *cleanCmd) Run() error {
	removed, left, err := sandbox.Clean(c.All)
	for _, r := range removed {
		fmt.Printf("%s removed (%s)\n", r.ID, r.About)
	}
	for _, r := range left {
		fmt.Printf("%s runs as process %d (%s): left alone, --all ends it\n", r.ID, r.Outer.PID, r.About)
	}
	if err == nil && len(removed)+len(left) == 0 {
		fmt.Println("nothing to clean")
	}
	return err
}
