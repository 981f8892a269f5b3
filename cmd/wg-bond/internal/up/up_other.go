//go:build !linux

package up

import "github.com/wg-bond/wg-bond/cmd/internal/daemon"

// Run is ErrOnlyLinux on this system.
func Run(string, Options, *daemon.Process) error { return ErrOnlyLinux }

// Down is ErrOnlyLinux on this system.
func Down(string) error { return ErrOnlyLinux }
