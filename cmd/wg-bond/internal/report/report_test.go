package report

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// TestUp: what the engine knows of a path and what the shell knows of its
// socket come together; a path that only one of them knows is shown, too.
func TestUp(t *testing.T) {
	addr := netip.MustParseAddrPort
	got := Up("wg0", "earliest", conn.Status{
		Port: 7, Drops: map[string]uint64{"x": 1, "handshake-copy": 2},
		Peers: []conn.PeerStatus{{
			PublicKey: "PEER", Endpoint: addr("192.0.2.1:5"), Dialled: true,
			Session: wgbond.Status{
				Bonded: true, BondedFor: 90 * time.Second, Queue: 3, Reordering: 4, RepairsSent: 5, Sent: 6, Got: 7, OutOfOrder: 8, Drops: map[string]uint64{"codel": 9, "pong-stale": 10},
				Paths: []wgbond.PathStatus{
					{Path: schedulers.Path{ID: 2, Name: "wwan0", State: schedulers.Active, Rate: 450e3, SRTT: 60 * time.Millisecond, MinRTT: 50 * time.Millisecond,
						Loss: .25, InFlight: 9, Queued: 10, MTU: 1452, Weight: 1, MaxRate: 500e3, Metered: true}, TooSmall: "because",
						TxBytes: 300, RxBytes: 600, TxPackets: 3, RxPackets: 6, LostPackets: 1, Heard: true, LastHeard: time.Second},
					{Plan: wgbond.PathPlan{Use: true, Blocked: true, Copies: true, Cost: time.Second, Backlog: 1, Cap: 2, Drain: 3, Hold: 2 * time.Second},
						Path: schedulers.Path{ID: 0, Name: "wlan0", State: schedulers.Active}, TxBytes: 100},
					{Path: schedulers.Path{ID: 5, Name: "orphan", State: schedulers.Dead}},
				},
			},
			Links: []mux.Link{
				{Name: "wlan0", Device: "wlan0", State: mux.LinkLeasing, Reason: "no answer", InUse: true, Path: 0, Relay: addr("10.9.0.2:51900")},
				{Name: "wwan0", Device: "wwan0", State: mux.LinkOpen, InUse: true, Path: 2, Local: addr("192.168.8.100:3")},
				{Name: "usb0", Device: "usb0", State: mux.LinkWaiting, Reason: "no such device"},
			},
		}},
	})
	second := 1.0
	want := &status.Interface{
		Name: "wg0", Role: "up", PID: os.Getpid(), Scheduler: "earliest", ListenPort: 7, Drops: map[string]uint64{"x": 1}, Discards: map[string]uint64{"handshake-copy": 2},
		Peers: []status.Peer{{PublicKey: "PEER", Endpoint: "192.0.2.1:5", Bond: &status.Bond{
			Bonded: true, BondedFor: 90, Queue: 3, Reordering: 4, Repairs: 5, Sent: 6, Received: 7, OutOfOrder: 8, Drops: map[string]uint64{"codel": 9}, Discards: map[string]uint64{"pong-stale": 10},
			Paths: []status.Path{
				{Name: "wlan0", Device: "wlan0", State: "leasing", Reason: "no answer", Relay: "10.9.0.2:51900", TxBytes: 100, Share: .1,
					Plan: &status.Plan{Use: true, Blocked: true, Copies: true, Cost: 1, Backlog: 1, Cap: 2, Drain: 3, Hold: 2}},
				{Name: "wwan0", Device: "wwan0", State: "active", Local: "192.168.8.100:3", Rate: 450e3, RTT: .06, MinRTT: .05, Loss: .25,
					InFlight: 9, Queued: 10, MTU: 1452, MTUNote: "because", TxBytes: 300, RxBytes: 600, TxPackets: 3, RxPackets: 6, Lost: 1, Share: .9,
					LastHeard: &second, Metered: true, Weight: 1, MaxRate: 500e3, Plan: &status.Plan{}},
				{Name: "usb0", Device: "usb0", State: "waiting", Reason: "no such device"},
				{Name: "orphan", State: "dead", Plan: &status.Plan{}},
			},
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestServe(t *testing.T) {
	addr := netip.MustParseAddrPort
	got := Serve("wg0", "earliest", shim.Status{
		Port: 51820, Upstream: addr("127.0.0.1:51821"), PlainFlows: 2, Handshakes: control.ResponderStats{Replayed: 3},
		Clients: []shim.ClientStatus{{PublicKey: "A", Remote: addr("192.0.2.1:5"), Upstream: addr("127.64.0.1:6"), Session: wgbond.Status{
			PlainReason: "why", Paths: []wgbond.PathStatus{{Path: schedulers.Path{ID: 3}, Remote: wgbond.Remote{Peer: addr("192.0.2.1:5")}}},
		}}},
	})
	want := &status.Interface{
		Name: "wg0", Role: "serve", PID: os.Getpid(), Scheduler: "earliest", ListenPort: 51820, Upstream: "127.0.0.1:51821", PlainClients: 2,
		Handshakes: map[string]uint64{"answered": 0, "confirmed": 0, "cookie": 0, "expired": 0, "malformed": 0, "rate-limited": 0, "repeated": 0,
			"replayed": 3, "unauthentic": 0, "unknown-index": 0, "unknown-peer": 0, "wrong-mac1": 0},
		Peers: []status.Peer{{PublicKey: "A", Bond: &status.Bond{PlainReason: "why", ClientAddress: "127.64.0.1:6", Paths: []status.Path{{Name: "3", State: "probing", Remote: "192.0.2.1:5"}}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAddDevice: WireGuard's peers in the order of wg show, each with its
// bond; a peer that WireGuard no longer has is not forgotten.
func TestAddDevice(t *testing.T) {
	private := wgtypes.Key{31: 0x40}
	keys := []wgtypes.Key{{1}, {2}, {3}}
	gone := wgtypes.Key{4}
	i := &status.Interface{Role: "up", Peers: []status.Peer{
		{PublicKey: gone.String(), Bond: &status.Bond{PlainReason: "gone"}},
		{PublicKey: keys[1].String(), Bond: &status.Bond{Bonded: true}},
	}}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	AddDevice(i, &wgtypes.Device{
		PrivateKey: private, PublicKey: private.PublicKey(), ListenPort: 9, FirewallMark: 8,
		Peers: []wgtypes.Peer{
			{PublicKey: keys[0]},
			{PublicKey: keys[1], PresharedKey: wgtypes.Key{7}, Endpoint: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 3}, AllowedIPs: []net.IPNet{*all},
				LastHandshakeTime: time.Unix(100, 1), ReceiveBytes: 1, TransmitBytes: 2, PersistentKeepaliveInterval: 25 * time.Second},
			{PublicKey: keys[2], LastHandshakeTime: time.Unix(200, 0)},
		},
	})
	want := &status.Interface{Role: "up", PublicKey: private.PublicKey().String(), PrivateKey: private.String(), ListenPort: 9, FwMark: 8, Peers: []status.Peer{
		{PublicKey: keys[2].String(), LatestHandshake: 200, AllowedIPs: []string{}},
		{PublicKey: keys[1].String(), HasPresharedKey: true, PresharedKey: wgtypes.Key{7}.String(), Endpoint: "192.0.2.1:3", AllowedIPs: []string{"0.0.0.0/0"},
			LatestHandshake: 100, RxBytes: 1, TxBytes: 2, PersistentKeepalive: 25, Bond: &status.Bond{Bonded: true}},
		{PublicKey: keys[0].String(), AllowedIPs: []string{}},
		{PublicKey: gone.String(), Bond: &status.Bond{PlainReason: "gone"}},
	}}
	if diff := cmp.Diff(want, i); diff != "" {
		t.Error(diff)
	}
}
