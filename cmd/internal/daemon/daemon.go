// Package daemon lets a command go on in the background once it is ready:
//
//	parent: Start ── the same command, with the end of a pipe ──→ child
//	        waits                                                 works, prints to the terminal
//	        returns nil ←───────────── "ready" ──────────────── Process.Ready: leaves the terminal
//	        or the error ←──────────── its text ─────────────── Process.Failed
//
// So whoever typed the command knows how it went, and what comes after it in
// a script finds it done.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// variable tells the child the number of the pipe's descriptor.
const variable = "WG_BOND_READY_FD"

const ready = "ready\n"

// Start runs the program again with args and returns once it is ready: nil,
// or the error that it ended with.
func Start(args ...string) error { return StartWith(nil, args...) }

// StartWith is Start for a child that is to have open files of this process:
// those whose descriptors' numbers are in these environment variables, as far
// as they are set.
func StartWith(descriptors []string, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), variable+"=3")
	cmd.ExtraFiles = []*os.File{theirs}
	for _, variable := range descriptors {
		file, err := Descriptor(variable)
		if err != nil {
			return err
		}
		if file != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, file)
			cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", variable, 2+len(cmd.ExtraFiles)))
		}
	}
	// While it starts, what it prints belongs on the terminal.
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The child ends in its own way, and tells how, if somebody grows
	// impatient. (An interrupt from the terminal reaches it anyhow.)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer func() { signal.Stop(signals); close(signals) }()
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	report, err := io.ReadAll(ours)
	if err != nil {
		return err
	}
	if string(report) == ready {
		return cmd.Process.Release()
	}
	ended := cmd.Wait()
	if len(report) > 0 {
		return errors.New(strings.TrimSuffix(string(report), "\n"))
	}
	return fmt.Errorf("the program in the background ended before it was ready: %v", ended)
}

// Notify tells the service manager, if it waits for it (sd_notify(3)): Ready
// does so by itself. A manager that does not listen is no reason to end.
func Notify(state string) { _, _ = sd.SdNotify(false, state) }

// What to Notify of: all that was asked for is there; the end has begun.
const (
	Ready    = sd.SdNotifyReady
	Stopping = sd.SdNotifyStopping
)

// Descriptor is the open file whose descriptor's number an environment variable
// holds, or nil if it is not set. Programs started later do not inherit it.
func Descriptor(variable string) (*os.File, error) {
	text := os.Getenv(variable)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("the variable %s: found %q; want the number of an open descriptor", variable, text)
	}
	file := os.NewFile(uintptr(fd), variable)
	if _, err := file.Stat(); err != nil {
		return nil, fmt.Errorf("the variable %s: found %q; want the number of an open descriptor: %w", variable, text, err)
	}
	closeOnExec(int(fd))
	return file, nil
}

// Process is this process, as the child of a Start or not.
type Process struct{ pipe *os.File }

// Current takes over the pipe if this process was begun by Start. Call it
// before anything else that may start programs: they must not inherit it.
func Current() *Process {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return &Process{}
	}
	os.Unsetenv(variable)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return &Process{}
	}
	closeOnExec(fd)
	return &Process{pipe: os.NewFile(uintptr(fd), "ready")}
}

// Background reports whether the process is to go on in the background.
func (p *Process) Background() bool { return p.pipe != nil }

// Ready tells the parent, or the service manager, that all went well and, in the background, leaves
// its terminal, session and directory. With keepOutput, standard output and
// error stay.
func (p *Process) Ready(keepOutput bool) error {
	if p.pipe == nil {
		Notify(Ready)
		return nil
	}
	if err := detach(keepOutput); err != nil {
		return err
	}
	_, err := io.WriteString(p.pipe, ready)
	return errors.Join(err, p.pipe.Close())
}

// Failed hands the error to the parent, which prints it; it reports false if
// there is no parent waiting.
func (p *Process) Failed(err error) bool {
	if p.pipe == nil {
		return false
	}
	_, writeErr := io.WriteString(p.pipe, err.Error()+"\n")
	return errors.Join(writeErr, p.pipe.Close()) == nil
}
