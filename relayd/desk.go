package relayd

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/relayd/spare"
	"github.com/wg-bond/wg-bond/relayd/when"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// sessionLife is how long a session without a lease is kept.
	sessionLife = time.Minute
	// maxSessionsPerPeer beyond its leases: for new keys, restarts.
	maxSessionsPerPeer = 8
	// maxSessions bounds those without a lease: who is invited, or welcome
	// because he is near, may come with any number of keys.
	maxSessions = 512
	minLifetime = time.Second
	tick        = time.Second
	// complainEvery limits the log about keys that are not allowed.
	complainEvery = 10 * time.Second
)

// desk handles the lease protocol. Everything in it is owned by the goroutine
// that runs it.
type desk struct {
	relay     *Relay
	log       *slog.Logger
	responder *control.Responder
	policy    targetPolicy
	look      func() surroundings
	egress    func(here *surroundings, target netip.AddrPort) (device string)
	wall      func() time.Time
	book      *access.Book
	open      func(target netip.AddrPort) (*udp.Socket, error)
	send      func(to home, datagram []byte)
	lend      func(*loan) // begins to forward
	secret    [32]byte    // of the tokens
	sessions  map[uint32]*session
	loans     map[*loan]struct{}
	scratch   []byte
	complain  time.Duration // when the log may complain next

	links   map[string]*link // those that leases lead by, by device
	watched time.Duration    // when they were last looked at
	active  bool             // something was borrowed then
	power   when.Power       // if the rules do not ask for it
}

// session is an authenticated borrower, with or without a lease.
type session struct {
	transport *control.Transport
	peer      control.Key
	loan      *loan
	expires   time.Duration // if it has no loan
	redeem    string        // why its invitation is no good; empty if it has said nothing of one
	waiting   *home         // for the lender to lend again; nil: not
}

func newDesk(r *Relay, rand io.Reader) (*desk, error) {
	d := &desk{
		relay: r, log: r.cfg.Log,
		policy:   targetPolicy{private: r.cfg.AllowPrivateTargets, loopback: r.cfg.AllowLoopbackTargets},
		look:     r.look,
		egress:   (*surroundings).egress,
		wall:     time.Now,
		book:     r.book,
		open:     r.openWAN,
		sessions: make(map[uint32]*session),
		loans:    make(map[*loan]struct{}),
		links:    make(map[string]*link),
	}
	d.send, d.lend = d.write, r.lend
	if _, err := io.ReadFull(rand, d.secret[:]); err != nil {
		return nil, fmt.Errorf("relayd: reading randomness: %w", err)
	}
	var err error
	d.responder, err = control.NewResponder(control.ResponderConfig{
		Service: control.Lease, Private: r.cfg.PrivateKey, Rand: rand,
		Lookup: d.lookup,
		Taken:  func(index uint32) bool { return d.sessions[index] != nil },
	})
	return d, err
}

// lookup tells the responder who may borrow, and the log who tried.
func (d *desk) lookup(peer control.Key) (preshared control.Key, ok bool) {
	if d.book.MayKnock(d.wall(), peer) {
		return control.Key{}, true
	}
	if now := d.relay.now(); now >= d.complain {
		d.complain = now + complainEvery
		d.log.Warn("refused a borrower whose key is not allowed", "public-key", peer.String())
	}
	return control.Key{}, false
}

// openWAN opens a lease's socket on the lent device.
func (r *Relay) openWAN(target netip.AddrPort) (*udp.Socket, error) {
	local := netip.IPv4Unspecified()
	if target.Addr().Is6() {
		local = netip.IPv6Unspecified()
	}
	return udp.Listen(udp.Config{Device: r.cfg.Device, Local: netip.AddrPortFrom(local, 0), SendBuffer: wanSendBuffer, Background: true})
}

// run serves until ctx is done, then ends all leases.
func (d *desk) run(ctx context.Context) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	var due time.Duration // of the next expire
	for {
		switch wait := d.rest(d.relay.now(), due); wait {
		case never:
			timer.Stop()
		default:
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			for l := range d.loans {
				d.end(l, lease.Ended, "the lender stops")
			}
			return
		case t := <-d.relay.inbox:
			d.handle(d.relay.now(), t.from, t.buf)
			d.relay.blank <- t
		case l := <-d.relay.broken:
			d.end(l, lease.Unreachable, "the lent link is down")
		case f := <-d.relay.asked:
			f(d)
		case <-d.relay.review:
			d.expire(d.relay.now())
		case <-timer.C:
			now := d.relay.now()
			d.watch(now)
			if now >= due {
				d.expire(now)
				due = now + tick
			}
		}
		d.relay.count.sessions.Store(int64(len(d.sessions)))
	}
}

// never as a time to rest: until something comes.
const never = time.Duration(math.MaxInt64)

// rest is how long there is nothing to do but to wait: for ever if there is
// nobody, not to wake a machine that runs on its battery. due is when leases are
// judged next, if there are any.
func (d *desk) rest(now, due time.Duration) time.Duration {
	switch {
	case len(d.loans) > 0 && d.active:
		return max(min(d.watched+spare.Interval, due)-now, time.Millisecond)
	case len(d.loans) > 0 || len(d.sessions) > 0:
		return max(due-now, time.Millisecond)
	}
	return never
}

// write sends one datagram of the protocol.
func (d *desk) write(to home, datagram []byte) {
	if _, err := to.sock.WriteBatch([][]byte{datagram}, to.peer, to.local); err != nil {
		d.relay.count.drop(sendDrop(err))
		d.log.Debug("answering a borrower", "address", to.peer, "error", err)
	}
}

// tell seals one frame for a session.
func (d *desk) tell(s *session, to home, f lease.Frame) {
	d.send(to, s.transport.Seal(nil, lease.Append(nil, f)))
}

// drop counts a lease control datagram that came to nothing.
func (d *desk) drop(from home, err error) {
	reason := controlDrop(err)
	d.relay.count.drop(reason)
	d.log.Debug("dropped lease control", "address", from.peer, "reason", reason.String(), "error", err)
}

// handle takes one lease control datagram.
func (d *desk) handle(now time.Duration, from home, datagram []byte) {
	if wire.ControlKind(datagram) == wire.Initiation {
		reply, err := d.responder.Handle(now, from.peer, datagram)
		if err != nil {
			d.drop(from, err)
			return
		}
		if wire.ControlKind(reply) == wire.CookieReply {
			d.relay.count.cookies.Add(1)
		}
		d.send(from, reply)
		return
	}
	s, err := d.session(now, datagram)
	if err != nil {
		d.drop(from, err)
		return
	}
	plaintext, err := s.transport.Open(d.scratch[:0], datagram)
	if err != nil {
		d.drop(from, err)
		return
	}
	d.scratch = plaintext
	frames, err := lease.Decode(plaintext)
	if err != nil {
		d.drop(from, err)
		return
	}
	s.expires = now + sessionLife
	for _, f := range frames {
		switch f := f.(type) {
		case *lease.Redeem:
			d.redeem(s, f)
		case *lease.Request:
			d.request(now, from, s, f)
		case *lease.Release:
			if s.loan != nil {
				d.forget(s.loan, "given back")
			}
		}
	}
}

// session finds the session of a sealed datagram, or makes the one that it
// begins.
func (d *desk) session(now time.Duration, datagram []byte) (*session, error) {
	if wire.ControlKind(datagram) != wire.Sealed {
		return nil, control.ErrMalformed
	}
	index, _ := wire.ReceiverIndex(datagram)
	if s := d.sessions[index]; s != nil {
		return s, nil
	}
	a, err := d.responder.Confirm(now, datagram)
	if err != nil {
		return nil, err
	}
	d.makeRoom(maxSessionsPerPeer, func(s *session) bool { return s.peer == a.Peer })
	d.makeRoom(maxSessions, func(*session) bool { return true })
	s := &session{transport: a.Transport, peer: a.Peer, expires: now + sessionLife}
	d.sessions[a.Transport.LocalIndex()] = s
	return s, nil
}

// makeRoom forgets the oldest session without a lease, if there are most of
// those that are meant.
func (d *desk) makeRoom(most int, meant func(*session) bool) {
	var oldest *session
	n := 0
	for _, s := range d.sessions {
		if s.loan != nil || !meant(s) {
			continue
		}
		n++
		if oldest == nil || s.expires < oldest.expires {
			oldest = s
		}
	}
	if n >= most {
		delete(d.sessions, oldest.transport.LocalIndex())
	}
}

// redeem takes a borrower's invitation.
func (d *desk) redeem(s *session, f *lease.Redeem) {
	s.redeem = ""
	if err := d.book.Redeem(d.wall(), s.peer, f); err != nil {
		s.redeem = err.Error()
		d.log.Warn("an invitation is refused", "borrower", s.peer.String(), "invitation", f.ID.String(), "error", err)
		return
	}
	d.log.Debug("invitation redeemed", "borrower", s.peer.String(), "invitation", f.ID.String())
}

// judge says what a session's borrower, at an address, may have.
func (d *desk) judge(here *surroundings, s *session, at netip.Addr) (access.Standing, *lease.Refuse) {
	if here.shut != "" {
		return access.Standing{}, &lease.Refuse{Reason: lease.Paused, Text: here.shut}
	}
	standing, why := d.book.Judge(d.wall(), s.peer, here.isNear(at))
	if why == "" {
		return standing, nil
	}
	if s.redeem != "" {
		why = s.redeem
	}
	return standing, &lease.Refuse{Reason: lease.Policy, Text: why}
}

// token is what proves that a session's borrower receives at an address. It
// needs no memory.
func (d *desk) token(s *session, peer netip.AddrPort) lease.Token {
	h := hmac.New(sha256.New, d.secret[:])
	b := binary.LittleEndian.AppendUint32(nil, s.transport.LocalIndex())
	b = binary.LittleEndian.AppendUint16(b, peer.Port())
	h.Write(append(b, peer.Addr().String()...))
	return lease.Token(h.Sum(nil)[:16])
}

// request grants, renews, moves or refuses a lease.
func (d *desk) request(now time.Duration, from home, s *session, f *lease.Request) {
	if want := d.token(s, from.peer); !hmac.Equal(f.Token[:], want[:]) {
		d.relay.count.provings.Add(1)
		d.tell(s, from, &lease.Prove{ID: f.ID, Token: want})
		return
	}
	here := d.lookAround()
	standing, refusal := d.judge(&here, s, from.peer.Addr())
	if refusal != nil {
		if refusal.Reason == lease.Paused {
			s.waits(from)
		}
		if s.loan != nil {
			d.forget(s.loan, refusal.Text)
		}
		d.refuse(s, from, f, refusal)
		return
	}
	lifetime := max(minLifetime, min(f.Lifetime, d.relay.cfg.MaxLifetime))
	if s.loan != nil && s.loan.target != f.Target {
		d.end(s.loan, lease.Ended, "another target was asked for")
	}
	at := (*d.relay.table.Load())[from.peer]
	if s.loan == nil && at != nil && at.peer == s.peer && at.target == f.Target {
		// The borrower has new keys, or began anew on the same socket.
		at.session.loan = nil
		at.session, s.loan = s, at
	}
	if s.loan == nil {
		l, refusal := d.grant(now, &here, s, standing, f.Target)
		if refusal != nil {
			d.refuse(s, from, f, refusal)
			return
		}
		d.place(l, from)
		d.lend(l)
		d.relay.count.granted.Add(1)
		d.log.Info("lease granted", "borrower", s.peer.String(), "address", from.peer,
			"target", l.target, "by", l.wan.LocalAddr(), "lifetime", lifetime)
		d.relay.cfg.Audit.Info("lease granted", "borrower", s.peer.String(), "kind", kindNames[l.kind], "address", from.peer, "target", l.target)
	} else if h := s.loan.home.Load(); *h != from {
		d.place(s.loan, from)
		if h.peer != from.peer {
			d.relay.count.moved.Add(1)
			d.log.Info("lease moved", "borrower", s.peer.String(), "address", from.peer, "was", h.peer, "target", s.loan.target)
			d.relay.cfg.Audit.Info("lease moved", "borrower", s.peer.String(), "address", from.peer, "was", h.peer)
		}
	}
	l := s.loan
	l.expires, l.lifetime = now+lifetime, lifetime
	d.tell(s, from, &lease.Grant{ID: f.ID, Lifetime: lifetime, Terms: d.relay.terms(standing)})
}

// lookAround is look, and whether anything is lent.
func (d *desk) lookAround() surroundings {
	here := d.look()
	d.settle()
	here.shut = d.shut()
	return here
}

// refuse answers a request with no.
func (d *desk) refuse(s *session, from home, f *lease.Request, refusal *lease.Refuse) {
	refusal.ID = f.ID
	d.relay.count.refused.Add(1)
	d.log.Info("refused a lease", "borrower", s.peer.String(), "address", from.peer,
		"target", f.Target, "reason", refusal.Reason.String(), "text", refusal.Text)
	d.relay.cfg.Audit.Info("lease refused", "borrower", s.peer.String(), "address", from.peer, "target", f.Target, "why", refusal.Text)
	d.tell(s, from, refusal)
}

// grant makes a lease, or says why not.
func (d *desk) grant(now time.Duration, here *surroundings, s *session, standing access.Standing, target netip.AddrPort) (*loan, *lease.Refuse) {
	if text := d.refusesTarget(here, target); text != "" {
		return nil, &lease.Refuse{Reason: lease.BadTarget, Text: text}
	}
	n, strangers := 0, 0
	var left *loan // behind by a crash, most likely: a living borrower renews sooner
	for l := range d.loans {
		if l.kind == access.Stranger {
			strangers++
		}
		if l.peer != s.peer {
			continue
		}
		n++
		if l.expires-now < l.lifetime/2 {
			left = l
		}
	}
	full := ""
	switch {
	case n >= d.relay.cfg.MaxPerPeer:
		full = fmt.Sprintf("you have %d leases already", n)
	case standing.Kind == access.Stranger && strangers >= standing.Leases:
		full = fmt.Sprintf("all %d leases for strangers are taken", strangers)
	case len(d.loans) >= d.relay.cfg.MaxLeases:
		full = fmt.Sprintf("all %d leases are taken", len(d.loans))
	}
	if full != "" && left == nil {
		return nil, &lease.Refuse{Reason: lease.Busy, Text: full}
	}
	if full != "" {
		d.end(left, lease.Busy, "a newer lease of the same borrower takes its place")
	}
	device := d.egress(here, target)
	if refusal := d.refusesDevice(device); refusal != nil {
		return nil, refusal
	}
	wan, err := d.open(target)
	if err != nil {
		d.log.Warn("opening a socket on the lent device", "device", d.relay.cfg.Device, "error", err)
		return nil, &lease.Refuse{Reason: lease.Unreachable, Text: "the lent link is down"}
	}
	l := &loan{peer: s.peer, target: target, wan: wan, up: newRing(), count: &d.relay.count, session: s,
		meter: standing.Meter, kind: standing.Kind, total: d.relay.ledger.Meter(), granted: d.wall(), link: d.linkTo(device), hint: lease.Hint{Up: lease.Unlimited, Down: lease.Unlimited}, moved: now}
	if l.link.read != nil {
		l.hintAgain = hintAgain // even that the owner uses nothing is news
	}
	l.used.Store(int64(now))
	d.loans[l] = struct{}{}
	d.relay.count.leases.Store(int64(len(d.loans)))
	s.loan = l
	return l, nil
}

// linkTo is the link that leads by a device.
func (d *desk) linkTo(device string) *link {
	k := d.links[device]
	if k == nil {
		k = newLink(device, d.relay.cfg.Counters)
		d.links[device] = k
	}
	return k
}

// refusesTarget says why a target is not forwarded to; empty if it is.
func (d *desk) refusesTarget(here *surroundings, target netip.AddrPort) string {
	if text := d.policy.refuses(target, here.own); text != "" {
		return text
	}
	if !d.policy.private && !d.policy.loopback && here.isNear(target.Addr()) {
		return "a target in the lender's own network is not allowed"
	}
	return ""
}

// place makes an address that of a lease.
func (d *desk) place(l *loan, at home) {
	if other := (*d.relay.table.Load())[at.peer]; other != nil && other != l {
		d.end(other, lease.Ended, "the address has another lease now") // and was proven
	}
	table := maps.Clone(*d.relay.table.Load())
	if old := l.home.Load(); old != nil {
		delete(table, old.peer)
	}
	table[at.peer] = l
	l.home.Store(&at)
	d.relay.table.Store(&table)
}

// end ends a lease and tells the borrower, unless it has ended already.
func (d *desk) end(l *loan, reason lease.Reason, text string) {
	if _, ok := d.loans[l]; !ok {
		return
	}
	d.forget(l, text) // first: who is told so sends nothing that is still forwarded
	d.tell(l.session, *l.home.Load(), &lease.Refuse{Reason: reason, Text: text})
}

// forget ends a lease without a word.
func (d *desk) forget(l *loan, why string) {
	d.account(l)
	delete(d.loans, l)
	table := maps.Clone(*d.relay.table.Load())
	delete(table, l.home.Load().peer)
	d.relay.table.Store(&table)
	l.session.loan = nil
	l.up.close()
	d.relay.count.leases.Store(int64(len(d.loans))) // once nothing more is forwarded
	if len(d.loans) == 0 {
		clear(d.links)
		d.active = false
	}
	if err := l.wan.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		d.log.Debug("closing a lease's socket", "error", err)
	}
	d.log.Info("lease ended", "borrower", l.peer.String(), "target", l.target, "why", why)
	d.relay.cfg.Audit.Info("lease ended", "borrower", l.peer.String(), "address", l.home.Load().peer, "target", l.target, "why", why,
		"since", l.granted, "up", l.accounted.Up, "down", l.accounted.Down)
}

// expire ends what is over.
func (d *desk) expire(now time.Duration) {
	var here surroundings
	if len(d.loans) > 0 {
		here = d.lookAround()
		if err := d.book.Settle(); err != nil {
			d.log.Warn("what was borrowed cannot be written down, so no more is lent by invitation", "error", err)
		}
	}
	for _, l := range slices.Collect(maps.Keys(d.loans)) {
		if _, refusal := d.judge(&here, l.session, l.home.Load().peer.Addr()); refusal != nil {
			if refusal.Reason == lease.Paused {
				l.session.waits(*l.home.Load())
				l.session.expires = now + sessionLife
			}
			d.end(l, refusal.Reason, refusal.Text)
			continue
		}
		if text := d.refusesTarget(&here, l.target); text != "" { // it was not when the lease began
			d.end(l, lease.BadTarget, text)
			continue
		}
		device := d.egress(&here, l.target) // routes may have changed
		if device == "" {
			device = l.link.device
		}
		if refusal := d.refusesDevice(device); refusal != nil {
			d.end(l, refusal.Reason, refusal.Text)
			continue
		}
		if device != l.link.device {
			d.end(l, lease.Ended, "the way there leads by another device now")
			continue
		}
		switch {
		case now >= l.expires:
			d.end(l, lease.Ended, "not renewed in time")
		case now-time.Duration(l.used.Load()) >= d.relay.cfg.IdleTimeout:
			d.end(l, lease.Ended, "unused for long")
		}
	}
	d.invite()
	for index, s := range d.sessions {
		if s.loan == nil && now >= s.expires {
			delete(d.sessions, index)
		}
	}
}
