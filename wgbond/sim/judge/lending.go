package judge

import (
	"errors"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/relayd/spare"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tcp"
)

// Owner is the lender of a path, who uses its link too, without a tunnel and
// beside the path's packets:
//
//	web host ═▶ Down[0] ═▶ relay ═▶ Down[1] ═▶ client
//	             the link    └─▶ owner    the way to the borrower
//
// The path's first hop down and its last hop up are the link that is lent. The
// relay watches them (package spare) and tells the client's session.
type Owner struct {
	Path int
	TCP  func(int) tcp.Control // tcp.NewCubic if nil
	Use  []Use
	Ping time.Duration // interval
	// Blind: the relay tells nothing, and rate control is all there is.
	Blind bool
}

// Use is something that the owner does with the link, in the direction of the
// Scenario's flows.
type Use struct {
	From, To time.Duration // To: cut off
	// Rate is in bit/s of IP packets of 1,200 bytes without any regard to what
	// arrives, as in a call; 0: a TCP flow that takes what it gets.
	Rate float64
}

// OwnerReport is what the owner and the borrower had of the link, in every
// 100 ms.
type OwnerReport struct {
	Owner []int64         // bytes of payload that arrived
	Lent  []int64         // bytes on the link, as the relay counts them
	Pings []time.Duration // sent one after the other; 0: lost
	every time.Duration
}

// Rates are those of the owner and the borrower between two times, bit/s.
func (r *OwnerReport) Rates(from, to time.Duration) (owner, lent float64) {
	return rateOf(r.Owner, from, to), rateOf(r.Lent, from, to)
}

func rateOf(bins []int64, from, to time.Duration) float64 {
	sum := int64(0)
	for i := int(from / binWidth); i < min(int(to/binWidth), len(bins)); i++ {
		sum += bins[i]
	}
	return float64(sum) * 8 / (to - from).Seconds()
}

// PingsIn are the round trips of the pings sent between two times that came
// back.
func (r *OwnerReport) PingsIn(from, to time.Duration) Percentiles {
	var rtts []time.Duration
	for i := int(from / r.every); i < min(int(to/r.every), len(r.Pings)); i++ {
		if r.Pings[i] > 0 {
			rtts = append(rtts, r.Pings[i])
		}
	}
	return percentiles(rtts)
}

// owner is an Owner's house and the host that it speaks with, and the relay.
type owner struct {
	w          *World
	s          *Scenario
	x          *wires
	home, host *house
	start      time.Duration
	report     OwnerReport
	down, up   counter
	meters     [2]spare.Meter // down, up
}

// counter is what a relay knows of one direction of the link.
type counter struct{ total, lent uint64 }

func (c *counter) count(size int, lent bool) {
	c.total += uint64(size)
	if lent {
		c.lent += uint64(size)
	}
}

// house is a host without a tunnel.
type house struct {
	o    *owner
	apps []app
	up   bool // it sends up
}

// isOwners tells the owner's packets from WireGuard's and ours.
func isOwners(b []byte) bool { return b[0] >= 'A' && b[0] <= 'z' }

// addOwner gives the path its lender; call it before the first packet.
func (w *World) addOwner(s *Scenario) error {
	x := w.wires[s.Owner.Path]
	if len(x.down) < 2 || len(x.up) < 2 {
		return errors.New("a path that is lent has two hops each way")
	}
	o := &owner{w: w, s: s, x: x, report: OwnerReport{every: s.Owner.Ping}}
	o.home, o.host = &house{o: o, up: true}, &house{o: o}
	x.owner = o
	w.loop.Add(o.home, o.host)
	return nil
}

// lends is the path that has an owner, −1 if none has.
func (s *Scenario) lends() int {
	if s.Owner == nil {
		return -1
	}
	return s.Owner.Path
}

// beside has the owner and the relay see what comes out of hop h of n: to is
// where the hop leads.
func (w *World) beside(x *wires, up bool, h, n int, to func(time.Duration, int, parcel)) func(time.Duration, int, parcel) {
	switch {
	case !up && h == 0:
		return func(now time.Duration, size int, p parcel) {
			if x.owner.fromLink(now, size, p.b) {
				to(now, size, p)
			}
		}
	case up && h == n-2:
		return func(now time.Duration, size int, p parcel) {
			x.owner.toLink(now, size, true)
			to(now, size, p)
		}
	case up && h == n-1:
		return func(now time.Duration, size int, p parcel) {
			if isOwners(p.b) {
				x.owner.host.take(now, p.b)
				return
			}
			to(now, size, p)
		}
	}
	return to
}

// begin starts what the owner does.
func (o *owner) begin(start time.Duration) error {
	o.start = start
	for i, u := range o.s.Owner.Use {
		sender, receiver := o.host, o.home
		if o.s.Upload {
			sender, receiver = o.home, o.host
		}
		if u.Rate > 0 {
			sender.apps = append(sender.apps, &caller{every: time.Duration(callSize * 8 / u.Rate * 1e9), at: start + u.From, until: start + u.To})
			receiver.apps = append(receiver.apps, &callee{o})
			continue
		}
		if err := o.addFlow(uint16(i), u, sender, receiver); err != nil {
			return err
		}
	}
	if every := o.s.Owner.Ping; every > 0 {
		p := &pinger{interval: every, at: start, from: start, until: start + o.s.Time}
		p.onRTT = func(n int, rtt time.Duration) {
			for len(o.report.Pings) <= n {
				o.report.Pings = append(o.report.Pings, 0)
			}
			o.report.Pings[n] = rtt
		}
		o.home.apps = append(o.home.apps, p)
		o.host.apps = append(o.host.apps, &ponger{})
	}
	o.watch()
	return nil
}

func (o *owner) addFlow(flow uint16, u Use, sender, receiver *house) error {
	const mss = 1448 // no tunnel takes anything from it
	from := tcp.Config{Flow: flow, Send: tcp.Unlimited, MSS: mss, Control: o.s.Owner.TCP, Active: true, Start: o.start + u.From}
	to := tcp.Config{Flow: flow, MSS: mss, OnDeliver: o.arrived}
	s, err := newStream(from)
	if err != nil {
		return err
	}
	r, err := newStream(to)
	if err != nil {
		return err
	}
	sender.apps = append(sender.apps, s)
	receiver.apps = append(receiver.apps, r)
	o.w.loop.At(o.start+u.To, func() {
		sender.apps, receiver.apps = without(sender.apps, s), without(receiver.apps, r)
	})
	return nil
}

// arrived counts what the owner got.
func (o *owner) arrived(now time.Duration, n int64) { o.bin(&o.report.Owner, now, n) }

func (o *owner) bin(bins *[]int64, now time.Duration, n int64) {
	i := int((now - o.start) / binWidth)
	for len(*bins) <= i {
		*bins = append(*bins, 0)
	}
	(*bins)[i] += n
}

// watch has the relay look at its link.
func (o *owner) watch() {
	now := o.w.loop.Now()
	down := o.meters[0].Read(now, o.down.total, o.down.lent)
	up := o.meters[1].Read(now, o.up.total, o.up.lent)
	if !o.s.Owner.Blind && o.w.Client.Session != nil {
		o.w.loop.At(now+time.Millisecond, func() {
			o.w.Client.Session.SetCeiling(o.w.loop.Now(), o.x.id, ceiling(up), ceiling(down))
			o.w.Client.settle(o.w.loop.Now())
		})
	}
	o.w.loop.At(now+spare.Interval, o.watch)
}

func ceiling(rate uint64) float64 {
	if rate == spare.None {
		return wgbond.Unused
	}
	return float64(rate)
}

// fromLink takes what the link has brought down: the owner's own, or something
// to forward.
func (o *owner) fromLink(now time.Duration, size int, b []byte) (lent bool) {
	lent = !isOwners(b)
	o.down.count(size, lent)
	if lent && !o.s.Upload {
		o.bin(&o.report.Lent, now, int64(size))
	}
	if !lent {
		o.home.take(now, b)
	}
	return lent
}

// toLink counts what goes up.
func (o *owner) toLink(now time.Duration, size int, lent bool) {
	o.up.count(size, lent)
	if lent && o.s.Upload {
		o.bin(&o.report.Lent, now, int64(size))
	}
}

func (h *house) take(now time.Duration, b []byte) {
	for _, a := range h.apps {
		if a.receive(now, b) {
			break
		}
	}
	h.o.w.pool.Put(b)
	h.Step(now)
}

// without is apps but for one that has ended: whatever still comes for it finds
// nobody.
func without(apps []app, ended app) []app {
	return slices.DeleteFunc(apps, func(a app) bool { return a == ended })
}

// Next makes a house a sim.Node.
func (h *house) Next() time.Duration {
	next := sim.Never
	for _, a := range h.apps {
		next = min(next, a.next())
	}
	return next
}

// Step makes a house a sim.Node.
func (h *house) Step(now time.Duration) {
	for _, a := range h.apps {
		if a.next() <= now {
			a.output(now, func(b []byte) { h.send(now, b) })
		}
	}
}

func (h *house) send(now time.Duration, b []byte) {
	l := h.o.x.down[0]
	if h.up {
		l = h.o.x.up[len(h.o.x.up)-1]
		h.o.toLink(now, len(b), false)
	}
	p := h.o.w.pool.copy(b)
	if !l.Push(now, len(p), parcel{h.o.x, p}) {
		h.o.w.pool.Put(p)
	}
}

// caller sends packets at a steady rate.
type caller struct{ every, at, until time.Duration }

const (
	callSize = 1200
	callMark = 'C'
)

func (c *caller) receive(time.Duration, []byte) bool { return false }
func (c *caller) output(now time.Duration, send func([]byte)) {
	var b [callSize]byte
	b[0] = callMark
	for c.at <= now {
		send(b[:])
		c.at += c.every
	}
}
func (c *caller) next() time.Duration {
	if c.at >= c.until {
		return sim.Never
	}
	return c.at
}

// callee counts what a caller says.
type callee struct{ o *owner }

func (c *callee) receive(now time.Duration, b []byte) bool {
	if b[0] != callMark {
		return false
	}
	c.o.arrived(now, int64(len(b)))
	return true
}
func (c *callee) output(time.Duration, func([]byte)) {}
func (c *callee) next() time.Duration                { return sim.Never }
