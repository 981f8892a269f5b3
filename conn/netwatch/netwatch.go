// Package netwatch knows the machine's network devices, where they lead, and
// when that changes: they are what a bond's paths are made of.
//
//	kernel: links, addresses, routes ──► Watcher.Read ──► State ──► Candidates, Matching, Reach
//	                │ netlink events                      (pure)
//	                └──────────────────► Watcher.Changes
//
// The functions of State are pure; a Watcher does the reading and listening.
package netwatch

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Link is a network device.
type Link struct {
	Index  int
	Name   string
	Kind   string // as the kernel names it: "wireguard", "tun", "bridge"…; empty for hardware
	Up     bool   // set up, and has a carrier
	Loop   bool   // the loopback
	Driver string // as ethtool -i shows it: "cdc_mbim", "veth"…; empty: not known
	USB    string // the port that it is plugged into, as in /sys/bus/usb/devices: "1-2.1"; empty: none
	// Addrs are its addresses, of both families; not those that are still
	// being probed for duplicates.
	Addrs []netip.Prefix
}

// Route is one way of a route; a multipath route is several.
type Route struct {
	Link  int          // index
	Dst   netip.Prefix // of length 0 for a default route
	Table int
	// Metric orders routes to one destination within a table: lowest first.
	Metric int
	// Unusable routes are there to refuse (unreachable, blackhole, prohibit,
	// throw) or lead to where nothing answers now (dead, link down).
	Unusable bool
}

// State is the network devices of one moment, and the default routes among
// others.
type State struct {
	Links  []Link
	Routes []Route
}

// mainTable is the kernel's main routing table.
const mainTable = 254

// clat is where the IPv4 end of a 464XLAT lives (RFC 7335).
var clat = netip.MustParsePrefix("192.0.0.0/29")

// Candidates names the devices that have a usable default route, of either
// family and in any table (mwan3 and the like keep one table a modem): those
// of the main table first, by metric, then the others, by table and metric.
// Left out are devices that are down, the loopback, WireGuard's own, and those
// named in exclude: a tunnel through itself leads nowhere.
func (s State) Candidates(exclude []string) []string {
	usable := make(map[int]string)
	for _, l := range s.Links {
		if l.usable(exclude) {
			usable[l.Index] = l.Name
		}
	}
	var defaults []Route
	for _, r := range s.Routes {
		if r.Dst.Bits() == 0 && !r.Unusable && usable[r.Link] != "" {
			defaults = append(defaults, r)
		}
	}
	slices.SortStableFunc(defaults, func(a, b Route) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Metric, b.Metric),
			cmp.Compare(usable[a.Link], usable[b.Link]),
		)
	})
	var names []string
	for _, r := range defaults {
		if name := usable[r.Link]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (l *Link) usable(exclude []string) bool {
	return l.Up && !l.Loop && l.Kind != "wireguard" && !slices.Contains(exclude, l.Name)
}

// rank orders tables: main first.
func rank(r Route) int {
	if r.Table == mainTable {
		return -1
	}
	return r.Table
}

// Link finds a device by name.
func (s State) Link(name string) (Link, bool) {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return s.Links[i], true
}

// Reach is how far a device leads, by family.
type Reach struct {
	V4, V6 Distance
	// CLAT tells that the device is the IPv4 end of a 464XLAT: what goes in
	// here leaves as IPv6 by another device.
	CLAT bool
	// Addrs are the device's addresses, only to be compared.
	Addrs string
	// Networks are those that the addresses are in, separated by spaces: by them
	// is told whether the device was there before (package memory). Two networks
	// may look alike, as two homes at 192.168.1.0/24 do.
	Networks string
}

// networkOf is the network that tells where an address is. The prefix of an IPv6
// address is as often drawn for the day as a modem's IPv4 address, which
// comes with a prefix for two or four: those tell no more than the provider.
func networkOf(a netip.Prefix) netip.Prefix {
	bits := a.Bits()
	switch {
	case a.Addr().IsPrivate() && a.Addr().Is6():
		bits = min(bits, 48) // drawn once for a site (RFC 4193)
	case a.Addr().Is6():
		bits = min(bits, 32)
	case bits > 28:
		bits = 16
	}
	return netip.PrefixFrom(a.Addr(), bits).Masked()
}

// Distance is how far a device leads in one family.
type Distance uint8

// The distances.
const (
	Nowhere    Distance = iota
	Neighbour           // it has an address that is more than link-local
	Everywhere          // it has a default route as well
)

// Reach tells how far a device leads; nowhere if it is not there.
func (s State) Reach(device string) (r Reach) {
	l, ok := s.Link(device)
	if !ok {
		return r
	}
	r.Addrs = fmt.Sprint(l.Addrs)
	var networks []string
	for _, a := range l.Addrs {
		addr := a.Addr()
		if n := networkOf(a).String(); !addr.IsLinkLocalUnicast() && !slices.Contains(networks, n) {
			networks = append(networks, n)
		}
		switch {
		case addr.IsLinkLocalUnicast():
		case addr.Is4():
			r.V4 = max(r.V4, Neighbour)
			r.CLAT = r.CLAT || clat.Contains(addr)
		default:
			r.V6 = max(r.V6, Neighbour)
		}
	}
	slices.Sort(networks)
	r.Networks = strings.Join(networks, " ")
	for _, route := range s.Routes {
		if route.Link != l.Index || route.Unusable || !route.Dst.IsValid() || route.Dst.Bits() != 0 {
			continue
		}
		// Without an address there is none to send from: a route alone is not enough.
		if d := &r.V6; route.Dst.Addr().Is6() {
			if *d == Neighbour {
				*d = Everywhere
			}
		} else if r.V4 == Neighbour {
			r.V4 = Everywhere
		}
	}
	return r
}
