//go:build !linux

package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// maxReadErrors is how many errors in a row ReadBatch passes over before it
// concludes that the socket is broken. A queued ICMP error is gone once it was
// reported.
const maxReadErrors = 64

// Socket is a UDP socket. ReadBatch may be called by one goroutine at a time;
// all else by any number at once.
type Socket struct {
	conn  *net.UDPConn
	v6    bool
	local netip.Addr // where packet info is wanted and the address is one
	count counters
}

func newSocket(conn *net.UDPConn, v6 bool, cfg *Config) (*Socket, error) {
	s := &Socket{conn: conn, v6: v6}
	if local := s.LocalAddr().Addr(); cfg.PacketInfo && !local.IsUnspecified() {
		s.local = local
	}
	return s, nil
}

// ReadBatch waits for a datagram and puts it in ms[0], of which there must be
// at least one. Datagrams longer than their buffer are dropped and counted.
// The error is net.ErrClosed after Close; other errors are passed over and
// counted unless they do not cease.
func (s *Socket) ReadBatch(ms []Message) (n int, err error) {
	if len(ms) == 0 {
		return 0, errors.New("udp: receive: ReadBatch needs at least one message")
	}
	m := &ms[0]
	for failures := 0; failures < maxReadErrors; failures++ {
		var peer netip.AddrPort
		var flags int
		n, _, flags, peer, err = s.conn.ReadMsgUDPAddrPort(m.Buf, nil)
		switch {
		case err == nil && flags&msgTrunc != 0, TooLong(err): // the latter on Windows
			s.count.truncated.Add(1)
			failures = 0
		case err == nil:
			m.Buf = m.Buf[:n]
			m.Peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
			m.Local = s.local
			s.count.received.Add(1)
			s.count.receiveCalls.Add(1)
			return 1, nil
		case errors.Is(err, net.ErrClosed):
			return 0, &Error{Op: "receive", Err: err}
		default:
			s.count.receiveErrors.Add(1)
		}
	}
	return 0, &Error{Op: "receive", Err: err}
}

// WriteBatch sends bufs to one destination, in order, and returns how many
// were sent. Where that is fewer than all, err says why bufs[sent] was not,
// and the rest was not tried.
func (s *Socket) WriteBatch(bufs [][]byte, to netip.AddrPort, from netip.Addr) (sent int, err error) {
	if to, err = destination(to, s.v6); err != nil {
		s.count.sendFailed(err)
		return 0, err
	}
	for _, b := range bufs {
		if _, err = s.conn.WriteToUDPAddrPort(b, to); err != nil {
			s.count.sendFailed(err)
			return sent, &Error{Op: "send", Peer: to, From: from, Err: err}
		}
		sent++
		s.count.sent.Add(1)
		s.count.sendCalls.Add(1)
	}
	return sent, nil
}

// SetMark fails with errors.ErrUnsupported unless mark is 0: only Linux has
// fwmarks.
func (s *Socket) SetMark(mark uint32) error {
	if mark == 0 {
		return nil
	}
	return markUnsupported(mark)
}

func markUnsupported(mark uint32) error {
	return fmt.Errorf("udp: set fwmark %#x: %w (only Linux has fwmarks)", mark, errors.ErrUnsupported)
}

// Stats tells what the socket did so far.
func (s *Socket) Stats() Stats { return s.count.snapshot() }
