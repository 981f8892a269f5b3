//go:build !linux && !darwin && !windows

package udp

import (
	"errors"
	"fmt"
)

// setOptions refuses what only other systems can do.
func setOptions(_ uintptr, _ bool, cfg *Config) error {
	if cfg.Mark != 0 {
		return markUnsupported(cfg.Mark)
	}
	if cfg.Device != "" {
		return fmt.Errorf("bind to device %q: %w", cfg.Device, errors.ErrUnsupported)
	}
	return nil
}
