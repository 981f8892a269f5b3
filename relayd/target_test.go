package relayd

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	own := map[netip.Addr]string{netip.MustParseAddr("203.0.113.7"): "wwan0", netip.MustParseAddr("2001:db8::7"): "wwan0"}
	for _, c := range []struct {
		target            string
		want, wantPrivate string // part of the refusal, by default and with private targets allowed
	}{
		{"198.51.100.1:51820", "", ""},
		{"[2001:db8::1]:51820", "", ""},
		{"[64:ff9b::c633:6401]:51820", "", ""}, // 198.51.100.1
		{"198.51.100.1:0", "a port", "a port"},
		{"0.0.0.0:1", "unspecified", "unspecified"},
		{"[::]:1", "unspecified", "unspecified"},
		{"0.1.2.3:1", "nobody", "nobody"},
		{"255.255.255.255:1", "nobody", "nobody"},
		{"127.0.0.1:51820", "loopback", "loopback"},
		{"[::1]:51820", "loopback", "loopback"},
		{"[::ffff:127.0.0.1]:51820", "loopback", "loopback"},
		{"[64:ff9b::7f00:1]:51820", "loopback", "loopback"},
		{"[::7f00:1]:51820", "loopback", "loopback"},
		{"[2002:7f00:1::]:51820", "loopback", "loopback"},
		{"169.254.1.1:1", "link-local", "link-local"},
		{"[fe80::1]:1", "link-local", "link-local"},
		{"[fe80::1%eth0]:1", "link-local", "link-local"},
		{"224.0.0.1:1", "multicast", "multicast"},
		{"[ff02::1]:1", "multicast", "multicast"},
		{"203.0.113.7:51900", "own address", "own address"},
		{"[2001:db8::7]:51900", "own address", "own address"},
		{"[64:ff9b::cb00:7107]:1", "own address", "own address"},
		{"10.1.2.3:51820", "private", ""},
		{"172.16.0.1:51820", "private", ""},
		{"172.32.0.1:51820", "", ""},
		{"192.168.1.1:51820", "private", ""},
		{"100.64.0.1:51820", "private", ""},
		{"[::ffff:192.168.1.1]:51820", "private", ""},
		{"[64:ff9b::c0a8:101]:51820", "private", ""},
		{"[2002:c0a8:101::1]:51820", "private", ""},
		{"[fd00::1]:51820", "private", ""},
	} {
		a := netip.MustParseAddrPort(c.target)
		for _, p := range []struct {
			policy targetPolicy
			want   string
		}{{targetPolicy{}, c.want}, {targetPolicy{private: true}, c.wantPrivate}} {
			got := p.policy.refuses(a, own)
			if (got == "") != (p.want == "") || !strings.Contains(got, p.want) {
				t.Errorf("%s with %+v: refusal %q, want %q", c.target, p.policy, got, p.want)
			}
		}
	}
	if got := (targetPolicy{}).refuses(netip.AddrPort{}, nil); got == "" {
		t.Error("no address at all is a target")
	}
	if got := (targetPolicy{loopback: true}).refuses(netip.MustParseAddrPort("127.0.0.1:1"), map[netip.Addr]string{netip.MustParseAddr("127.0.0.1"): "lo"}); got != "" {
		t.Errorf("loopback allowed and refused: %s", got)
	}
}
