package relayd

import (
	"net"
	"net/netip"
	"slices"
)

// surroundings are what this machine's interfaces say of where it is.
type surroundings struct {
	own  map[netip.Addr]string // our addresses, and the device of each
	near []netip.Prefix        // on our links, other than the lent one
	lent string                // device; may be empty
	shut string                // why nothing is lent now; empty if it is
}

// look reads the interfaces. What cannot be read is missing.
func (r *Relay) look() surroundings {
	s := surroundings{own: map[netip.Addr]string{}, lent: r.cfg.Device}
	devices, err := net.Interfaces()
	if err != nil {
		return s
	}
	for _, dev := range devices {
		nets, err := dev.Addrs()
		if err != nil {
			continue
		}
		for _, n := range nets {
			p, err := netip.ParsePrefix(n.String())
			if err != nil {
				continue
			}
			s.own[p.Addr().Unmap()] = dev.Name
			if dev.Name != s.lent && !p.IsSingleIP() {
				s.near = append(s.near, p.Masked())
			}
		}
	}
	return s
}

// isNear reports whether an address is on a link of ours other than the lent
// one.
func (s *surroundings) isNear(a netip.Addr) bool {
	a = a.Unmap()
	if a.IsLinkLocalUnicast() {
		return a.Zone() == "" || a.Zone() != s.lent
	}
	return slices.ContainsFunc(s.near, func(p netip.Prefix) bool { return p.Contains(a) })
}

// egress is the device by which a target is reached; empty if that cannot be
// told.
func (s *surroundings) egress(target netip.AddrPort) string {
	if s.lent != "" {
		return s.lent
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target)) // which sends nothing
	if err != nil {
		return ""
	}
	defer c.Close()
	return s.own[c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()]
}
