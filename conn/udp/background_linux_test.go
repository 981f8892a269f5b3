package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBackground: packets carry the DSCP LE and the priority of the last band.
func TestBackground(t *testing.T) {
	for _, c := range []struct {
		local      string
		level, opt int
	}{{"127.0.0.1:0", unix.IPPROTO_IP, unix.IP_TOS}, {"[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_TCLASS}} {
		s, err := Listen(Config{Local: netip.MustParseAddrPort(c.local), Background: true})
		if err != nil {
			t.Logf("%s: %v", c.local, err) // a machine without IPv6
			continue
		}
		defer s.Close()
		raw, err := s.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if tos, err := unix.GetsockoptInt(int(fd), c.level, c.opt); err != nil || tos != 0b000001<<2 {
				t.Errorf("%s: the TOS byte is %#x, %v; want DSCP 1", c.local, tos, err)
			}
			if p, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY); err != nil || p != lastBand {
				t.Errorf("%s: the priority is %d, %v; want %d", c.local, p, err, lastBand)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}
