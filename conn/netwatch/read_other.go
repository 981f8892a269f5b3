//go:build !linux

package netwatch

import (
	"errors"
	"fmt"
	"runtime"
)

func read() ([]Link, []Route, error) {
	return nil, nil, fmt.Errorf("netwatch: finding the devices with a default route is %w on %s: name them in [[path]] entries",
		errors.ErrUnsupported, runtime.GOOS)
}
