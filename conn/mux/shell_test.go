package mux

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/wg-bond/wg-bond/conn/udp"
)

// narrowSocket refuses datagrams longer than mtu, as the kernel does.
type narrowSocket struct {
	Socket
	mtu  int
	sent []int
	err  error
}

func (s *narrowSocket) WriteBatch(bufs [][]byte, to netip.AddrPort, _ netip.Addr) (int, error) {
	for i, b := range bufs {
		if len(b) > s.mtu {
			return i, &udp.Error{Op: "send", Peer: to, Err: syscall.EMSGSIZE}
		}
		s.sent = append(s.sent, len(b))
	}
	return len(bufs), s.err
}

// TestWriteTooLong: what the device does not carry is left out, the rest goes,
// and the caller learns the size of the shortest that was refused.
func TestWriteTooLong(t *testing.T) {
	sh := NewShell(nil, nil)
	batch := [][]byte{make([]byte, 1452), make([]byte, 100), make([]byte, 1420), make([]byte, 1452), make([]byte, 1400)}
	s := &narrowSocket{mtu: 1400}
	tooLong, err := sh.write(s, batch, netip.AddrPort{}, netip.Addr{})
	if tooLong != 1420 || err != nil || len(s.sent) != 2 || s.sent[0] != 100 || s.sent[1] != 1400 {
		t.Errorf("too long from %d, error %v, sent %v", tooLong, err, s.sent)
	}
	s = &narrowSocket{mtu: 1400, err: &udp.Error{Op: "send", Err: syscall.ENODEV}}
	if tooLong, err := sh.write(s, batch, netip.AddrPort{}, netip.Addr{}); tooLong != 1420 || !errors.Is(err, syscall.ENODEV) {
		t.Errorf("too long from %d, error %v", tooLong, err)
	}
}
