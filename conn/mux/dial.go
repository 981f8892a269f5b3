package mux

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wg-bond/wg-bond/conn/nat64"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// PathSpec is a path as the user sets it.
type PathSpec struct {
	Name            string
	Device          string         // bound to it; empty: as the routes say
	Relay           netip.AddrPort // of a relayd to lease; invalid: none
	RelayKey        control.Key    // that relayd's public key
	Code            lease.Code     // an invitation to present to it; zero: none
	Backup, Metered bool
	Weight          float64 // relative; 0 means 1
	MaxRate         float64 // bytes per second; 0: no limit

	// Auto, in a Bind's configuration, stands for Relay: lenders that are found
	// near the device, each a path; with a RelayKey, that one alone. Its paths
	// have a Relay instead.
	Auto bool
	// Match, in a Bind's configuration, stands for Device: the Bind finds the
	// devices that fit, as they come and go. Its paths have a Device instead.
	Match netwatch.Match
	// Count is added to as the path carries, bytes of whole IP packets, both
	// directions, what goes to and from a relay included; nil: not counted.
	Count *atomic.Uint64
}

// Way is how far a path's device leads at present, which changes while the
// path stays what it is.
type Way struct {
	Known bool // else anything may be
	netwatch.Reach
	// NAT64 is the prefix by which the device's network reaches IPv4 hosts;
	// invalid: it does not, or that is not known.
	NAT64 netip.Prefix
}

// distance is how far it leads in the family of a.
func (w Way) distance(a netip.Addr) netwatch.Distance {
	if a.Is4() {
		return w.V4
	}
	return w.V6
}

// DialConfig says whom to dial and with which keys.
type DialConfig struct {
	// Target is where the peer is; Others are its other addresses, if it has
	// any: a path uses the first that its device leads to.
	Target    netip.AddrPort
	Others    []netip.AddrPort
	Private   control.Key
	Remote    control.Key // the peer's public key
	Preshared control.Key
	Scheduler schedulers.Scheduler
	Sink      Sink
	// Foreign takes WireGuard's datagrams that came to a path's socket from
	// elsewhere while the session is plain: only WireGuard can tell whether
	// they are the peer's (then see Follow). Like Sink.Deliver it owns the
	// datagrams. Nil: they are dropped.
	Foreign func(from netip.AddrPort, pkts [][]byte)
}

// Dialled is a session in the client's role: each of its paths has a socket
// of its own.
type Dialled struct {
	*Session
	shell *Shell
	cfg   DialConfig

	primary atomic.Pointer[netip.AddrPort] // the first of targets

	mu      sync.Mutex       // guards all below; taken before Session.mu
	targets []netip.AddrPort // at least one
	paths   []*dialPath
	running bool
}

// Dial makes a session that dials cfg.Target once it has paths and is started.
func (sh *Shell) Dial(cfg DialConfig) (*Dialled, error) {
	targets := unmapped(append([]netip.AddrPort{cfg.Target}, cfg.Others...))
	cfg.Target = targets[0]
	initiator, err := control.NewInitiator(control.InitiatorConfig{
		Service:   control.Bond,
		Private:   cfg.Private,
		Remote:    cfg.Remote,
		Preshared: cfg.Preshared,
		Rand:      rand.Reader,
	})
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", cfg.Target, err)
	}
	engine := wgbond.New(sh.Now(), wgbond.Config{
		Role:      wgbond.Client,
		Scheduler: cfg.Scheduler,
		Pool:      &sh.Pool,
		Order:     sh.order,
		Initiator: initiator,
		Wall:      time.Now,
		Rand:      rand.Reader,
		Trace:     sh.recorder(cfg.Target.String()),
	})
	d := &Dialled{Session: newSession(sh, engine, cfg.Sink), shell: sh, cfg: cfg, targets: targets}
	d.primary.Store(&targets[0])
	d.Session.attend(cfg.Scheduler)
	d.Session.refused = d.refused
	d.Session.moved = func() { go d.lease() } // Session.mu is held, which is taken after ours
	return d, nil
}

func unmapped(addrs []netip.AddrPort) []netip.AddrPort {
	for i, a := range addrs {
		addrs[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return addrs
}

// Path is a path to use, and where its device leads.
type Path struct {
	PathSpec
	Way
}

// SetPaths sets the paths to use. Paths that stay as they are are not
// disturbed; those that are no longer listed are withdrawn. One whose device
// has other addresses than before is asked at once whether it still works, so
// that the peer learns of them.
func (d *Dialled) SetPaths(paths []Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setPathsLocked(paths)
}

func (d *Dialled) setPathsLocked(paths []Path) {
	was := slices.Clone(d.paths)
	d.paths = make([]*dialPath, 0, len(paths))
	var added []*dialPath
	for _, path := range d.withoutCLAT(paths) {
		to := choose(d.targets, path)
		if path.Relay.IsValid() {
			to = d.followed(to) // a lease is for where the peer is, not for where it was
		}
		same := func(p *dialPath) bool { return p.spec == path.PathSpec && p.servesLocked(to) }
		if i := slices.IndexFunc(was, same); i >= 0 {
			was[i].lead(path.Way, to)
			d.paths = append(d.paths, was[i])
			was = slices.Delete(was, i, i+1)
			continue
		}
		p := newDialPath(d, path, to)
		d.paths = append(d.paths, p)
		added = append(added, p)
	}
	for _, p := range was {
		p.release()
		p.stop()
		p.withdraw()
	}
	if d.running {
		for _, p := range added {
			p.start()
		}
	}
}

// SetTargets sets the peer's addresses, at least one: its name leads elsewhere
// now. Paths of the same family go on; the others begin anew.
func (d *Dialled) SetTargets(targets []netip.AddrPort) {
	targets = unmapped(slices.Clone(targets))
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Equal(targets, d.targets) {
		return
	}
	d.targets = targets
	d.primary.Store(&targets[0])
	d.Session.remote.Store(nil) // what was followed led to the old place
	d.setPathsLocked(d.pathsLocked())
}

// Silence is for how long the peer has left unanswered what was to be answered;
// 0: it has not.
func (d *Dialled) Silence() time.Duration {
	now := d.begin()
	defer d.end(now)
	silent := d.engine.Lost(now)
	if heard := time.Duration(d.heard.Load()); d.asked > heard {
		silent = max(silent, now-d.asked)
	}
	return silent
}

// Targets are the peer's addresses, as they were set.
func (d *Dialled) Targets() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.targets)
}

// Target is where the peer is now: where it was last followed to, or else the
// first of its addresses.
func (d *Dialled) Target() netip.AddrPort {
	if r := d.Session.remote.Load(); r != nil {
		return r.Peer
	}
	return *d.primary.Load()
}

// followed is where the peer at an address was followed to.
func (d *Dialled) followed(to netip.AddrPort) netip.AddrPort {
	if r := d.Session.remote.Load(); r != nil && r.Peer.Addr().Is4() == to.Addr().Is4() {
		return r.Peer
	}
	return to
}

// Follow leads the direct paths of an address's family there: WireGuard has
// found a datagram from there to be the peer's. A bonded session finds out for
// itself, and is left alone.
func (d *Dialled) Follow(to netip.AddrPort) {
	now := d.begin()
	if d.engine.Bonded() {
		d.end(now)
		return
	}
	d.remote.Store(&wgbond.Remote{Peer: to})
	for _, o := range d.outlets {
		if o != nil && o.route.direct && o.route.to.IsValid() && o.route.to.Addr().Is4() == to.Addr().Is4() {
			o.route.to = to
		}
	}
	d.end(now)
	go d.lease() // our caller may be a reader, for whose end a change of paths waits
}

// lease has the relays' leases renewed for where the peer was followed to.
func (d *Dialled) lease() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		d.setPathsLocked(d.pathsLocked())
	}
}

// pathsLocked are the paths as they were set, but for those left out.
func (d *Dialled) pathsLocked() (paths []Path) {
	for _, p := range d.paths {
		paths = append(paths, Path{p.spec, p.wayNow()})
	}
	return paths
}

// WantsNAT64 reports whether a path reaches IPv4 hosts by a translator in its
// network only: its device has IPv6 and no IPv4, and no relay is asked.
func (p *Path) WantsNAT64() bool {
	return p.Known && !p.Relay.IsValid() && p.V4 == netwatch.Nowhere && p.V6 == netwatch.Everywhere
}

// translated reports whether it has that translator.
func (p *Path) translated() bool { return p.WantsNAT64() && p.NAT64.IsValid() }

// choose finds the address for a path: the one that its device leads to best,
// of equals the first. If that is of IPv4, which the device has not, it is the
// one that stands for it in the device's network.
func choose(targets []netip.AddrPort, path Path) netip.AddrPort {
	best := targets[0]
	if path.Known && !path.Relay.IsValid() {
		for _, t := range targets[1:] {
			if path.distance(t.Addr()) > path.distance(best.Addr()) {
				best = t
			}
		}
	}
	if best.Addr().Is4() && path.translated() {
		best = netip.AddrPortFrom(nat64.Embed(path.NAT64, best.Addr()), best.Port())
	}
	return best
}

// withoutCLAT leaves out the IPv4 ends of translators if the peer can be
// reached by IPv6 itself, or by the network's translator: the same link twice
// carries no more.
func (d *Dialled) withoutCLAT(paths []Path) []Path {
	has6 := slices.ContainsFunc(d.targets, func(t netip.AddrPort) bool { return !t.Addr().Is4() })
	if !slices.ContainsFunc(paths, func(p Path) bool { return has6 && p.V6 == netwatch.Everywhere || p.translated() }) {
		return paths
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p Path) bool { return p.CLAT })
}

// Start opens the paths' sockets and sets the session going.
func (d *Dialled) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running || d.Ended() {
		return
	}
	d.running = true
	d.Session.start()
	for _, p := range d.paths {
		p.start()
	}
}

// Stop closes the paths' sockets and ends all goroutines. The session keeps
// what it knows; Start goes on with it, from the same ports if they are free.
func (d *Dialled) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopLocked()
}

// Learn has the shell's Memory take in what the paths carry.
func (d *Dialled) Learn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learnLocked()
}

func (d *Dialled) learnLocked() {
	for _, p := range d.paths {
		p.learn()
	}
}

func (d *Dialled) stopLocked() {
	d.learnLocked()
	d.running = false
	for _, p := range d.paths {
		p.stop()
	}
	d.Session.halt()
}

// Close says farewell to the peer and ends the session for good.
func (d *Dialled) Close(reason wire.CloseReason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A farewell is not worth waiting for a socket that takes nothing.
	paths := d.paths
	defer time.AfterFunc(farewellTime, func() {
		for _, p := range paths {
			if sock := p.socket(); sock != nil {
				_ = sock.Close()
			}
		}
	}).Stop()
	d.Session.farewell(reason)
	for _, p := range d.paths {
		p.release()
	}
	d.stopLocked()
}

// SetMark marks the sockets that are open.
func (d *Dialled) SetMark(mark uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, p := range d.paths {
		if sock := p.socket(); sock != nil {
			if err := sock.SetMark(mark); err != nil && !isClosed(err) {
				errs = append(errs, fmt.Errorf("path %s: %w", p.spec.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Links describes the paths' sockets and leases, in the order of SetPaths.
func (d *Dialled) Links() []Link {
	d.mu.Lock()
	defer d.mu.Unlock()
	links := make([]Link, 0, len(d.paths))
	for _, p := range d.paths {
		links = append(links, p.link())
	}
	return links
}

// refused is told by a flusher that a path's socket does not work.
func (d *Dialled) refused(_ schedulers.PathID, sock Socket, err error) {
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		// The socket is bound to a device that is gone for good, even if one
		// of that name returns: its reader shall open another.
		_ = sock.Close()
	}
}
