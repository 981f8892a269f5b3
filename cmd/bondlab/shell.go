//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"golang.org/x/sys/unix"
)

type shellCmd struct {
	Host    string   `arg:"" help:"c (borrower), s (server), w (web host), i (internet), air, or a neighbour's name."`
	Command []string `arg:"" optional:"" passthrough:"" help:"What to run; default: $SHELL."`
	ID      string   `help:"Which laboratory, if several run."`
}

// Run enters a running laboratory through nsenter.
func (s *shellCmd) Run() error {
	recs, err := sandbox.Records()
	if err != nil {
		return err
	}
	var found []sandbox.Record
	var running []string
	for _, r := range recs {
		if !r.Inner.Alive() {
			continue
		}
		running = append(running, r.ID)
		if s.ID == "" || s.ID == r.ID {
			found = append(found, r)
		}
	}
	switch {
	case len(running) == 0:
		return errors.New("no laboratory is running: start one with `bondlab run SCENARIO --keep`")
	case len(found) != 1:
		return fmt.Errorf("%d laboratories fit, want one: choose by --id=%s", len(found), strings.Join(running, " or --id="))
	}
	argv := s.Command
	if len(argv) == 0 {
		argv = []string{os.Getenv("SHELL")}
		if argv[0] == "" {
			argv[0] = "/bin/sh"
		}
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return errors.New("nsenter is not installed: apt-get install util-linux")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{nsenter, "--target", strconv.Itoa(found[0].Inner.PID), "--mount", "--pid", "--uts", "--ipc", "--",
		self, "enter", found[0].ID, s.Host, "--"}
	// wg-bond and relayd are beside us.
	if err := os.Setenv("PATH", filepath.Dir(self)+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return err
	}
	return unix.Exec(nsenter, append(args, argv...), os.Environ())
}

type enterCmd struct {
	ID      string   `arg:""`
	Host    string   `arg:""`
	Command []string `arg:"" passthrough:""`
}

// Run is what nsenter starts in the sandbox.
func (e *enterCmd) Run() error {
	for len(e.Command) > 1 && e.Command[0] == "--" {
		e.Command = e.Command[1:] // shell's own, and perhaps the user's
	}
	return sandbox.Enter(e.ID, e.Host, e.Command)
}
