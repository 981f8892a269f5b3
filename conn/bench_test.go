package conn

import (
	"net/netip"
	"testing"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
)

// BenchmarkTunnel downloads over TCP through two wireguard-go devices on the
// loopback: with stock's own Bind at both ends, and with ours over one path
// and four. It is the processor that limits all of them.
func BenchmarkTunnel(b *testing.B) {
	const size = 32 << 20
	ours := func(paths int) func(b *testing.B) (server, client wgconn.Bind) {
		return func(b *testing.B) (wgconn.Bind, wgconn.Bind) {
			cfg := Config{Scheduler: func() schedulers.Scheduler { return earliest.New() }}
			for i := range paths {
				cfg.Paths = append(cfg.Paths, mux.PathSpec{Name: string(rune('a' + i))})
			}
			server, err := NewBind(cfg)
			if err != nil {
				b.Fatal(err)
			}
			client, err := NewBind(cfg)
			if err != nil {
				b.Fatal(err)
			}
			return server, client
		}
	}
	for _, tc := range []struct {
		name  string
		paths int
		make  func(b *testing.B) (server, client wgconn.Bind)
	}{
		{"stock", 0, func(*testing.B) (wgconn.Bind, wgconn.Bind) { return wgconn.NewStdNetBind(), wgconn.NewStdNetBind() }},
		{"1path", 1, ours(1)},
		{"4paths", 4, ours(4)},
	} {
		b.Run(tc.name, func(b *testing.B) {
			serverBind, clientBind := tc.make(b)
			server := wgtest.NewHost(b, serverBind, wgtest.Key(b), "10.7.0.1")
			client := wgtest.NewHost(b, clientBind, wgtest.Key(b), "10.7.0.2")
			server.AddPeer(b, client, "")
			port := server.Up(b)
			client.AddPeer(b, server, wgtest.Loopback(port))
			if sb, ok := serverBind.(*Bind); ok {
				cb := clientBind.(*Bind)
				if err := sb.SetPeers(server.Key, []Peer{{PublicKey: client.Key.Public()}}); err != nil {
					b.Fatal(err)
				}
				to := netip.MustParseAddrPort(wgtest.Loopback(port))
				if err := cb.SetPeers(client.Key, []Peer{{PublicKey: server.Key.Public(), Endpoint: to}}); err != nil {
					b.Fatal(err)
				}
				wgtest.Eventually(b, "bonded", func() bool { return attached(cb) == tc.paths && attached(sb) == tc.paths })
			}
			b.SetBytes(size)
			b.ResetTimer()
			for range b.N {
				wgtest.Transfer(b, client, server, true, size)
			}
		})
	}
}
