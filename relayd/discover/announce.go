package discover

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Announcer answers for a lender on chosen devices.
type Announcer struct {
	Devices []string
	// Service says what there is to announce at the moment; false: it is lent to
	// nobody now, and so not answered for.
	Service func() (Service, bool)
	Log     *slog.Logger
}

const (
	// everyAnswer is the least time between two answers to all on one link;
	// burst and everyUnicast bound those to one (RFC 6762, 6).
	everyAnswer  = time.Second
	everyUnicast = 50 * time.Millisecond
)

// Run announces until ctx is done, and then says farewell.
func (a *Announcer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, d := range a.Devices {
		wg.Go(func() { keepLink(ctx, d, a.Log, func(l *link, changed <-chan struct{}) { a.serve(ctx, l, changed) }) })
	}
	wg.Wait()
}

func (a *Announcer) serve(ctx context.Context, l *link, changed <-chan struct{}) {
	a.Log.Info("announcing", "device", l.device.Name, "service", serviceType)
	again := time.NewTimer(0) // RFC 6762, 8.3: twice, a second apart
	defer again.Stop()
	first := true
	var answered, told time.Time
	for {
		select {
		case <-ctx.Done():
			a.announce(l, 0)
			return
		case <-changed:
			if l.stale() {
				return
			}
		case <-again.C:
			a.announce(l, -1)
			if first {
				first = false
				again.Reset(time.Second)
			}
		case h := <-l.in:
			if h.msg.Response {
				continue
			}
			now := time.Now()
			answer := a.answer(l, h)
			switch {
			case answer == nil:
			case a.toAll(h):
				if now.Sub(answered) >= everyAnswer {
					answered = now
					a.sent(l.multicast(answer))
				}
			case now.Sub(told) >= everyUnicast:
				told = now
				a.sent(l.unicast(answer, h.from))
			}
		}
	}
}

// unicastBit asks for an answer to oneself alone (RFC 6762, 5.4).
const unicastBit = 1 << 15

// toAll reports whether a query is answered to all: not one from another port,
// which is no mDNS responder's, nor one that asks for an answer to itself.
func (a *Announcer) toAll(h heard) bool {
	for _, q := range h.msg.Question {
		if q.Qclass&unicastBit != 0 {
			return false
		}
	}
	return h.from.Port() == port
}

// answer is nil if there is nothing to say.
func (a *Announcer) answer(l *link, h heard) *dns.Msg {
	s, ok := a.Service()
	if !ok {
		return nil
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	if !a.toAll(h) { // RFC 6762, 6.7
		m.Id, m.Question = h.msg.Id, h.msg.Question
	}
	for _, q := range h.msg.Question[:min(len(h.msg.Question), 8)] {
		q.Qclass &^= unicastBit
		rrs, err := s.records(q, l.own(), -1)
		if err != nil {
			a.sent(err)
			return nil
		}
		m.Answer = append(m.Answer, rrs...)
	}
	if len(m.Answer) == 0 {
		return nil
	}
	return m
}

// announce tells all on the link; a ttl of zero is a farewell.
func (a *Announcer) announce(l *link, ttl int) {
	s, ok := a.Service()
	if !ok {
		ttl = 0
	}
	rrs, err := s.records(browseQuestion, l.own(), ttl)
	if err == nil && s.Port != 0 {
		err = l.multicast(&dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true, Answer: rrs})
	}
	a.sent(err)
}

func (a *Announcer) sent(err error) {
	if err != nil {
		a.Log.Debug("announcing", "error", err)
	}
}
