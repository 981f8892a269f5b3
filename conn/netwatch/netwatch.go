// Package netwatch finds the network devices that lead to the internet, which
// are a bond's paths where the user names none.
//
//	kernel: links, routes of all tables ──► read ──► Candidates ──► names of devices
//	                                        (I/O)      (pure)
package netwatch

import (
	"cmp"
	"net/netip"
	"slices"
)

// Link is a network device.
type Link struct {
	Index int
	Name  string
	Kind  string // as the kernel names it: "wireguard", "tun", "bridge"…; empty for hardware
	Up    bool   // set up, and has a carrier
	Loop  bool   // the loopback
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

// mainTable is the kernel's main routing table.
const mainTable = 254

// Candidates names the devices that have a usable default route, of either
// family and in any table (mwan3 and the like keep one table a modem): those
// of the main table first, by metric, then the others, by table and metric.
// Left out are devices that are down, the loopback, WireGuard's own, and those
// named in exclude: a tunnel through itself leads nowhere.
func Candidates(links []Link, routes []Route, exclude ...string) []string {
	usable := make(map[int]string)
	for _, l := range links {
		if l.Up && !l.Loop && l.Kind != "wireguard" && !slices.Contains(exclude, l.Name) {
			usable[l.Index] = l.Name
		}
	}
	var defaults []Route
	for _, r := range routes {
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

// rank orders tables: main first.
func rank(r Route) int {
	if r.Table == mainTable {
		return -1
	}
	return r.Table
}

// Devices names the devices that have a default route now; see Candidates.
// Except on Linux it fails with errors.ErrUnsupported.
func Devices(exclude ...string) ([]string, error) {
	links, routes, err := read()
	if err != nil {
		return nil, err
	}
	return Candidates(links, routes, exclude...), nil
}
