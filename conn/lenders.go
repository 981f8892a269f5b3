package conn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Lender is a relay that was found on a device's link.
type Lender struct {
	Name string // what it calls itself; no quoting needed
	At   netip.AddrPort
	Key  control.Key // public, as it says: the handshake shows whether it is its own
}

const (
	// maxLenders is how many lenders an entry with Auto uses at once.
	maxLenders = 4
	// lenderTries is how long a lender has to grant a lease before another has
	// its turn.
	lenderTries = 15 * time.Second
)

// SetLenders tells which lenders are in reach on a device's link, for entries
// with Auto there. The paths through those that stay are not disturbed; one
// whose lease is in force stays even if it is not found any more, for that is
// easily forged and the path itself tells whether it works.
func (b *Bind) SetLenders(device string, found []Lender) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lenders.set(device, found)
	if b.watch != nil {
		b.rescanLocked()
	}
}

// lenders chooses among the lenders that were found. Guarded by Bind.mu.
type lenders struct {
	found  map[string][]Lender // by device
	chosen map[seat][]*candidate
	tried  map[control.Key]time.Duration // when it last lost its turn
}

// seat is what lenders are chosen for: one entry's device.
type seat struct {
	entry  int
	device string
}

// candidate is a lender in use, or on trial.
type candidate struct {
	Lender
	since time.Duration // on trial; 0 once its lease was in force
}

func (l *lenders) set(device string, found []Lender) {
	if l.found == nil {
		l.found = map[string][]Lender{}
	}
	l.found[device] = slices.Clone(found)
}

// choose names the lenders for a seat. open reports whether the path through
// one is open; again is when to ask anew, 0: never.
func (l *lenders) choose(at seat, only control.Key, now time.Duration, open func(Lender) bool) (use []Lender, again time.Duration) {
	if l.chosen == nil {
		l.chosen, l.tried = map[seat][]*candidate{}, map[control.Key]time.Duration{}
	}
	found := slices.DeleteFunc(slices.Clone(l.found[at.device]), func(f Lender) bool { return !only.IsZero() && f.Key != only })
	var kept []*candidate
	for _, c := range l.chosen[at] {
		if open(c.Lender) {
			c.since = 0
			kept = append(kept, c)
			continue
		}
		n := slices.IndexFunc(found, func(f Lender) bool { return f.Key == c.Key })
		if n < 0 {
			continue // gone, or never was
		}
		if c.Lender != found[n] {
			c.Lender, c.since = found[n], now // at another address
		}
		if c.since == 0 {
			c.since = now
		}
		if now-c.since >= lenderTries && len(found) > maxLenders {
			l.tried[c.Key] = now
			continue
		}
		kept = append(kept, c)
	}
	// Those that had no turn yet come first, then those whose was longest ago.
	slices.SortStableFunc(found, func(a, b Lender) int { return int(min(1, max(-1, l.tried[a.Key]-l.tried[b.Key]))) })
	for _, f := range found {
		if len(kept) == maxLenders {
			break
		}
		if !slices.ContainsFunc(kept, func(c *candidate) bool { return c.Key == f.Key }) {
			kept = append(kept, &candidate{f, max(now, 1)})
		}
	}
	l.chosen[at] = kept
	for _, c := range kept {
		use = append(use, c.Lender)
		if c.since > 0 && len(found) > maxLenders {
			if at := c.since + lenderTries; again == 0 || at < again {
				again = at
			}
		}
	}
	if len(l.tried) > 64 { // of lenders that may have been invented
		clear(l.tried)
	}
	return use, again
}

// through is the path of an entry by one of its lenders.
func through(e mux.PathSpec, f Lender) mux.PathSpec {
	e.Auto = false
	e.Relay, e.RelayKey = f.At, f.Key
	if !e.Code.Of(f.Key) {
		e.Code = [len(e.Code)]byte{}
	}
	switch e.Name {
	case "", e.Device:
		e.Name = f.Name + "@" + e.Device
	default:
		e.Name += "-" + f.Name
	}
	return e
}

// openLocked reports whether a session has an open path by that lender.
func (b *Bind) openLocked() func(Lender) bool {
	var open []netip.AddrPort
	for _, d := range *b.dialled.Load() {
		for _, link := range d.Links() {
			if link.State == mux.LinkOpen && link.Relay.IsValid() {
				open = append(open, link.Relay)
			}
		}
	}
	return func(f Lender) bool { return slices.Contains(open, f.At) }
}

// seekLocked tells where lenders are wanted, when that has changed.
func (b *Bind) seekLocked() {
	if b.cfg.Seek == nil {
		return
	}
	slices.Sort(b.paths.seeking)
	devices := slices.Compact(b.paths.seeking)
	if !slices.Equal(devices, b.sought) {
		b.sought = slices.Clone(devices)
		b.cfg.Seek(b.sought)
	}
}
