package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// checks are all there are, in the order of the report: what keeps a bond from
// being one comes before what makes it slow.
var checks = []struct {
	name    string
	examine func(*Facts) []Finding
}{
	{"server", server},
	{"paths", paths},
	{"route", routes},
	{"mark", mark},
	{"mtu", mtu},
	{"throttle", throttle},
	{"bottleneck", bottleneck},
	{"scheduler", scheduler},
	{"cpu", cpu},
	{"clock", clock},
	{"drops", drops},
}

// Thresholds. They are where a finding is worth a person's time, not where a
// fault begins.
const (
	busy        = .9  // of all CPUs
	stolen      = .1  // of all CPUs
	lossy       = .02 // ratio
	atMaxRate   = .9  // of max-rate
	samePattern = .8  // correlation of two paths' round-trip times
	swings      = .01 // seconds of deviation that a correlation needs to mean something
	fewLooks    = 8   // that it needs, too
)

// flow is what paths have carried, bytes.
type flow struct{ in, out float64 }

func carried(i *status.Interface) (f flow) {
	eachPath(i, func(_ *status.Peer, p *status.Path) {
		f.in += float64(p.RxBytes)
		f.out += float64(p.TxBytes)
	})
	return f
}

func eachPath(i *status.Interface, f func(*status.Peer, *status.Path)) {
	for n := range i.Peers {
		if b := i.Peers[n].Bond; b != nil {
			for p := range b.Paths {
				f(&i.Peers[n], &b.Paths[p])
			}
		}
	}
}

func (f *Facts) last() *status.Interface { return f.Looks[len(f.Looks)-1].Interface }

// server: without a bond there is one path at a time. A server's own clients
// are theirs to ask.
func server(f *Facts) (found []Finding) {
	if f.last().Role == "serve" {
		return nil
	}
	for _, p := range f.last().Peers {
		if b := p.Bond; b != nil && !b.Bonded {
			found = append(found, Finding{Level: Problem, Where: "peer " + p.PublicKey, What: "not bonded, plain WireGuard over one path at a time: " + cmp.Or(b.PlainReason, "no answer from the other end yet"),
				Do: "at the server, `wg-bond serve` before its WireGuard, with this peer in its configuration (README, The server); if that runs, `wg-bond status` there tells whether it hears this client"})
		}
	}
	return found
}

// paths: which do not work, and why; and whether there are two.
func paths(f *Facts) (found []Finding) {
	if f.last().Role == "serve" {
		return nil
	}
	remedies := map[string]string{
		"waiting": "plug the device in, or correct its name in " + f.Side,
		"closed":  "see the log (`LOG_LEVEL=verbose wg-bond up -f`)",
		"leasing": "ask the lender whether relayd runs and allows this machine's public key; `relayd pubkey` there must print the relay-key of " + f.Side,
		"probing": "if it stays so, the other end does not answer by this path: see whether a firewall on the way lets UDP to the endpoint pass",
		"suspect": "wait a moment: it has just fallen silent and is being probed",
		"dead":    "see whether the link has a connection at all: `ping -I DEVICE` to the endpoint",
	}
	for _, p := range f.last().Peers {
		if p.Bond == nil {
			continue
		}
		for _, path := range p.Bond.Paths {
			if path.State == "active" || !p.Bond.Bonded && path.State == "probing" {
				continue
			}
			what := path.State
			if path.Reason != "" {
				what += ", " + path.Reason
			}
			found = append(found, Finding{Level: Problem, Where: "path " + path.Name, What: what, Do: strings.ReplaceAll(remedies[path.State], "DEVICE", path.Device)})
		}
		if len(p.Bond.Paths) < 2 {
			found = append(found, Finding{Level: Problem, Where: "peer " + p.PublicKey, What: fmt.Sprintf("%d path: there is nothing to bond", len(p.Bond.Paths)),
				Do: "connect a second link (each with a default route is a path), or name it in a [[path]] of " + f.Side})
		}
	}
	return found
}

// routes: each path's device must lead to its target, and what comes back by
// it must not be thrown away.
func routes(f *Facts) (found []Finding) {
	eachPath(f.last(), func(_ *status.Peer, p *status.Path) {
		way, ok := f.Ways[p.Name]
		if !ok {
			return
		}
		switch link := f.Links[p.Device]; {
		case way.Err != "":
			found = append(found, Finding{Level: Problem, Where: "path " + p.Name, What: fmt.Sprintf("no route to %s by %s: %s", way.Target, p.Device, way.Err),
				Do: fmt.Sprintf("give the device a default route of a higher metric, as DHCP does: `ip route add default via GATEWAY dev %s metric 900`", p.Device)})
		case way.Other == f.Name:
			found = append(found, Finding{Level: Problem, Where: "path " + p.Name, What: fmt.Sprintf("the route to %s leads into the tunnel itself", way.Target),
				Do: "have `wg-bond up` set the routes (no Table = off), or add a route to the endpoint by a real device"})
		case link.Strict && way.Target.Is4() && way.Other != "" && way.Other != p.Device:
			found = append(found, Finding{Level: Problem, Where: "path " + p.Name, What: fmt.Sprintf("the strict reverse-path filter of %s drops what comes from %s, because the best route there is by %s", p.Device, way.Target, way.Other),
				Do: fmt.Sprintf("`sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.%s.rp_filter=2`, and the same in /etc/sysctl.d", p.Device)})
		}
	})
	return found
}

// mark: a tunnel that takes the default route is passed by only with the mark
// that its rules except.
func mark(f *Facts) []Finding {
	has := f.last().FwMark
	for _, r := range f.Rules {
		if r.Invert && r.Mark != has && slices.Contains(f.Tables, r.Table) {
			return []Finding{{Level: Problem, Where: f.Name, What: fmt.Sprintf("the sockets carry the mark 0x%x, but the rule that sends everything into the tunnel excepts 0x%x", has, r.Mark),
				Do: fmt.Sprintf("`wg set %s fwmark 0x%x`", f.Name, r.Mark)}}
		}
	}
	return nil
}

// mtu: packets that do not fit a path cannot use it.
func mtu(f *Facts) (found []Finding) {
	eachPath(f.last(), func(peer *status.Peer, p *status.Path) {
		if p.MTUNote == "" {
			return
		}
		do := "give the tunnel a smaller MTU"
		if fits := peer.Bond.TunnelMTU; fits > 0 {
			do = fmt.Sprintf("MTU = %d under [Interface] in %s, at both ends", fits, cmp.Or(f.Conf, "the configuration"))
		}
		found = append(found, Finding{Level: Problem, Where: "path " + p.Name, What: p.MTUNote, Do: do})
	})
	return found
}

// throttle: what holds a path below what its link could do.
func throttle(f *Facts) (found []Finding) {
	eachPath(f.last(), func(_ *status.Peer, p *status.Path) {
		where := "path " + p.Name
		link := f.Links[p.Device]
		if p.MaxRate > 0 && p.Rate >= atMaxRate*p.MaxRate {
			found = append(found, Finding{Level: Note, Where: where, What: "max-rate = " + status.Rate(p.MaxRate) + " is what limits it", Do: "raise or remove max-rate in " + f.Side + ", if the link carries more"})
		}
		if link.Shaper != "" {
			found = append(found, Finding{Level: Note, Where: where, What: fmt.Sprintf("a queue of kind %s holds %s to %s", link.Shaper, p.Device, status.Rate(link.ShapedTo)),
				Do: fmt.Sprintf("`tc qdisc show dev %s` shows it; remove it if it is not meant", p.Device)})
		}
		if link.HalfDuplex || link.Speed > 0 && link.Speed <= 10e6/8 {
			found = append(found, Finding{Level: Problem, Where: where, What: fmt.Sprintf("%s has agreed on %s%s with its other end", p.Device, status.Rate(link.Speed), map[bool]string{true: ", half duplex"}[link.HalfDuplex]),
				Do: "another cable or port; `ethtool " + p.Device + "` shows what both ends can do"})
		}
		// What a full queue loses is late before it is lost. A policer loses
		// on time (RFC 2475, 2.3.3.3), and so does bad radio.
		if p.State == "active" && p.Loss >= lossy && p.MinRTT > 0 && p.RTT <= 1.3*p.MinRTT+.01 {
			do := "better radio if it is radio; else max-rate for this path in " + f.Side
			if p.Rate > 0 {
				do += fmt.Sprintf(", a little below %s", status.Rate(p.Rate))
			}
			found = append(found, Finding{Level: Problem, Where: where, What: fmt.Sprintf("loses %.1f %% without delaying the rest: the operator throttles it, or the radio is bad", 100*p.Loss), Do: do})
		}
	})
	return found
}

// bottleneck: links that share one add nothing to each other.
func bottleneck(f *Facts) (found []Finding) {
	for n, peer := range f.last().Peers {
		if peer.Bond == nil {
			continue
		}
		all := peer.Bond.Paths
		for i := range all {
			for j := i + 1; j < len(all); j++ {
				a, b := &all[i], &all[j]
				where := fmt.Sprintf("paths %s and %s", a.Name, b.Name)
				one, other := f.Ways[a.Name], f.Ways[b.Name]
				switch {
				// Modems of one make are often all 192.168.8.1, hardware
				// address and all, and give their host the same address, too.
				case one.Via != "" && one.Via == other.Via && one.Source != other.Source && a.Relay == b.Relay:
					found = append(found, Finding{Level: Problem, Where: where, What: "both go by the same next hop, " + one.Via + ": one uplink, counted twice",
						Do: "leave out one of them, unless that router itself has two uplinks"})
				case a.State == "active" && b.State == "active":
					r, ok := f.correlation(n, a.Name, b.Name)
					if ok && r >= samePattern {
						found = append(found, Finding{Level: Note, Where: where, What: fmt.Sprintf("their round-trip times rise and fall together (correlation %.2f): a bottleneck that both share, like one cell of the same operator", r),
							Do: "try another operator or place for one of them; what they share is not added up"})
					}
				}
			}
		}
	}
	return found
}

// correlation is that of the round-trip times of two paths of peer n (Pearson).
// It is false if there were too few looks, or nothing happened in them.
func (f *Facts) correlation(n int, a, b string) (r float64, ok bool) {
	var xs, ys []float64
	key := f.last().Peers[n].PublicKey
	for _, look := range f.Looks {
		var x, y float64
		eachPath(look.Interface, func(peer *status.Peer, p *status.Path) {
			switch {
			case peer.PublicKey != key:
			case p.Name == a:
				x = p.RTT
			case p.Name == b:
				y = p.RTT
			}
		})
		if x > 0 && y > 0 {
			xs, ys = append(xs, x), append(ys, y)
		}
	}
	if len(xs) < fewLooks {
		return 0, false
	}
	mx, my := mean(xs), mean(ys)
	var xx, yy, xy float64
	for i := range xs {
		dx, dy := xs[i]-mx, ys[i]-my
		xx, yy, xy = xx+dx*dx, yy+dy*dy, xy+dx*dy
	}
	count := float64(len(xs))
	if math.Sqrt(xx/count) < swings || math.Sqrt(yy/count) < swings {
		return 0, false
	}
	return xy / math.Sqrt(xx*yy), true
}

func mean(all []float64) (m float64) {
	for _, v := range all {
		m += v / float64(len(all))
	}
	return m
}

// scheduler: what it leaves out, and whether it is the one that was wanted.
func scheduler(f *Facts) (found []Finding) {
	i := f.last()
	if i.SchedulerTrouble != "" {
		found = append(found, Finding{Level: Problem, Where: i.Scheduler, What: i.SchedulerTrouble, Do: "`wg-bond scheduler show` says more; until it works the default decides"})
	}
	eachPath(i, func(_ *status.Peer, p *status.Path) {
		if p.Plan != nil && !p.Plan.Use && !p.Plan.Copies && p.State == "active" && !p.Backup {
			found = append(found, Finding{Level: Note, Where: "path " + p.Name, What: fmt.Sprintf("left out by %s: at %s and %.0f ms it would add nothing, or slow the others down", i.Scheduler, status.Rate(p.Rate), 1000*p.RTT),
				Do: "nothing, if that is so; `wg-bond scheduler use equalize --shadow` shows what another scheduler would do"})
		}
	})
	return found
}

// cpu: wireguard-go encrypts in user space.
func cpu(f *Facts) (found []Finding) {
	c := f.CPU
	if !c.Known {
		return nil
	}
	if c.Stolen >= stolen {
		found = append(found, Finding{Level: Problem, Where: "CPU", What: fmt.Sprintf("the host of this virtual machine takes %.0f %% of its time", 100*c.Stolen), Do: "a machine with CPUs of its own"})
	}
	if c.Busy-c.Stolen >= busy {
		do := "end what else takes the CPU (`top` shows it)"
		if c.Ours >= c.Busy/2 {
			do = "this machine encrypts no faster; at the server, `wg-bond serve` before the kernel's WireGuard takes less than `up`"
		}
		found = append(found, Finding{Level: Problem, Where: "CPU", What: fmt.Sprintf("%.0f %% of %d CPUs are busy, %.0f %% with this tunnel", 100*c.Busy, c.Count, 100*c.Ours), Do: do})
	}
	return found
}

// clock: handshakes carry the time, and the other end takes none that is
// earlier than the one before.
func clock(f *Facts) (found []Finding) {
	const right = "set the clock: `timedatectl set-ntp true`, or chrony"
	// Earlier than this program was written.
	if f.Now.Before(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		found = append(found, Finding{Level: Problem, Where: "clock", What: "it says " + f.Now.UTC().Format(time.DateTime) + ", which is long past: the other end refuses handshakes that are older than earlier ones", Do: right})
	} else if f.Clock.Known && !f.Clock.Synchronised {
		found = append(found, Finding{Level: Note, Where: "clock", What: "nothing keeps it right; if it is ever set back, the other end refuses handshakes until it has caught up", Do: right})
	}
	for _, p := range f.last().Peers {
		if at := time.Unix(p.LatestHandshake, 0); at.After(f.Now.Add(time.Second)) {
			found = append(found, Finding{Level: Problem, Where: "peer " + p.PublicKey, What: "the latest handshake is in the future: the clock was set back since", Do: right + "; a new handshake fails until the clock has caught up"})
		}
	}
	if n := f.grown(func(i *status.Interface) uint64 { return i.Handshakes["replayed"] }); n > 0 {
		found = append(found, Finding{Level: Problem, Where: "handshakes", What: fmt.Sprintf("%d were refused as replayed while we looked: a client's clock was set back, or somebody replays", n), Do: "set the clock of the client that cannot bond"})
	}
	return found
}

// grown is by how much a counter rose from the first look to the last.
func (f *Facts) grown(counter func(*status.Interface) uint64) uint64 {
	before, after := counter(f.Looks[0].Interface), counter(f.last())
	return after - min(before, after)
}

// remedies has what to do about drops that a person can do something about.
var remedies = map[string]string{
	"receiver-full": "the WireGuard here does not keep up: see the check cpu",
	"no-buffer":     "the device's queue is full: `ip link set DEVICE txqueuelen 1000`, or a max-rate for the path",
	"gone":          "a device has no address or route: see the checks paths and route",
	"too-long":      "a device's MTU is smaller than it seemed: see the check mtu",
	"send-failed":   "see the log (`LOG_LEVEL=verbose wg-bond up -f`); a firewall here may forbid it",
	"flow-limit":    "more plain clients than are served: somebody may be flooding the port",
	"queue-full":    "programs send faster than all paths together carry and do not slow down; nothing to be done here",
	"fits-no-path":  "packets that no path carries whole: see the check mtu",
}

// drops: those that go on and that somebody can do something about.
func drops(f *Facts) (found []Finding) {
	for _, reason := range slices.Sorted(maps.Keys(remedies)) {
		n := f.grown(func(i *status.Interface) uint64 {
			sum := i.Drops[reason]
			for _, p := range i.Peers {
				if p.Bond != nil {
					sum += p.Bond.Drops[reason]
				}
			}
			return sum
		})
		if n > 0 {
			found = append(found, Finding{Level: Problem, Where: reason, What: fmt.Sprintf("%d datagrams dropped while we looked", n), Do: remedies[reason]})
		}
	}
	return found
}
