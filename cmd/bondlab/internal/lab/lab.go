//go:build linux

// Package lab builds the original experiment with real kernels' network
// stacks: borrower, neighbours, server and web host in network namespaces,
// joined by emulated WWANs.
//
//	c  borrower                    i  internet              s  server            w  web host
//	┌──────────────┐ emulated      ┌─────────────┐ 203.0.113.0/24 ┌───────────┐ 192.168.50.0/24
//	│ wg0 10.200.0.2│              │             │           │ wg0 10.200.0.1 │        ┌──────┐
//	│ wwan0 ────────┼── 100.64.1.0/30 ─ wan1     eth0 ─────── eth0      lan0 ─┼────────┤ eth0 │
//	│ wlan0 ┐       │              │     wan2 ┐  │           │                │        └──────┘
//	└───────┼───────┘              └──────────┼──┘           └────────────────┘
//	     air│10.9.0.0/24                      │
//	┌───────┼───────┐      emulated           │
//	│ wlan0 ┘  wwan0┼── 100.64.2.0/30 ────────┘
//	└───────────────┘
//	  r  neighbour, runs relayd
//
// The borrower's wg0 routes the server's LAN, so that the web host is reached
// through the tunnel alone. Links and neighbours are the scenario's. If its
// family is 6, all that is outside the tunnel has IPv6 addresses and no others.
package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/emulator"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/pcap"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// The addresses behind and in the tunnel.
var (
	WebAddr      = netip.MustParseAddr("192.168.50.2")
	tunnelNet    = netip.MustParsePrefix("10.200.0.0/24")
	tunnelServer = netip.MustParsePrefix("10.200.0.1/24")
	tunnelClient = netip.MustParsePrefix("10.200.0.2/24")
	// tunnelNeighbour is that of a neighbour with a tunnel of its own.
	tunnelNeighbour = netip.MustParsePrefix("10.200.0.3/24")
	lanNet          = netip.MustParsePrefix("192.168.50.0/24")
)

// The ports of the laboratory.
const (
	ServerPort   = 51820 // what the borrower's WireGuard is told
	upstreamPort = 51821 // the stock WireGuard behind the shim
	relayPort    = 51900
	webPort      = 8080
)

// Options of a laboratory.
type Options struct {
	// Bin is where the programs under test are; those that are not there are
	// looked for in $PATH.
	Bin string
	// StockServer leaves out the shim: the stock WireGuard has the server's port.
	StockServer bool
	// Scheduler decides at both ends of bonded tunnels, as Use takes it; empty:
	// the default.
	Scheduler string
	// Swaps are schedulers that take turns after that, while the tunnel is up:
	// Times changes, one every Every, from After on.
	Swaps Swaps
	// Log gets the programs' output, each line behind its program's name; nil: none.
	Log io.Writer
	// Captures is a directory for pcap files of every emulated link; empty: none.
	Captures string
	// Traces is a directory for the traces of the wg-bonds: client-1.jsonl for the
	// borrower's first, server-1.jsonl; empty: none.
	Traces string
}

// Lab is a running laboratory. It is not safe for concurrent use.
type Lab struct {
	Scenario *scenario.Scenario
	Options  Options
	Links    []*Link

	net      addresses
	hosts    map[string]*sandbox.Host
	emulator *emulator.Emulator
	captures []*pcap.Writer
	tap      io.Closer // of the server's loopback device
	keys     keys
	programs []*sandbox.Program // in the order in which they were started
	serve    *sandbox.Program
	relays   map[string]*sandbox.Program
	traces   map[string]int // how many wg-bonds of each end were traced
}

// Link is one link of the scenario, built.
type Link struct {
	scenario.Link
	Host   string       // that has the device: c or the neighbour
	Device string       // on that host
	Mobile netip.Prefix // the device's address
	Gate   netip.Prefix // the internet's end
	wire   *emulator.Link
	metric int // of its default route
}

// Host names.
const (
	Borrower = "c"
	Server   = "s"
	Web      = "w"
	internet = "i"
	air      = "air"
)

// sysctls of every host, below /proc/sys/net. The kernel must not remember
// one run's TCP metrics for the next, and large buffers leave the limit to
// the links.
var sysctls = [][2]string{
	{"ipv4/tcp_no_metrics_save", "1"},
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	{"ipv4/tcp_rmem", "4096 131072 16777216"},
	{"ipv4/tcp_wmem", "4096 131072 16777216"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/default/router_solicitations", "0"},
}

// Build makes the hosts and links of a scenario and starts the programs that
// all runs share: the web server, the server's WireGuard, the shim and the
// relays. It must be called in a sandbox. Close ends the laboratory.
func Build(s *scenario.Scenario, opt Options) (lab *Lab, err error) {
	if opt.Scheduler == "" {
		opt.Scheduler = s.Scheduler
	}
	l := &Lab{Scenario: s, Options: opt, net: ipv4, hosts: map[string]*sandbox.Host{}, relays: map[string]*sandbox.Program{}, traces: map[string]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			lab = nil
		}
	}()
	if s.Family == 6 {
		l.net = ipv6
	}
	if l.keys, err = newKeys(append(s.Neighbours(), Borrower)); err != nil {
		return nil, err
	}
	for _, step := range []func() error{l.makeHosts, l.makeCables, l.makeLinks, l.startPrograms} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Host returns a host by name, or nil.
func (l *Lab) Host(name string) *sandbox.Host { return l.hosts[name] }

func (l *Lab) makeHosts() error {
	names := append([]string{Borrower, Server, Web, internet, air}, l.Scenario.Neighbours()...)
	for _, n := range names {
		h, err := sandbox.NewHost(n)
		if err != nil {
			return err
		}
		l.hosts[n] = h
		if err := h.Publish(); err != nil {
			return err
		}
		for _, kv := range sysctls {
			if err := h.Sysctl(kv[0], kv[1]); err != nil {
				return err
			}
		}
	}
	// Neighbours forward for a stock client that uses them as plain gateways.
	for _, n := range append(l.Scenario.Neighbours(), Server, internet) {
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := l.hosts[n].Sysctl(key, "1"); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeCables builds what is not emulated: the server's uplink and LAN, and
// the air between the borrower and its neighbours, a bridge.
func (l *Lab) makeCables() error {
	c, s, w, i, a := l.hosts[Borrower], l.hosts[Server], l.hosts[Web], l.hosts[internet], l.hosts[air]
	steps := []func() error{
		func() error { return sandbox.Veth(i, "eth0", s, "eth0") },
		func() error { return i.Device("eth0", 0, l.net.router) },
		func() error { return s.Device("eth0", 0, l.net.server) },
		func() error {
			return s.Route(sandbox.Route{To: l.net.anywhere, Via: l.net.router.Addr(), Dev: "eth0"})
		},
		func() error { return sandbox.Veth(s, "lan0", w, "eth0") },
		func() error { return s.Device("lan0", 0, netip.MustParsePrefix("192.168.50.1/24")) },
		func() error { return w.Device("eth0", 0, netip.PrefixFrom(WebAddr, 24)) },
		func() error {
			return w.Route(sandbox.Route{To: ipv4.anywhere, Via: netip.MustParseAddr("192.168.50.1"), Dev: "eth0"})
		},
	}
	ports := []string{"c"}
	if len(l.Scenario.Neighbours()) > 0 {
		steps = append(steps,
			func() error { return sandbox.Veth(a, "c", c, "wlan0") },
			func() error { return c.Device("wlan0", 0, l.net.air(1)) })
	}
	for k, n := range l.Scenario.Neighbours() {
		ports = append(ports, n+"x") // a neighbour may be called like a device
		steps = append(steps,
			func() error { return sandbox.Veth(a, n+"x", l.hosts[n], "wlan0") },
			func() error { return l.hosts[n].Device("wlan0", 0, l.net.air(2+k)) })
	}
	if len(ports) > 1 {
		steps = append(steps, func() error { return a.Bridge("br0", ports...) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// makeLinks builds the emulated links.
func (l *Lab) makeLinks() (err error) {
	if l.emulator, err = emulator.New(); err != nil {
		return err
	}
	devices := map[string]int{}
	for k, sl := range l.Scenario.Links {
		host := Borrower
		if sl.Via != "" {
			host = sl.Via
		}
		link := &Link{
			Link: sl, Host: host, Device: fmt.Sprintf("wwan%d", devices[host]),
		}
		link.Mobile, link.Gate = l.net.link(k)
		devices[host]++
		h, i, wan := l.hosts[host], l.hosts[internet], fmt.Sprintf("wan%d", 1+k)
		var fds [2]int
		if err := h.Do(func() (err error) { fds[0], err = emulator.OpenTUN(link.Device); return err }); err != nil {
			return err
		}
		if err := i.Do(func() (err error) { fds[1], err = emulator.OpenTUN(wan); return err }); err != nil {
			return err
		}
		if link.wire, err = l.emulator.Add(link.Name, fds[0], fds[1]); err != nil {
			return err
		}
		if front := l.link(sl.Behind); front != nil {
			if err := link.wire.Behind(front.wire); err != nil {
				return err
			}
		}
		if err := h.Device(link.Device, emulator.MTU, link.Mobile); err != nil {
			return err
		}
		if err := i.Device(wan, emulator.MTU, link.Gate); err != nil {
			return err
		}
		link.metric = 100 + devices[host]
		err := h.Route(sandbox.Route{To: l.net.anywhere, Via: link.Gate.Addr(), Dev: link.Device, Metric: link.metric})
		if err != nil {
			return err
		}
		l.Links = append(l.Links, link)
	}
	if err := l.capture(); err != nil {
		return err
	}
	return l.ConfigureLinks(false, nil)
}

// link is the link with this name, if there is one.
func (l *Lab) link(name string) *Link {
	for _, x := range l.Links {
		if x.Name == name {
			return x
		}
	}
	return nil
}

// capture starts the recording of every link at both ends, and of what the
// shim and the stock WireGuard say to each other over the server's loopback
// device.
func (l *Lab) capture() error {
	if l.Options.Captures == "" {
		return nil
	}
	for _, link := range l.Links {
		var ends [2]*pcap.Writer
		for i, end := range []string{link.Host + "-" + link.Device, "internet"} {
			c, err := pcap.Create(filepath.Join(l.Options.Captures, link.Name+"-"+end+".pcap"))
			if err != nil {
				return err
			}
			ends[i] = c
			l.captures = append(l.captures, c)
		}
		link.wire.Capture(ends[0], ends[1])
	}
	c, err := pcap.Create(filepath.Join(l.Options.Captures, "server-lo.pcap"))
	if err != nil {
		return err
	}
	l.captures = append(l.captures, c)
	l.tap, err = tapLoopback(l.hosts[Server], c)
	return err
}

// ConfigureLinks gives every link a new model whose time begins now, without
// random and burst loss if clean, with the outages among the events.
func (l *Lab) ConfigureLinks(clean bool, events []scenario.Event) error {
	var settings []emulator.Setting
	for _, link := range l.Links {
		if link.Behind != "" {
			continue
		}
		var outages []sim.Outage
		for _, e := range events {
			if e.What == scenario.EventOutage && e.Link == link.Name {
				outages = append(outages, e.Outage())
			}
		}
		settings = append(settings, emulator.Setting{
			Link: link.wire, AB: link.Up.Config(clean, outages...), BA: link.Down.Config(clean, outages...),
		})
	}
	return emulator.ConfigureAll(settings)
}

// Carried is what a link's devices exchanged so far: whole IP packets, and their
// bytes, towards the borrower and away from it.
func (l *Link) Carried() (down, up Traffic) {
	of := func(d emulator.Direction) Traffic {
		s := l.wire.Stats(d)
		return Traffic{Packets: s.Packets, Bytes: s.Bytes}
	}
	return of(emulator.BA), of(emulator.AB)
}

// Traffic is a number of whole IP packets and of their bytes.
type Traffic struct{ Packets, Bytes uint64 }

// Lateness is how much later than the models said the emulator delivered.
func (l *Lab) Lateness() emulator.Lateness {
	var sum emulator.Lateness
	for _, link := range l.Links {
		for _, d := range []emulator.Direction{emulator.AB, emulator.BA} {
			sum.Merge(link.wire.Stats(d).Lateness)
		}
	}
	return sum
}

// Close ends all programs and removes the links and hosts.
func (l *Lab) Close() error {
	var err error
	for _, p := range slices.Backward(l.programs) {
		p.Stop(2 * time.Second)
	}
	err = l.endCaptures()
	if l.emulator != nil {
		err = errors.Join(err, l.emulator.Close())
	}
	for _, h := range l.hosts {
		h.Close()
	}
	return err
}

// endCaptures completes the captures.
func (l *Lab) endCaptures() error {
	for _, link := range l.Links {
		link.wire.Capture(nil, nil)
	}
	var err error
	if l.tap != nil {
		err = l.tap.Close()
	}
	for _, c := range l.captures {
		err = errors.Join(err, c.Close())
	}
	l.tap, l.captures = nil, nil
	return err
}

// Start starts a program of Options.Bin or $PATH in a host.
func (l *Lab) Start(host, name string, args ...string) (*sandbox.Program, error) {
	path, err := l.program(name)
	if err != nil {
		return nil, err
	}
	return l.startPath(host, path, name, args...)
}

// traced adds to the arguments of a wg-bond that its trace is wanted, in a file
// of its own.
func (l *Lab) traced(end string, args ...string) []string {
	if l.Options.Traces == "" {
		return args
	}
	l.traces[end]++
	return append(args, "--trace", filepath.Join(l.Options.Traces, fmt.Sprintf("%s-%d.jsonl", end, l.traces[end])))
}

func (l *Lab) startPath(host, path, name string, args ...string) (*sandbox.Program, error) {
	p, err := l.hosts[host].Program(name, l.Options.Log, exec.Command(path, args...))
	if err == nil {
		l.programs = append(l.programs, p)
	}
	return p, err
}

// program finds a program under test: in Options.Bin, or else in $PATH.
func (l *Lab) program(name string) (string, error) {
	if p, err := exec.LookPath(filepath.Join(l.Options.Bin, name)); err == nil {
		return filepath.Abs(p)
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in %s nor in $PATH: %s", name, l.Options.Bin, packageOf(name))
	}
	return p, nil
}

// packageOf says how to get a program.
func packageOf(name string) string {
	switch name {
	case "wg-bond", "relayd", builtinPlugin:
		return "run `make build`"
	case "wireguard-go":
		return "run `make build` or apt-get install wireguard-go"
	case "wg":
		return "apt-get install wireguard-tools"
	}
	return "apt-get install " + name
}
