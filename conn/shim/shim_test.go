package shim

import (
	"net/netip"
	"testing"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

func TestMain(m *testing.M) { wgtest.Main(m) }

// even spreads over all paths alike.
type even struct{}

func (even) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	for c := range p.Classes {
		for _, path := range s.Paths {
			p.Classes[c].Paths[path.ID] = schedulers.PathPlan{Use: true, PerByte: 1, Cap: 1 << 20}
		}
	}
	p.Valid = 1 << 40
}

func newShim(t *testing.T, upstream uint16, private control.Key, peers ...control.Key) *Shim {
	t.Helper()
	var ps []Peer
	for _, k := range peers {
		ps = append(ps, Peer{PublicKey: k})
	}
	m, err := New(Config{
		Listen:    netip.MustParseAddrPort("127.0.0.1:0"),
		Upstream:  netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), upstream),
		Private:   private,
		Peers:     ps,
		Scheduler: func() schedulers.Scheduler { return even{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestStockThroughShim: a stock client at a bonding server is served plainly.
func TestStockThroughShim(t *testing.T) {
	server := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.1")
	client := wgtest.NewHost(t, wgconn.NewStdNetBind(), wgtest.Key(t), "10.7.0.2")
	server.AddPeer(t, client, "")
	m := newShim(t, server.Up(t), server.Key, client.Key.Public())
	client.AddPeer(t, server, wgtest.Loopback(m.Port()))
	client.Tap.Record()
	server.Tap.Record()
	client.Up(t)
	wgtest.Transfer(t, client, server, true, 1<<20)
	wgtest.Transfer(t, client, server, false, 1<<20)
	wgtest.CheckIdentical(t, client.Tap, server.Tap, 700)
	wgtest.CheckIdentical(t, server.Tap, client.Tap, 700)

	seen := netip.MustParseAddrPort(server.Get(t, "endpoint")).Addr()
	if !plainBlock.Contains(seen) {
		t.Errorf("WireGuard sees the plain client at %v; it should be in %v", seen, plainBlock)
	}
	if st := m.Status(); st.PlainFlows != 1 || len(st.Clients) != 0 {
		t.Errorf("%d plain flows and %d bonded clients, want 1 and 0", st.PlainFlows, len(st.Clients))
	}
}
