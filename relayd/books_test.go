package relayd

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
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

// TestWhen: leases end when the hour is over or the battery low, and begin again.
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
		c.When, c.Sys = when.Rules{Hours: []when.Hours{hours}, BatteryFloor: 20}, when.Sys{Root: root}
	})
	clock := wall
	o.d.wall = func() time.Time { return clock }
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
	} {
		step.change()
		o.d.expire(o.now)
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
