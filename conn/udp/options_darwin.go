package udp

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// setOptions prepares a socket before it is bound.
func setOptions(fd uintptr, v6 bool, cfg *Config) error {
	s := int(fd)
	if cfg.Mark != 0 {
		return markUnsupported(cfg.Mark)
	}
	level, boundIf, dontFrag := unix.IPPROTO_IP, unix.IP_BOUND_IF, unix.IP_DONTFRAG
	if v6 {
		level, boundIf, dontFrag = unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, unix.IPV6_DONTFRAG
	}
	if cfg.Device != "" {
		dev, err := net.InterfaceByName(cfg.Device)
		if err != nil {
			return fmt.Errorf("bind to device %q: %w", cfg.Device, err)
		}
		if err := unix.SetsockoptInt(s, level, boundIf, dev.Index); err != nil {
			return fmt.Errorf("bind to device %q: %w", cfg.Device, os.NewSyscallError("setsockopt", err))
		}
	}
	if err := unix.SetsockoptInt(s, level, dontFrag, 1); err != nil {
		return fmt.Errorf("forbid fragmentation: %w", os.NewSyscallError("setsockopt", err))
	}
	if cfg.Background {
		tos := unix.IP_TOS
		if v6 {
			tos = unix.IPV6_TCLASS
		}
		if err := unix.SetsockoptInt(s, level, tos, dscpLE); err != nil {
			return fmt.Errorf("set DSCP LE: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	// Smaller buffers than asked for are no reason not to work.
	if cfg.RecvBuffer > 0 {
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.RecvBuffer)
	}
	if cfg.SendBuffer > 0 {
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, cfg.SendBuffer)
	}
	return nil
}
