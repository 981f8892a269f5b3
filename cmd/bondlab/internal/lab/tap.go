//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
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
	t := &tap{file: os.NewFile(uintptr(fd), "packet socket"), to: to, buf: make([]byte, 65536), done: make(chan struct{})}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		return nil, err
	}
	go func() {
		defer close(t.done)
		for t.raw.Read(t.take) == nil {
		}
	}()
	return t, nil
}

type tap struct {
	file *os.File
	raw  syscall.RawConn
	to   *pcap.Writer
	buf  []byte
	done chan struct{} // closed when the reader has left
}

// take records a packet; false if none is there.
func (t *tap) take(fd uintptr) bool {
	n, from, err := unix.Recvfrom(int(fd), t.buf, 0)
	// A packet on lo is seen leaving and coming; once is enough.
	if a, ok := from.(*unix.SockaddrLinklayer); ok && a.Pkttype != unix.PACKET_OUTGOING && n > 0 {
		t.to.Packet(time.Now(), t.buf[:n])
	}
	return err != unix.EAGAIN
}

// Close records what has come by now, which a busy machine may not have got
// round to, and ends the recording.
func (t *tap) Close() error {
	err := t.file.SetReadDeadline(time.Now())
	<-t.done
	return errors.Join(err, t.raw.Control(func(fd uintptr) {
		for t.take(fd) {
		}
	}), t.file.Close())
}
