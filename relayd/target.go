package relayd

import (
	"net/netip"
	"slices"
)

// A targetPolicy decides to where a lender forwards.
type targetPolicy struct {
	private  bool // allow private ranges
	loopback bool // allow this machine
}

// Ranges that are somebody's own network: the lender's, most likely. (RFC 1918,
// 6598, 2544, 4193, and the site-local ones of old, RFC 3879.)
var privateRanges = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
	"fc00::/7", "fec0::/10")

// Ranges that no server has (RFC 1122, 1112).
var nowhere = prefixes("0.0.0.0/8", "240.0.0.0/4")

// Ranges whose addresses hold an IPv4 address, to which some router translates:
// at byte 12 (RFC 6052, 4291), at byte 2 (RFC 3056).
var (
	translated = prefixes("64:ff9b::/96", "::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

func prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, t := range texts {
		ps = append(ps, netip.MustParsePrefix(t))
	}
	return ps
}

func within(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refuses says why target is not forwarded to; empty if it is. own are the
// lender's own addresses, and their devices.
func (p targetPolicy) refuses(target netip.AddrPort, own map[netip.Addr]string) string {
	if !target.IsValid() || target.Port() == 0 {
		return "a target has an address and a port"
	}
	return p.refusesAddr(target.Addr().Unmap(), own)
}

func (p targetPolicy) refusesAddr(a netip.Addr, own map[netip.Addr]string) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address is no target"
	case a.IsLoopback():
		if p.loopback {
			return ""
		}
		return "a loopback address is no target"
	case a.IsMulticast():
		return "a multicast address is no target"
	case a.IsLinkLocalUnicast() || a.Zone() != "":
		return "a link-local address is no target"
	case within(nowhere, a):
		return "nobody has that address"
	case own[a] != "" && !p.loopback:
		return "the lender's own address is no target"
	case within(privateRanges, a) && !p.private:
		return "targets in private address ranges are not allowed here"
	}
	if a.Is6() {
		b := a.As16()
		if within(translated, a) {
			return p.refusesAddr(netip.AddrFrom4([4]byte(b[12:])), own)
		}
		if sixToFour.Contains(a) {
			return p.refusesAddr(netip.AddrFrom4([4]byte(b[2:6])), own)
		}
	}
	return ""
}
