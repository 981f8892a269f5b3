package front

import (
	"net/netip"
	"testing"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

func TestMain(m *testing.M) { wgtest.Main(m) }

func newScheduler() schedulers.Scheduler { return builtin.All[0].New() }

// TestStockClientBonds: a stock WireGuard behind a Front is bonded over two
// paths with a Bind, and its datagrams are not touched.
func TestStockClientBonds(t *testing.T) {
	defer wgtest.NoLeaks(t)()
	t.Run("", func(t *testing.T) {
		serverBind, err := conn.NewBind(conn.Config{Scheduler: newScheduler})
		if err != nil {
			t.Fatal(err)
		}
		server := wgtest.NewHost(t, serverBind, wgtest.Key(t), "10.7.0.1")
		client := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.2")
		server.AddPeer(t, client, "")
		if err := serverBind.SetPeers(server.Key, []conn.Peer{{PublicKey: client.Key.Public()}}); err != nil {
			t.Fatal(err)
		}
		endpoint := netip.MustParseAddrPort(wgtest.Loopback(server.Up(t)))

		net := wgtest.NewNet()
		bind, err := conn.NewBind(conn.Config{Scheduler: newScheduler, Listen: net.Listen, Paths: []mux.PathSpec{{Name: "a", Device: "a"}, {Name: "b", Device: "b"}}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(bind, client.Key, []conn.Peer{{PublicKey: server.Key.Public(), Endpoint: endpoint}, {PublicKey: wgtest.Key(t).Public()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		if got := f.Endpoint(netip.MustParseAddrPort("192.0.2.1:1")); got.IsValid() {
			t.Errorf("a stranger has the door %v", got)
		}
		client.Tap.Record()
		server.Tap.Record()
		client.AddPeer(t, server, f.Endpoint(endpoint).String())
		client.Up(t)
		wgtest.Transfer(t, client, server, true, 1<<20)
		wgtest.Eventually(t, "both paths to be active", func() bool {
			st := f.Status()
			n := 0
			for _, p := range st.Peers[0].Session.Paths {
				if p.Attached {
					n++
				}
			}
			return st.Peers[0].Session.Bonded && n == 2
		})
		wgtest.Transfer(t, client, server, false, 1<<20)
		wgtest.CheckIdentical(t, client.Tap, server.Tap, 700)
		wgtest.CheckIdentical(t, server.Tap, client.Tap, 700)
	})
}
