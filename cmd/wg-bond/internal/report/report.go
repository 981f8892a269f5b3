// Package report turns what the Bind, the shim and WireGuard know into what
// `wg-bond status` tells.
package report

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Up reports on a Bind.
func Up(name, scheduler string, st conn.Status) *status.Interface {
	i := &status.Interface{Name: name, Role: "up", PID: os.Getpid(), Scheduler: scheduler, ListenPort: st.Port, Peers: []status.Peer{}}
	i.Drops, i.Discards = status.Split(st.Drops, mux.Harmless)
	for _, p := range st.Peers {
		i.Peers = append(i.Peers, status.Peer{PublicKey: p.PublicKey, Endpoint: address(p.Endpoint), Bond: bond(p.Session, p.Links)})
	}
	return i
}

// Serve reports on a shim.
func Serve(name, scheduler string, st shim.Status) *status.Interface {
	i := &status.Interface{
		Name: name, Role: "serve", PID: os.Getpid(), Scheduler: scheduler, ListenPort: st.Port, Upstream: st.Upstream.String(),
		PlainClients: st.PlainFlows, Handshakes: handshakes(st.Handshakes), Peers: []status.Peer{},
	}
	i.Drops, i.Discards = status.Split(st.Drops, mux.Harmless)
	for _, c := range st.Clients {
		b := bond(c.Session, nil)
		b.ClientAddress = address(c.Upstream)
		i.Peers = append(i.Peers, status.Peer{PublicKey: c.PublicKey, Bond: b})
	}
	return i
}

func handshakes(s control.ResponderStats) map[string]uint64 {
	return map[string]uint64{
		"answered": s.Answered, "repeated": s.Repeated, "confirmed": s.Confirmed, "cookie": s.Cookies, "expired": s.Expired,
		"malformed": s.Malformed, "wrong-mac1": s.BadMAC1, "rate-limited": s.Limited, "unauthentic": s.BadAuth,
		"unknown-peer": s.UnknownPeer, "replayed": s.Replayed, "unknown-index": s.UnknownIndex,
	}
}

func bond(s wgbond.Status, links []mux.Link) *status.Bond {
	b := &status.Bond{
		Bonded: s.Bonded, BondedFor: s.BondedFor.Seconds(), PlainReason: s.PlainReason,
		Queue: s.Queue, Reordering: s.Reordering, Sent: s.Sent, Received: s.Got,
		TunnelMTU: s.TunnelMTU, Repairs: s.RepairsSent, OutOfOrder: s.OutOfOrder, Copies: s.CopiesSent,
		Spurious: s.Spurious, Suspects: s.Suspects, Failovers: s.Failovers, PeerRestarts: s.PeerRestarts, BondsLost: s.BondLost, Paths: []status.Path{},
	}
	b.Drops, b.Discards = status.Split(s.Drops, wgbond.Harmless)
	told := map[schedulers.PathID]bool{}
	for _, l := range links {
		p := status.Path{Name: l.Name, State: string(l.State)}
		if n := slices.IndexFunc(s.Paths, func(p wgbond.PathStatus) bool { return l.InUse && p.ID == l.Path }); n >= 0 {
			p = path(s.Paths[n], s.Bonded)
			told[l.Path] = true
		}
		p.Device, p.Reason, p.Lease = l.Device, l.Reason, l.Lease
		p.Local, p.Relay = address(l.Local), address(l.Relay)
		if l.To.IsValid() {
			p.Remote = address(l.To)
		}
		if l.State != mux.LinkOpen {
			p.State = string(l.State) // the engine may think better of it
		} else if told[l.Path] && p.Reason == "" {
			p.Reason = damped(s.Paths, l.Path)
		}
		if l.Quota.Limit > 0 {
			p.Quota, p.QuotaUsed, p.QuotaReset = l.Quota.Limit, l.Quota.Used, l.Quota.Until.Unix()
		}
		b.Paths = append(b.Paths, p)
	}
	for _, p := range s.Paths {
		if !told[p.ID] {
			b.Paths = append(b.Paths, path(p, s.Bonded))
		}
	}
	status.FillShares(b.Paths)
	return b
}

func path(p wgbond.PathStatus, bonded bool) status.Path {
	out := status.Path{
		Name: p.Name, State: p.State.String(), Remote: address(p.Remote.Peer),
		Rate: p.Rate, RTT: p.SRTT.Seconds(), MinRTT: p.MinRTT.Seconds(), Loss: p.Loss,
		InFlight: p.InFlight, Window: p.Window, RateMode: p.RateMode, Queued: p.Queued, MTU: p.MTU, MTUNote: p.TooSmall,
		TxBytes: p.TxBytes, RxBytes: p.RxBytes, TxPackets: p.TxPackets, RxPackets: p.RxPackets, Lost: p.LostPackets, Repairs: p.Repairs,
		Backup: p.Backup, Metered: p.Metered, Weight: p.Weight, MaxRate: p.MaxRate,
	}
	out.Charge = p.Charge
	if out.Name == "" { // a server knows only the number that the client chose
		out.Name = fmt.Sprint(p.ID)
	}
	if p.Heard {
		ago := p.LastHeard.Seconds()
		out.LastHeard = &ago
	}
	if bonded { // else nobody plans
		out.Plan = &status.Plan{
			Use: p.Plan.Use, Blocked: p.Plan.Blocked, Copies: p.Plan.Copies, Cost: p.Plan.Cost.Seconds(),
			Backlog: p.Plan.Backlog, Cap: p.Plan.Cap, Drain: p.Plan.Drain, Hold: p.Plan.Hold.Seconds(),
		}
	}
	return out
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// damped says why a path that works is not used.
func damped(paths []wgbond.PathStatus, id schedulers.PathID) string {
	for _, p := range paths {
		if p.ID == id && p.DampedFor > 0 {
			return fmt.Sprintf("comes and goes; used if it stays %v more", p.DampedFor.Round(100*time.Millisecond))
		}
	}
	return ""
}

// AddDevice adds to i what WireGuard's own device knows.
func AddDevice(i *status.Interface, d *wgtypes.Device) {
	var none wgtypes.Key
	if d.PublicKey != none && d.PrivateKey != none {
		i.PublicKey, i.PrivateKey = d.PublicKey.String(), d.PrivateKey.String()
	}
	i.FwMark = uint32(d.FirewallMark)
	if i.Role == "up" {
		i.ListenPort = uint16(d.ListenPort)
	}
	bonds := map[string]*status.Bond{}
	for _, p := range i.Peers {
		bonds[p.PublicKey] = p.Bond
	}
	peers := make([]status.Peer, 0, len(d.Peers))
	for _, p := range d.Peers {
		peer := status.Peer{
			PublicKey: p.PublicKey.String(), RxBytes: uint64(p.ReceiveBytes), TxBytes: uint64(p.TransmitBytes),
			PersistentKeepalive: uint16(p.PersistentKeepaliveInterval.Seconds()), AllowedIPs: []string{},
			Bond: bonds[p.PublicKey.String()],
		}
		if p.PresharedKey != none {
			peer.HasPresharedKey, peer.PresharedKey = true, p.PresharedKey.String()
		}
		if p.Endpoint != nil {
			peer.Endpoint = p.Endpoint.String()
		}
		for _, a := range p.AllowedIPs {
			peer.AllowedIPs = append(peer.AllowedIPs, a.String())
		}
		if !p.LastHandshakeTime.IsZero() {
			peer.LatestHandshake = p.LastHandshakeTime.Unix()
		}
		delete(bonds, peer.PublicKey)
		peers = append(peers, peer)
	}
	for _, p := range i.Peers {
		if _, left := bonds[p.PublicKey]; left {
			peers = append(peers, p) // removed from WireGuard a moment ago
		}
	}
	// Who was heard last comes first, as in `wg show`.
	slices.SortStableFunc(peers, func(a, b status.Peer) int {
		if a.LatestHandshake != b.LatestHandshake {
			return int(min(1, max(-1, b.LatestHandshake-a.LatestHandshake)))
		}
		return strings.Compare(a.PublicKey, b.PublicKey)
	})
	i.Peers = peers
}
