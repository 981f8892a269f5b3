package wgtest

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
)

// Net opens real loopback sockets whose network can be made to fail. The
// socket for a device "x" is the one that its path x opens.
type Net struct {
	mu      sync.Mutex
	missing map[string]bool // devices that are not there
	sockets map[string]*Socket
	marks   map[string]uint32
	opened  map[string]int
}

// NewNet makes a Net in which every device exists.
func NewNet() *Net {
	return &Net{
		missing: make(map[string]bool),
		sockets: make(map[string]*Socket),
		marks:   make(map[string]uint32),
		opened:  make(map[string]int),
	}
}

// Listen is a mux.ListenFunc. Device names only distinguish sockets: nothing
// is bound to them, and marks are noted, not set, which needs no root.
func (n *Net) Listen(cfg udp.Config) (mux.Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.missing[cfg.Device] {
		return nil, syscall.ENODEV
	}
	device := cfg.Device
	n.marks[device] = cfg.Mark
	cfg.Device, cfg.Mark = "", 0
	real, err := udp.Listen(cfg)
	if err != nil {
		return nil, err
	}
	s := &Socket{Socket: real, net: n, device: device, unblock: make(chan struct{})}
	n.sockets[device] = s
	n.opened[device]++
	return s, nil
}

// Remove takes a device away, or brings it back: as with a real one, the
// sockets bound to it are good for nothing even when it is back.
func (n *Net) Remove(device string, gone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.missing[device] = gone
	if s := n.sockets[device]; s != nil && gone {
		s.gone.Store(true)
	}
}

// Opened tells how many sockets were opened on a device so far.
func (n *Net) Opened(device string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.opened[device]
}

// Mark tells the mark of the latest socket on a device.
func (n *Net) Mark(device string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.marks[device]
}

// Socket is the latest one opened on a device.
func (n *Net) Socket(t testing.TB, device string) *Socket {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.sockets[device]
	if s == nil {
		t.Fatalf("no socket was opened on device %q", device)
	}
	return s
}

// Socket is a real one that can fail.
type Socket struct {
	*udp.Socket
	net     *Net
	device  string
	gone    atomic.Bool // writes fail with ENODEV
	dark    atomic.Bool // what is written or received is lost, without notice
	blocked atomic.Bool // writes block until Close
	unblock chan struct{}
	once    sync.Once
}

// Darken loses all datagrams from now on, or no more.
func (s *Socket) Darken(dark bool) { s.dark.Store(dark) }

// Block makes writes block, as a modem does whose queue stands still.
func (s *Socket) Block() { s.blocked.Store(true) }

// SetMark notes the mark.
func (s *Socket) SetMark(mark uint32) error {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.net.marks[s.device] = mark
	return nil
}

// WriteBatch writes, or fails as told.
func (s *Socket) WriteBatch(bufs [][]byte, to netip.AddrPort, from netip.Addr) (int, error) {
	switch {
	case s.gone.Load():
		return 0, &udp.Error{Op: "send", Peer: to, Err: syscall.ENODEV}
	case s.blocked.Load():
		<-s.unblock
	case s.dark.Load():
		return len(bufs), nil
	}
	return s.Socket.WriteBatch(bufs, to, from)
}

// ReadBatch reads what the darkness lets through.
func (s *Socket) ReadBatch(ms []udp.Message) (int, error) {
	for {
		n, err := s.Socket.ReadBatch(ms)
		if err != nil || !s.dark.Load() {
			return n, err
		}
		for i := range ms[:n] {
			ms[i].Buf = ms[i].Buf[:cap(ms[i].Buf)]
		}
	}
}

// Close closes and unblocks.
func (s *Socket) Close() error {
	s.once.Do(func() { close(s.unblock) })
	return s.Socket.Close()
}
