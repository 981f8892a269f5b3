//go:build linux

// Package relays measures what it costs the processor to relay WireGuard's
// datagrams: by relayd, by the kernel alone (nft's NAT), by pion's TURN server.
//
//	c                              r                             s
//	┌────────┐ 10.9.0.0/24 ┌───────────────┐ 198.51.100.0/24 ┌──────────┐
//	│ sender ├─────────────┤ wlan0   wwan0 ├─────────────────┤ receiver │ 203.0.113.1
//	└───┬────┘             └───────────────┘                 └────┬─────┘
//	    └───────────────────── 192.0.2.0/24 ──────────────────────┘
//	                           directly, for comparison
//
// Sender and receiver are the same for all, and in this process. The sender has
// at most a window of datagrams under way, so that nothing is lost for want of a
// processor and each relay goes as fast as it can.
//
// # Whose time counts
//
// What the kernel does with a datagram that one program sends is charged to that
// program as far as the next program's socket: a forward by the kernel is nobody's
// but the sender's time. So the time of all counts together, of the sender, the
// receiver, the relay, and of the kernel's threads for soft interrupts; and a relay
// costs what there is of it beyond that of the same datagrams sent directly. What
// other programs use does not count, but it disturbs: Reading.Others tells of it.
package relays

import (
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Options of a measurement.
type Options struct {
	Bin      string        // where relayd is
	Rounds   int           // in each of which every relay has its turn
	For      time.Duration // a turn, without its first Warmup
	SoftIRQ  *measure.SoftIRQ
	Log      io.Writer // gets the programs' output; nil: none
	Progress func(format string, args ...any)
}

// Warmup of each turn is not measured.
const Warmup = 300 * time.Millisecond

const (
	// size is of the datagram that carries an inner packet of 1,420 bytes, full
	// with wg-quick's MTU: bytes.
	size  = 1452
	burst = 32  // datagrams sent at once
	most  = 128 // datagrams under way
	// stalled is after how long what is under way counts as lost.
	stalled = 100 * time.Millisecond
)

// Reading is one turn.
type Reading struct {
	Gbit   float64       // of payload that arrived
	Lost   int           // datagrams
	Took   time.Duration //
	CPU    time.Duration // of all that have to do with it
	Relay  time.Duration // of that, the relay program's own
	Others time.Duration // of other programs
}

// perGbit is seconds of a processor for a gigabit.
func (r *Reading) perGbit(d time.Duration) float64 { return d.Seconds() / r.Gbit }

// Subject is one way from the sender to the receiver, and its readings, one a
// round.
type Subject struct {
	Name     string
	Plain    bool // the sender sends single datagrams; otherwise trains (GSO)
	Readings []Reading
	carrier  carrier
}

// median is that of a figure over the rounds.
func (s *Subject) median(of func(*Reading) float64) float64 {
	var v []float64
	for i := range s.Readings {
		v = append(v, of(&s.Readings[i]))
	}
	return measure.Median(v)
}

// CPU is the median of the seconds for a gigabit.
func (s *Subject) CPU() float64 {
	return s.median(func(r *Reading) float64 { return r.perGbit(r.CPU) })
}

// Result is a measurement's readings.
type Result struct{ Subjects []*Subject }

// Run measures, in a sandbox.
func Run(o Options) (*Result, error) {
	l, err := build(o)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return nil, err
	}
	r := &Result{}
	for _, plain := range []bool{false, true} {
		for _, c := range l.carriers() {
			r.Subjects = append(r.Subjects, &Subject{Name: c.name, Plain: plain, carrier: c})
		}
	}
	for round := range o.Rounds {
		for _, s := range r.Subjects {
			got, err := l.measure(s, o.For)
			if err != nil {
				return r, fmt.Errorf("round %d, %s: %w", round+1, s.Name, err)
			}
			s.Readings = append(s.Readings, got)
			o.Progress("round %d/%d  %-8s %-6s %5.2f Gbit/s, %.3f s a Gbit, %d lost\n", round+1, o.Rounds, s.Name, s.sender(),
				got.Gbit/got.Took.Seconds(), got.perGbit(got.CPU), got.Lost)
		}
	}
	return r, nil
}

func (s *Subject) sender() string {
	if s.Plain {
		return "single"
	}
	return "trains"
}

// lab is the hosts and what runs on the relay's.
type lab struct {
	o        Options
	hosts    map[string]*sandbox.Host
	programs map[string]*sandbox.Program
	keys     keys
	server   *udp.Socket
	got      atomic.Uint64 // datagrams that the receiver had
	arrived  chan struct{} // room for one: got has risen
	receiver sync.WaitGroup
}

// Addresses of the laboratory.
var (
	target    = netip.MustParseAddrPort("203.0.113.1:51820")
	directly  = netip.MustParseAddrPort("192.0.2.2:51820")
	sender    = netip.MustParseAddrPort("10.9.0.1:0")
	relayAddr = netip.MustParseAddr("10.9.0.2")
	wanAddr   = netip.MustParseAddr("198.51.100.2")

	relaydPort = netip.AddrPortFrom(relayAddr, 51900)
	turnPort   = netip.AddrPortFrom(relayAddr, 3478)
	nftPort    = netip.AddrPortFrom(relayAddr, 51901)
)

func build(o Options) (l *lab, err error) {
	l = &lab{o: o, hosts: map[string]*sandbox.Host{}, programs: map[string]*sandbox.Program{}, arrived: make(chan struct{}, 1)}
	for _, name := range []string{"c", "r", "s"} {
		if l.hosts[name], err = sandbox.NewHost(name); err != nil {
			return l, err
		}
		if err := l.hosts[name].Publish(); err != nil {
			return l, err
		}
	}
	c, r, s := l.hosts["c"], l.hosts["r"], l.hosts["s"]
	prefix := netip.MustParsePrefix
	for _, step := range []func() error{
		func() error { return sandbox.Veth(c, "wlan0", r, "wlan0") },
		func() error { return sandbox.Veth(r, "wwan0", s, "eth0") },
		func() error { return sandbox.Veth(c, "direct", s, "direct") },
		func() error { return c.Device("wlan0", 0, prefix("10.9.0.1/24")) },
		func() error { return r.Device("wlan0", 0, prefix("10.9.0.2/24")) },
		func() error { return r.Device("wwan0", 0, prefix("198.51.100.2/24")) },
		func() error { return s.Device("eth0", 0, prefix("198.51.100.1/24")) },
		func() error { return s.Device("lo", 0, netip.PrefixFrom(target.Addr(), 32)) },
		func() error { return c.Device("direct", 0, prefix("192.0.2.1/24")) },
		func() error { return s.Device("direct", 0, prefix("192.0.2.2/24")) },
		func() error {
			return r.Route(sandbox.Route{To: prefix("0.0.0.0/0"), Via: netip.MustParseAddr("198.51.100.1"), Dev: "wwan0"})
		},
		func() error { return r.Sysctl("ipv4/ip_forward", "1") },
		l.startRelays,
		l.startReceiver,
	} {
		if err := step(); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *lab) close() {
	for _, p := range l.programs {
		p.Stop(2 * time.Second)
	}
	if l.server != nil {
		_ = l.server.Close() // nothing can be done about it
		l.receiver.Wait()
	}
	for _, h := range l.hosts {
		h.Close()
	}
}

// startRelays starts the programs on the relay, and gives its kernel the rules.
func (l *lab) startRelays() error {
	r := l.hosts["r"]
	if err := l.keys.generate(); err != nil {
		return err
	}
	conf, err := l.keys.config()
	if err != nil {
		return err
	}
	for name, cmd := range map[string]*exec.Cmd{
		"relayd": exec.Command(filepath.Join(l.o.Bin, "relayd"), "--config", conf),
		"turn":   exec.Command("/proc/self/exe", "turn", turnPort.String(), wanAddr.String()),
	} {
		if l.programs[name], err = r.Program(name, l.o.Log, cmd); err != nil {
			return err
		}
	}
	_, err = r.Output("nft", fmt.Sprintf(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat; ip daddr %s udp dport %d dnat to %s; }
		chain post { type nat hook postrouting priority srcnat; oifname "wwan0" masquerade; }
	}`, nftPort.Addr(), nftPort.Port(), target))
	if err != nil {
		return fmt.Errorf("the kernel's forward needs nftables (apt-get install nftables): %w", err)
	}
	return nil
}

// startReceiver starts the receiver, which answers whoever is new: a relay may
// want to know that its target does.
func (l *lab) startReceiver() error {
	err := l.hosts["s"].Do(func() (err error) {
		l.server, err = udp.Listen(udp.Config{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), target.Port()), PacketInfo: true})
		return err
	})
	if err != nil {
		return err
	}
	l.receiver.Go(func() {
		ms, space := make([]udp.Message, 64), make([][2048]byte, 64)
		var last netip.AddrPort
		for {
			for i := range ms {
				ms[i].Buf = space[i][:]
			}
			n, err := l.server.ReadBatch(ms)
			if err != nil {
				return // it was closed
			}
			if m := &ms[0]; m.Peer != last {
				last = m.Peer
				_, _ = l.server.WriteBatch([][]byte{m.Buf}, m.Peer, m.Local) // whoever gets no answer stalls
			}
			l.got.Add(uint64(n))
			select {
			case l.arrived <- struct{}{}:
			default:
			}
		}
	})
	return nil
}

// measure is one subject's turn.
func (l *lab) measure(s *Subject, d time.Duration) (got Reading, err error) {
	way, err := s.carrier.open()
	if err != nil {
		return got, err
	}
	var sock *udp.Socket
	if err := l.hosts["c"].Do(func() (err error) {
		sock, err = udp.Listen(udp.Config{Local: way.from, NoOffload: s.Plain})
		return err
	}); err != nil {
		return got, err
	}
	defer sock.Close()
	f := l.flow(sock, way)
	if _, err := f.run(Warmup); err != nil {
		return got, err
	}
	before, err := l.usage(s)
	if err != nil {
		return got, err
	}
	begun, count := time.Now(), l.got.Load()
	arrived := uint64(0)
	for arrived == 0 && time.Since(begun) < patience { // a busy machine may stand still for once d
		lost, err := f.run(d)
		if err != nil {
			return got, err
		}
		got.Lost += lost
		arrived = l.got.Load() - count
	}
	got.Took = time.Since(begun)
	after, err := l.usage(s)
	if err != nil {
		return got, err
	}
	if arrived == 0 {
		return got, fmt.Errorf("nothing arrived in %v", got.Took)
	}
	if _, err := sock.WriteBatch(way.farewell, way.to, netip.Addr{}); err != nil {
		return got, err
	}
	got.Gbit = float64(arrived) * size * 8 / 1e9
	got.CPU, got.Relay = after.ours-before.ours, after.relay-before.relay
	got.Others = max(0, after.all-before.all-got.CPU)
	return got, nil
}

// usage is processor time that was used so far.
type usage struct{ all, ours, relay time.Duration }

func (l *lab) usage(s *Subject) (u usage, err error) {
	p, err := measure.ReadProcessors()
	if err != nil {
		return u, err
	}
	u.all = p.Programs + p.Interrupts
	sandboxed, err := measure.Sandboxed()
	if err != nil {
		return u, err
	}
	threads, err := l.o.SoftIRQ.CPU()
	if err != nil {
		return u, err
	}
	u.ours = sandboxed + threads
	if program := l.programs[s.Name]; program != nil {
		u.relay = program.CPU()
	}
	return u, nil
}

// flow is a sender's.
type flow struct {
	l     *lab
	sock  *udp.Socket
	to    netip.AddrPort
	burst [][]byte
	sent  uint64 // since got was …
	from  uint64 // … this much, without what was lost
}

func (l *lab) flow(sock *udp.Socket, w way) *flow {
	f := &flow{l: l, sock: sock, to: w.to, from: l.got.Load()}
	for range burst {
		b := append(slices.Clone(w.header), make([]byte, size)...)
		b[len(w.header)] = wire.TypeWGData
		f.burst = append(f.burst, b)
	}
	return f
}

// run sends for a time, and returns how many datagrams were lost.
func (f *flow) run(d time.Duration) (lost int, err error) {
	patience := time.NewTimer(stalled)
	defer patience.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		underway := f.sent - min(f.sent, f.l.got.Load()-f.from)
		if underway+burst <= most {
			n, err := f.sock.WriteBatch(f.burst, f.to, netip.Addr{})
			if err != nil {
				return lost, err
			}
			f.sent += uint64(n)
			continue
		}
		patience.Reset(stalled)
		select {
		case <-f.l.arrived:
		case <-patience.C:
			lost += int(underway)
			f.sent -= underway
		}
	}
	return lost, nil
}

// WriteTable writes the figures for people.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "sender\trelay\tGbit/s\tlost\tCPU s/Gbit\tbeyond direct\t× kernel's\tin its own process\tother programs, processors\t\n")
	for _, s := range r.Subjects {
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%.0f\t%.3f\t%.3f\t%.1f\t%.3f\t%.2f\t\n", s.sender(), s.Name,
			s.median(func(r *Reading) float64 { return r.Gbit / r.Took.Seconds() }),
			s.median(func(r *Reading) float64 { return float64(r.Lost) }),
			s.CPU(), s.CPU()-r.cpuOf("direct", s.Plain), s.CPU()/r.cpuOf("kernel", s.Plain),
			s.median(func(r *Reading) float64 { return r.perGbit(r.Relay) }),
			s.median(func(r *Reading) float64 { return r.Others.Seconds() / r.Took.Seconds() }))
	}
	return t.Flush()
}

// cpuOf is the CPU of the subject with this name and kind of sender.
func (r *Result) cpuOf(name string, plain bool) float64 {
	i := slices.IndexFunc(r.Subjects, func(s *Subject) bool { return s.Name == name && s.Plain == plain })
	return r.Subjects[i].CPU()
}
