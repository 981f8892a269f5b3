package conn

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

const (
	// tick is how often the Bind looks after what no event tells of.
	tick = time.Second
	// settle gathers the events of one change: a device that comes up brings
	// a dozen within milliseconds.
	settle = 20 * time.Millisecond
	// rescanEvery is how often the devices are looked at where there are no
	// events; recheckEvery where there are, for what no event told.
	rescanEvery  = 2 * time.Second
	recheckEvery = 20 * time.Second

	// learnEvery is how often it is noted what paths carry, for a program that
	// ends without a farewell.
	learnEvery = time.Minute

	// silentFor is the silence after which a peer's name is looked up again;
	// it doubles with every time that did not help, to lookupMost.
	silentFor  = 4 * time.Second
	lookupMost = time.Minute
	// lookupTime is how long a look-up may take.
	lookupTime = 10 * time.Second
)

// watch is the following of devices and names between Open and Close.
type watch struct {
	devices Watcher // nil: they cannot be told
	quit    chan struct{}
	failed  bool // reading failed, which was logged
	scanned time.Duration
	learned time.Duration // when that was last noted
	fits    int           // what Config.Fits was told
}

// watchLocked begins to follow the devices.
func (b *Bind) watchLocked() {
	w := &watch{quit: make(chan struct{})}
	var err error
	if w.devices, err = b.cfg.Watch(); err != nil {
		w.devices = nil
		if len(b.cfg.Paths) == 0 {
			b.shell.Log.Warn("which devices have a default route cannot be told; using one path, unbound", "err", err)
		}
	}
	b.watch = w
	b.rescanLocked()
	go b.watching(w)
}

func (b *Bind) unwatchLocked() {
	if b.watch != nil {
		close(b.watch.quit)
		b.watch = nil
	}
}

// watching is the goroutine that follows the devices; it owns w.devices.
func (b *Bind) watching(w *watch) {
	var events <-chan struct{}
	if w.devices != nil {
		defer w.devices.Close()
		events = w.devices.Changes()
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	settled := time.NewTimer(time.Hour)
	defer settled.Stop()
	for {
		rescan := false
		select {
		case <-w.quit:
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			settled.Reset(settle)
			continue
		case <-settled.C:
			rescan = true
		case <-ticks.C:
			rescan = b.tickLedger()
		}
		b.mu.Lock()
		if b.watch == w {
			now := b.shell.Now()
			again := b.paths.again > 0 && now >= b.paths.again
			every := rescanEvery
			if events != nil {
				every = recheckEvery
			}
			if rescan || again || now-w.scanned >= every {
				b.rescanLocked()
			}
			b.lookupLocked(now)
			b.translateLocked(now)
			if now-w.learned >= learnEvery {
				w.learned = now
				b.learnLocked()
			}
		}
		b.mu.Unlock()
		b.tellFits(w)
	}
}

// tellFits tells what MTU fits, if that is news. While a peer has no path that
// works, there is none.
func (b *Bind) tellFits(w *watch) {
	if b.cfg.Fits == nil {
		return
	}
	fits := 0
	for _, d := range *b.dialled.Load() {
		mtu, ok := d.FitsMTU()
		if !ok {
			return
		}
		if mtu > 0 && (fits == 0 || mtu < fits) {
			fits = mtu
		}
	}
	if fits != w.fits {
		w.fits = fits
		b.cfg.Fits(fits)
	}
}

// tickLedger counts what the paths have carried, and reports whether one may
// not be used any more, or again.
func (b *Bind) tickLedger() bool {
	if b.cfg.Ledger == nil {
		return false
	}
	changed, err := b.cfg.Ledger.Tick(time.Now())
	if err != nil {
		b.shell.Log.Error("counted on, but not kept", "err", err)
	}
	return changed
}

// learnLocked notes what the paths carry.
func (b *Bind) learnLocked() {
	for _, d := range *b.dialled.Load() {
		d.Learn()
	}
	if err := b.cfg.Memory.Tick(time.Now()); err != nil {
		b.shell.Log.Warn("used on, but not kept", "err", err)
	}
}

// rescanLocked brings the paths up to date with the devices.
func (b *Bind) rescanLocked() {
	w := b.watch
	w.scanned = b.shell.Now()
	var state netwatch.State
	if w.devices != nil {
		var err error
		if state, err = w.devices.Read(); err != nil {
			if !w.failed {
				b.shell.Log.Warn("the devices cannot be read; the paths stay as they are", "err", err)
			}
			w.failed = true
			if len(b.paths.paths) > 0 {
				return
			}
		} else {
			w.failed = false
		}
	}
	open := b.openLocked()
	choose := func(at seat, only control.Key) ([]Lender, time.Duration) {
		return b.lenders.choose(at, only, w.scanned, open)
	}
	b.paths.update(b.cfg.Paths, state, b.cfg.Exclude(), w.scanned, choose)
	b.seekLocked()
	b.translateLocked(w.scanned)
	for _, d := range *b.dialled.Load() {
		d.SetPaths(b.paths.paths)
	}
}

// lookup is how a peer's name is asked for. Guarded by Bind.mu.
type lookup struct {
	asking bool
	asked  bool // at least once
	next   time.Duration
	wait   time.Duration
}

// lookupLocked has the names looked up of peers that do not answer, and of
// new ones, for the addresses that the endpoint does not tell.
func (b *Bind) lookupLocked(now time.Duration) {
	if b.cfg.Lookup == nil {
		return
	}
	for _, d := range *b.dialled.Load() {
		l := &d.name
		silent := d.Silence() >= silentFor
		if !silent {
			l.wait = 0
		}
		if d.peer.Name == "" || l.asking || now < l.next || l.asked && !silent {
			continue
		}
		l.wait = min(max(2*l.wait, silentFor), lookupMost)
		first := !l.asked
		l.asking, l.asked, l.next = true, true, now+l.wait
		go b.look(d, b.mark, first)
	}
}

// look asks for a peer's name and leads its session there.
func (b *Bind) look(d *dialledPeer, mark uint32, first bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := b.cfg.Lookup(ctx, mark, d.peer.Name)
	b.mu.Lock()
	defer b.mu.Unlock()
	d.name.asking = false
	if err != nil || len(found) == 0 {
		b.shell.Log.Info("the endpoint's name leads nowhere now; asked again later", "name", d.peer.Name, "err", err)
		return
	}
	targets := order(d.Targets(), found, first)
	if d.Ended() || slices.Equal(targets, d.Targets()) {
		return
	}
	b.shell.Log.Info("the endpoint's name is found", "name", d.peer.Name, "addresses", targets)
	d.SetTargets(targets)
}

// order puts the addresses that a name has into the order of preference: one
// that is in use already, its family, the other. The first answer is only asked
// for what the endpoint in use lacks, and moves nothing.
func order(was, found []netip.AddrPort, first bool) []netip.AddrPort {
	current := was[0]
	var out, rest []netip.AddrPort
	if first || slices.Contains(found, current) {
		out = append(out, current)
	}
	for _, a := range found {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		switch same := a.Addr().Is4() == current.Addr().Is4(); {
		case slices.Contains(out, a), same && first:
		case same:
			out = append(out, a)
		default:
			rest = append(rest, a)
		}
	}
	return append(out, rest...)
}
