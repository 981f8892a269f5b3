package relayd

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/relayd/spare"
)

// Pause ends all leases and makes no more, until it is called with false. Those
// who were borrowing are told then.
func (r *Relay) Pause(paused bool) {
	if r.paused.Swap(paused) != paused {
		r.cfg.Audit.Info("paused", "paused", paused)
	}
	r.Review()
}

// Offer is what whoever is near may be told of what is lent: to all of them, or
// only to those listed and invited.
func (r *Relay) Offer() (terms lease.Terms, open bool) {
	s, why := r.book.Judge(time.Now(), r.cfg.PrivateKey.Public(), true)
	if open = why == "" && s.Kind == access.Stranger; !open {
		s = access.Standing{Left: lease.Unlimited}
	}
	return r.terms(s), open
}

// terms are what somebody may have, within what the lender lends.
func (r *Relay) terms(standing access.Standing) lease.Terms {
	t := lease.Terms{Rate: standing.Meter.Rate(), Left: standing.Left}
	if rate := r.cfg.Ledger.Rate; rate > 0 && (t.Rate == 0 || rate < t.Rate) {
		t.Rate = rate
	}
	if left := r.ledger.Left(); left != access.Unlimited {
		t.Left = min(t.Left, left)
	}
	return t
}

// shut says why nothing is lent now; empty if it is.
func (d *desk) shut() string {
	now, rules := d.wall(), &d.relay.cfg.When
	if d.relay.paused.Load() {
		return "the lender has paused"
	}
	power := d.power
	if rules.NeedPower() {
		p, err := d.relay.cfg.Sys.Power()
		if err != nil {
			d.log.Warn("what feeds this machine cannot be read, so nothing is lent", "error", err)
			return "the lender does not know whether it runs on its battery"
		}
		power = p
	}
	if why := rules.Refuses(now, power); why != "" {
		return why
	}
	if d.relay.ledger.Left() < leastLeft {
		return "what is lent this month is used up"
	}
	return ""
}

// refusesDevice says why nothing is lent by a device; nil if it is.
func (d *desk) refusesDevice(device string) *lease.Refuse {
	switch {
	case d.relay.cfg.Tunnel(device):
		d.log.Warn("the way to a target leads through a tunnel of our own; set device to the link that is to be lent", "tunnel", device)
		return &lease.Refuse{Reason: lease.Unreachable, Text: "the way there leads through a tunnel of the lender's, which is not lent on"}
	case d.relay.cfg.When.NotOnWiFi && d.relay.cfg.Sys.IsWiFi(device):
		return &lease.Refuse{Reason: lease.Paused, Text: "the lender is on Wi-Fi, whose link is somebody else's"}
	}
	return nil
}

// leastLeft is what must be left of a month's volume to be of use: a full packet.
const leastLeft = 1500

// settle brings the ledger up to date.
func (d *desk) settle() {
	for l := range d.loans {
		d.account(l)
	}
	if err := d.relay.ledger.Settle(d.wall()); err != nil {
		d.log.Warn("no more is lent than was written down", "error", err)
	}
}

// account notes what a loan has carried since it was last accounted for.
func (d *desk) account(l *loan) {
	now := ledger.Carried{Up: l.carried[0].Load(), Down: l.carried[1].Load()}
	d.relay.ledger.Add(l.peer.String(), ledger.Carried{Up: now.Up - l.accounted.Up, Down: now.Down - l.accounted.Down})
	l.accounted = now
}

// waits notes that a session's borrower would borrow if it could.
func (s *session) waits(at home) { s.waiting = &at }

// invite tells those who wait that there is something to borrow again, when
// there is.
func (d *desk) invite() {
	waits := func(s *session) bool { return s.waiting != nil }
	if all := slices.Collect(maps.Values(d.sessions)); !slices.ContainsFunc(all, waits) || d.shut() != "" {
		return
	}
	for _, s := range d.sessions {
		if s.waiting != nil && s.loan == nil {
			d.tell(s, *s.waiting, &lease.Hint{Up: lease.Unlimited, Down: lease.Unlimited})
		}
		s.waiting = nil
	}
}

// Report is what a lender lends, and has lent this month. Volumes are bytes of
// whole IP packets, rates bytes per second.
type Report struct {
	Shut   string        `json:"shut,omitempty"` // why nothing is lent now; empty if it is
	Paused bool          `json:"paused"`
	Device string        `json:"device,omitempty"`
	Rate   uint64        `json:"rate,omitempty"` // most that is lent; 0: no limit
	Month  MonthReport   `json:"month"`
	Leases []LeaseReport `json:"leases"`
	Stats  Stats         `json:"stats"`
}

// MonthReport is what was lent since the reset day.
type MonthReport struct {
	Since     time.Time                 `json:"since"`
	Until     time.Time                 `json:"until"`
	Used      uint64                    `json:"used"`
	Quota     uint64                    `json:"quota,omitempty"` // 0: no limit
	Borrowers map[string]ledger.Carried `json:"borrowers"`       // by public key
}

// LeaseReport is one lease.
type LeaseReport struct {
	Borrower string         `json:"borrower"` // its public key
	Kind     string         `json:"kind"`     // listed, invited or stranger
	Address  netip.AddrPort `json:"address"`
	Target   netip.AddrPort `json:"target"`
	Device   string         `json:"device,omitempty"` // that is lent
	Since    time.Time      `json:"since"`
	Until    time.Time      `json:"until"` // unless renewed
	Up       uint64         `json:"up"`
	Down     uint64         `json:"down"`
	UpRate   uint64         `json:"up_rate"` // of late
	DownRate uint64         `json:"down_rate"`
	// What the borrower was told that is spare; nil: no limit.
	UpSpare   *uint64 `json:"up_spare,omitempty"`
	DownSpare *uint64 `json:"down_spare,omitempty"`
}

// Report asks how things stand; false if the Relay does not run any more.
func (r *Relay) Report() (Report, bool) {
	answer := make(chan Report, 1)
	select {
	case r.asked <- func(d *desk) { answer <- d.report() }:
		return <-answer, true
	case <-r.done:
		return Report{}, false
	}
}

func (d *desk) report() Report {
	for l := range d.loans {
		d.account(l)
	}
	now, wall := d.relay.now(), d.wall()
	m := d.relay.ledger.Month(wall)
	r := Report{
		Shut: d.shut(), Paused: d.relay.paused.Load(), Device: d.relay.cfg.Device, Rate: d.relay.cfg.Ledger.Rate,
		Month: MonthReport{m.Since, m.Until, m.Used, m.Quota, m.Borrowers}, Leases: []LeaseReport{}, Stats: d.relay.Stats(),
	}
	for l := range maps.Keys(d.loans) {
		one := LeaseReport{
			Borrower: l.peer.String(), Kind: kindNames[l.kind], Address: l.home.Load().peer, Target: l.target, Device: l.link.device,
			Since: l.granted, Until: wall.Add(l.expires - now), Up: l.carried[0].Load(), Down: l.carried[1].Load(),
		}
		if now-l.moved < busyFor {
			one.UpRate, one.DownRate = uint64(l.use[0].rate), uint64(l.use[1].rate)
		}
		for _, s := range []struct {
			told uint64
			to   **uint64
		}{{l.hint.Up, &one.UpSpare}, {l.hint.Down, &one.DownSpare}} {
			if s.told != spare.None {
				*s.to = &s.told
			}
		}
		r.Leases = append(r.Leases, one)
	}
	slices.SortFunc(r.Leases, func(a, b LeaseReport) int {
		return cmp.Or(a.Since.Compare(b.Since), a.Address.Compare(b.Address))
	})
	return r
}

var kindNames = map[access.Kind]string{access.Listed: "listed", access.Invited: "invited", access.Stranger: "stranger"}
