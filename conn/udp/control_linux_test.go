package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// message makes a control message as the kernel does.
func message(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	copy(putHeader(b, level, kind, len(data)), data)
	return b
}

func groMessage(size int32) []byte {
	return message(unix.SOL_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, uint32(size)))
}

func TestParseControl(t *testing.T) {
	var v4, v6, both control
	ip4, ip6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fd00::7")
	info4 := v4.bytes()[:v4.putSource(ip4, 0)]
	info6 := v6.bytes()[:v6.putSource(ip6, 3)]
	sent := both.bytes()[:both.putSegment(both.putSource(ip6, 3), 1420)]
	for _, c := range []struct {
		name string
		in   []byte
		want received
		bad  bool
	}{
		{name: "nothing"},
		{name: "a train", in: groMessage(1420), want: received{size: 1420}},
		{name: "a train of 40,000 byte segments", in: groMessage(40000), want: received{size: 40000}},
		{name: "IPv4", in: info4, want: received{local: ip4}},
		{name: "IPv6", in: info6, want: received{local: ip6, ifindex: 3}},
		{name: "both", in: append(groMessage(1420), info4...), want: received{size: 1420, local: ip4}},
		{name: "the other way round", in: append(append([]byte(nil), info6...), groMessage(1420)...), want: received{size: 1420, local: ip6, ifindex: 3}},
		{name: "another kind", in: message(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16))},
		{name: "what we send", in: sent, want: received{local: ip6, ifindex: 3}}, // UDP_SEGMENT is skipped
		{name: "a negative size", in: groMessage(-1), bad: true},
		{name: "a size of two bytes", in: message(unix.SOL_UDP, unix.UDP_GRO, []byte{1, 2}), bad: true},
		{name: "a short in_pktinfo", in: message(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 8)), bad: true},
		{name: "a short in6_pktinfo", in: message(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 16)), bad: true},
		{name: "a length beyond the end", in: info4[:unix.CmsgLen(4)], bad: true},
		{name: "a length below a header's", in: make([]byte, unix.SizeofCmsghdr), bad: true},
	} {
		got, err := parseControl(c.in)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %+v, %v; want %+v, error %v", c.name, got, err, c.want, c.bad)
		}
	}
}

// FuzzParseControl: no bytes may crash it, and what is read by itself is read
// after and before a train's message.
func FuzzParseControl(f *testing.F) {
	var c control
	f.Add(groMessage(1420))
	f.Add(c.bytes()[:c.putSource(netip.MustParseAddr("192.0.2.7"), 0)])
	f.Add(append(groMessage(7), c.bytes()[:c.putSource(netip.MustParseAddr("fd00::7"), 3)]...))
	f.Add(make([]byte, unix.SizeofCmsghdr))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseControl(b)
		if got.size < 0 || err != nil && got != (received{}) {
			t.Fatalf("%+v, %v", got, err)
		}
		after, afterErr := parseControl(append(groMessage(99), b...))
		if err == nil && after.size == 99 && got.size == 0 {
			got.size = 99 // as b says no size; where it says 0, that stands
		}
		if after != got || (err == nil) != (afterErr == nil) {
			t.Fatalf("alone %+v, %v; after a train's message %+v, %v", got, err, after, afterErr)
		}
	})
}

func TestSockaddr(t *testing.T) {
	zones := zoneNames{lookUp: func(index uint32) string { return map[uint32]string{4: "wlan0"}[index] }, names: map[uint32]string{}}
	for _, c := range []struct {
		addr  string
		scope uint32
		size  uint32
	}{
		{"192.0.2.7:51820", 0, unix.SizeofSockaddrInet4},
		{"[fd00::7]:258", 0, unix.SizeofSockaddrInet6},
		{"[fe80::7%wlan0]:1", 4, unix.SizeofSockaddrInet6},
	} {
		want := netip.MustParseAddrPort(c.addr)
		var sa sockaddr
		size := putSockaddr(&sa, want, c.scope)
		got, ok := fromSockaddr(&sa, &zones)
		if got != want || !ok || size != c.size {
			t.Errorf("%v came back as %v, %v, in %d bytes", want, got, ok, size)
		}
	}
	if a, ok := fromSockaddr(&sockaddr{Family: unix.AF_UNIX}, &zones); ok {
		t.Errorf("a Unix socket's address is taken for %v", a)
	}
}
