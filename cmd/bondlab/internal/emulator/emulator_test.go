//go:build linux

package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
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
	return c
}

// arrival is a test packet as the receiver's kernel saw it. Both stamps are
// CLOCK_REALTIME, so the receiver's own scheduling does not count.
type arrival struct{ sent, got time.Duration }

// receive returns n arrivals, fewer if none comes for two seconds.
func receive(t *testing.T, c *net.UDPConn, n int) []arrival {
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
			c.SetReadBuffer(4 << 20)
		})
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	var out []arrival
	buf, oob := make([]byte, MTU), make([]byte, 128)
	for len(out) < n {
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		k, oobn, _, _, err := c.ReadMsgUDP(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Error(err)
			break
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || k < 8 || len(msgs) != 1 || len(msgs[0].Data) < 16 {
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

func send(c *net.UDPConn, to string, size int) error {
	b := make([]byte, size)
	binary.NativeEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	_, err := c.WriteToUDPAddrPort(b, netip.MustParseAddrPort(to))
	return err
}

// TestAccuracy holds a link to 2 % of its rate and 1 ms of its delay. The
// machine may be busy, so it asserts on medians: one late wake-up spoils a
// few packets of thousands.
func TestAccuracy(t *testing.T) {
	for _, rate := range []float64{3.6e6, 50e6} {
		t.Run(fmt.Sprintf("%.1fMbit", rate/1e6), func(t *testing.T) {
			a, b, e, l := twoHosts(t)
			const delay = 30 * time.Millisecond
			cfg := sim.LinkConfig{Rate: rate, Delay: delay, Queue: 64 << 10}
			if err := l.Configure(cfg, cfg); err != nil {
				t.Fatal(err)
			}
			from, to := udp(t, a, "100.64.0.1:0"), udp(t, b, "100.64.0.2:7000")

			// Delay: a packet at a time, the link idle in between.
			const size = 1400
			onWire := time.Duration((size + 28) * 8 / rate * float64(time.Second))
			var got []arrival
			var wg sync.WaitGroup
			wg.Go(func() { got = receive(t, to, 100) })
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range 100 {
				<-tick.C
				if err := send(from, "100.64.0.2:7000", size); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			if len(got) != 100 {
				t.Fatalf("%d of 100 packets arrived over an idle link", len(got))
			}
			var took []time.Duration
			for _, g := range got {
				took = append(took, g.got-g.sent)
			}
			slices.Sort(took)
			if off := took[50] - delay - onWire; off.Abs() > time.Millisecond {
				t.Errorf("median delay %v, expected %v + %v on the wire: off by %v, over 1 ms", took[50], delay, onWire, off)
			}
			t.Logf("delay: median %v, p90 %v, expected %v", took[50], took[90], delay+onWire)

			// Rate: twice what the link carries, for a second or 400 packets.
			n := max(400, int(rate/8/(size+28)))
			cpu := e.CPU()
			start := time.Now()
			wg.Go(func() { got = receive(t, to, n) })
			stop := make(chan struct{})
			wg.Go(func() {
				// Bursts that fill the queue again whenever half of it is through.
				pause := time.NewTicker(time.Duration(32 << 10 * 8 / rate * float64(time.Second)))
				defer pause.Stop()
				for {
					for range 64 << 10 / size {
						send(from, "100.64.0.2:7000", size)
					}
					select {
					case <-pause.C:
					case <-stop:
						return
					}
				}
			})
			for l.Stats(AB).Delivered < uint64(n)+100 && time.Since(start) < time.Minute {
				time.Sleep(10 * time.Millisecond)
			}
			close(stop)
			wg.Wait()
			busy := time.Since(start)
			cpu = e.CPU() - cpu
			if len(got) != n {
				t.Fatalf("%d of %d packets arrived", len(got), n)
			}
			// The rate of each twentieth of the packets, and their median.
			var rates []float64
			for i, per := 0, n/20; i+per < n; i += per {
				rates = append(rates, float64(per*(size+28)*8)/(got[i+per].got-got[i].got).Seconds())
			}
			slices.Sort(rates)
			if median := rates[len(rates)/2]; median < .98*rate || median > 1.02*rate {
				t.Errorf("median rate %.3f Mbit/s, expected %.3f within 2 %%", median/1e6, rate/1e6)
			}
			s := l.Stats(AB)
			if p := s.Lateness.Quantile(.5); p > time.Millisecond {
				t.Errorf("half of the packets left %v or more after the model's time", p)
			}
			if s.Dropped.Queue == 0 {
				t.Error("nothing was dropped: the flood did not fill the link")
			}
			t.Logf("rate: median %.3f Mbit/s, lowest %.3f, highest %.3f; lateness p50 %v p99 %v; %.1f %% of a processor, real-time %v",
				rates[len(rates)/2]/1e6, rates[0]/1e6, rates[len(rates)-1]/1e6,
				s.Lateness.Quantile(.5), s.Lateness.Quantile(.99), 100*cpu.Seconds()/busy.Seconds(), e.Realtime())
		})
	}
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
	if err := send(from, "100.64.0.2:7000", 100); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Stats(AB).Pushed == 0; {
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
	if err := send(from, "100.64.0.2:7000", 100); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, to, 1); len(got) != 1 {
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
