package udp

import (
	"fmt"
	"math/bits"
	"net"
	"os"

	"golang.org/x/sys/windows"
)

// From ws2ipdef.h; x/sys/windows has neither. IPv6's are the same numbers at
// the other level.
const (
	ipUnicastIf     = 31
	ipv6MTUDiscover = 71
)

// setOptions prepares a socket before it is bound.
func setOptions(fd uintptr, v6 bool, cfg *Config) error {
	s := windows.Handle(fd)
	if cfg.Mark != 0 {
		return markUnsupported(cfg.Mark)
	}
	level, discover := windows.IPPROTO_IP, windows.IP_MTU_DISCOVER
	if v6 {
		level, discover = windows.IPPROTO_IPV6, ipv6MTUDiscover
	}
	if cfg.Device != "" {
		dev, err := net.InterfaceByName(cfg.Device)
		if err != nil {
			return fmt.Errorf("bind to device %q: %w", cfg.Device, err)
		}
		index := uint32(dev.Index)
		if !v6 {
			index = bits.ReverseBytes32(index) // IPv4 alone wants it in network order
		}
		if err := windows.SetsockoptInt(s, level, ipUnicastIf, int(int32(index))); err != nil {
			return fmt.Errorf("bind to device %q: %w", cfg.Device, os.NewSyscallError("setsockopt", err))
		}
	}
	// Windows before 10 1703 has no such option; there probes may be fragmented.
	_ = windows.SetsockoptInt(s, level, discover, windows.IP_PMTUDISC_PROBE)
	// Smaller buffers than asked for are no reason not to work.
	if cfg.RecvBuffer > 0 {
		_ = windows.SetsockoptInt(s, windows.SOL_SOCKET, windows.SO_RCVBUF, cfg.RecvBuffer)
	}
	if cfg.SendBuffer > 0 {
		_ = windows.SetsockoptInt(s, windows.SOL_SOCKET, windows.SO_SNDBUF, cfg.SendBuffer)
	}
	return nil
}
