// Package seek finds lenders nearby (relayd/discover) for a Bind, for
// wg-bond relays, and redeems invitations with them.
//
//	Bind ── On(devices) ──► Seeker ── a Browse for each device
//	  ▲                        │
//	  └────── SetLenders ◄─────┘ as lenders come, change and go; not ourselves
package seek

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/relayd/discover"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Seeker looks for lenders on some devices.
type Seeker struct {
	found func(device string, lenders []conn.Lender)
	log   *slog.Logger
	wg    sync.WaitGroup

	mu      sync.Mutex // guards all below
	running map[string]context.CancelFunc
	closed  bool
}

// New makes a Seeker that tells found.
func New(found func(device string, lenders []conn.Lender), log *slog.Logger) *Seeker {
	return &Seeker{found: found, log: log, running: map[string]context.CancelFunc{}}
}

// On has the Seeker look on these devices and no others. It does not block.
func (s *Seeker) On(devices []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, stop := range s.running {
		if !slices.Contains(devices, d) {
			stop()
			delete(s.running, d)
		}
	}
	for _, d := range devices {
		if s.running[d] != nil || s.closed {
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		s.running[d] = stop
		s.wg.Go(func() {
			discover.Browse(ctx, d, s.log, func(ls []discover.Lender) {
				if ctx.Err() == nil {
					s.found(d, others(ls))
				}
			})
		})
	}
}

// Close ends the search.
func (s *Seeker) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.On(nil)
	s.wg.Wait()
}

// others leaves out this machine's own relayd: who borrows from himself has no
// link more than before.
func others(ls []discover.Lender) []conn.Lender {
	var own []netip.Addr
	nets, _ := net.InterfaceAddrs() // unreadable: none is known
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	var out []conn.Lender
	for _, l := range ls {
		if !slices.Contains(own, l.At.Addr().WithZone("")) {
			out = append(out, conn.Lender{Name: l.Name, At: l.At, Key: l.Key})
		}
	}
	return out
}

// Nearby looks on devices, all at once, until ctx is done, and tells what was
// found last.
func Nearby(ctx context.Context, devices []string, log *slog.Logger) []discover.Lender {
	var mu sync.Mutex
	last := map[string][]discover.Lender{}
	var wg sync.WaitGroup
	for _, d := range devices {
		wg.Go(func() {
			discover.Browse(ctx, d, log, func(ls []discover.Lender) {
				mu.Lock()
				last[d] = ls
				mu.Unlock()
			})
		})
	}
	wg.Wait()
	var all []discover.Lender
	for _, d := range devices {
		all = append(all, last[d]...)
	}
	return all
}

// Devices are those on which lenders may be: up, with addresses and multicast,
// and neither loopback nor in exclude.
func Devices(exclude []string) ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range all {
		const need = net.FlagUp | net.FlagMulticast
		if addrs, err := d.Addrs(); d.Flags&need == need && d.Flags&net.FlagLoopback == 0 &&
			err == nil && len(addrs) > 0 && !slices.Contains(exclude, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// Redemption is an invitation to redeem.
type Redemption struct {
	Code    lease.Code
	Lender  control.Key
	At      netip.AddrPort
	Private control.Key    // of the WireGuard interface that borrows
	Target  netip.AddrPort // its server
}

// Redeem borrows for a moment: from then on the invitation is the borrower's.
func Redeem(ctx context.Context, r Redemption) (lease.Terms, error) {
	initiator, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: r.Private, Remote: r.Lender, Rand: rand.Reader})
	if err != nil {
		return lease.Terms{}, err
	}
	b, err := lease.NewBorrower(lease.BorrowerConfig{Initiator: initiator, Target: r.Target,
		Redeem: &lease.Redeem{ID: r.Code.ID(), Proof: r.Code.Proof(r.Lender, r.Private.Public())}})
	if err != nil {
		return lease.Terms{}, err
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.At))
	if err != nil {
		return lease.Terms{}, err
	}
	defer c.Close()
	start, buf := time.Now(), make([]byte, 2048)
	for ctx.Err() == nil {
		now := time.Since(start)
		switch st := b.Status(now); st.State {
		case lease.Granted:
			for _, d := range b.Release(nil) {
				_, _ = c.Write(d) // lost, the lease runs out by itself
			}
			return st.Terms, nil
		case lease.Refused:
			return lease.Terms{}, fmt.Errorf("the lender refuses (%v): %q", st.Reason, st.Text)
		}
		out, err := b.Transmit(now, time.Now(), nil)
		if err != nil {
			return lease.Terms{}, err
		}
		for _, d := range out {
			if _, err := c.Write(d); err != nil && !errors.Is(err, net.ErrClosed) {
				return lease.Terms{}, fmt.Errorf("nobody lends at %v: %w", r.At, err)
			}
		}
		if err := c.SetReadDeadline(start.Add(min(b.Next(), now+time.Second))); err != nil {
			return lease.Terms{}, err
		}
		if n, err := c.Read(buf); err == nil {
			_ = b.Consume(time.Since(start), buf[:n]) // what is of no use changes nothing
		}
	}
	return lease.Terms{}, fmt.Errorf("the lender at %v does not answer: is the invitation its own, still good, and nobody else's?", r.At)
}
