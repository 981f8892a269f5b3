//go:build linux

package sandbox

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Device sets a device's MTU (bytes; 0 leaves it) and addresses, and brings
// it up.
func (h *Host) Device(name string, mtu int, addrs ...netip.Prefix) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil && mtu > 0 {
			err = netlink.LinkSetMTU(link, mtu)
		}
		for _, a := range addrs {
			if err == nil {
				err = netlink.AddrAdd(link, &netlink.Addr{IPNet: ipnet(a)})
			}
		}
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("host %s: device %s: %w", h.Name, name, err)
		}
		return nil
	})
}

// RemoveAddress takes an address from a device.
func (h *Host) RemoveAddress(device string, a netip.Prefix) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err == nil {
			err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipnet(a)})
		}
		if err != nil {
			return fmt.Errorf("host %s: address %v of %s: %w", h.Name, a, device, err)
		}
		return nil
	})
}

// Route is one route of a host.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr // may be the zero Addr: on the link
	Dev    string
	Metric int
}

// Route adds a route or replaces the one to the same prefix and metric.
func (h *Host) Route(r Route) error {
	return h.route(r, netlink.RouteReplace)
}

// RemoveRoute removes a route.
func (h *Host) RemoveRoute(r Route) error {
	return h.route(r, netlink.RouteDel)
}

func (h *Host) route(r Route, change func(*netlink.Route) error) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(r.Dev)
		if err == nil {
			nr := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipnet(r.To.Masked()), Priority: r.Metric}
			if r.Via.IsValid() {
				nr.Gw = r.Via.AsSlice()
			} else {
				nr.Scope = netlink.SCOPE_LINK
			}
			err = change(nr)
		}
		if err != nil {
			return fmt.Errorf("host %s: route to %s via %s dev %s: %w", h.Name, r.To, r.Via, r.Dev, err)
		}
		return nil
	})
}

// Veth joins two hosts by a virtual Ethernet cable.
func Veth(a *Host, aName string, b *Host, bName string) error {
	return a.Do(func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: aName, TxQLen: 1000},
			PeerName:      bName,
			PeerNamespace: netlink.NsFd(b.NetNS()),
		})
		if err != nil {
			return fmt.Errorf("veth between %s of %s and %s of %s: %w", aName, a.Name, bName, b.Name, err)
		}
		return nil
	})
}

// Bridge makes a bridge of devices that the host has. It forwards at once and
// speaks no spanning tree.
func (h *Host) Bridge(name string, ports ...string) error {
	return h.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		err := netlink.LinkAdd(br)
		for _, p := range ports {
			var port netlink.Link
			if err == nil {
				port, err = netlink.LinkByName(p)
			}
			if err == nil {
				err = netlink.LinkSetMaster(port, br)
			}
			if err == nil {
				err = netlink.LinkSetUp(port)
			}
		}
		if err == nil {
			err = netlink.LinkSetUp(br)
		}
		if err != nil {
			return fmt.Errorf("host %s: bridge %s: %w", h.Name, name, err)
		}
		return nil
	})
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
