package doctor

import (
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// kernel asks the kernel. What it does not tell stays unknown: no check finds
// anything then.
func (f *Facts) kernel() {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil {
		f.Clock = Clock{Known: true, Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0}
	}
	if link, err := netlink.LinkByName(f.Name); err == nil {
		f.MTU = link.Attrs().MTU
		f.policy(link.Attrs().Index)
	}
	eachPath(f.last(), func(peer *status.Peer, p *status.Path) {
		link, err := netlink.LinkByName(p.Device)
		if p.Device == "" || err != nil {
			return
		}
		if _, known := f.Links[p.Device]; !known {
			f.Links[p.Device] = device(link)
		}
		if at, ok := target(peer, p); ok {
			f.Ways[p.Name] = way(net.IP(at.AsSlice()), link, f.last().FwMark)
			w := f.Ways[p.Name]
			w.Target = at
			f.Ways[p.Name] = w
		}
	})
}

// policy finds the tables with a default route into the interface of that
// index, and the rules with marks.
func (f *Facts) policy(index int) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, _ := netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			ones := 0
			if r.Dst != nil {
				ones, _ = r.Dst.Mask.Size()
			}
			if ones == 0 && r.Table != unix.RT_TABLE_MAIN {
				f.Tables = append(f.Tables, r.Table)
			}
		}
		rules, _ := netlink.RuleList(family)
		for _, r := range rules {
			if r.Mark != 0 {
				f.Rules = append(f.Rules, Rule{Table: r.Table, Mark: r.Mark, Invert: r.Invert})
			}
		}
	}
}

// device tells what limits a link.
func device(link netlink.Link) Link {
	name := link.Attrs().Name
	out := Link{Strict: quick.StrictFilter(name)}
	// Of what is not a cable the kernel says -1, or nothing.
	text, _ := os.ReadFile("/sys/class/net/" + name + "/speed")
	if megabits, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && megabits > 0 {
		out.Speed = float64(megabits) * 1e6 / 8
		duplex, _ := os.ReadFile("/sys/class/net/" + name + "/duplex")
		out.HalfDuplex = strings.TrimSpace(string(duplex)) == "half"
	}
	queues, _ := netlink.QdiscList(link)
	for _, q := range queues {
		var rate uint64
		switch q := q.(type) {
		case *netlink.Tbf:
			rate = q.Rate
		case *netlink.Netem:
			rate = q.Rate64
		case *netlink.Htb:
			classes, _ := netlink.ClassList(link, 0)
			for _, c := range classes {
				if htb, ok := c.(*netlink.HtbClass); ok {
					rate = max(rate, htb.Ceil)
				}
			}
		}
		if rate > 0 {
			out.Shaper, out.ShapedTo = q.Type(), float64(rate)
		}
	}
	return out
}

// way asks for the route to a target by a device, and for the one without.
func way(to net.IP, by netlink.Link, mark uint32) (w Way) {
	// Without a route the kernel takes anything for a neighbour of the device
	// (ip_route_output_key_hash_rcu), so ask for an entry of the table first.
	if _, err := netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{Oif: by.Attrs().Name, Mark: mark, FIBMatch: true}); err != nil {
		w.Err = err.Error()
	}
	routes, err := netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{Oif: by.Attrs().Name, Mark: mark})
	if err == nil && len(routes) > 0 {
		w.Source = routes[0].Src.String()
		if gateway := routes[0].Gw; gateway != nil {
			w.Via = neighbour(by, gateway)
		}
	}
	routes, err = netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{Mark: mark})
	if err == nil && len(routes) > 0 {
		if link, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
			w.Other = link.Attrs().Name
		}
	}
	return w
}

// neighbour is a next hop with its hardware address; empty if that is not
// known.
func neighbour(by netlink.Link, hop net.IP) string {
	all, _ := netlink.NeighList(by.Attrs().Index, netlink.FAMILY_ALL)
	for _, n := range all {
		if n.IP.Equal(hop) && len(n.HardwareAddr) > 0 {
			return hop.String() + " (" + n.HardwareAddr.String() + ")"
		}
	}
	return ""
}
