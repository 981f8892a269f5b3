//go:build linux

package lab

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/pcap"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"golang.org/x/sys/unix"
)

// tapLoopback records the IPv4 packets of a host's loopback device. Closing
// what it returns ends the recording.
func tapLoopback(h *sandbox.Host, to *pcap.Writer) (io.Closer, error) {
	fd := -1
	err := h.Do(func() (err error) {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			// The kernel would hand us trains of datagrams in one packet (UDP GSO);
			// with this it cuts them first.
			err = netlink.LinkSetGSOMaxSegs(lo, 1)
		}
		if err != nil {
			return err
		}
		proto := uint16(unix.ETH_P_IP>>8 | unix.ETH_P_IP<<8&0xff00) // network byte order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: lo.Attrs().Index})
		}
		return err
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("host %s: packet socket on lo: %w", h.Name, err)
	}
	t := &tap{file: os.NewFile(uintptr(fd), "packet socket"), done: make(chan struct{})}
	raw, err := t.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(t.done)
		buf := make([]byte, 65536)
		for {
			var n int
			var from unix.Sockaddr
			err := raw.Read(func(fd uintptr) bool {
				var e error
				n, from, e = unix.Recvfrom(int(fd), buf, 0)
				return e != unix.EAGAIN
			})
			if err != nil {
				return // closed
			}
			// A packet on lo is seen leaving and coming; once is enough.
			if a, ok := from.(*unix.SockaddrLinklayer); ok && a.Pkttype != unix.PACKET_OUTGOING && n > 0 {
				to.Packet(time.Now(), buf[:n])
			}
		}
	}()
	return t, nil
}

type tap struct {
	file *os.File
	done chan struct{}
}

func (t *tap) Close() error {
	err := t.file.Close()
	<-t.done
	return err
}
