// Package status is what `wg-bond status` tells: WireGuard's own state as
// `wg show` tells it, and below each peer how it is bonded.
package status

import "slices"

// Interface is one wg-bond, of `up` or of `serve`. The JSON names are stable:
// fields are added, never renamed; docs/status.md describes each of them.
type Interface struct {
	Name string `json:"interface"`
	// Role is "up", "serve", or "device" for a bare device that others, like
	// wg-quick, set up.
	Role       string `json:"role"`
	PID        int    `json:"pid"` // of the process that runs it
	PublicKey  string `json:"public_key,omitempty"`
	PrivateKey string `json:"-"` // for WG_HIDE_KEYS=never only, and never in JSON
	ListenPort uint16 `json:"listen_port,omitempty"`
	FwMark     uint32 `json:"fwmark,omitempty"`
	Scheduler  string `json:"scheduler,omitempty"`
	// SchedulerTrouble is why a plugin does not decide, or did not lately.
	SchedulerTrouble string `json:"scheduler_trouble,omitempty"`
	// Upstream is the stock WireGuard that `serve` stands before.
	Upstream string `json:"upstream,omitempty"`
	// PlainClients is how many addresses of not bonded clients `serve` passes
	// on now.
	PlainClients int    `json:"plain_clients,omitempty"`
	Peers        []Peer `json:"peers"`
	// Handshakes counts what clients asked of `serve`, by what became of it.
	Handshakes map[string]uint64 `json:"handshakes,omitempty"`
	// Drops counts datagrams that no session can be charged with, by reason;
	// Discards those whose loss costs nobody anything.
	Drops    map[string]uint64 `json:"drops,omitempty"`
	Discards map[string]uint64 `json:"discards,omitempty"`
}

// Peer is one peer of WireGuard's.
type Peer struct {
	PublicKey           string   `json:"public_key"`
	PresharedKey        string   `json:"-"`
	HasPresharedKey     bool     `json:"has_preshared_key"`
	Endpoint            string   `json:"endpoint,omitempty"`
	AllowedIPs          []string `json:"allowed_ips,omitempty"`
	LatestHandshake     int64    `json:"latest_handshake"` // Unix time, seconds; 0: never
	RxBytes             uint64   `json:"rx_bytes"`         // as WireGuard counts: once each, without headers
	TxBytes             uint64   `json:"tx_bytes"`
	PersistentKeepalive uint16   `json:"persistent_keepalive"` // seconds; 0: off
	Bond                *Bond    `json:"bond,omitempty"`
}

// Bond is the session with one peer.
type Bond struct {
	Bonded      bool    `json:"bonded"`
	BondedFor   float64 `json:"bonded_for"`             // seconds
	PlainReason string  `json:"plain_reason,omitempty"` // why it is not bonded
	// ClientAddress is how the stock WireGuard sees a client of `serve`.
	ClientAddress string `json:"client_address,omitempty"`
	Queue         int    `json:"queue"`      // bytes waiting for a path
	Reordering    int    `json:"reordering"` // packets held back for order
	Sent          uint64 `json:"sent"`       // datagrams
	Received      uint64 `json:"received"`   // datagrams
	Repairs       uint64 `json:"repairs"`    // datagrams sent again
	OutOfOrder    uint64 `json:"out_of_order"`
	Copies        uint64 `json:"copies"`   // sent of packets that were stuck on another path
	Spurious      uint64 `json:"spurious"` // datagrams taken for lost that came after all
	Suspects      uint64 `json:"suspects"` // times that a path fell silent
	Failovers     uint64 `json:"failovers"`
	PeerRestarts  uint64 `json:"peer_restarts"`
	BondsLost     uint64 `json:"bonds_lost"`
	// TunnelMTU is the largest MTU that the tunnel may have for every path to
	// carry its packets, bytes; 0: not known.
	TunnelMTU int    `json:"tunnel_mtu,omitempty"`
	Paths     []Path `json:"paths"`
	// Drops and Discards count datagrams by reason, as those of Interface.
	Drops    map[string]uint64 `json:"drops,omitempty"`
	Discards map[string]uint64 `json:"discards,omitempty"`
}

// Path is one path of a session. Bytes are of whole IP packets, copies and
// control messages included: what the link's owner pays for. Rates are bytes
// per second, times seconds.
type Path struct {
	Name   string `json:"name"`
	Device string `json:"device,omitempty"`
	// State is probing, active, suspect or dead; or, before the path can be
	// used at all: closed, waiting (for the device), leasing (from the relay).
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is in that state
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	Relay  string `json:"relay,omitempty"`
	Lease  string `json:"lease,omitempty"`

	Rate     float64 `json:"rate"`                // estimated delivery rate; 0: not known
	RTT      float64 `json:"rtt"`                 // smoothed; 0: not known
	MinRTT   float64 `json:"min_rtt"`             // lowest of late; 0: not known
	Loss     float64 `json:"loss"`                // ratio, 0 to 1
	InFlight int     `json:"in_flight"`           // bytes
	Window   int     `json:"window"`              // bytes that may be in flight; 0: no limit yet
	RateMode string  `json:"rate_mode,omitempty"` // rate control's state
	Queued   int     `json:"queued"`              // bytes in the path's own queue
	MTU      int     `json:"mtu"`                 // largest UDP payload, bytes; 0: not known
	// MTUNote says that the path does not carry what the tunnel needs.
	MTUNote string `json:"mtu_note,omitempty"`
	// Charge is what the path was found to do to the packets that it carries, for
	// which it is not used at the moment.
	Charge string `json:"charge,omitempty"`

	TxBytes   uint64 `json:"tx_bytes"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	RxPackets uint64 `json:"rx_packets"`
	Lost      uint64 `json:"lost_packets"`
	Repairs   uint64 `json:"repairs"` // of Tx: packets lost elsewhere, sent again here
	// Share is the path's part, 0 to 1, of all bytes that the session has
	// sent and received so far.
	Share     float64  `json:"share"`
	LastHeard *float64 `json:"last_heard,omitempty"` // seconds ago; absent: never
	Backup    bool     `json:"backup"`
	Metered   bool     `json:"metered"`
	Weight    float64  `json:"weight,omitempty"`
	MaxRate   float64  `json:"max_rate,omitempty"`
	// Quota is what the path may carry until QuotaReset, QuotaUsed what it has;
	// bytes of whole IP packets, both directions, of all peers. 0: no limit.
	Quota      uint64 `json:"quota,omitempty"`
	QuotaUsed  uint64 `json:"quota_used,omitempty"`
	QuotaReset int64  `json:"quota_reset,omitempty"` // Unix time, seconds
	Plan       *Plan  `json:"plan,omitempty"`        // absent unless bonded
}

// Plan is what the scheduler makes of a path for bulk data.
type Plan struct {
	Use     bool `json:"use"`     // it sends bulk data by this path
	Blocked bool `json:"blocked"` // but not now: the path does not work, or its window is full
	Copies  bool `json:"copies"`  // the path carries a copy of each packet
	// Cost is that of the next packet, seconds: until it would arrive, for
	// schedulers that go by arrival. The cheapest path gets it.
	Cost    float64 `json:"cost"`
	Backlog int     `json:"backlog"` // bytes that wait for the path, as the plan counts
	Cap     int     `json:"cap"`     // bytes that may
	Drain   float64 `json:"drain"`   // rate at which Backlog falls
	Hold    float64 `json:"hold"`    // how long the receiver holds what comes by it, to equalise
}

// Verdict is the plan in a few words, for people.
func (p *Path) Verdict() string {
	switch plan := p.Plan; {
	case plan == nil:
		return ""
	case plan.Copies && !plan.Use:
		return "copies only"
	case !plan.Use && p.State == "active":
		return "left out: adds nothing"
	case !plan.Use:
		return "not used"
	case plan.Blocked && p.State == "active":
		return "full"
	case plan.Blocked:
		return "waits until it works"
	case plan.Copies:
		return "used, and for copies"
	}
	return "used"
}

// Split parts drops, by reason, into those that matter and those of the
// reasons in harmless.
func Split(all map[string]uint64, harmless []string) (drops, discards map[string]uint64) {
	for reason, n := range all {
		into := &drops
		if slices.Contains(harmless, reason) {
			into = &discards
		}
		if *into == nil {
			*into = map[string]uint64{}
		}
		(*into)[reason] = n
	}
	return drops, discards
}

// FillShares computes Share for paths of one session.
func FillShares(paths []Path) {
	var sum uint64
	for _, p := range paths {
		sum += p.TxBytes + p.RxBytes
	}
	for i := range paths {
		if sum > 0 {
			paths[i].Share = float64(paths[i].TxBytes+paths[i].RxBytes) / float64(sum)
		}
	}
}
