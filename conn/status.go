package conn

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// PeerStatus describes one session and its sockets.
type PeerStatus struct {
	PublicKey string         `json:"public_key"`
	Endpoint  netip.AddrPort `json:"endpoint"`
	Dialled   bool           `json:"dialled"` // by us; else the peer dials us
	Session   wgbond.Status  `json:"session"`
	Links     []mux.Link     `json:"links,omitempty"` // of the paths' sockets; dialled only
}

// Status describes the Bind.
type Status struct {
	Port  uint16            `json:"port"`
	Peers []PeerStatus      `json:"peers"`
	Drops map[string]uint64 `json:"drops"` // by the shell, by reason
}

// Status describes the Bind, its sessions ordered by the peers' keys.
func (b *Bind) Status() Status {
	st := Status{Drops: b.shell.Drops.Map(), Peers: []PeerStatus{}}
	b.mu.Lock()
	absent := b.paths.absent
	b.mu.Unlock()
	links := func(all []mux.Link) []mux.Link {
		for i := range all {
			if b.cfg.Ledger != nil {
				all[i].Quota = b.cfg.Ledger.Use(all[i].Name, time.Now())
			}
		}
		return all
	}
	for _, d := range *b.dialled.Load() {
		st.Peers = append(st.Peers, PeerStatus{
			PublicKey: d.peer.PublicKey.String(),
			Endpoint:  d.Target(),
			Dialled:   true,
			Session:   d.Status(),
			Links:     links(append(d.Links(), absent...)),
		})
	}
	if v := b.server.Load(); v != nil {
		st.Port = v.Port()
		v.Sessions(func(peer control.Key, s *mux.Session) {
			st.Peers = append(st.Peers, PeerStatus{
				PublicKey: peer.String(),
				Endpoint:  s.Remote().Peer,
				Session:   s.Status(),
			})
		})
	}
	slices.SortStableFunc(st.Peers, func(x, y PeerStatus) int { return cmp.Compare(x.PublicKey, y.PublicKey) })
	return st
}
