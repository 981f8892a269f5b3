package relayd

import (
	"net"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/spare"
)

// device is a lent link of 1 MB/s each way: what it counted.
type device struct{ received, sent uint64 }

func (d *device) counters(string) (func() (uint64, uint64, bool), int) {
	return func() (uint64, uint64, bool) { return d.received, d.sent, true }, 0
}

// pass lets the owner use so many bytes per second down and the borrower so many,
// for a time.
func (d *device) pass(o *office, l *loan, owner, borrows uint64, t time.Duration, living *client) {
	for end := o.now + t; o.now < end; {
		d.received += (owner + borrows) / 10
		l.link.down.Add(borrows / 10)
		l.carried[1].Add(borrows / 10)
		o.now += spare.Interval
		living.settle()
		o.d.watch(o.now)
	}
}

// TestLoopbackHasNoOwner: what passes on the loopback device is taken for
// nobody's use of a link.
func TestLoopbackHasNoOwner(t *testing.T) {
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range devices {
		if d.Flags&net.FlagLoopback == 0 {
			continue
		}
		found = true
		if read, _ := linkCounters(d.Name); read != nil {
			t.Errorf("the counters of %s are read", d.Name)
		}
	}
	if !found {
		t.Skip("this machine has no loopback device")
	}
}

// TestHints: a borrower is told what the lender's own use of its link leaves, as
// it changes.
func TestHints(t *testing.T) {
	dev := &device{}
	o := newOffice(t, func(c *Config) { c.Device, c.Counters = "lo", dev.counters })
	c := o.client(aliceKey, 1, server)
	if h := c.want(lease.Granted).Hint; h.Up != lease.Unlimited || h.Down != lease.Unlimited {
		t.Errorf("at the beginning %+v, want no limits", h)
	}
	l := o.at(c)
	dev.pass(o, l, 0, 1_000_000, 5*time.Second, c)
	if st := c.settle(); st.Hints < 1 || st.Hints > hintAgain || st.Hint.Up != lease.Unlimited || st.Hint.Down != lease.Unlimited {
		t.Errorf("%d hints while the owner uses nothing, the last %+v, want 1 to %d of no limits", st.Hints, st.Hint, hintAgain)
	}
	dev.pass(o, l, 600_000, 400_000, 10*time.Second, c)
	st := c.settle()
	if h := st.Hint; h.Down < 300_000 || h.Down > 400_000 || h.Up != lease.Unlimited {
		t.Errorf("beside an owner of 600 kB/s down, of 1 MB/s, %+v", h)
	}
	if st.Hints < 10 || st.Hints > 110 {
		t.Errorf("%d hints in ten seconds", st.Hints)
	}
	dev.pass(o, l, 0, 400_000, 2*time.Second, c)
	if h := c.settle().Hint; h.Down != lease.Unlimited {
		t.Errorf("when the owner has ended, %+v", h)
	}
}

// TestHintsTheSilent: who was told that nothing is spare, and so sends nothing, is
// told when the owner has ended, more than once; then there is nothing to watch.
func TestHintsTheSilent(t *testing.T) {
	dev := &device{}
	o := newOffice(t, func(c *Config) { c.Device, c.Counters = "lo", dev.counters })
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	l := o.at(c)
	dev.pass(o, l, 0, 1_000_000, 3*time.Second, c)
	dev.pass(o, l, 1_000_000, 0, 2*busyFor, c)
	if h := c.settle().Hint; h.Down != 0 {
		t.Fatalf("beside an owner of all %+v", h)
	}
	if !o.d.active {
		t.Fatal("the relay sleeps, and would not see the owner end")
	}
	before := c.settle().Hints
	dev.pass(o, l, 0, 0, time.Second, c)
	if h := c.settle().Hint; h.Down != lease.Unlimited {
		t.Errorf("when the owner has ended, %+v", h)
	}
	dev.pass(o, l, 0, 0, (hintAgain+1)*hintEvery, c)
	if n := c.settle().Hints - before; n < 1+hintAgain {
		t.Errorf("%d hints, want %d or more: one may be lost", n, 1+hintAgain)
	}
	if o.d.active {
		t.Error("nobody uses the link, and the relay does not sleep")
	}
}

// TestShares: two borrowers share what is spare, and what one does not use is
// the other's.
func TestShares(t *testing.T) {
	o := newOffice(t)
	a, b := o.client(aliceKey, 1, server), o.client(bobKey, 2, server)
	a.want(lease.Granted)
	b.want(lease.Granted)
	la, lb := o.at(a), o.at(b)
	share := func(l *loan) uint64 { return o.d.share(o.now, l, 0, 1000) }
	la.moved, lb.moved = o.now, o.now
	la.use[0].rate, lb.use[0].rate = 700, 100
	if share(la) != 900 || share(lb) != 500 {
		t.Errorf("of 1000 one may have %d and the other %d, want 900 and 500", share(la), share(lb))
	}
	o.now += 2 * busyFor
	la.moved = o.now
	if got := share(la); got != 1000 {
		t.Errorf("who is alone may have %d of 1000", got)
	}
	if got := o.d.share(o.now, la, 0, spare.None); got != lease.Unlimited {
		t.Errorf("without a limit %d", got)
	}
}

// TestNobodyBorrowsNobodyWakes: without leases and sessions no timer is armed.
func TestNobodyBorrowsNobodyWakes(t *testing.T) {
	o := newOffice(t)
	if got := o.d.rest(o.now, o.now); got != never {
		t.Fatalf("nobody has come, and something is due in %v", got)
	}
	c := o.client(aliceKey, 1, server)
	c.want(lease.Granted)
	if got := o.d.rest(o.now, o.now+tick); got != tick {
		t.Errorf("with a lease that is not in use the next look is in %v, want %v", got, tick)
	}
	o.at(c).carried[0].Add(1)
	o.d.watch(o.now)
	o.now += time.Second
	o.d.watch(o.now)
	if got := o.d.rest(o.now, o.now+tick); got != spare.Interval {
		t.Errorf("with a lease in use the next look is in %v, want %v", got, spare.Interval)
	}
	for _, datagram := range c.b.Release(nil) {
		o.d.handle(o.now, o.home(c.at), datagram)
	}
	o.pass(2 * sessionLife)
	if got := o.d.rest(o.now, o.now); got != never {
		t.Errorf("all have gone, and something is due in %v", got)
	}
}

// TestPacer: a borrower who sends more than he was told waits in his own queue.
func TestPacer(t *testing.T) {
	var p pacer
	const rate = 150_000
	now, bytes := time.Duration(0), 0
	for now < 10*time.Second {
		n := p.room(rate) * 1500
		bytes += n
		now += p.sent(now, n, rate)
	}
	if got := float64(bytes) / now.Seconds(); got < 0.99*rate || got > 1.01*rate {
		t.Errorf("%.0f bytes/s, want %d", got, rate)
	}
	if p.room(0) != batch || p.sent(now, 1<<20, 0) != 0 {
		t.Error("without a limit it paces")
	}
	if d := p.sent(now+time.Hour, 1500, rate); d > time.Duration(1500.0/rate*1e9) {
		t.Errorf("after a pause the next packet waits for %v", d)
	}
}
