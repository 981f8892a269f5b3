// Package nat64 knows the IPv6 addresses by which an IPv6-only network with a
// translator reaches hosts of IPv4 (RFC 6052).
//
//	  203.0.113.7 in 64:ff9b::/96        203.0.113.7 in 2001:db8:6400::/40
//	64:ff9b::cb00:7107                   2001:db8:64cb:71:7::
//
// A network names its prefix by what its name servers make of a name that has
// two well-known IPv4 addresses and no other (RFC 7050): ask for the IPv6
// addresses of WellKnown, and give the answer to Prefix.
package nat64

import (
	"net/netip"
	"slices"
)

// WellKnown is the name to ask for, rooted.
const WellKnown = "ipv4only.arpa."

// known are its addresses.
var known = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

// lengths are those that a prefix may have, bits; the usual one first.
var lengths = []int{96, 64, 56, 48, 40, 32}

// Prefix finds the network's prefix among the addresses of WellKnown; false if
// they hold none.
func Prefix(answers []netip.Addr) (netip.Prefix, bool) {
	for _, a := range answers {
		if !a.Is6() || a.Is4In6() {
			continue
		}
		for _, bits := range lengths {
			p := netip.PrefixFrom(a.WithZone(""), bits).Masked()
			if slices.ContainsFunc(known, func(v4 netip.Addr) bool { return Embed(p, v4) == a.WithZone("") }) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// Embed is the address of an IPv4 host within a prefix, whose length is one
// that RFC 6052, 2.2 allows: 32, 40, 48, 56, 64 or 96. Bits 64 to 71 stay zero.
func Embed(p netip.Prefix, host netip.Addr) netip.Addr {
	out, at := p.Masked().Addr().As16(), p.Bits()/8
	for _, b := range host.As4() {
		if at == 8 {
			at++
		}
		out[at] = b
		at++
	}
	return netip.AddrFrom16(out)
}
