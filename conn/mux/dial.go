package mux

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

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
	Backup, Metered bool
	Weight          float64 // relative; 0 means 1
	MaxRate         float64 // bytes per second; 0: no limit
}

// DialConfig says whom to dial and with which keys.
type DialConfig struct {
	Target    netip.AddrPort
	Private   control.Key
	Remote    control.Key // the peer's public key
	Preshared control.Key
	Scheduler schedulers.Scheduler
	Sink      Sink
}

// Dialled is a session in the client's role: each of its paths has a socket
// of its own.
type Dialled struct {
	*Session
	shell *Shell
	cfg   DialConfig

	mu      sync.Mutex // guards all below; taken before Session.mu
	paths   []*dialPath
	running bool
}

// Dial makes a session that dials cfg.Target once it has paths and is started.
func (sh *Shell) Dial(cfg DialConfig) (*Dialled, error) {
	cfg.Target = netip.AddrPortFrom(cfg.Target.Addr().Unmap(), cfg.Target.Port())
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
		Initiator: initiator,
		Wall:      time.Now,
		Rand:      rand.Reader,
		Trace:     sh.recorder(cfg.Target.String()),
	})
	d := &Dialled{Session: newSession(sh, engine, cfg.Sink), shell: sh, cfg: cfg}
	d.Session.attend(cfg.Scheduler)
	d.Session.refused = d.refused
	return d, nil
}

// Target is where the peer is dialled.
func (d *Dialled) Target() netip.AddrPort { return d.cfg.Target }

// SetPaths sets the paths to use. Paths that stay as they are are not
// disturbed; those that are no longer listed are withdrawn.
func (d *Dialled) SetPaths(specs []PathSpec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.paths
	d.paths = make([]*dialPath, 0, len(specs))
	var added []*dialPath
	for _, spec := range specs {
		same := func(p *dialPath) bool { return p.spec == spec }
		if i := slices.IndexFunc(was, same); i >= 0 {
			d.paths = append(d.paths, was[i])
			was = slices.Delete(slices.Clone(was), i, i+1)
			continue
		}
		p := newDialPath(d, spec)
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

func (d *Dialled) stopLocked() {
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
