//go:build linux

package lab

import "net/netip"

// addresses are those of the networks outside the tunnel, all of one family.
type addresses struct {
	server, router netip.Prefix // the server's uplink and its gateway
	anywhere       netip.Prefix
	air            func(host int) netip.Prefix             // the borrower is host 1, its neighbours follow
	link           func(k int) (mobile, gate netip.Prefix) // of link k, from 0
}

var ipv4 = addresses{
	server:   netip.MustParsePrefix("203.0.113.2/24"),
	router:   netip.MustParsePrefix("203.0.113.1/24"),
	anywhere: netip.MustParsePrefix("0.0.0.0/0"),
	air: func(host int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(host)}), 24)
	},
	link: func(k int) (mobile, gate netip.Prefix) {
		at := func(host byte) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(1 + k), host}), 30)
		}
		return at(2), at(1)
	},
}

// The IPv6 networks end in the same numbers: 2001:db8:203::/64, fd09::/64 and
// 2001:db8:64:k::/64.
var ipv6 = addresses{
	server:   netip.MustParsePrefix("2001:db8:203::2/64"),
	router:   netip.MustParsePrefix("2001:db8:203::1/64"),
	anywhere: netip.MustParsePrefix("::/0"),
	air: func(host int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x09, 15: byte(host)}), 64)
	},
	link: func(k int) (mobile, gate netip.Prefix) {
		at := func(host byte) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: 0x64, 7: byte(1 + k), 15: host}), 64)
		}
		return at(2), at(1)
	},
}

// ServerAddr is the server's address on the internet.
func (l *Lab) ServerAddr() netip.Addr { return l.net.server.Addr() }

// Endpoint is the server as the borrower's WireGuard knows it.
func (l *Lab) Endpoint() netip.AddrPort { return netip.AddrPortFrom(l.ServerAddr(), ServerPort) }
