package udp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// setOptions prepares a socket before it is bound.
func setOptions(fd uintptr, v6 bool, cfg *Config) error {
	s := int(fd)
	if cfg.Device != "" {
		if err := unix.BindToDevice(s, cfg.Device); err != nil {
			return fmt.Errorf("bind to device %q: %w", cfg.Device, os.NewSyscallError("setsockopt", err))
		}
	}
	if cfg.Mark != 0 {
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MARK, int(cfg.Mark)); err != nil {
			return fmt.Errorf("set fwmark %#x (needs CAP_NET_ADMIN): %w", cfg.Mark, os.NewSyscallError("setsockopt", err))
		}
	}
	setBuffer(s, cfg.RecvBuffer, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE)
	setBuffer(s, cfg.SendBuffer, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE)

	level, discover, probe, info := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, unix.IP_PKTINFO
	if v6 {
		level, discover, probe, info = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, unix.IPV6_RECVPKTINFO
	}
	if err := unix.SetsockoptInt(s, level, discover, probe); err != nil {
		return fmt.Errorf("forbid fragmentation: %w", os.NewSyscallError("setsockopt", err))
	}
	if cfg.Background {
		// In this order: the first sets the priority, too.
		tos := unix.IP_TOS
		if v6 {
			tos = unix.IPV6_TCLASS
		}
		if err := unix.SetsockoptInt(s, level, tos, dscpLE); err != nil {
			return fmt.Errorf("set DSCP LE: %w", os.NewSyscallError("setsockopt", err))
		}
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_PRIORITY, lastBand); err != nil {
			return fmt.Errorf("set the priority: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	if cfg.PacketInfo {
		if err := unix.SetsockoptInt(s, level, info, 1); err != nil {
			return fmt.Errorf("ask for packet info: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}

// lastBand is TC_PRIO_BULK, which pfifo_fast and prio put into their last band.
const lastBand = 2

// setBuffer asks for a buffer of size bytes, beyond net.core.[rw]mem_max if we
// may. Failure means a smaller buffer, which is no reason not to work: what it
// costs shows in Stats (BufferOverflow, SendWaits).
func setBuffer(fd, size, opt, force int) {
	if size < 0 {
		return
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size)
	}
}
