//go:build linux

package emulator

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenTUN makes a TUN device in the calling thread's network namespace and
// returns its non-blocking descriptor. The device goes when the descriptor is
// closed.
func OpenTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		// Without IFF_VNET_HDR the kernel cuts large segments into packets and
		// completes checksums before it hands them to us.
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make TUN device %q: %w", name, err)
	}
	return fd, nil
}
