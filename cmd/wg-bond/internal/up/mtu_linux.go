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
	log := r.log.With("interface", r.files.Name)
	is, err := r.host.MTU(r.files.Name)
	if err != nil {
		log.Warn("the MTU stays as it is", "error", err)
		return
	}
	addresses, err := r.host.Addresses(r.files.Name)
	if err != nil {
		log.Warn("the MTU stays as it is", "error", err)
		return
	}
	want := r.mtu.want(fits, addresses)
	if is != r.mtu.is || want == is {
		return
	}
	if err := r.host.SetMTU(r.files.Name, want); err != nil {
		log.Warn("the MTU stays as it is", "error", err)
		return
	}
	r.mtu.is = want
	log.Info("the MTU follows what the widest path carries", "was", is, "is", want)
}
