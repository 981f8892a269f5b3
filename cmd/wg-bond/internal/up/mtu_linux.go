package up

import (
	"net/netip"
	"slices"
)

// ipv6MTU is the least with which the kernel leaves an interface its IPv6
// addresses; it does not give them back.
const ipv6MTU = 1280

// mtuFollower keeps an interface's MTU at what its paths carry. Large packets go
// by the paths that carry them; only what fits none is worth a smaller MTU.
type mtuFollower struct {
	planned int // by `up`; 0: it is not ours to change
	is      int // as we made it
}

// want is the MTU for an interface with these addresses if packets up to fits go
// by some path; 0: all do.
func (m *mtuFollower) want(fits int, addresses []netip.Prefix) int {
	if fits == 0 {
		return m.planned
	}
	if slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		fits = max(fits, ipv6MTU)
	}
	return min(fits, m.planned)
}

// followMTU has the interface follow what fits (conn.Config.Fits), unless its
// file gives an MTU or somebody else has set one since.
func (r *running) followMTU(fits int) {
	if r.mtu.planned == 0 {
		return
	}
	if err := r.setMTU(fits); err != nil {
		r.log.Warn("the MTU stays as it is", "interface", r.files.Name, "error", err)
	}
}

func (r *running) setMTU(fits int) error {
	name := r.files.Name
	is, err := r.host.MTU(name)
	if err != nil || is != r.mtu.is {
		return err
	}
	addresses, err := r.host.Addresses(name)
	if err != nil {
		return err
	}
	want := r.mtu.want(fits, addresses)
	if want == is {
		return nil
	}
	if err := r.host.SetMTU(name, want); err != nil {
		return err
	}
	r.mtu.is = want
	r.log.Info("the MTU follows what the widest path carries", "interface", name, "was", is, "is", want)
	return nil
}
