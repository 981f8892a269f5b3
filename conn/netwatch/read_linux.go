package netwatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a dump that was interrupted by a change is asked for
// again.
const dumpTries = 5

func read() ([]Link, []Route, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("netwatch: listing the network devices: %w", err)
	}
	var ls []Link
	for _, l := range links {
		ls = append(ls, linkOf(l))
	}
	var rs []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, nil, fmt.Errorf("netwatch: listing the routes: %w", err)
		}
		for _, r := range routes {
			rs = append(rs, routesOf(r)...)
		}
	}
	return ls, rs, nil
}

// dump repeats a dump that did not come out consistent.
func dump[T any](list func() ([]T, error)) (out []T, err error) {
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil // the last one; the next look will be better
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	kind := l.Type()
	if kind == "device" {
		kind = ""
	}
	carrier := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
	return Link{
		Index: a.Index,
		Name:  a.Name,
		Kind:  kind,
		Up:    a.Flags&net.FlagUp != 0 && carrier,
		Loop:  a.Flags&net.FlagLoopback != 0,
	}
}

func routesOf(r netlink.Route) []Route {
	route := Route{Link: r.LinkIndex, Table: r.Table, Metric: r.Priority}
	if r.Dst != nil {
		ip, _ := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		route.Dst = netip.PrefixFrom(ip, ones)
	}
	const broken = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
	route.Unusable = r.Type != unix.RTN_UNICAST || r.Flags&broken != 0
	if len(r.MultiPath) == 0 {
		return []Route{route}
	}
	var ways []Route
	for _, hop := range r.MultiPath {
		way := route
		way.Link = hop.LinkIndex
		way.Unusable = route.Unusable || hop.Flags&broken != 0
		ways = append(ways, way)
	}
	return ways
}
