package status

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

var now = time.Unix(1_000_000, 0)

func example() *Interface {
	heard := 0.01
	i := &Interface{
		Name: "wg0", Role: "up", PublicKey: "PUBLIC", PrivateKey: "PRIVATE", ListenPort: 51820, FwMark: 0xca6c, Scheduler: "earliest",
		Peers: []Peer{{
			PublicKey: "PEER", HasPresharedKey: true, PresharedKey: "PRESHARED", Endpoint: "192.0.2.1:51820",
			AllowedIPs: []string{"0.0.0.0/0", "::/0"}, LatestHandshake: now.Unix() - 62, RxBytes: 3 << 20, TxBytes: 1500, PersistentKeepalive: 25,
			Bond: &Bond{
				Bonded: true, BondedFor: 3723.4, Queue: 1200, Reordering: 2, Sent: 100, Repairs: 3,
				Drops:    map[string]uint64{"queue-full": 2, "malformed": 1, "stale": 0},
				Discards: map[string]uint64{"handshake-copy": 3, "pong-stale": 1},
				Paths: []Path{
					{Name: "wwan0", Device: "wwan0", State: "active", Remote: "192.0.2.1:51820", Rate: 450e3, RTT: .0612, MinRTT: .0584, Loss: .0125,
						InFlight: 12 << 10, TxBytes: 1 << 20, RxBytes: 2 << 20, Metered: true, LastHeard: &heard,
						Plan: &Plan{Use: true, Copies: true, Cost: .031, Cap: 1 << 16, Drain: 450e3}},
					{Name: "neighbour", Device: "wlan0", State: "leasing", Relay: "10.9.0.2:51900", Reason: "no answer", Backup: true, TxBytes: 1 << 20,
						Charge:  "alters what it carries; not used for another 58s",
						MTUNote: "carries at most 1400 bytes, the tunnel needs 1452: set MTU = 1368"},
				},
			},
		}, {
			PublicKey: "OTHER", Bond: &Bond{PlainReason: "the server has no shim"},
		}},
	}
	FillShares(i.Peers[0].Bond.Paths)
	return i
}

const golden = `interface: wg0
  public key: PUBLIC
  private key: (hidden)
  listening port: 51820
  fwmark: 0xca6c
  scheduler: earliest

peer: PEER
  preshared key: (hidden)
  endpoint: 192.0.2.1:51820
  allowed ips: 0.0.0.0/0, ::/0
  latest handshake: 1 minute, 2 seconds ago
  transfer: 3.00 MiB received, 1.46 KiB sent
  persistent keepalive: every 25 seconds
  bond: since 1 hour, 2 minutes, 3 seconds
  waiting: 1.17 KiB to be sent, 2 packets for their order
  repaired: 3 of 100 datagrams sent again
  dropped: 1 malformed, 2 queue-full
  discarded: 4 duplicates and overtaken messages, as usual
  path: wwan0
    device: wwan0
    remote: 192.0.2.1:51820
    state: active, metered
    rate: 3.60 Mbit/s
    round trip: 61.2 ms, lowest 58.4 ms
    loss: 1.2 %
    in flight: 12.00 KiB
    scheduler: used, and for copies
    transfer: 2.00 MiB received, 1.00 MiB sent
    share: 75 %
  path: neighbour
    device: wlan0
    relay: 10.9.0.2:51900
    state: leasing, backup (no answer)
    not trusted: alters what it carries; not used for another 58s
    too small: carries at most 1400 bytes, the tunnel needs 1452: set MTU = 1368
    transfer: 0 B received, 1.00 MiB sent
    share: 25 %

peer: OTHER
  bond: plain WireGuard, the server has no shim
`

func TestText(t *testing.T) {
	var b strings.Builder
	if err := Text(&b, example(), false, now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestKeysAreShownOnlyOnRequest(t *testing.T) {
	var b strings.Builder
	if err := Text(&b, example(), true, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"private key: PRIVATE\n", "preshared key: PRESHARED\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("with WG_HIDE_KEYS=never, no %q in\n%s", want, b.String())
		}
	}
	data, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "PRIVATE") || strings.Contains(string(data), "PRESHARED") {
		t.Errorf("a secret in the JSON: %s", data)
	}
}

// TestPaint: the colours change nothing else, and are gone where nobody wants
// them.
func TestPaint(t *testing.T) {
	painted := Paint(golden)
	if got := ansi.Strip(painted); got != golden {
		t.Error(cmp.Diff(golden, got))
	}
	for _, want := range []string{Good.Bold(true).Render("interface"), Doubt.Render("PEER"), Good.Render("active"), Accent.Render("ms"), Doubt.Render("1 malformed, 2 queue-full")} {
		if !strings.Contains(painted, want) {
			t.Errorf("no %q in %q", want, painted)
		}
	}
	for _, c := range []struct {
		name, mode string
		coloured   bool
	}{{"no terminal", "", false}, {"never", "never", false}, {"always", "always", true}} {
		t.Setenv("WG_COLOR_MODE", c.mode)
		var out strings.Builder
		if _, err := io.WriteString(Terminal(&out), painted); err != nil {
			t.Fatal(err)
		}
		if coloured := out.String() != golden; coloured != c.coloured {
			t.Errorf("%s: coloured: %v, want %v", c.name, coloured, c.coloured)
		}
	}
}

// TestVerdict: what the scheduler thinks, in words.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		state string
		plan  *Plan
		want  string
	}{
		{"active", nil, ""},
		{"active", &Plan{Use: true}, "used"},
		{"active", &Plan{Use: true, Copies: true}, "used, and for copies"},
		{"active", &Plan{Use: true, Blocked: true}, "full"},
		{"suspect", &Plan{Use: true, Blocked: true}, "waits until it works"},
		{"active", &Plan{}, "left out: adds nothing"},
		{"dead", &Plan{}, "not used"},
		{"active", &Plan{Copies: true}, "copies only"},
	} {
		if got := (&Path{State: c.state, Plan: c.plan}).Verdict(); got != c.want {
			t.Errorf("%s, %+v: %q, want %q", c.state, c.plan, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	drops, discards := Split(map[string]uint64{"a": 1, "b": 2}, []string{"b", "c"})
	if diff := cmp.Diff([]map[string]uint64{{"a": 1}, {"b": 2}}, []map[string]uint64{drops, discards}); diff != "" {
		t.Error(diff)
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(1023), "1023 B"},
		{Bytes(1 << 40), "1.00 TiB"},
		{Rate(10), "80 bit/s"},
		{Rate(12.5e3), "100.0 kbit/s"},
		{Rate(2e9), "16.00 Gbit/s"},
		{Ago(-time.Second), "in the future: the clock was set back"},
		{Ago(time.Millisecond), "Now"},
		{Span(25*time.Hour + time.Second), "1 day, 1 hour, 1 second"},
		{Span(0), "0 seconds"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
