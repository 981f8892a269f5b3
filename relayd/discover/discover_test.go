package discover

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

var lent = Service{Name: "Anna's phone", Key: control.Key{1, 2, 3}.Public(), Port: 51900,
	Terms: Terms{Open: true, Rate: 125_000, Left: 200e6, Limited: true}}

// said is the message that announces s, as it is on the wire.
func said(t testing.TB, s Service, ttl int, addrs ...string) *dns.Msg {
	t.Helper()
	var as []netip.Addr
	for _, a := range addrs {
		as = append(as, netip.MustParseAddr(a))
	}
	rrs, err := s.records(browseQuestion, as, ttl)
	if err != nil {
		t.Fatal(err)
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Compress: true, Answer: rrs}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m = new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatIsSaidIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		addrs []string
		at    string
	}{
		{[]string{"10.9.0.2"}, "10.9.0.2:51900"},
		{[]string{"fe80::2", "10.9.0.2", "2001:db8::2"}, "10.9.0.2:51900"},
		{[]string{"fe80::2", "2001:db8::2"}, "[2001:db8::2]:51900"},
		{[]string{"fe80::2"}, "[fe80::2%wlan0]:51900"},
		{[]string{"169.254.3.3"}, "169.254.3.3:51900"},
	} {
		found := parse(said(t, lent, -1, c.addrs...), "wlan0")
		if len(found) != 1 {
			t.Fatalf("%v: %d lenders", c.addrs, len(found))
		}
		for l, life := range found {
			want := Lender{Service: lent, Device: "wlan0", At: netip.MustParseAddrPort(c.at)}
			want.Name = l.Name
			if !strings.HasPrefix(l.Name, "Annas-phone-") || life != 2*time.Minute {
				t.Errorf("its name is %q, its life %v", l.Name, life)
			}
			if diff := cmp.Diff(want, l, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Error(diff)
			}
		}
	}
	if _, err := lent.records(browseQuestion, nil, -1); err == nil {
		t.Error("a lender without an address is announced")
	}
	for name, m := range map[string]*dns.Msg{
		"a loopback address": said(t, lent, -1, "127.0.0.1"),
		"a multicast one":    said(t, lent, -1, "224.0.0.1"),
	} {
		if found := parse(m, "wlan0"); len(found) != 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestComingAndGoing(t *testing.T) {
	var c cache
	now := time.Unix(1000, 0)
	take := func(m *dns.Msg) bool { return c.take(now, parse(m, "wlan0")) }
	if !take(said(t, lent, -1, "10.9.0.2")) || take(said(t, lent, -1, "10.9.0.2")) || len(c.list()) != 1 {
		t.Fatal("one lender is not one piece of news")
	}
	dearer := lent
	dearer.Terms.Left = 1
	if !take(said(t, dearer, -1, "10.9.0.2")) || c.list()[0].Terms.Left != 1 {
		t.Error("other terms are no news")
	}
	if !take(said(t, lent, 0, "10.9.0.2")) || len(c.list()) != 0 || take(said(t, lent, 0, "10.9.0.2")) {
		t.Error("its farewell is not heard, or heard twice")
	}
	take(said(t, lent, -1, "10.9.0.2"))
	now = now.Add(2*time.Minute - time.Second)
	if c.expire(now) {
		t.Error("it is forgotten too early")
	}
	now = now.Add(time.Second)
	if !c.expire(now) || len(c.list()) != 0 {
		t.Error("it is never forgotten")
	}
	// Whoever is on the link can invent lenders.
	for n := range 10 * maxLenders {
		s := lent
		s.Key = control.Key{byte(n), byte(n >> 8), 1}
		take(said(t, s, -1, "10.9.0.2"))
	}
	if n := len(c.list()); n != maxLenders {
		t.Errorf("%d lenders are remembered", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, addrs := range [][]string{{"10.9.0.2"}, {"fe80::2", "2001:db8::2"}} {
		m := said(f, lent, -1, addrs...)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		for l, life := range parse(m, "wlan0") {
			if l.Key.IsZero() || !l.At.IsValid() || l.Port == 0 || life < 0 || l.Name != cleanName(l.Name) {
				t.Errorf("%+v, %v", l, life)
			}
		}
	})
}

func TestNamesNeedNoQuoting(t *testing.T) {
	for in, want := range map[string]string{"": "lender", "Ännchen": "nnchen", "a b.c": "a-b-c", "\x1b[31m": "31m", strings.Repeat("x", 99): strings.Repeat("x", maxName)} {
		if got := cleanName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
