package relayd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/ledger"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Relay is a lender at work.
type Relay struct {
	cfg       Config
	start     time.Time
	book      *access.Book
	ledger    *ledger.Ledger
	paused    atomic.Bool
	listeners []*listener
	count     counters

	// table leads from a borrower's address to its lease. The desk replaces
	// it whole.
	table atomic.Pointer[map[netip.AddrPort]*loan]

	inbox  chan *letter  // lease control for the desk
	blank  chan *letter  // letters to write on
	broken chan *loan    // leases whose link is gone
	review chan struct{} // room for one: judge all leases anew
	asked  chan func(*desk)
	done   chan struct{} // closed when Run ends
	loans  sync.WaitGroup
}

// letter is a lease control datagram on its way to the desk.
type letter struct {
	from home
	buf  []byte
}

const (
	// inboxSize bounds the lease control that waits, letterSize one datagram
	// of it.
	inboxSize  = 64
	letterSize = wire.MinInitiationSize + 1024
)

// New opens the listening sockets. Run must be called afterwards: it closes
// them.
func New(cfg Config) (*Relay, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Relay{
		cfg: cfg, start: time.Now(),
		inbox: make(chan *letter, inboxSize), blank: make(chan *letter, inboxSize),
		broken: make(chan *loan), review: make(chan struct{}, 1), asked: make(chan func(*desk)), done: make(chan struct{}),
	}
	var err error
	if r.book, err = access.NewBook(access.Config{Lender: cfg.PrivateKey.Public(), Listed: cfg.Allow, Open: cfg.Open, Path: cfg.Invitations}); err != nil {
		return nil, fmt.Errorf("relayd: %w", err)
	}
	if r.ledger, err = ledger.Open(cfg.Ledger); err != nil {
		return nil, fmt.Errorf("relayd: %w", err)
	}
	r.table.Store(&map[netip.AddrPort]*loan{})
	for range inboxSize {
		r.blank <- &letter{buf: make([]byte, 0, letterSize)}
	}
	var missing error
	for _, a := range cfg.Listen {
		sock, err := udp.Listen(udp.Config{Local: a, PacketInfo: true})
		if errors.Is(err, syscall.EAFNOSUPPORT) {
			missing = err // a machine without IPv6, say: the other family will do
			continue
		}
		if err != nil {
			r.closeListeners()
			return nil, fmt.Errorf("relayd: %w", err)
		}
		r.listeners = append(r.listeners, &listener{relay: r, sock: sock})
	}
	if len(r.listeners) == 0 {
		return nil, fmt.Errorf("relayd: %w", missing)
	}
	return r, nil
}

// Addrs are the addresses listened at.
func (r *Relay) Addrs() []netip.AddrPort {
	var as []netip.AddrPort
	for _, l := range r.listeners {
		as = append(as, l.sock.LocalAddr())
	}
	return as
}

// Book says who may borrow. Call Review when it has changed.
func (r *Relay) Book() *access.Book { return r.book }

// Review has all leases judged anew, at once: those who may not borrow any more
// lose theirs.
func (r *Relay) Review() {
	select {
	case r.review <- struct{}{}:
	default: // it is about to happen
	}
}

// Stats counts what has happened so far.
func (r *Relay) Stats() Stats { return r.count.snapshot() }

// now is the time since the Relay was made: the clock of all its parts.
func (r *Relay) now() time.Duration { return time.Since(r.start) }

// Run lends until ctx is done; then it tells the borrowers, closes everything
// and returns nil. It returns an error if it cannot go on. It can be called
// once.
func (r *Relay) Run(ctx context.Context) error {
	d, err := newDesk(r, rand.Reader)
	if err != nil {
		r.closeListeners()
		close(r.done)
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range r.listeners {
		g.Go(l.run)
	}
	g.Go(func() error {
		d.run(ctx)
		r.closeListeners()
		return nil
	})
	err = g.Wait()
	close(r.done)
	r.loans.Wait()
	return errors.Join(err, r.book.Close(), r.ledger.Close())
}

func (r *Relay) closeListeners() {
	for _, l := range r.listeners {
		_ = l.sock.Close() // nothing can be done about it
	}
}

// lend starts a lease's two goroutines.
func (r *Relay) lend(l *loan) {
	broken := func(l *loan) {
		select {
		case r.broken <- l:
		case <-r.done:
		}
	}
	r.loans.Go(func() { l.toTarget(r.now, broken) })
	r.loans.Go(func() { l.toBorrower(r.now, broken) })
}

// listener reads from borrowers, and from whoever else sends.
type listener struct {
	relay *Relay
	sock  *udp.Socket
}

func (l *listener) run() error {
	bufs := newBuffers(batch)
	ms := make([]udp.Message, batch)
	for {
		for i := range ms {
			ms[i].Buf = bufs[i]
		}
		n, err := l.sock.ReadBatch(ms)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("relayd: reading at %v: %w", l.sock.LocalAddr(), err)
		}
		l.dispatch(l.relay.now(), ms[:n])
		for i := range ms[:n] {
			bufs[i] = ms[i].Buf[:bufferSize] // it may be another one now
		}
	}
}

// dispatch hands each datagram to its lease or to the desk. It may leave
// another buffer in a message.
func (l *listener) dispatch(now time.Duration, ms []udp.Message) {
	table := *l.relay.table.Load()
	count := &l.relay.count
	var current *loan // that of peer; nil: none
	var peer netip.AddrPort
	pushed := false // to current, not yet signalled
	for i := range ms {
		m := &ms[i]
		kind := wire.Kind(m.Buf)
		switch kind {
		case wire.Other:
			count.drop(DropShape)
			continue
		case wire.LeaseControl:
			l.post(m)
			continue
		}
		if m.Peer != peer {
			if pushed {
				current.up.signal()
			}
			current, peer, pushed = table[m.Peer], m.Peer, false
		}
		switch {
		case current == nil:
			count.drop(DropNoLease)
		case !current.admit(now):
			count.drop(DropUnanswered)
		case !current.take(now, current.onTheWire(len(m.Buf))):
			count.drop(DropAllowance)
		case !current.up.push(&m.Buf):
			current.giveBack(current.onTheWire(len(m.Buf)))
			count.drop(DropQueueFull)
		default:
			current.used.Store(int64(now))
			pushed = true
		}
	}
	if pushed {
		current.up.signal()
	}
}

// post copies a lease control datagram for the desk.
func (l *listener) post(m *udp.Message) {
	count := &l.relay.count
	if len(m.Buf) > letterSize {
		count.drop(DropMalformed)
		return
	}
	select {
	case t := <-l.relay.blank:
		t.from = home{peer: m.Peer, local: m.Local, sock: l.sock}
		t.buf = append(t.buf[:0], m.Buf...)
		l.relay.inbox <- t // there is room for every letter there is
	default:
		count.drop(DropControlQueue)
	}
}
