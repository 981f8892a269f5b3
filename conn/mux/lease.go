package mux

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// leaseKeeper obtains and keeps the lease of a path's relay. While there is
// one, the path is in the engine's hands.
//
//	reader ── receive ──► Borrower ◄── Transmit, Next ── its own goroutine
//	                                                     │ granted: join
//	                                                     └ refused, lost: withdraw
type leaseKeeper struct {
	p    *dialPath
	wake chan struct{} // room for one

	mu       sync.Mutex // guards borrower; a leaf
	borrower *lease.Borrower

	quit, done chan struct{} // of the goroutine; used by the path's keeper only
}

func newLeaseKeeper(p *dialPath) (*leaseKeeper, error) {
	initiator, err := control.NewInitiator(control.InitiatorConfig{
		Service: control.Lease,
		Private: p.d.cfg.Private,
		Remote:  p.spec.RelayKey,
		Rand:    rand.Reader,
	})
	if err != nil {
		return nil, fmt.Errorf("relay %v: %w", p.spec.Relay, err)
	}
	cfg := lease.BorrowerConfig{Initiator: initiator, Target: p.target}
	if code := p.spec.Code; !code.IsZero() {
		cfg.Redeem = &lease.Redeem{ID: code.ID(), Proof: code.Proof(p.spec.RelayKey, p.d.cfg.Private.Public())}
	}
	borrower, err := lease.NewBorrower(cfg)
	if err != nil {
		return nil, fmt.Errorf("relay %v: %w", p.spec.Relay, err)
	}
	return &leaseKeeper{p: p, wake: make(chan struct{}, 1), borrower: borrower}, nil
}

// begin asks for the lease by a new socket. A lease that is in force is asked
// to move there; if the address is the old one, it serves meanwhile.
func (k *leaseKeeper) begin(sock Socket) {
	k.mu.Lock()
	k.borrower.Renew(k.p.d.shell.Now())
	k.mu.Unlock()
	k.quit, k.done = make(chan struct{}), make(chan struct{})
	go k.keep(sock, k.quit, k.done)
}

// end stops asking; the lease stays in force for as long as it was granted.
func (k *leaseKeeper) end() {
	close(k.quit)
	<-k.done
}

// receive takes lease control from the relay.
func (k *leaseKeeper) receive(pkt []byte) {
	k.mu.Lock()
	err := k.borrower.Consume(k.p.d.shell.Now(), pkt)
	k.mu.Unlock()
	if err != nil {
		k.p.d.shell.Drops.Add(DropUnauthentic, 1)
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// keep is the goroutine that speaks with the relay.
func (k *leaseKeeper) keep(sock Socket, quit, done chan struct{}) {
	defer close(done)
	p, shell := k.p, k.p.d.shell
	timer := time.NewTimer(0)
	defer timer.Stop()
	var out [][]byte
	var obeyed lease.Status
	for {
		select {
		case <-quit:
			return
		case <-k.wake:
		case <-timer.C:
		}
		now := shell.Now()
		k.mu.Lock()
		var err error
		out, err = k.borrower.Transmit(now, time.Now(), out[:0])
		st := k.borrower.Status(now)
		next := k.borrower.Next()
		k.mu.Unlock()
		if len(out) > 0 {
			if werr := shell.Write(sock, out, p.to, netip.Addr{}); werr != nil {
				err = werr
				p.d.refused(0, sock, werr)
			}
			r := p.route(sock)
			r.tally(out)
			clear(out)
		}
		if next != lease.Never {
			timer.Reset(max(next-now, time.Millisecond))
		}
		switch {
		case st.State == lease.Granted:
			if p.join(sock) || st.Hints != obeyed.Hints || st.Terms.Rate != obeyed.Terms.Rate {
				p.keepTo(st)
				obeyed = st
			}
		case st.State == lease.Refused:
			p.withdraw()
			p.note(LinkLeasing, fmt.Errorf("the relay refuses (%v): %q; asked again later", st.Reason, st.Text))
		case err != nil:
			p.withdraw()
			p.note(LinkLeasing, err)
		case st.Unanswered > 2:
			p.withdraw()
			p.note(LinkLeasing, fmt.Errorf("the relay does not answer (asked %d times): is it running at %v, is its key right, does it allow ours?",
				st.Unanswered, p.spec.Relay))
		default:
			p.withdraw()
		}
	}
}

// keepTo has the engine keep to what the lender says it can spare.
func (p *dialPath) keepTo(st lease.Status) {
	p.mu.Lock()
	id, added := p.id, p.added
	p.mu.Unlock()
	if !added {
		return
	}
	s := p.d.Session
	now := s.begin()
	s.engine.SetCeiling(now, id, ceiling(st.Hint.Up, &st), ceiling(st.Hint.Down, &st))
	s.end(now)
}

// ceiling is the engine's form of a hint, bytes per second, beside the lease's
// rate.
func ceiling(hint uint64, st *lease.Status) float64 {
	if st.Terms.Rate > 0 {
		hint = min(hint, st.Terms.Rate)
	}
	switch {
	case hint != lease.Unlimited:
		return float64(hint)
	case st.Hints == 0:
		return wgbond.NoCeiling // the lender has not said so: it may not see its link
	}
	return wgbond.Unused
}

// release gives the lease back, as far as that can be done at once.
func (k *leaseKeeper) release(sock Socket) {
	k.mu.Lock()
	out := k.borrower.Release(nil)
	k.mu.Unlock()
	// A failure is counted; without it, the lease runs out by itself.
	_ = k.p.d.shell.Write(sock, out, k.p.to, netip.Addr{})
}

// describe tells the lease's terms, or nothing.
func (k *leaseKeeper) describe() string {
	now := k.p.d.shell.Now()
	k.mu.Lock()
	st := k.borrower.Status(now)
	k.mu.Unlock()
	if st.State != lease.Granted {
		return ""
	}
	text := fmt.Sprintf("granted, to be renewed within %v", (st.Until - now).Round(time.Second))
	if st.Terms.Rate > 0 {
		text += fmt.Sprintf(", at most %d bytes/s", st.Terms.Rate)
	}
	for _, h := range []struct {
		way  string
		rate uint64
	}{{"up", st.Hint.Up}, {"down", st.Hint.Down}} {
		if h.rate != lease.Unlimited {
			text += fmt.Sprintf(", now %d bytes/s %s to spare", h.rate, h.way)
		}
	}
	if st.Terms.Left != lease.Unlimited {
		text += fmt.Sprintf(", %d bytes left", st.Terms.Left)
	}
	return text
}
