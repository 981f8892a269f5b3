package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Never is the time of an event that will not come.
const Never = time.Duration(1<<63 - 1)

// How a Borrower goes about it.
const (
	// DefaultLifetime is what it asks for unless told otherwise.
	DefaultLifetime = time.Minute

	firstRetry    = 250 * time.Millisecond // doubles with every try …
	lastRetry     = 15 * time.Second       // … up to this
	maxTries      = 3                      // requests without answer before the session counts as lost
	firstRefused  = 2 * time.Second        // after a refusal; doubles …
	lastRefused   = time.Minute            // … up to this
	rekeyAfter    = 30 * time.Minute
	maxImmediate  = 3 // cookies or proofs obeyed at once, one after the other
	shortestLease = 2 * time.Second
)

// State is what a Borrower has achieved.
type State uint8

// The states.
const (
	// Seeking: no lease yet, or it ran out; the lender is being asked.
	Seeking State = iota
	// Granted: what is sent to the lender is forwarded.
	Granted
	// Refused: the lender said no. It is asked again after a while.
	Refused
)

func (s State) String() string {
	switch s {
	case Granted:
		return "granted"
	case Refused:
		return "refused"
	}
	return "seeking"
}

// Status is what is known of the lease.
type Status struct {
	State State
	Until time.Duration // Granted: when the lease ends unless renewed, engine time
	Terms Terms         // Granted: what is lent
	Hint  Hint          // Granted: how much of it is spare now, as the lender said in the latest of …
	Hints int           // … so many hints
	// Refused: why. Text is the lender's, for people; show it quoted.
	Reason Reason
	Text   string
	// Unanswered counts what was sent since the lender last said anything.
	Unanswered int
}

// BorrowerConfig says what to borrow from whom.
type BorrowerConfig struct {
	// Initiator dials the lender: service control.Lease, our WireGuard private
	// key, the lender's public key.
	Initiator *control.Initiator
	Target    netip.AddrPort // where the lender forwards to: the server
	Lifetime  time.Duration  // to ask for; 0: DefaultLifetime
	Redeem    *Redeem        // an invitation to present; nil: none
}

// Borrower gets a lease and keeps it.
//
//	                 Grant                     half its lifetime
//	Seeking ──────────────────► Granted ◄─────────────────────► (renewed)
//	   │ ▲                         │ │
//	   │ └──── it ran out ─────────┘ │ Refuse
//	   │ Refuse                      ▼
//	   └─────────────────────────► Refused ── 2 s, 4 s, … 1 min ──► asks again
//
// It is sans-IO: Transmit gives the datagrams to send to the lender, from the
// very socket that the lease is for; Consume takes what wire.Kind calls
// LeaseControl from there. Call Transmit at Next, and after every other call. A
// Borrower is not safe for concurrent use.
type Borrower struct {
	cfg    BorrowerConfig
	status Status

	transport   *control.Transport // nil: no session
	established time.Duration
	shakeAt     time.Duration // when to initiate next, if a session is wanted
	shakeTries  int

	request   Request
	requestAt time.Duration // when to send request next
	asked     time.Duration // when it was sent last
	tries     int           // how often, without an answer
	immediate int           // cookies and proofs obeyed since something was achieved
	refusals  int           // since the last grant

	released bool
	buf      []byte
}

// NewBorrower makes a Borrower that begins at the first Transmit.
func NewBorrower(cfg BorrowerConfig) (*Borrower, error) {
	if cfg.Initiator == nil {
		return nil, errors.New("lease: Initiator is missing")
	}
	if !cfg.Target.IsValid() || cfg.Target.Port() == 0 {
		return nil, fmt.Errorf("lease: %v is no target: it needs an address and a port", cfg.Target)
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.Lifetime < shortestLease {
		return nil, fmt.Errorf("lease: a lifetime of %v, at least %v make sense", cfg.Lifetime, shortestLease)
	}
	b := &Borrower{cfg: cfg, request: Request{ID: 1, Lifetime: cfg.Lifetime, Target: cfg.Target}}
	return b, nil
}

// Status tells how things stand at now.
func (b *Borrower) Status(now time.Duration) Status {
	b.runOut(now)
	return b.status
}

// Next is when Transmit must be called, or Never.
func (b *Borrower) Next() time.Duration {
	if b.released {
		return Never
	}
	next := Never
	if b.transport == nil {
		next = b.shakeAt
	} else {
		next = min(b.requestAt, max(b.shakeAt, b.established+rekeyAfter))
	}
	if b.status.State == Granted {
		next = min(next, b.status.Until)
	}
	return next
}

// Transmit appends the datagrams to send to the lender now.
func (b *Borrower) Transmit(now time.Duration, wall time.Time, out [][]byte) ([][]byte, error) {
	if b.released {
		return out, nil
	}
	b.runOut(now)
	if b.transport != nil && now >= b.requestAt && (b.tries >= maxTries || b.transport.Exhausted()) {
		// The lender has lost the session, or is not there.
		b.transport = nil
		b.shakeAt, b.shakeTries = now, 0
	}
	if now >= b.shakeAt && (b.transport == nil || now >= b.established+rekeyAfter) {
		msg, err := b.cfg.Initiator.Initiate(wall, nil)
		if err != nil {
			b.shakeAt = now + lastRetry
			return out, fmt.Errorf("lease: %w", err)
		}
		out = append(out, msg)
		b.shakeAt = now + backOff(b.shakeTries)
		b.shakeTries++
		b.status.Unanswered++
	}
	if b.transport != nil && now >= b.requestAt {
		b.buf = b.buf[:0]
		if b.cfg.Redeem != nil {
			b.buf = Append(b.buf, b.cfg.Redeem)
		}
		b.buf = Append(b.buf, &b.request)
		out = append(out, b.transport.Seal(nil, b.buf))
		b.requestAt = now + backOff(b.tries)
		b.asked = now
		b.tries++
		b.status.Unanswered++
	}
	return out, nil
}

// backOff is how long to wait after the given number of tries before.
func backOff(tries int) time.Duration {
	return min(lastRetry, firstRetry<<min(tries, 10))
}

// Consume takes a datagram from the lender. An error means that it was of no
// use; nothing has changed then.
func (b *Borrower) Consume(now time.Duration, datagram []byte) error {
	if b.released {
		return errors.New("lease: already given back")
	}
	b.runOut(now)
	if wire.Kind(datagram) != wire.LeaseControl {
		return fmt.Errorf("lease: %w", control.ErrMalformed)
	}
	if wire.ControlKind(datagram) != wire.Sealed {
		return b.shaken(now, datagram)
	}
	if b.transport == nil {
		return fmt.Errorf("lease: %w", control.ErrUnknownIndex)
	}
	plaintext, err := b.transport.Open(b.buf[:0], datagram)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	b.buf = plaintext
	frames, err := Decode(plaintext)
	if err != nil {
		return err
	}
	b.status.Unanswered = 0
	for _, f := range frames {
		switch f := f.(type) {
		case *Prove:
			if f.ID != b.request.ID {
				continue
			}
			b.request.Token = f.Token
			b.tries = 0
			b.soon(now, &b.requestAt)
		case *Grant:
			if f.ID == b.request.ID {
				b.granted(now, f)
			}
		case *Hint:
			b.hinted(now, f)
		case *Refuse:
			if f.ID == b.request.ID || f.ID == 0 {
				b.status = Status{State: Refused, Reason: f.Reason, Text: f.Text}
				b.ask(now + min(lastRefused, firstRefused<<min(b.refusals, 10)))
				b.refusals++
			}
		}
	}
	return nil
}

// soon sets *at to now, unless that has happened too often without success.
func (b *Borrower) soon(now time.Duration, at *time.Duration) {
	if b.immediate < maxImmediate {
		b.immediate++
		*at = now
	}
}

// shaken takes a response or a cookie reply.
func (b *Borrower) shaken(now time.Duration, datagram []byte) error {
	t, _, err := b.cfg.Initiator.Consume(datagram)
	if errors.Is(err, control.ErrCookie) {
		b.status.Unanswered = 0
		b.soon(now, &b.shakeAt)
		return nil
	}
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	b.transport, b.established = t, now
	b.shakeAt, b.shakeTries, b.immediate = now, 0, 0
	b.status.Unanswered = 0
	b.ask(now)
	return nil
}

func (b *Borrower) granted(now time.Duration, g *Grant) {
	b.immediate, b.refusals = 0, 0
	// The lender began to count when it answered, after asked: so the lease
	// never ends earlier there than here.
	if b.status.State != Granted {
		b.status = Status{State: Granted, Hint: Hint{Unlimited, Unlimited}}
	}
	b.status.Until, b.status.Terms = b.asked+g.Lifetime, g.Terms
	b.ask(max(b.asked+g.Lifetime/2, now+shortestLease/2))
	b.runOut(now)
}

// hinted takes the lender's word on what is spare, or that it lends again.
func (b *Borrower) hinted(now time.Duration, h *Hint) {
	switch {
	case b.status.State == Granted:
		b.status.Hint = *h
		b.status.Hints++
	case b.status.State == Refused && b.immediate < maxImmediate:
		b.immediate++
		b.ask(now)
	}
}

// ask makes a new request that is sent at the given time.
func (b *Borrower) ask(at time.Duration) {
	if b.request.ID++; b.request.ID == 0 {
		b.request.ID = 1
	}
	b.requestAt, b.tries = at, 0
}

// runOut notices that the lease has ended.
func (b *Borrower) runOut(now time.Duration) {
	if b.status.State == Granted && now >= b.status.Until {
		b.status = Status{Unanswered: b.status.Unanswered}
	}
}

// Renew has the lender asked again at once: after the borrower's address has
// changed, so that the lease moves there, or when the path seems dead, since
// the lender may have restarted.
func (b *Borrower) Renew(now time.Duration) {
	b.immediate = 0
	b.shakeAt, b.shakeTries = now, 0
	b.ask(now)
}

// Release gives the lease back: send the datagrams appended, once. The Borrower
// does nothing any more.
func (b *Borrower) Release(out [][]byte) [][]byte {
	if b.transport != nil && !b.released {
		out = append(out, b.transport.Seal(nil, Append(nil, &Release{})))
	}
	b.released, b.transport, b.status = true, nil, Status{}
	return out
}
