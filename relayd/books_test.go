package relayd

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/relayd/when"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestPause: a lender who pauses lends nothing from that moment, and those who
// were borrowing come back as soon as it lends again.
func TestPause(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	o.d.relay.Pause(true)
	select {
	case <-o.d.relay.review:
		o.d.expire(o.now)
	default:
		t.Fatal("nobody looks at the leases")
	}
	st := c.b.Status(o.now)
	if st.State != lease.Refused || st.Reason != lease.Paused || o.at(c) != nil {
		t.Fatalf("%+v, and its lease is %v", st, o.at(c))
	}
	o.pass(30*time.Second, c)
	if c.b.Status(o.now).State != lease.Refused {
		t.Error("a lender that has paused lends")
	}
	o.d.relay.Pause(false)
	o.d.expire(o.now)
	c.want(lease.Granted)
}

// TestWhen: leases end when the hour is over, the battery low or in use, or the
// link a Wi-Fi, and begin again.
func TestWhen(t *testing.T) {
	root := t.TempDir()
	supply := filepath.Join(root, "class/power_supply/BAT0")
	if err := os.MkdirAll(supply, 0o755); err != nil {
		t.Fatal(err)
	}
	battery := func(percent, status string) {
		t.Helper()
		for file, text := range map[string]string{"type": "Battery", "capacity": percent, "status": status} {
			if err := os.WriteFile(filepath.Join(supply, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	battery("80", "Discharging")
	hours, err := when.ParseHours("13:00-14:00")
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, func(c *Config) {
		c.When = when.Rules{Hours: []when.Hours{hours}, BatteryFloor: 20, NotOnWiFi: true}
		c.Sys = when.Sys{Root: root}
	})
	clock := wall
	o.d.wall = func() time.Time { return clock }
	o.d.egress = func(*surroundings, netip.AddrPort) string { return "net0" }
	wifi := filepath.Join(root, "class/net/net0/phy80211")
	mains := func(only bool) { o.d.relay.cfg.When.OnlyOnMains = only }
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	for _, step := range []struct {
		change func()
		lends  bool
		text   string
	}{
		{func() { clock = clock.Add(time.Hour) }, false, "13:00-14:00"},
		{func() { clock = wall }, true, ""},
		{func() { battery("19", "Discharging") }, false, "battery"},
		{func() { battery("19", "Charging") }, true, ""},
		{func() { mains(true) }, true, ""},
		{func() { battery("80", "Discharging") }, false, "runs on its battery"},
		{func() { mains(false) }, true, ""},
		{func() { _ = os.MkdirAll(wifi, 0o755) }, false, "Wi-Fi"},
		{func() { _ = os.Remove(wifi) }, true, ""},
	} {
		step.change()
		o.d.expire(o.now)
		o.pass(5*time.Second, c) // in which who was refused asks again
		st := c.settle()
		if (st.State == lease.Granted) != step.lends || !strings.Contains(st.Text, step.text) {
			t.Errorf("%+v, want lending %v, %q", st, step.lends, step.text)
		}
	}
}

// datagrams are n of WireGuard's shape.
func datagrams(n, size int, from *client) []udp.Message {
	ms := make([]udp.Message, n)
	for i, b := range newBuffers(n) {
		b[0] = wire.TypeWGData
		ms[i] = udp.Message{Buf: b[:size], Peer: from.at}
	}
	return ms
}

// TestQuotaEndsLeases: not a byte more than the month's volume goes, whatever
// borrowers send; then the leases end.
func TestQuotaEndsLeases(t *testing.T) {
	const quota, size = 1_000_000, 1400
	file := filepath.Join(t.TempDir(), "ledger.json")
	o := newOffice(t, func(c *Config) { c.Ledger = ledger.Config{File: file, Quota: quota} })
	c := o.client(aliceKey, 1, server)
	if left := c.want(lease.Granted).Terms.Left; left != quota {
		t.Errorf("the borrower is told of %d bytes, want %d", left, quota)
	}
	l := o.at(c)
	l.heard.Store(int64(o.now) + 1)
	sent, out := 0, newBuffers(batch)
	for range 1000 {
		o.d.relay.listeners[0].dispatch(o.now, datagrams(batch, size, c))
		n, _ := l.up.take(out)
		if sent += n * (size + 28); n == 0 && o.at(c) == nil {
			break
		}
		o.now += time.Second
		o.d.expire(o.now)
	}
	if sent > quota || sent < quota-2*(size+28) {
		t.Errorf("%d bytes went, of %d", sent, quota)
	}
	if st := c.settle(); st.State != lease.Refused || !strings.Contains(st.Text, "used up") {
		t.Errorf("%+v", st)
	}
}

// TestRateIsForAll: the lender's rate bounds all borrowers and both directions
// together, and each is told of it.
func TestRateIsForAll(t *testing.T) {
	const rate = 100_000
	o := newOffice(t, func(c *Config) { c.Ledger = ledger.Config{Rate: rate} })
	a, b := o.client(aliceKey, 1, server), o.client(bobKey, 2, server)
	if got := a.want(lease.Granted).Terms.Rate; got != rate {
		t.Errorf("the borrower is told of %d bytes/s", got)
	}
	b.want(lease.Granted)
	up, down, out := o.at(a), o.at(b), newBuffers(batch)
	up.heard.Store(int64(o.now) + 1)
	before, end := up.total.Left(), o.now+10*time.Second
	for o.now < end {
		o.now += 10 * time.Millisecond
		o.d.relay.listeners[0].dispatch(o.now, datagrams(1, 972, a))
		back := datagrams(1, 972, b)
		back[0].Peer = server
		down.fromTarget(o.now, back, nil)
		up.up.take(out)
	}
	if carried := before - up.total.Left(); carried < 10*rate || carried > 10*rate+rate/4+2000 {
		t.Errorf("%d bytes in 10 s at %d a second, of twice as many", carried, rate)
	}
}

// TestOffer: what is told to those nearby is what a lease of theirs would have.
func TestOffer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.json")
	offer := func(o access.Open, l ledger.Config) (lease.Terms, bool) {
		l.File = file
		return newOffice(t, func(c *Config) { c.Open, c.Ledger = o, l }).d.relay.Offer()
	}
	open := access.Open{Leases: 1, Rate: 100, PerDay: 1e6}
	for _, c := range []struct {
		what  string
		open  access.Open
		lends ledger.Config
		want  lease.Terms
	}{
		{"all to those listed", access.Open{}, ledger.Config{}, lease.Terms{Left: lease.Unlimited}},
		{"some to those listed", access.Open{}, ledger.Config{Rate: 500, Quota: 5e9}, lease.Terms{Rate: 500, Left: 5e9}},
		{"little to all", open, ledger.Config{}, lease.Terms{Rate: 100, Left: 1e6}},
		{"little to all, and hardly more to anybody", open, ledger.Config{Rate: 50, Quota: 3e5}, lease.Terms{Rate: 50, Left: 3e5}},
	} {
		if got, open := offer(c.open, c.lends); got != c.want || open != (c.open.Leases > 0) {
			t.Errorf("%s: %+v, open %v, want %+v", c.what, got, open, c.want)
		}
	}
}

// TestBooks: who had what is in the report, and in the books after a restart;
// the audit log has each lease.
func TestBooks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.json")
	var audit bytes.Buffer
	change := func(c *Config) {
		c.Ledger = ledger.Config{File: file, Quota: 1e9, Rate: 1e6}
		c.Audit = slog.New(slog.NewJSONHandler(&audit, nil))
	}
	o := newOffice(t, change)
	a, b := o.client(aliceKey, 1, server), o.client(bobKey, 2, server)
	a.want(lease.Granted)
	b.want(lease.Granted)
	o.at(a).carried[0].Add(1000)
	o.at(a).carried[1].Add(20_000)
	o.at(b).carried[1].Add(300_000)
	r := o.d.report()
	alice, bob := aliceKey.Public().String(), bobKey.Public().String()
	if len(r.Leases) != 2 || r.Shut != "" || r.Rate != 1e6 || r.Month.Quota != 1e9 || r.Month.Borrowers[alice] != (ledger.Carried{Up: 1000, Down: 20_000}) {
		t.Errorf("%+v", r)
	}
	for _, datagram := range a.b.Release(nil) {
		o.d.handle(o.now, o.home(a.at), datagram)
	}
	if err := o.d.relay.ledger.Close(); err != nil {
		t.Fatal(err)
	}

	again := newOffice(t, change)
	month := again.d.report().Month
	if month.Borrowers[alice] != (ledger.Carried{Up: 1000, Down: 20_000}) || month.Borrowers[bob] != (ledger.Carried{Down: 300_000}) {
		t.Errorf("after a restart the books say %+v", month)
	}
	var events []string
	for line := range strings.Lines(audit.String()) {
		var e struct {
			Msg, Borrower string
			Up, Down      uint64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Borrower == alice {
			events = append(events, e.Msg)
		}
		if e.Msg == "lease ended" && e.Borrower == alice && (e.Up != 1000 || e.Down != 20_000) {
			t.Errorf("the audit log says %q", line)
		}
	}
	if got := strings.Join(events, ", "); got != "lease granted, lease ended" {
		t.Errorf("the audit log has: %s", got)
	}
}

// TestRevocation: one word of the lender's, and nothing is forwarded any more;
// when it lends again, the borrower is back.
func TestRevocation(t *testing.T) {
	target := listen(t, nil)
	r, at, _ := start(t)
	b := borrow(t, at, aliceKey, target.at, time.Minute)
	b.await(lease.Granted)
	b.send(at, data(1, 100))
	target.receive()
	eventually(t, "the packet is counted", func() bool { return r.Stats().ToTarget.Packets == 1 })
	begun := time.Now()
	r.Pause(true)
	b.await(lease.Refused)
	t.Logf("the borrower was told after %v", time.Since(begun))
	b.send(at, data(2, 100))
	eventually(t, "the packet is dropped", func() bool { return r.Stats().Drops[DropNoLease] > 0 })
	if n := r.Stats().ToTarget.Packets; n != 1 {
		t.Errorf("%d packets were forwarded after the lease had ended", n-1)
	}
	if rep, ok := r.Report(); !ok || !rep.Paused || rep.Shut == "" || len(rep.Leases) != 0 {
		t.Errorf("the report says %+v, %v", rep, ok)
	}
	r.Pause(false)
	b.await(lease.Granted)
}
