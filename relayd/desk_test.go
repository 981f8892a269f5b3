package relayd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

var (
	relayKey = control.Key{1: 1}
	aliceKey = control.Key{1: 2}
	bobKey   = control.Key{1: 3}
	wall     = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	server   = netip.MustParseAddrPort("127.0.0.1:9") // of which nothing is expected
)

// office is a desk in virtual time, whose letters go to its clients at once.
// Its leases forward nothing by themselves.
type office struct {
	t       *testing.T
	d       *desk
	now     time.Duration
	clients map[netip.AddrPort]*client
	sent    int // datagrams of the desk
}

// client is a borrower at an address.
type client struct {
	o    *office
	at   netip.AddrPort
	b    *lease.Borrower
	last []byte // datagram sent
}

func newOffice(t *testing.T, change ...func(*Config)) *office {
	t.Helper()
	cfg := Config{
		Listen:     []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		PrivateKey: relayKey, Allow: []control.Key{aliceKey.Public(), bobKey.Public()},
		AllowLoopbackTargets: true,
	}
	for _, f := range change {
		f(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDesk(r, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, d: d, clients: map[netip.AddrPort]*client{}}
	d.wall = func() time.Time { return wall.Add(o.now) }
	d.lend = func(*loan) {}
	d.send = func(to home, datagram []byte) {
		o.sent++
		if c := o.clients[to.peer]; c != nil {
			_ = c.b.Consume(o.now, append([]byte(nil), datagram...)) // what is wrong shows in its status
		}
	}
	t.Cleanup(func() {
		for l := range d.loans {
			d.forget(l, "the test is over")
		}
		r.closeListeners()
	})
	return o
}

func (o *office) home(at netip.AddrPort) home {
	return home{peer: at, local: netip.MustParseAddr("127.0.0.1"), sock: o.d.relay.listeners[0].sock}
}

// client makes a borrower; n tells addresses apart.
func (o *office) client(key control.Key, n int, target netip.AddrPort) *client {
	o.t.Helper()
	i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: key,
		Remote: relayKey.Public(), Rand: rand.NewChaCha8([32]byte{2, byte(n), byte(n >> 8), key[1]})})
	if err != nil {
		o.t.Fatal(err)
	}
	b, err := lease.NewBorrower(lease.BorrowerConfig{Initiator: i, Target: target})
	if err != nil {
		o.t.Fatal(err)
	}
	c := &client{o: o, b: b}
	c.moveTo(n)
	return c
}

func (c *client) moveTo(n int) {
	delete(c.o.clients, c.at)
	c.at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)}), 1000)
	c.o.clients[c.at] = c
}

// settle lets the client say all that is due.
func (c *client) settle() lease.Status {
	c.o.t.Helper()
	c.o.now += time.Millisecond // initiations of one key have rising timestamps
	for range 20 {
		if c.b.Next() > c.o.now {
			return c.b.Status(c.o.now)
		}
		out, err := c.b.Transmit(c.o.now, wall.Add(c.o.now), nil)
		if err != nil {
			c.o.t.Fatal(err)
		}
		for _, datagram := range out {
			c.last = append([]byte(nil), datagram...)
			c.o.d.handle(c.o.now, c.o.home(c.at), datagram)
		}
	}
	c.o.t.Fatal("the client does not stop sending")
	return lease.Status{}
}

func (c *client) want(state lease.State) lease.Status {
	c.o.t.Helper()
	s := c.settle()
	if s.State != state {
		c.o.t.Fatalf("%+v, want it %v; drops %v", s, state, c.o.drops())
	}
	return s
}

func (o *office) drops() map[string]uint64 {
	s := o.d.relay.Stats()
	return s.DropsByReason()
}

// pass lets time go by, the clients renewing.
func (o *office) pass(d time.Duration, living ...*client) {
	o.t.Helper()
	for end := o.now + d; o.now < end; {
		o.now = min(end, o.now+time.Second)
		for _, c := range living {
			c.settle()
		}
		o.d.expire(o.now)
	}
}

func (o *office) at(c *client) *loan { return (*o.d.relay.table.Load())[c.at] }

func TestDeskLends(t *testing.T) {
	o := newOffice(t)
	a, b := o.client(aliceKey, 1, server), o.client(bobKey, 2, server)
	a.want(lease.Granted)
	b.want(lease.Granted)
	la, lb := o.at(a), o.at(b)
	if la == nil || lb == nil || la.wan.LocalAddr() == lb.wan.LocalAddr() {
		t.Fatal("two borrowers have no two sockets")
	}
	o.pass(5*time.Minute, a, b)
	if o.at(a) != la || o.at(b) != lb {
		t.Error("leases that are renewed are not the same ones any more")
	}
}

func TestDeskRefusesStrangers(t *testing.T) {
	o := newOffice(t)
	c := o.client(control.Key{1: 77}, 1, server)
	c.settle()
	o.pass(time.Minute, c)
	if o.sent != 0 || len(o.d.sessions) != 0 || len(o.d.loans) != 0 {
		t.Errorf("a stranger got %d datagrams, %d sessions, %d leases", o.sent, len(o.d.sessions), len(o.d.loans))
	}
	if o.drops()["control-unknown-peer"] == 0 {
		t.Errorf("it is not counted: %v", o.drops())
	}
}

func TestLeaseExpires(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	o.pass(time.Minute - time.Second)
	if o.at(c) == nil {
		t.Fatal("it ended too early")
	}
	o.pass(time.Second)
	if o.at(c) != nil || len(o.d.loans) != 0 {
		t.Error("it is still in force")
	}
	o.pass(2 * sessionLife)
	if len(o.d.sessions) != 0 {
		t.Errorf("%d sessions are left", len(o.d.sessions))
	}
}

func TestIdleLeaseEnds(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.IdleTimeout = 2 * time.Minute })
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	first := o.at(c)
	o.pass(time.Minute+30*time.Second, c)
	first.used.Store(int64(o.now))
	o.pass(time.Minute+30*time.Second, c)
	if o.at(c) != first {
		t.Fatal("it was used, and ended")
	}
	o.pass(time.Minute, c)
	if o.at(c) == first {
		t.Error("it is unused and in force")
	}
}

func TestLifetimeIsBounded(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.MaxLifetime = 10 * time.Second })
	c := o.client(aliceKey, 1, server)
	if s := c.want(lease.Granted); s.Until != o.now+10*time.Second {
		t.Errorf("granted until %v", s.Until)
	}
}

func TestTargetIsRefused(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.AllowLoopbackTargets = false })
	for n, target := range []string{"127.0.0.1:1", "10.0.0.1:1", "224.0.0.1:1", "[::1]:1"} {
		c := o.client(aliceKey, n, netip.MustParseAddrPort(target))
		if s := c.want(lease.Refused); s.Reason != lease.BadTarget || s.Text == "" {
			t.Errorf("%s: %+v", target, s)
		}
	}
	if len(o.d.loans) != 0 {
		t.Errorf("%d leases", len(o.d.loans))
	}
}

func TestNumberOfLeasesIsBounded(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.MaxPerPeer, c.MaxLeases = 2, 3 })
	a1, a2, a3 := o.client(aliceKey, 1, server), o.client(aliceKey, 2, server), o.client(aliceKey, 3, server)
	b1, b2 := o.client(bobKey, 4, server), o.client(bobKey, 5, server)
	a1.want(lease.Granted)
	a2.want(lease.Granted)
	if s := a3.want(lease.Refused); s.Reason != lease.Busy || !strings.Contains(s.Text, "you have 2") {
		t.Errorf("a third lease of one borrower: %+v", s)
	}
	b1.want(lease.Granted)
	if s := b2.want(lease.Refused); s.Reason != lease.Busy || !strings.Contains(s.Text, "all 3") {
		t.Errorf("a fourth lease: %+v", s)
	}
	// a1 crashes: once it has missed a renewal its place is free.
	o.pass(40*time.Second, a2, a3, b1)
	a3.want(lease.Granted)
	if o.at(a1) != nil || len(o.d.loans) != 3 {
		t.Errorf("%d leases, the crashed one among them: %v", len(o.d.loans), o.at(a1) != nil)
	}
}

func TestSessionsOfOnePeerAreBounded(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.AllowLoopbackTargets = false })
	for n := range 3 * maxSessionsPerPeer {
		o.now += time.Second // each has a later timestamp
		o.client(aliceKey, n, server).want(lease.Refused)
	}
	if len(o.d.sessions) != maxSessionsPerPeer {
		t.Errorf("%d sessions, want %d", len(o.d.sessions), maxSessionsPerPeer)
	}
}

// TestSessionsOfAllAreBounded: where anybody may knock, any number of keys does.
func TestSessionsOfAllAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred handshakes")
	}
	o := newOffice(t, func(c *Config) { c.Open = access.Open{Leases: 1} })
	for n := range maxSessions + 50 {
		o.now += 250 * time.Millisecond
		o.client(control.Key{3: byte(n), 4: byte(n >> 8), 5: 1}, n, server).settle()
	}
	if n := len(o.d.sessions); n != maxSessions+1 || len(o.d.loans) != 1 {
		t.Errorf("%d sessions and %d leases, want %d without a lease and 1", n, len(o.d.loans), maxSessions)
	}
}

func TestLeaseMovesWithItsBorrower(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l, old := o.at(c), c.at
	c.moveTo(2)
	c.b.Renew(o.now)
	c.want(lease.Granted)
	if o.at(c) != l || l.home.Load().peer != c.at || (*o.d.relay.table.Load())[old] != nil {
		t.Error("the lease has not moved, or not wholly")
	}
	if s := o.d.relay.Stats(); s.Moved != 1 || s.Granted != 1 {
		t.Errorf("moved %d, granted %d", s.Moved, s.Granted)
	}
}

func TestReplayMovesNothing(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l, before := o.at(c), o.sent
	thief := netip.MustParseAddrPort("127.9.9.9:9")
	o.d.handle(o.now, o.home(thief), c.last)
	if l.home.Load().peer != c.at || (*o.d.relay.table.Load())[thief] != nil || o.sent != before {
		t.Error("a replayed request has moved the lease, or was answered")
	}
	if o.drops()["control-replayed"] != 1 {
		t.Errorf("drops %v", o.drops())
	}
	// One that the thief holds back from the lender is new to it, but the
	// thief's address has a token of its own, which goes to the thief, who
	// cannot read it.
	c.b.Renew(o.now)
	out, err := c.b.Transmit(o.now, wall, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.d.handle(o.now, o.home(thief), out[0])
	if l.home.Load().peer != c.at || (*o.d.relay.table.Load())[thief] != nil {
		t.Error("a diverted request has moved the lease")
	}
	if s := o.d.relay.Stats(); s.Proofs != 2 { // the client's own and the thief's
		t.Errorf("%d proofs asked for", s.Proofs)
	}
}

func TestNewKeysKeepTheLease(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	o.now += time.Second
	again := o.client(aliceKey, 1, server) // begun anew on the same socket
	again.want(lease.Granted)
	if o.at(again) != l || len(o.d.loans) != 1 || l.session.loan != l {
		t.Error("the lease was made anew")
	}
	o.pass(3*time.Minute, again)
	if o.at(again) != l || len(o.d.sessions) != 1 {
		t.Errorf("it did not last, or %d sessions are left", len(o.d.sessions))
	}
}

func TestAddressThatChangesHands(t *testing.T) {
	o := newOffice(t)
	a := o.client(aliceKey, 1, server)
	a.want(lease.Granted)
	b := o.client(bobKey, 1, server)
	b.want(lease.Granted)
	if l := o.at(b); l == nil || l.peer != bobKey.Public() || len(o.d.loans) != 1 {
		t.Errorf("%d leases", len(o.d.loans))
	}
}

func TestAnotherTarget(t *testing.T) {
	o := newOffice(t)
	o.client(aliceKey, 1, server).want(lease.Granted)
	o.now += time.Second
	other := netip.MustParseAddrPort("127.0.0.1:10")
	c := o.client(aliceKey, 1, other)
	c.want(lease.Granted)
	if l := o.at(c); l.target != other || len(o.d.loans) != 1 {
		t.Errorf("target %v, %d leases", l.target, len(o.d.loans))
	}
}

func TestReleaseAndBrokenLink(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	for _, datagram := range c.b.Release(nil) {
		o.d.handle(o.now, o.home(c.at), datagram)
	}
	if o.at(c) != nil || len(o.d.loans) != 0 {
		t.Error("given back, and still in force")
	}
	o.d.end(l, lease.Ended, "") // again: nothing happens

	o.now += time.Second
	c = o.client(aliceKey, 2, server)
	c.want(lease.Granted)
	o.d.end(o.at(c), lease.Unreachable, "the lent link is down")
	if s := c.want(lease.Refused); s.Reason != lease.Unreachable {
		t.Errorf("%+v", s)
	}
	// It is granted again as soon as the link is there again, not before.
	open := o.d.open
	o.d.open = func(netip.AddrPort) (*udp.Socket, error) { return nil, errors.New("no such device") }
	o.pass(3*time.Second, c)
	c.want(lease.Refused)
	o.d.open = open
	o.pass(time.Minute, c)
	c.want(lease.Granted)
}

// TestRefill lets a target that never answers have a few packets now and then.
func TestRefill(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	admitted := func() (n int) {
		for range 100 {
			if l.admit(o.now) {
				n++
			}
		}
		return n
	}
	if n := admitted(); n != unanswered {
		t.Errorf("%d packets at first, want %d", n, unanswered)
	}
	for range 5 { // renewing faster helps nothing
		c.b.Renew(o.now)
		c.want(lease.Granted)
	}
	if n := admitted(); n != 0 {
		t.Errorf("%d packets more, want none", n)
	}
	o.now += refill
	if n := admitted(); n != 1 {
		t.Errorf("%d packets after %v, want 1", n, refill)
	}
	o.now += 100 * refill
	if n := admitted(); n != unanswered {
		t.Errorf("%d packets long after, want %d", n, unanswered)
	}
	l.heard.Store(int64(o.now) + 1)
	if n := admitted(); n != 100 {
		t.Errorf("%d of 100 packets to a target that answered", n)
	}
	o.now += answerLife + 1
	if n := admitted(); n != unanswered {
		t.Errorf("%d packets to a target that has long been silent, want %d", n, unanswered)
	}
}

func TestControlGarbageLeavesCountersOnly(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	r := rand.New(rand.NewPCG(1, 2))
	before := o.sent
	const n = 20_000
	for range n {
		junk := make([]byte, r.IntN(300))
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		if len(junk) > 8 {
			copy(junk, []byte{wire.TypeLease, byte(1 + r.IntN(4)), 0, 0})
			if r.IntN(3) == 0 { // to the real session
				le := o.at(c).session.transport.LocalIndex()
				copy(junk[4:], []byte{byte(le), byte(le >> 8), byte(le >> 16), byte(le >> 24)})
			}
		}
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), 1}), 1)
		o.d.handle(o.now, o.home(from), junk)
	}
	var counted uint64
	for _, k := range o.drops() {
		counted += k
	}
	if counted != n || o.sent != before || len(o.d.sessions) != 1 || len(o.d.loans) != 1 {
		t.Errorf("%d of %d counted, %d answered, %d sessions, %d leases: %v",
			counted, n, o.sent-before, len(o.d.sessions), len(o.d.loans), o.drops())
	}
	c.b.Renew(o.now)
	c.want(lease.Granted)
}

// TestDispatch gives a listener all kinds of datagrams.
func TestDispatch(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	stranger := netip.MustParseAddrPort("127.7.7.7:7")
	data := make([]byte, 100)
	data[0] = wire.TypeWGData
	session := make([]byte, 100)
	copy(session, []byte{wire.TypeSession, 4})
	handshake := make([]byte, wire.WGInitiationSize)
	handshake[0] = wire.TypeWGInitiation
	control := make([]byte, 100)
	copy(control, []byte{wire.TypeLease, 4})
	other := make([]byte, 100)
	other[0] = 0x16 // DTLS
	listen := o.d.relay.listeners[0]
	bufs := newBuffers(batch)
	message := func(i int, from netip.AddrPort, datagram []byte) udp.Message {
		return udp.Message{Buf: append(bufs[i][:0], datagram...), Peer: from}
	}
	listen.dispatch(o.now, []udp.Message{
		message(0, c.at, data), message(1, stranger, data), message(2, c.at, session), message(3, c.at, other),
		message(4, c.at, handshake), message(5, stranger, control), message(6, stranger, other), message(7, c.at, control),
		message(8, c.at, data[:20]),
	})
	got, _ := l.up.take(newBuffers(batch))
	if got != 3 {
		t.Errorf("%d datagrams go to the target, want 3", got)
	}
	if n := len(o.d.relay.inbox); n != 2 {
		t.Errorf("%d datagrams go to the desk, want 2", n)
	}
	want := map[string]uint64{"no-lease": 1, "not-wireguard": 3}
	if got := o.drops(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("drops %v, want %v", got, want)
	}

	// With the desk asleep the flood of control stops at the inbox.
	for range 10 {
		for i := range batch {
			ms := []udp.Message{message(i, stranger, control)}
			listen.dispatch(o.now, ms)
		}
	}
	if n := len(o.d.relay.inbox); n != inboxSize {
		t.Errorf("%d letters wait", n)
	}
	if n := o.drops()["control-queue-full"]; n != 2+10*batch-inboxSize {
		t.Errorf("%d dropped", n)
	}

	// And a lent link that takes nothing fills the ring, no more.
	l.heard.Store(int64(o.now) + 1)
	for i := range 2 * ringSlots {
		listen.dispatch(o.now, []udp.Message{message(i%batch, c.at, data)})
	}
	if n := o.drops()["queue-full"]; n != ringSlots {
		t.Errorf("%d dropped, want %d", n, ringSlots)
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	o := newOffice(t)
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	l.heard.Store(int64(o.now) + 1)
	bufs, out := newBuffers(batch), newBuffers(batch)
	ms, back := make([]udp.Message, batch), make([][]byte, 0, batch)
	listen := o.d.relay.listeners[0]
	stranger := netip.MustParseAddrPort("127.7.7.7:7")
	if n := testing.AllocsPerRun(100, func() {
		for i := range ms {
			ms[i] = udp.Message{Buf: bufs[i][:1400], Peer: c.at}
			clear(ms[i].Buf[:4])
			ms[i].Buf[0] = wire.TypeWGData
		}
		ms[7].Peer = stranger
		listen.dispatch(o.now, ms)
		for i := range ms {
			bufs[i] = ms[i].Buf[:bufferSize]
		}
		if n, _ := l.up.take(out); n != batch-1 {
			t.Fatalf("%d datagrams", n)
		}
		for i := range ms {
			ms[i] = udp.Message{Buf: out[i][:1400], Peer: server}
			clear(ms[i].Buf[:4])
			ms[i].Buf[0] = wire.TypeWGData
		}
		if back = l.fromTarget(0, ms, back[:0]); len(back) != batch {
			t.Fatalf("%d datagrams back", len(back))
		}
		for i := range out {
			out[i] = out[i][:bufferSize]
		}
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}
