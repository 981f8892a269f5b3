package relayd

import (
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/spare"
)

const (
	// busyFor is how long after its last packet a lease counts as in use.
	busyFor = 2 * time.Second
	// hintEvery repeats a hint that limits, for it may have been lost, and
	// hintAgain times any other; hintStep is by how much another must differ to be
	// told at once.
	hintEvery = time.Second
	hintAgain = 3
	hintStep  = 0.05

	// pacedStep is how much goes at once when a borrower's packets are held to
	// what is spare, pacedSlack how much faster than the borrower was told: who
	// obeys never meets it. pacedLeast is enough for session control, bytes per
	// second.
	pacedStep  = 5 * time.Millisecond
	pacedSlack = 1.1
	pacedLeast = 32_000

	// rateShare of the lender's rate is told to the borrowers, and at least
	// rateLeast of it for either direction.
	rateShare, rateLeast = 0.97, 0.1
)

// DeviceCounters reads how much a device has received and sent since whenever,
// bytes; false if it is not there. header is what it counts beside each IP
// packet, bytes. A nil read means that this system does not tell.
type DeviceCounters func(device string) (read func() (received, sent uint64, ok bool), header int)

// link is a device that is lent: what of it was borrowed, and what is spare.
type link struct {
	device   string
	read     func() (received, sent uint64, ok bool)
	header   int
	up, down atomic.Uint64 // forwarded, as the device counts: bytes

	// Owned by the desk.
	meterUp, meterDown spare.Meter
	spareUp, spareDown uint64 // bytes per second; spare.None: no limit
}

func newLink(device string, counters DeviceCounters) *link {
	k := &link{device: device, spareUp: spare.None, spareDown: spare.None}
	if device != "" {
		k.read, k.header = counters(device)
	}
	return k
}

// linkCounters is deviceCounters of links. The loopback device is none: what it
// counts are the talks of all programs of this machine, ours on either side
// among them, and no use of an owner's.
func linkCounters(device string) (read func() (received, sent uint64, ok bool), header int) {
	if i, err := net.InterfaceByName(device); err == nil && i.Flags&net.FlagLoopback != 0 {
		return nil, 0
	}
	return deviceCounters(device)
}

// look sees what the owner leaves now.
func (k *link) look(now time.Duration) {
	if k.read == nil {
		return
	}
	// What was borrowed is read first: a packet that comes in between is the
	// owner's then, which is the safe side.
	up, down := k.up.Load(), k.down.Load()
	received, sent, ok := k.read()
	if !ok {
		k.meterUp, k.meterDown = spare.Meter{}, spare.Meter{}
		k.spareUp, k.spareDown = spare.None, spare.None
		return
	}
	k.spareUp = k.meterUp.Read(now, sent, up)
	k.spareDown = k.meterDown.Read(now, received, down)
}

// busy reports whether the owner uses the link.
func (k *link) busy() bool { return k.spareUp != spare.None || k.spareDown != spare.None }

// use is what a loan's borrower did of late, in one direction. It is the
// desk's.
type use struct {
	carried uint64
	rate    float64 // bytes per second
}

func (u *use) add(carried uint64, elapsed time.Duration) (moved bool) {
	moved = carried != u.carried
	u.rate += 0.5 * (float64(carried-u.carried)/elapsed.Seconds() - u.rate)
	u.carried = carried
	return moved
}

// watch looks at the links and tells the borrowers what is spare. It returns
// whether to go on: any of them, or the owner, was active of late.
func (d *desk) watch(now time.Duration) (active bool) {
	elapsed := now - d.watched
	if elapsed < spare.Interval/2 {
		return d.active
	}
	d.watched = now
	for _, k := range d.links {
		k.look(now)
	}
	for l := range d.loans {
		up := l.use[0].add(l.carried[0].Load(), elapsed)
		down := l.use[1].add(l.carried[1].Load(), elapsed)
		if up || down {
			l.moved = now
		}
	}
	for l := range d.loans {
		d.hint(now, l)
		// Who was told to keep still is told when that ends, for it cannot ask; the
		// owner's traffic keeps the machine awake meanwhile.
		active = active || now-l.moved < busyFor || l.hintAgain > 0 || l.link.busy()
	}
	d.active = active
	return active
}

// share is what a loan's borrower may have of what a link has to spare in
// direction way (0: up): an equal part, or what the others leave if that is more.
func (d *desk) share(now time.Duration, l *loan, way int, spared uint64) uint64 {
	if spared == spare.None {
		return spared
	}
	n, others := 1.0, 0.0
	for o := range d.loans {
		if o != l && o.link == l.link && now-o.moved < busyFor {
			n++
			others += o.use[way].rate
		}
	}
	return uint64(max(float64(spared)/n, float64(spared)-others))
}

// within is what a link has to spare within the rate that is lent.
func (d *desk) within(k *link) (up, down uint64) {
	rate := float64(d.relay.cfg.Ledger.Rate)
	if rate == 0 {
		return k.spareUp, k.spareDown
	}
	var used [2]float64
	for l := range d.loans {
		used[0] += l.use[0].rate
		used[1] += l.use[1].rate
	}
	// What one direction uses the other has not; a little is left to either, to
	// begin with, and for what comes in bursts.
	of := func(spared uint64, other float64) uint64 {
		return min(spared, uint64(max(rateShare*rate-other, rateLeast*rate)))
	}
	return of(k.spareUp, used[1]), of(k.spareDown, used[0])
}

// hint tells a borrower what is spare, if that is news.
func (d *desk) hint(now time.Duration, l *loan) {
	up, down := d.within(l.link)
	h := lease.Hint{Up: d.share(now, l, 0, up), Down: d.share(now, l, 1, down)}
	if h.Up == spare.None {
		l.pace.Store(0)
	} else {
		l.pace.Store(max(pacedLeast, uint64(float64(h.Up)*pacedSlack)))
	}
	limits := h.Up != lease.Unlimited || h.Down != lease.Unlimited
	news := differ(h.Up, l.hint.Up) || differ(h.Down, l.hint.Down)
	if news {
		l.hintAgain = hintAgain + 1
	}
	if news || now-l.hinted >= hintEvery && (l.hintAgain > 0 || limits && now-l.moved < busyFor) {
		l.hint, l.hinted, l.hintAgain = h, now, max(l.hintAgain-1, 0)
		d.tell(l.session, *l.home.Load(), &h)
	}
}

func differ(a, b uint64) bool {
	if a == lease.Unlimited || b == lease.Unlimited {
		return a != b
	}
	return math.Abs(float64(a)-float64(b)) > hintStep*float64(max(a, b))
}

// pacer spreads a borrower's packets over time. The zero value is ready.
type pacer struct{ next time.Duration }

// room is how many packets may go at once at a rate, bytes per second; 0: as
// fast as they come.
func (p *pacer) room(rate uint64) int {
	if rate == 0 {
		return batch
	}
	return max(1, min(batch, int(float64(rate)*pacedStep.Seconds()/1500)))
}

// sent accounts for bytes that go at now, and returns how long to wait for the
// next.
func (p *pacer) sent(now time.Duration, bytes int, rate uint64) time.Duration {
	if rate == 0 {
		return 0
	}
	p.next = max(p.next, now-pacedStep) + time.Duration(float64(bytes)/float64(rate)*float64(time.Second))
	return max(0, p.next-now)
}
