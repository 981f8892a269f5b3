package doctor

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// healthy is a bond of two paths to which nothing is wrong, looked at for
// three seconds.
func healthy() *Facts {
	f := &Facts{
		Name: "wg0", Conf: "/etc/wireguard/wg0.conf", Side: "/etc/wireguard/wg0.bond.toml", Now: now, MTU: 1420,
		Tables: []int{51820}, Rules: []Rule{{Table: 51820, Mark: 0xca6c, Invert: true}},
		Links: map[string]Link{"wwan0": {}, "wlan0": {Speed: 125e6}},
		Ways: map[string]Way{
			"wwan0": {Target: netip.MustParseAddr("192.0.2.1"), Via: "192.168.8.1 (0c:5b:8f:27:9a:64)", Source: "192.168.8.100", Other: "wwan0"},
			"wlan0": {Target: netip.MustParseAddr("192.0.2.1"), Via: "192.168.1.1 (02:00:00:00:00:01)", Source: "192.168.1.7", Other: "wwan0"},
		},
		CPU: CPU{Known: true, Count: 2, Busy: .3, Ours: .2}, Clock: Clock{Known: true, Synchronised: true},
	}
	for n := range 12 {
		f.Looks = append(f.Looks, Look{time.Duration(n) * between, &status.Interface{
			Name: "wg0", Role: "up", FwMark: 0xca6c, Scheduler: "earliest", Drops: map[string]uint64{"malformed": uint64(n)},
			Peers: []status.Peer{{PublicKey: "PEER", Endpoint: "192.0.2.1:51820", LatestHandshake: now.Unix() - 60, Bond: &status.Bond{
				Bonded: true, BondedFor: 60, Paths: []status.Path{
					{Name: "wwan0", Device: "wwan0", State: "active", Rate: 450e3, RTT: .06 + .02*float64(n%2), MinRTT: .055, RxBytes: uint64(n) * 100_000, Plan: &status.Plan{Use: true}},
					{Name: "wlan0", Device: "wlan0", State: "active", Rate: 900e3, RTT: .03 + .02*float64(n/2%2), MinRTT: .028, TxBytes: uint64(n) * 1000, Plan: &status.Plan{Use: true}},
				},
			}}},
		}})
	}
	return f
}

// each changes every look of f.
func each(f *Facts, change func(n int, i *status.Interface, paths []status.Path)) {
	for n := range f.Looks {
		i := f.Looks[n].Interface
		change(n, i, i.Peers[0].Bond.Paths)
	}
}

// TestChecks makes up one condition after the other: the check finds it, tells
// what to do, and no other check finds anything.
func TestChecks(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range []struct {
		name, check string
		level       Level
		what, do    string // parts of them
		make        func(f *Facts)
	}{
		{"no shim", "server", Problem, "plain WireGuard over one path at a time: the server does not", "wg-bond serve", func(f *Facts) {
			each(f, func(_ int, i *status.Interface, p []status.Path) {
				i.Peers[0].Bond.Bonded, i.Peers[0].Bond.PlainReason = false, "the server does not answer"
			})
		}},
		{"a path without a device", "paths", Problem, "waiting, no such device", "wg0.bond.toml", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) {
				p[0].State, p[0].Reason = "waiting", "no such device"
			})
		}},
		{"a lender that does not answer", "paths", Problem, "leasing", "relayd pubkey", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) { p[1].State = "leasing" })
		}},
		{"a silent path", "paths", Problem, "dead", "ping -I wlan0", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) { p[1].State = "dead" })
		}},
		{"one path", "paths", Problem, "nothing to bond", "second link", func(f *Facts) {
			each(f, func(_ int, i *status.Interface, p []status.Path) { i.Peers[0].Bond.Paths = p[:1] })
		}},
		{"no route", "route", Problem, "no route to 192.0.2.1 by wlan0: network is unreachable", "dev wlan0", func(f *Facts) {
			f.Ways["wlan0"] = Way{Target: netip.MustParseAddr("192.0.2.1"), Err: "network is unreachable", Other: "wwan0"}
		}},
		{"a route through itself", "route", Problem, "into the tunnel itself", "Table", func(f *Facts) {
			w := f.Ways["wwan0"]
			w.Other = "wg0"
			f.Ways["wwan0"] = w
		}},
		{"strict reverse-path filter", "route", Problem, "reverse-path filter of wlan0 drops", "net.ipv4.conf.wlan0.rp_filter=2", func(f *Facts) {
			f.Links["wwan0"], f.Links["wlan0"] = Link{Strict: true}, Link{Strict: true} // wwan0 has the best route
		}},
		{"missing mark", "mark", Problem, "mark 0x0, but", "wg set wg0 fwmark 0xca6c", func(f *Facts) {
			each(f, func(_ int, i *status.Interface, _ []status.Path) { i.FwMark = 0 })
		}},
		{"small MTU", "mtu", Problem, "carries at most 1400", "MTU = 1368 under [Interface] in /etc/wireguard/wg0.conf", func(f *Facts) {
			each(f, func(_ int, i *status.Interface, p []status.Path) {
				i.Peers[0].Bond.TunnelMTU, p[0].MTUNote = 1368, "carries at most 1400 bytes, the tunnel needs 1452"
			})
		}},
		{"max-rate", "throttle", Note, "max-rate = 3.60 Mbit/s", "wg0.bond.toml", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) { p[0].MaxRate = 450e3 })
		}},
		{"shaper", "throttle", Note, "kind tbf holds wlan0 to 8.00 Mbit/s", "tc qdisc show dev wlan0", func(f *Facts) { f.Links["wlan0"] = Link{Shaper: "tbf", ShapedTo: 1e6} }},
		{"bad cable", "throttle", Problem, "10.00 Mbit/s, half duplex", "ethtool wlan0", func(f *Facts) { f.Links["wlan0"] = Link{Speed: 1.25e6, HalfDuplex: true} }},
		{"policer", "throttle", Problem, "loses 5.0 %", "below 7.20 Mbit/s", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) { p[1].Loss, p[1].RTT = .05, .031 })
		}},
		{"one uplink", "bottleneck", Problem, "paths wwan0 and wlan0: both go by the same next hop", "leave out", func(f *Facts) {
			w := f.Ways["wlan0"]
			w.Via = f.Ways["wwan0"].Via
			f.Ways["wlan0"] = w
		}},
		{"one cell", "bottleneck", Note, "correlation 1.00", "another operator", func(f *Facts) {
			each(f, func(n int, _ *status.Interface, p []status.Path) { p[1].RTT = 2 * p[0].RTT })
		}},
		{"a plugin in trouble", "scheduler", Problem, "does not start", "scheduler show", func(f *Facts) {
			each(f, func(_ int, i *status.Interface, _ []status.Path) { i.SchedulerTrouble = "does not start" })
		}},
		{"a path left out", "scheduler", Note, "left out by earliest: at 80.0 kbit/s and 900 ms", "--shadow", func(f *Facts) {
			each(f, func(_ int, _ *status.Interface, p []status.Path) {
				p[1].Plan.Use, p[1].Rate, p[1].RTT = false, 10e3, .9
			})
		}},
		{"busy with the tunnel", "cpu", Problem, "97 % of 2 CPUs are busy, 80 % with this tunnel", "kernel's WireGuard", func(f *Facts) { f.CPU = CPU{Known: true, Count: 2, Busy: .97, Ours: .8} }},
		{"busy with others", "cpu", Problem, "97 % of 2 CPUs are busy, 10 % with this tunnel", "top", func(f *Facts) { f.CPU = CPU{Known: true, Count: 2, Busy: .97, Ours: .1} }},
		{"a crowded host", "cpu", Problem, "takes 30 %", "CPUs of its own", func(f *Facts) { f.CPU = CPU{Known: true, Count: 2, Busy: .5, Stolen: .3} }},
		{"a clock without a battery", "clock", Problem, "1970-01-01 00:01:00", "timedatectl", func(f *Facts) {
			f.Now = time.Unix(60, 0)
			each(f, func(_ int, i *status.Interface, _ []status.Path) { i.Peers[0].LatestHandshake = 0 })
		}},
		{"a clock that nothing sets", "clock", Note, "nothing keeps it right", "timedatectl", func(f *Facts) { f.Clock.Synchronised = false }},
		{"a clock that was set back", "clock", Problem, "in the future", "timedatectl", func(f *Facts) { f.Now = now.Add(-time.Hour) }},
		{"a client's clock", "clock", Problem, "11 were refused as replayed", "client", func(f *Facts) {
			each(f, func(n int, i *status.Interface, _ []status.Path) {
				i.Role, i.Handshakes = "serve", map[string]uint64{"replayed": 5 + uint64(n)}
			})
		}},
		{"a WireGuard that does not keep up", "drops", Problem, "receiver-full: 11 datagrams", "cpu", func(f *Facts) {
			each(f, func(n int, i *status.Interface, _ []status.Path) { i.Drops["receiver-full"] = uint64(n) })
		}},
		{"packets that fit nowhere", "drops", Problem, "fits-no-path: 22 datagrams", "mtu", func(f *Facts) {
			each(f, func(n int, i *status.Interface, _ []status.Path) {
				i.Peers[0].Bond.Drops = map[string]uint64{"fits-no-path": 7 + 2*uint64(n)}
			})
		}},
	} {
		tested[c.check] = true
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			c.make(f)
			r := Examine(f)
			if len(r.Findings) != 1 {
				t.Fatalf("%d findings: %+v", len(r.Findings), r.Findings)
			}
			got := r.Findings[0]
			if got.Check != c.check || got.Level != c.level || !strings.Contains(got.Where+": "+got.What, c.what) || !strings.Contains(got.Do, c.do) {
				t.Errorf("found %+v\nwant %s, a %s with %q and %q", got, c.check, c.level, c.what, c.do)
			}
			if slices.Contains(r.Fine, c.check) || len(r.Fine) != len(checks)-1 {
				t.Errorf("fine: %v", r.Fine)
			}
		})
	}
	for _, c := range checks {
		if !tested[c.name] {
			t.Errorf("no condition is made up for the check %s", c.name)
		}
	}
}

func TestHealthy(t *testing.T) {
	r := Examine(healthy())
	if len(r.Findings) != 0 || len(r.Fine) != len(checks) || r.Problems() != 0 {
		t.Errorf("%+v", r)
	}
	if math.Abs(r.In-400_000) > 1 || math.Abs(r.Out-4000) > 1 || r.Seconds != 2.75 {
		t.Errorf("in %v, out %v in %v s", r.In, r.Out, r.Seconds)
	}
	// Two modems of one make are not one uplink.
	f := healthy()
	f.Ways["wlan0"] = f.Ways["wwan0"]
	if r := Examine(f); len(r.Findings) != 0 {
		t.Errorf("of two alike modems: %+v", r.Findings)
	}
}

func TestText(t *testing.T) {
	f := healthy()
	f.CPU.Busy = .95
	f.Clock.Synchronised = false
	var b strings.Builder
	if err := Examine(f).Text(&b); err != nil {
		t.Fatal(err)
	}
	const want = `wg0: 1 problems, 1 notes
  carried in the 2.8 s looked at: in 3.20 Mbit/s, out 32.0 kbit/s

  problem cpu  CPU: 95 % of 2 CPUs are busy, 20 % with this tunnel
    do: end what else takes the CPU (` + "`top`" + ` shows it)

  note clock  clock: nothing keeps it right; if it is ever set back, the other end refuses handshakes until it has caught up
    do: set the clock: ` + "`timedatectl set-ntp true`" + `, or chrony

  fine server, paths, route, mark, mtu, throttle, bottleneck, scheduler, drops
`
	if diff := cmp.Diff(want, ansi.Strip(b.String())); diff != "" {
		t.Error(diff)
	}
	if r := Examine(&Facts{Name: "wg1"}); len(r.Findings) != 1 || r.Findings[0].What != "it is not up" || r.Problems() != 1 {
		t.Errorf("of what is not up: %+v", r)
	}
}

// TestTicks: the kernel's counters as parts of the time that passed; counters
// that cannot be read mean that nothing is known.
func TestTicks(t *testing.T) {
	before := ticks{all: 1000, idle: 500, stolen: 10, ours: 100}
	got := ticks{all: 1400, idle: 600, stolen: 50, ours: 200}.since(before)
	if got.Busy != .75 || got.Stolen != .1 || got.Ours != .25 || !got.Known {
		t.Errorf("%+v", got)
	}
	if (ticks{}).since(ticks{}).Known || before.since(before).Known {
		t.Error("known without time")
	}
}

// TestGather: as many looks as time allows, and the error of one that fails.
func TestGather(t *testing.T) {
	asked := 0
	f, err := Gather("wg0", func() (*status.Interface, error) { asked++; return &status.Interface{Name: "wg0"}, nil }, time.Millisecond)
	if err != nil || len(f.Looks) != asked || asked < 2 || f.Now.IsZero() {
		t.Errorf("%+v, %v after %d", f, err, asked)
	}
	away := errors.New("away")
	if _, err := Gather("wg0", func() (*status.Interface, error) { return nil, away }, 0); err != away {
		t.Error(err)
	}
}
