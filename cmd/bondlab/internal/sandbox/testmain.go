//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"os"
)

// Main is what a test package's TestMain calls: as root it runs the tests
// inside a sandbox, so that they cannot touch the machine; otherwise it runs
// them where they are, and they skip themselves by RequireRoot.
func Main(run func() int) {
	switch {
	case ID() != "" && os.Getpid() == 1:
		if err := Setup(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(run())
	case os.Geteuid() == 0:
		code, err := Run(context.Background(), "tests")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	default:
		os.Exit(run())
	}
}
