//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/emulator"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// What may happen to a device while the borrower uses it. The methods are for
// links of the borrower's own.

// Unplug takes a link's device away: its host has none of that name any more.
// (It hides where no program runs.)
func (l *Lab) Unplug(link *Link) error { return l.move(link, link.Host, air) }

// Plug brings back a device that was unplugged, and sets it up as before.
func (l *Lab) Plug(link *Link) error {
	if err := l.move(link, air, link.Host); err != nil {
		return err
	}
	return l.setUp(link)
}

func (l *Lab) move(link *Link, from, to string) error {
	return l.hosts[from].Do(func() error {
		device, err := netlink.LinkByName(link.Device)
		if err == nil {
			err = netlink.LinkSetNsFd(device, l.hosts[to].NetNS())
		}
		if err != nil {
			return fmt.Errorf("moving %s from host %s to %s: %w", link.Device, from, to, err)
		}
		return nil
	})
}

// setUp gives a link's device its address and default route.
func (l *Lab) setUp(link *Link) error {
	h := l.hosts[link.Host]
	if err := h.Device(link.Device, emulator.MTU, link.Mobile); err != nil {
		return err
	}
	return h.Route(sandbox.Route{To: l.net.anywhere, Via: link.Gate.Addr(), Dev: link.Device, Metric: link.metric})
}

// Renumber gives a link another address and gateway, as a carrier does from
// one moment to the next: the old ones lead nowhere any more.
func (l *Lab) Renumber(link *Link) error {
	old := *link
	link.Mobile, link.Gate = beyond(link.Mobile), beyond(link.Gate)
	wan := fmt.Sprintf("wan%d", 1+slices.Index(l.Links, link))
	if err := l.hosts[internet].Device(wan, 0, link.Gate); err != nil {
		return err
	}
	if err := l.setUp(link); err != nil {
		return err
	}
	for host, a := range map[string]netip.Prefix{link.Host: old.Mobile, internet: old.Gate} {
		device := map[string]string{link.Host: link.Device, internet: wan}[host]
		if err := l.hosts[host].RemoveAddress(device, a); err != nil {
			return err
		}
	}
	return nil
}

// beyond is the same host's address in the next network of four.
func beyond(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	b[3] += 4
	return netip.PrefixFrom(netip.AddrFrom4(b), p.Bits())
}

// Leave takes a link's device down; Arrive brings it up in another network, as
// after roaming, where it has another address and another NAT.
func (l *Lab) Leave(link *Link) error {
	return l.hosts[link.Host].Do(func() error {
		device, err := netlink.LinkByName(link.Device)
		if err == nil {
			err = netlink.LinkSetDown(device)
		}
		return err
	})
}

// Arrive ends what Leave began.
func (l *Lab) Arrive(link *Link) error {
	if err := link.wire.Rebind(); err != nil {
		return err
	}
	return l.Renumber(link)
}

// Rebind has the carrier's NAT forget a link's mappings.
func (l *Lab) Rebind(link *Link) error { return link.wire.Rebind() }

// Link finds a link by name; nil if there is none.
func (l *Lab) Link(name string) *Link {
	for _, link := range l.Links {
		if link.Name == name {
			return link
		}
	}
	return nil
}
