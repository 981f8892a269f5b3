package relayd

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// These tests are the attacks of THREATS.md on a lender. Those in an office run
// in virtual time; the rest has real sockets.

var carolKey = control.Key{1: 4} // whom nobody lists

// redeeming is a client who presents an invitation.
func (o *office) redeeming(key control.Key, n int, code lease.Code) *client {
	o.t.Helper()
	c := o.client(key, n, server)
	i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: key,
		Remote: relayKey.Public(), Rand: rand.NewChaCha8([32]byte{3, byte(n), key[1]})})
	if err == nil {
		c.b, err = lease.NewBorrower(lease.BorrowerConfig{Initiator: i, Target: server,
			Redeem: &lease.Redeem{ID: code.ID(), Proof: code.Proof(relayKey.Public(), key.Public())}})
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *office) invite(terms access.Terms) lease.Code {
	o.t.Helper()
	code, err := o.d.book.Invite(wall, rand.NewChaCha8([32]byte{4}), terms)
	if err != nil {
		o.t.Fatal(err)
	}
	return code
}

func TestInvitation(t *testing.T) {
	o := newOffice(t)
	code := o.invite(access.Terms{Volume: 1e9, Life: time.Hour})
	uninvited := o.client(control.Key{1: 5}, 1, server)
	if s := uninvited.want(lease.Refused); s.Reason != lease.Policy {
		t.Errorf("without the invitation: %+v", s)
	}
	carol := o.redeeming(carolKey, 2, code)
	if s := carol.want(lease.Granted); s.Terms.Left != 1e9 {
		t.Errorf("the terms are %+v", s.Terms)
	}
	// The code in other hands is worth nothing any more: the lender listens to
	// no stranger now, or, if it has more invitations, says so.
	if s := o.redeeming(control.Key{1: 6}, 3, code).settle(); s.State != lease.Seeking {
		t.Errorf("a second borrower: %+v", s)
	}
	o.now += time.Second
	if _, err := o.d.book.Invite(wall, rand.NewChaCha8([32]byte{5}), access.Terms{Life: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if s := o.redeeming(control.Key{1: 6}, 3, code).want(lease.Refused); !strings.Contains(s.Text, "another borrower") {
		t.Errorf("a second borrower: %+v", s)
	}
	// Its borrower needs it no longer, and keeps the lease wherever it goes.
	o.now += time.Second
	l := o.at(carol)
	carol.moveTo(4)
	carol.b.Renew(o.now)
	carol.want(lease.Granted)
	if o.at(carol) != l {
		t.Error("the lease has not moved")
	}
	again := o.client(carolKey, 5, server)
	o.now += time.Second
	again.want(lease.Granted)
	// It is over when it is over.
	o.pass(time.Hour, carol, again)
	if len(o.d.loans) != 0 {
		t.Errorf("%d leases outlive the invitation", len(o.d.loans))
	}
	carol.want(lease.Refused)
}

func TestInvitedVolumeIsTheLimit(t *testing.T) {
	o := newOffice(t)
	carol := o.redeeming(carolKey, 1, o.invite(access.Terms{Volume: 100_000, Life: time.Hour}))
	carol.want(lease.Granted)
	l := o.at(carol)
	l.heard.Store(1)
	carried := 0
	for range 200 {
		if l.meter.Take(o.now, l.onTheWire(972)) {
			carried += 1000
		}
	}
	if carried != 100_000 {
		t.Errorf("%d bytes of 100,000", carried)
	}
	o.pass(time.Second)
	if len(o.d.loans) != 0 {
		t.Error("the volume is used up and the lease goes on")
	}
}

func TestRevocationEndsTheLeaseAtOnce(t *testing.T) {
	for _, c := range []struct {
		what, why string
		borrower  func(o *office) (c *client, known string)
	}{
		{"an invitation", "revoked", func(o *office) (*client, string) {
			code := o.invite(access.Terms{Life: time.Hour})
			return o.redeeming(carolKey, 1, code), code.ID().String()
		}},
		{"one who is listed", "not among those", func(o *office) (*client, string) {
			return o.client(aliceKey, 1, server), aliceKey.Public().String()
		}},
	} {
		o := newOffice(t)
		one, known := c.borrower(o)
		one.want(lease.Granted)
		if n, err := o.d.book.Revoke(known); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		o.d.expire(o.now) // which Review brings about
		if len(o.d.loans) != 0 {
			t.Errorf("%s: the lease goes on", c.what)
		}
		if s := one.b.Status(o.now); s.State != lease.Refused || !strings.Contains(s.Text, c.why) {
			t.Errorf("%s: the borrower knows %+v", c.what, s)
		}
		o.pass(2*time.Minute, one)
		if len(o.d.loans) != 0 {
			t.Errorf("%s: it has a lease again", c.what)
		}
	}
}

func TestOpenLenderStaysSmall(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Open = access.Open{Leases: 2, Rate: 125_000, PerDay: 1e6} })
	granted := 0
	for n := range 20 { // one person, twenty keys
		o.now += time.Second
		c := o.client(control.Key{2: byte(n + 1)}, n, server)
		if c.settle().State == lease.Granted {
			granted++
		}
	}
	if granted != 2 {
		t.Errorf("strangers have %d leases, there are 2", granted)
	}
	// Those far away are not meant.
	o.d.look = func() surroundings { return surroundings{} }
	o.d.expire(o.now)
	if len(o.d.loans) != 0 {
		t.Error("it lends to those who are not near")
	}
}

func TestFakeLeasesByTheThousand(t *testing.T) {
	// 10,000 requests a second of strangers, who know the lender's key and
	// whom it must listen to since it is open: from as many addresses as there
	// are, most of them not theirs. Meanwhile one who is listed borrows.
	o := newOffice(t, func(c *Config) { c.Open = access.Open{Leases: 1} })
	alice := o.client(aliceKey, 1, server)
	alice.want(lease.Granted)
	random := rand.New(rand.NewChaCha8([32]byte{7}))
	var valid [1000][]byte // each of another key
	for n := range valid {
		i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: control.Key{7: byte(n), 8: byte(n >> 8), 9: 1},
			Remote: relayKey.Public(), Rand: rand.NewChaCha8([32]byte{8, byte(n), byte(n >> 8)})})
		if err == nil {
			valid[n], err = i.Initiate(wall, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	before, answered := o.sent, 0
	const each = 10_000
	seconds := 3
	if testing.Short() {
		seconds = 1
	}
	for n := range seconds * each {
		o.now += time.Second / each
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2 + byte(random.Uint32()%200), byte(random.Uint32()), byte(random.Uint32())}), 999)
		sent := o.sent
		if n%2 == 0 {
			o.d.handle(o.now, o.home(from), valid[n/2%len(valid)])
		} else {
			sealed := make([]byte, 80)
			copy(sealed, []byte{wire.TypeLease, 4})
			for i := 4; i < len(sealed); i++ {
				sealed[i] = byte(random.Uint32())
			}
			o.d.handle(o.now, o.home(from), sealed)
		}
		answered += o.sent - sent
		if n%each == 0 {
			alice.b.Renew(o.now)
			alice.want(lease.Granted)
		}
	}
	// Some fifty a second are worked on, and their copies get the same answer
	// up to 32 times; the others get a cookie, which goes to whom the address
	// belongs and is all that is done for them.
	cookies := o.d.relay.Stats().Cookies
	if len(o.d.loans) != 1 || len(o.d.sessions) > 4 || answered-int(cookies) > 33*(60*seconds+60) {
		t.Errorf("%d leases and %d sessions are left of it, %d answers and %d cookies", len(o.d.loans), len(o.d.sessions), answered, cookies)
	}
	t.Logf("%d fake requests: %d answers, %d of them cookies; drops %v", seconds*each, answered, cookies, o.drops())
	if o.at(alice) == nil || o.sent == before {
		t.Error("the one who is listed has lost its lease")
	}
	late := o.client(bobKey, 2, server)
	for range 20 { // under load it takes a cookie
		o.now += 250 * time.Millisecond
		if late.settle().State == lease.Granted {
			return
		}
	}
	t.Error("who is listed gets no lease in the flood")
}

func TestNoAnswerIsLargerThanItsQuestion(t *testing.T) {
	// Reflection: the attacker writes a victim's address as its own.
	o := newOffice(t, func(c *Config) { c.Open = access.Open{Leases: 1} })
	in, out := 0, 0
	send := o.d.send
	o.d.send = func(to home, datagram []byte) { out += len(datagram); send(to, datagram) }
	c := o.client(control.Key{5: 5}, 1, server)
	for range 200 {
		o.now += 20 * time.Millisecond
		datagrams, err := c.b.Transmit(o.now, wall.Add(o.now), nil)
		if err != nil {
			t.Fatal(err)
		}
		delete(o.clients, c.at) // the answers go to somebody else
		for _, d := range datagrams {
			in += len(d)
			before := out
			o.d.handle(o.now, o.home(c.at), d)
			if out-before > len(d) {
				t.Errorf("%d bytes for %d", out-before, len(d))
			}
		}
	}
	if in == 0 || out > in || len(o.d.loans) != 0 {
		t.Errorf("%d bytes became %d, and %d leases", in, out, len(o.d.loans))
	}
}

func TestScanOfTheLendersNetwork(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.AllowLoopbackTargets = false })
	here := surroundings{
		own:  map[netip.Addr]string{netip.MustParseAddr("192.0.2.7"): "wlan0"},
		near: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, lent: "wwan0",
	}
	o.d.look = func() surroundings { return here }
	opened := 0
	o.d.open = func(netip.AddrPort) (*udp.Socket, error) { opened++; return nil, syscall.ENODEV }
	n := 0
	scan := func(target string) {
		n++
		o.now += 100 * time.Millisecond
		c := o.client(aliceKey, n, netip.MustParseAddrPort(target))
		if s := c.want(lease.Refused); s.Reason != lease.BadTarget {
			t.Errorf("%s: %+v", target, s)
		}
	}
	for _, target := range []string{
		"192.0.2.1:80", "192.0.2.254:51820", // public addresses, but on the lender's own link
		"192.0.2.7:51900", // itself
		"192.168.1.1:80", "10.0.0.1:443", "172.16.5.5:22", "169.254.169.254:80", "127.0.0.1:53", "100.100.0.1:53",
		"[fe80::1]:80", "[fd00::1]:80", "[::1]:53", "224.0.0.251:5353", "[ff02::fb]:5353", "255.255.255.255:9",
	} {
		scan(target)
	}
	if opened != 0 || o.d.relay.Stats().ToTarget.Packets != 0 {
		t.Errorf("%d sockets were opened for it", opened)
	}
}

func TestTargetThatBecomesTheLendersOwn(t *testing.T) {
	// The lender is given, after the lease began, the very address that is
	// leased, or a network that holds it.
	for name, after := range map[string]surroundings{
		"its own":     {own: map[netip.Addr]string{netip.MustParseAddr("198.51.100.9"): "wwan0"}, lent: "wwan0"},
		"its network": {near: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, lent: "wwan0"},
	} {
		o := newOffice(t)
		c := o.client(aliceKey, 1, netip.MustParseAddrPort("198.51.100.9:51820"))
		c.want(lease.Granted)
		o.d.policy = targetPolicy{} // as it is outside of tests
		o.d.look = func() surroundings { return after }
		o.d.expire(o.now)
		if s := c.b.Status(o.now); len(o.d.loans) != 0 || s.State != lease.Refused || s.Reason != lease.BadTarget {
			t.Errorf("%s: %d leases, the borrower knows %+v", name, len(o.d.loans), s)
		}
	}
}

func TestBorrowedIsNotLentOn(t *testing.T) {
	o := newOffice(t, func(c *Config) {
		c.Device = "wg0"
		c.Tunnel = func(device string) bool { return device == "wg0" }
	})
	if s := o.client(aliceKey, 1, server).want(lease.Refused); s.Reason != lease.Unreachable || !strings.Contains(s.Text, "not lent on") {
		t.Errorf("the lent device is a tunnel: %+v", s)
	}
	// No device is named, and the route to the target leads into the tunnel.
	o = newOffice(t, func(c *Config) { c.Tunnel = func(device string) bool { return device == "lo" } })
	if s := o.client(aliceKey, 1, server).want(lease.Refused); s.Reason != lease.Unreachable {
		t.Errorf("the route leads through a tunnel: %+v", s)
	}
}

// TestRouteThatChanges: a lease that follows the routes ends when they lead by
// another device, and is had again if that is one to lend, not if it is a tunnel.
func TestRouteThatChanges(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Tunnel = func(device string) bool { return device == "wg0" } })
	route := "wwan0"
	o.d.egress = func(*surroundings, netip.AddrPort) string { return route }
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	first := o.at(c)
	route = "" // for a moment there is none
	o.d.expire(o.now)
	if o.at(c) != first {
		t.Error("the lease ended, though nothing is known of another way")
	}
	route = "eth0"
	o.d.expire(o.now)
	c.want(lease.Refused)
	o.pass(10*time.Second, c)
	if l := o.at(c); l == nil || l == first || l.link.device != "eth0" {
		t.Errorf("by the new device there is %+v", l)
	}
	route = "wg0"
	o.d.expire(o.now)
	if s := c.want(lease.Refused); s.Reason != lease.Unreachable || !strings.Contains(s.Text, "not lent on") || len(o.d.loans) != 0 {
		t.Errorf("the route leads into the lender's tunnel now: %+v, %d leases", s, len(o.d.loans))
	}
}

func TestRelayReachedThroughItself(t *testing.T) {
	// A lease on the lender's own port, which only a test allows: what is sent
	// comes in again at the front door, where the lender's own socket has no
	// lease, and cannot get one, since lease control is not forwarded.
	r, at, _ := start(t)
	b := borrow(t, at, aliceKey, at, 0)
	b.await(lease.Granted)
	for n := range uint64(5) {
		b.send(at, data(n, 100))
	}
	eventually(t, "each has gone round once", func() bool {
		s := r.Stats()
		return s.Drops[DropNoLease] == 5 && s.ToTarget.Packets >= 5
	})
	if s := r.Stats(); s.ToTarget.Packets != 5 || s.ToBorrower.Packets != 0 || s.Leases != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestOversizedAndTruncated(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.send(at, data(0, 100))
	server.send(server.receive().from, data(0, 100))
	b.receive()
	sent := uint64(0)
	for _, size := range []int{1, 3, 4, 15, 16, 31, bufferSize + 1, 9000, 60_000} {
		d := make([]byte, size)
		d[0] = wire.TypeWGData
		b.send(at, d)
		d = append([]byte(nil), d...)
		d[0] = wire.TypeLease
		b.send(at, d)
		d = append([]byte(nil), d...)
		d[0] = wire.TypeSession
		b.send(at, d)
		sent++
		// No more than the kernel holds for the relay.
		eventually(t, "all three are dropped", func() bool {
			n := r.listeners[0].sock.Stats().Truncated
			for _, k := range r.Stats().Drops {
				n += k
			}
			return n == 3*sent
		})
	}
	b.send(at, data(1, bufferSize))
	if p := server.receive(); len(p.data) != bufferSize {
		t.Errorf("%d bytes came: something that should not have", len(p.data))
	}
	// What is written is counted a moment later.
	eventually(t, "both good packets are counted", func() bool { return r.Stats().ToTarget.Packets >= 2 })
	if s := r.Stats(); s.ToTarget.Packets != 2 || s.Leases != 1 {
		t.Errorf("of %d bad sizes some went on: %+v", 3*sent, s)
	}
}
