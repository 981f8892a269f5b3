//go:build !linux

package netwatch

import (
	"errors"
	"fmt"
	"runtime"
)

// Watcher reads the State and tells when it changes; on Linux only.
type Watcher struct{}

// Open fails with errors.ErrUnsupported on this system.
func Open() (*Watcher, error) {
	return nil, fmt.Errorf("netwatch: finding the devices with a default route is %w on %s: name them in [[path]] entries",
		errors.ErrUnsupported, runtime.GOOS)
}

// Read tells nothing on this system.
func (*Watcher) Read() (State, error) { return State{}, errors.ErrUnsupported }

// Changes has nothing to tell on this system.
func (*Watcher) Changes() <-chan struct{} { return nil }

// Close does nothing on this system.
func (*Watcher) Close() {}
