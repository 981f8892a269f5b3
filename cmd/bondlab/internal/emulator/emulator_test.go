//go:build linux

package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { sandbox.Main(m.Run) }

var hosts int

// twoHosts joins two new hosts by one emulated link: 100.64.0.1 and .2.
func twoHosts(t *testing.T) (a, b *sandbox.Host, e *Emulator, l *Link) {
	t.Helper()
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TUN devices")
	}
	e, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	var fds [2]int
	var ends [2]*sandbox.Host
	for i := range ends {
		hosts++
		if ends[i], err = sandbox.NewHost(fmt.Sprintf("t%d", hosts)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ends[i].Close)
		err = ends[i].Do(func() (err error) { fds[i], err = OpenTUN("wwan0"); return err })
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + i)}), 24)
		if err := ends[i].Device("wwan0", MTU, addr); err != nil {
			t.Fatal(err)
		}
	}
	if l, err = e.Add("test", fds[0], fds[1]); err != nil {
		t.Fatal(err)
	}
	return ends[0], ends[1], e, l
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// udp opens a socket that has the kernel stamp what it receives.
func udp(t *testing.T, h *sandbox.Host, addr string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := h.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20), // for all packets of a test
		)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return c
}

// arrival is a test packet as the receiver's kernel saw it. Both stamps are
// CLOCK_REALTIME, so the receiver's own scheduling does not count.
type arrival struct{ sent, got time.Duration }

// receive returns n arrivals of a series, fewer if none comes for long.
func receive(t *testing.T, c *net.UDPConn, series byte, n int) []arrival {
	var out []arrival
	buf, oob := make([]byte, MTU), make([]byte, 128)
	for len(out) < n {
		c.SetReadDeadline(time.Now().Add(patience))
		k, oobn, _, _, err := c.ReadMsgUDP(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Error(err)
			break
		}
		if buf[8] != series {
			continue // left over
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || k < 9 || len(msgs) != 1 || len(msgs[0].Data) < 16 {
			t.Errorf("packet of %d bytes, %d control messages, %v: expected a stamp in both", k, len(msgs), err)
			break
		}
		sec, nsec := binary.NativeEndian.Uint64(msgs[0].Data), binary.NativeEndian.Uint64(msgs[0].Data[8:])
		out = append(out, arrival{
			sent: time.Duration(binary.NativeEndian.Uint64(buf)),
			got:  time.Duration(sec)*time.Second + time.Duration(nsec),
		})
	}
	return out
}

func send(c *net.UDPConn, to string, series byte, size int) error {
	b := make([]byte, size)
	b[8] = series
	binary.NativeEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	_, err := c.WriteToUDPAddrPort(b, netip.MustParseAddrPort(to))
	return err
}

// TestAccuracy holds a link to 2 % of its rate and 1 ms of its delay, by medians.
// No machine must be so idle at any moment that it can keep the time: what fails
// is tried again, and fails the test only when another thread of the emulator's
// priority did keep the time meanwhile, three times over. That no packet comes
// early, nor more than the link carries, holds on every machine.
func TestAccuracy(t *testing.T) {
	const attempts, most = 10, 3
	for _, rate := range []float64{3.6e6, 50e6} {
		t.Run(fmt.Sprintf("%.1fMbit", rate/1e6), func(t *testing.T) {
			a, b, e, l := twoHosts(t)
			r := &rig{Link: l, from: udp(t, a, "100.64.0.1:0"), to: udp(t, b, "100.64.0.2:7000"), rate: rate}
			var faults []string // of the attempts that count
			for range attempts {
				clock := startClock()
				off := append(r.measureDelay(t), r.measureRate(t)...)
				late := clock.stop()
				if t.Failed() {
					return
				}
				if len(off) == 0 {
					return
				}
				t.Logf("a thread of the emulator's priority is %v late by the median, real-time %v; floods kept up: %v; %s",
					late, e.Realtime(), r.kept, strings.Join(off, "; "))
				if late < 200*time.Microsecond && r.kept {
					if faults = append(faults, strings.Join(off, "; ")); len(faults) == most {
						t.Fatal(strings.Join(faults, "\n"))
					}
				}
			}
			t.Skipf("%d times this machine was too busy to judge a link by its timing", attempts)
		})
	}
}

// clock wakes every few milliseconds, on a thread of the emulator's priority,
// and notes how late.
type clock struct {
	quit chan struct{}
	late chan time.Duration
}

func startClock() *clock {
	c := &clock{quit: make(chan struct{}), late: make(chan time.Duration)}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		var late []time.Duration
		next := monotonic()
		for {
			select {
			case <-c.quit:
				slices.Sort(late)
				c.late <- late[len(late)/2]
				return
			default:
			}
			next = max(next, monotonic()-time.Millisecond) + 5*time.Millisecond
			at := unix.NsecToTimespec(int64(next))
			for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil) == unix.EINTR {
			}
			late = append(late, monotonic()-next)
		}
	}()
	return c
}

// stop tells the median.
func (c *clock) stop() time.Duration {
	close(c.quit)
	return <-c.late
}

// rig measures a link.
type rig struct {
	*Link
	from, to *net.UDPConn
	rate     float64 // bit/s
	kept     bool    // the latest flood never let the link run dry
	series   byte    // of packets
}

const (
	rigDelay  = 30 * time.Millisecond
	rigQueue  = 64 << 10
	rigPacket = 1400 // bytes of payload
	rigWire   = rigPacket + 28
)

func (r *rig) reset(t *testing.T) {
	t.Helper()
	cfg := sim.LinkConfig{Rate: r.rate, Delay: rigDelay, Queue: rigQueue}
	if err := r.Configure(cfg, cfg); err != nil {
		t.Fatal(err)
	}
	r.series++
}

// measureDelay sends a packet at a time, the link idle in between. It says how
// the delay is off.
func (r *rig) measureDelay(t *testing.T) (off []string) {
	r.reset(t)
	var got []arrival
	var wg sync.WaitGroup
	wg.Go(func() { got = receive(t, r.to, r.series, 100) })
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		<-tick.C
		if err := send(r.from, "100.64.0.2:7000", r.series, rigPacket); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if len(got) != 100 {
		t.Fatalf("%d of 100 packets arrived over an idle link", len(got))
	}
	want := rigDelay + time.Duration(rigWire*8/r.rate*float64(time.Second))
	var took []time.Duration
	for _, g := range got {
		took = append(took, g.got-g.sent)
	}
	slices.Sort(took)
	t.Logf("delay: median %v, p90 %v, expected %v", took[50], took[90], want)
	if took[50] < want-time.Millisecond {
		t.Errorf("median delay %v, shorter than %v", took[50], want)
	}
	if took[50] > want+time.Millisecond {
		off = append(off, fmt.Sprintf("median delay %v, over 1 ms more than %v", took[50], want))
	}
	return off
}

// measureRate sends twice what the link carries, for a second or 400 packets. It
// says how the rate is off, and the emulator late.
func (r *rig) measureRate(t *testing.T) (off []string) {
	r.reset(t)
	n := max(400, int(r.rate/8/rigWire))
	var got []arrival
	var wg sync.WaitGroup
	before := r.Stats(AB)
	wg.Go(func() { got = receive(t, r.to, r.series, n) })
	stop := make(chan struct{})
	r.kept = true
	wg.Go(func() {
		// Bursts that fill the queue again whenever half of it is through.
		lasts := time.Duration(rigQueue * 8 / r.rate * float64(time.Second))
		pause := time.NewTicker(lasts / 2)
		defer pause.Stop()
		for filled := time.Now(); ; {
			for range rigQueue / rigPacket {
				send(r.from, "100.64.0.2:7000", r.series, rigPacket)
			}
			select {
			case <-pause.C:
			case <-stop:
				return
			}
			now := time.Now()
			r.kept = r.kept && now.Sub(filled) < lasts*8/10
			filled = now
		}
	})
	for start := time.Now(); r.Stats(AB).Delivered-before.Delivered < uint64(n)+100 && time.Since(start) < patience; {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if len(got) != n {
		t.Fatalf("%d of %d packets arrived", len(got), n)
	}
	// The rate of each twentieth of the packets, and their median.
	var rates []float64
	for i, per := 0, n/20; i+per < n; i += per {
		rates = append(rates, float64(per*rigWire*8)/(got[i+per].got-got[i].got).Seconds())
	}
	slices.Sort(rates)
	median := rates[len(rates)/2]
	s := r.Stats(AB)
	t.Logf("rate: median %.3f Mbit/s, lowest %.3f, highest %.3f; lateness p50 %v p99 %v", median/1e6, rates[0]/1e6, rates[len(rates)-1]/1e6,
		s.Lateness.Quantile(.5), s.Lateness.Quantile(.99))
	// What comes in a bunch after a halt may be fast for a while; all together is not.
	if all := float64(n*rigWire*8) / (got[n-1].got - got[0].sent - rigDelay).Seconds(); all > 1.02*r.rate {
		t.Errorf("rate %.3f Mbit/s of %d packets, over %.3f by more than 2 %%", all/1e6, n, r.rate/1e6)
	}
	if median < .98*r.rate || median > 1.02*r.rate {
		off = append(off, fmt.Sprintf("median rate %.3f Mbit/s, expected %.3f within 2 %%", median/1e6, r.rate/1e6))
	}
	if p := s.Lateness.Quantile(.5); p > time.Millisecond {
		off = append(off, fmt.Sprintf("half of the packets left %v or more after the model's time", p))
	}
	if r.kept && s.Dropped.Queue == before.Dropped.Queue {
		t.Error("nothing was dropped: the flood did not fill the link")
	}
	return off
}

// TestOutage checks that a configured outage holds and that the model's time
// starts at Configure.
func TestOutage(t *testing.T) {
	a, b, _, l := twoHosts(t)
	dark := sim.LinkConfig{Rate: 10e6, Outages: []sim.Outage{{From: 0, To: sim.Never}}}
	clear := sim.LinkConfig{Rate: 10e6}
	from, to := udp(t, a, "100.64.0.1:0"), udp(t, b, "100.64.0.2:7000")
	if err := l.Configure(dark, clear); err != nil {
		t.Fatal(err)
	}
	if err := send(from, "100.64.0.2:7000", 0, 100); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); l.Stats(AB).Pushed == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the packet did not enter the link")
		}
		time.Sleep(time.Millisecond)
	}
	if got := l.Stats(AB).Delivered; got != 0 {
		t.Fatalf("%d packets delivered by a dark link", got)
	}
	if err := l.Configure(clear, clear); err != nil {
		t.Fatal(err)
	}
	if err := send(from, "100.64.0.2:7000", 0, 100); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, to, 0, 1); len(got) != 1 {
		t.Fatal("nothing came through after the outage")
	}
}

func TestConfigureRefuses(t *testing.T) {
	_, _, _, l := twoHosts(t)
	err := l.Configure(sim.LinkConfig{Loss: 2}, sim.LinkConfig{})
	if err == nil {
		t.Fatal("a loss of 200 % was accepted")
	}
}
