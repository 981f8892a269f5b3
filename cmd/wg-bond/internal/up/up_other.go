//go:build !linux

package up

import (
	"io"

	"github.com/wg-bond/wg-bond/cmd/internal/daemon"
)

// Run is ErrOnlyLinux on this system.
func Run(string, Options, *daemon.Process) error { return ErrOnlyLinux }

// Down is ErrOnlyLinux on this system.
func Down(string) error { return ErrOnlyLinux }

// DryRun is ErrOnlyLinux on this system.
func DryRun(string, io.Writer) error { return ErrOnlyLinux }

// Save is ErrOnlyLinux on this system.
func Save(string) error { return ErrOnlyLinux }

// Device is ErrOnlyLinux on this system.
func Device(string, *daemon.Process) error { return ErrOnlyLinux }
