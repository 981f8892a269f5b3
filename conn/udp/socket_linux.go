package udp

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a UDP socket. ReadBatch may be called by one goroutine at a time;
// all else by any number at once, and their sends run in parallel.
type Socket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	v6   bool

	gso    atomic.Bool          // the kernel takes trains from us
	scope  atomic.Pointer[zone] // the zone last written to
	reader reader
	count  counters
}

func newSocket(conn *net.UDPConn, v6 bool, cfg *Config) (*Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{conn: conn, raw: raw, v6: v6}
	s.reader.init(s)
	if cfg.NoOffload {
		return s, nil
	}
	err = raw.Control(func(fd uintptr) {
		// A kernel before 4.18 would not refuse a train: it does not know
		// UDP_SEGMENT and would send the whole as one datagram. So ask.
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.gso.Store(err == nil)
		// Without GRO datagrams come one by one, which ReadBatch takes as well.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	return s, err
}

// SetMark changes the fwmark of packets sent from now on. It needs
// CAP_NET_ADMIN.
func (s *Socket) SetMark(mark uint32) error {
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
	})
	if cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("udp: set fwmark %#x (needs CAP_NET_ADMIN): %w", mark, err)
	}
	return nil
}

// Stats tells what the socket did so far.
func (s *Socket) Stats() Stats {
	st := s.count.snapshot()
	st.GSO = s.gso.Load()
	// A closed socket's drops are unknown: they stay 0.
	_ = s.raw.Control(func(fd uintptr) { st.BufferOverflow = kernelDrops(fd) })
	return st
}

// kernelDrops is how many datagrams the kernel dropped at a socket's receive
// buffer (sk_drops, which SO_MEMINFO reports since Linux 4.12; 0 before). It
// also counts the rare datagram whose checksum turned out wrong on copying.
func kernelDrops(fd uintptr) uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

// mmsghdr is struct mmsghdr of recvmmsg(2); x/sys has none.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes that went
}
