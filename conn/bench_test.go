//go:build unix

package conn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
)

// tunnel is two wireguard-go devices on the loopback, and what transfers between
// them took.
type tunnel struct {
	name           string
	server, client *wgtest.Host
	wall, cpu      time.Duration
}

const benchSize = 32 << 20

// newTunnel makes a tunnel with stock's own Bind at both ends (no paths), or ours.
func newTunnel(b *testing.B, paths, number int) *tunnel {
	p := &tunnel{name: fmt.Sprintf("%dpath", paths)}
	binds := [2]wgconn.Bind{wgconn.NewStdNetBind(), wgconn.NewStdNetBind()}
	var ours [2]*Bind
	if paths == 0 {
		p.name = "stock"
	} else {
		cfg := Config{Scheduler: func() schedulers.Scheduler { return earliest.New() }}
		for i := range paths {
			cfg.Paths = append(cfg.Paths, mux.PathSpec{Name: string(rune('a' + i))})
		}
		for i := range ours {
			var err error
			if ours[i], err = NewBind(cfg); err != nil {
				b.Fatal(err)
			}
			binds[i] = ours[i]
		}
	}
	p.server = wgtest.NewHost(b, binds[0], wgtest.Key(b), fmt.Sprintf("10.7.%d.1", number))
	p.client = wgtest.NewHost(b, binds[1], wgtest.Key(b), fmt.Sprintf("10.7.%d.2", number))
	p.server.AddPeer(b, p.client, "")
	port := p.server.Up(b)
	p.client.AddPeer(b, p.server, wgtest.Loopback(port))
	if paths > 0 {
		if err := ours[0].SetPeers(p.server.Key, []Peer{{PublicKey: p.client.Key.Public()}}); err != nil {
			b.Fatal(err)
		}
		to := netip.MustParseAddrPort(wgtest.Loopback(port))
		if err := ours[1].SetPeers(p.client.Key, []Peer{{PublicKey: p.server.Key.Public(), Endpoint: to}}); err != nil {
			b.Fatal(err)
		}
		wgtest.Eventually(b, "bonded", func() bool { return attached(ours[0]) == paths && attached(ours[1]) == paths })
	}
	return p
}

// transfer downloads benchSize bytes.
func (p *tunnel) transfer(b *testing.B) {
	cpu, start := ownTime(b), time.Now()
	wgtest.Transfer(b, p.client, p.server, true, benchSize)
	p.wall += time.Since(start)
	p.cpu += ownTime(b) - cpu
}

// ownTime is what this process has used so far.
func ownTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTunnel downloads over TCP through two wireguard-go devices on the
// loopback: with stock's own Bind at both ends, and with ours over one path
// and more. It is the processor that limits all of them; half of its work is the
// TCP/IP stack's, in this process as well.
func BenchmarkTunnel(b *testing.B) {
	for _, paths := range []int{0, 1, 2, 4} {
		p := newTunnel(b, paths, 0)
		b.Run(p.name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for range b.N {
				p.transfer(b)
			}
		})
	}
}

// BenchmarkBesideStock is BenchmarkTunnel with all of them in turns, so that
// whatever else the machine does meets all alike: throughput (×rate, 1 is
// stock's, more is better) and processor time per byte (×cpu, less is better).
func BenchmarkBesideStock(b *testing.B) {
	var pairs []*tunnel
	for i, paths := range []int{0, 1, 2, 4} {
		pairs = append(pairs, newTunnel(b, paths, i))
	}
	for _, p := range pairs { // sockets' buffers, estimates
		p.transfer(b)
		p.wall, p.cpu = 0, 0
	}
	b.ResetTimer()
	for range b.N {
		for _, p := range pairs {
			p.transfer(b)
		}
	}
	stock := pairs[0]
	gigabytes := float64(b.N) * benchSize / 1e9
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(gigabytes*1e3/stock.wall.Seconds(), "stock-MB/s")
	b.ReportMetric(stock.cpu.Seconds()/gigabytes, "stock-s/GB")
	for _, p := range pairs[1:] {
		b.ReportMetric(float64(stock.wall)/float64(p.wall), p.name+"×rate")
		b.ReportMetric(float64(p.cpu)/float64(stock.cpu), p.name+"×cpu")
	}
}
