package mux

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/conn/memory"
	"github.com/wg-bond/wg-bond/conn/netwatch"
	"github.com/wg-bond/wg-bond/conn/quota"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// LinkState is how far a path's socket has come.
type LinkState string

// The states of a path's socket.
const (
	LinkClosed  LinkState = "closed"  // the device is down
	LinkWaiting LinkState = "waiting" // cannot be opened (yet); tried again
	LinkLeasing LinkState = "leasing" // open; the relay has not granted a lease
	LinkOpen    LinkState = "open"    // in the hands of the engine
)

// Link describes a path's socket and lease: what the engine cannot know of it.
type Link struct {
	Name   string            `json:"name"`
	Device string            `json:"device,omitempty"`
	State  LinkState         `json:"state"`
	Reason string            `json:"reason,omitempty"` // why it is not open
	Path   schedulers.PathID `json:"path"`             // in the engine's status; only if InUse
	InUse  bool              `json:"in_use"`           // the engine has the path
	Local  netip.AddrPort    `json:"local"`
	To     netip.AddrPort    `json:"to"` // where it leads, if straight, but not to Dialled.Target
	Relay  netip.AddrPort    `json:"relay"`
	Lease  string            `json:"lease,omitempty"` // what the relay grants
	Quota  quota.Use         `json:"quota"`           // zero: it has none
}

// retryOpen is how long to wait before opening a socket again: short, for a
// modem that was just plugged in should be of use at once, and opening costs
// microseconds.
const retryOpen = time.Second

// dialPath is one path of a Dialled session. Its keeper goroutine opens the
// socket, obtains the lease, puts the path in the engine's hands, reads until
// the socket fails, and begins again.
//
//	        open fails: wait 1 s                 lease refused or lost:
//	       ┌──────────┐                     ┌─── path withdrawn, asked again
//	       ▼          │                     ▼              │
//	closed → waiting ─┴─ open ── relay? → leasing ─ grant ─┴→ open ──┐
//	            ▲                  └─ none ─────────────────→ open   │
//	            └───────── socket fails: path down, kept ◀───────────┘
type dialPath struct {
	d     *Dialled
	spec  PathSpec
	lease *leaseKeeper // nil without a relay
	// broken says why the path can never work; it is not started then.
	broken error

	wake chan struct{} // room for one: try again at once

	mu     sync.Mutex     // guards all below; taken before Session.mu
	target netip.AddrPort // the peer
	to     netip.AddrPort // where datagrams go: the relay or the target
	way    Way
	at     string // the networks that the engine's rates are of
	sock   Socket
	port   uint16 // of the latest socket: the next one asks for the same
	id     schedulers.PathID
	added  bool
	state  LinkState
	reason string
	quit   chan struct{} // nil while stopped
	done   chan struct{}
}

func newDialPath(d *Dialled, path Path, target netip.AddrPort) *dialPath {
	spec := path.PathSpec
	p := &dialPath{d: d, spec: spec, target: target, to: target, way: path.Way, state: LinkClosed, wake: make(chan struct{}, 1)}
	if spec.Relay.IsValid() {
		p.to = netip.AddrPortFrom(spec.Relay.Addr().Unmap(), spec.Relay.Port())
		if p.lease, p.broken = newLeaseKeeper(p); p.broken != nil {
			p.note(LinkWaiting, p.broken)
		}
	}
	return p
}

// servesLocked reports whether the path can lead to a peer's address as it is:
// a socket is of one family, a lease for one target. Dialled.mu is held.
func (p *dialPath) servesLocked(target netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target == target || p.lease == nil && p.target.Addr().Is4() == target.Addr().Is4()
}

// lead takes in how far the device leads now, and where the peer is.
func (p *dialPath) lead(way Way, target netip.AddrPort) {
	p.mu.Lock()
	moved := p.target != target
	news := moved || way != p.way
	p.way, p.target = way, target
	if p.lease == nil {
		p.to = target
	}
	id, added, sock := p.id, p.added, p.sock
	elsewhere := added && way.Networks != "" && p.at != "" && !memory.Same(way.Networks, p.at)
	p.mu.Unlock()
	if !news {
		return
	}
	if elsewhere {
		p.learn()
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if !added {
		return
	}
	s := p.d.Session
	if moved && sock != nil && p.lease == nil {
		s.setRoute(id, p.route(sock))
	}
	m := p.recall()
	now := s.begin()
	if elsewhere {
		s.engine.Moved(now, id, m)
	}
	s.engine.Probe(now, id)
	s.end(now)
}

// recall takes in by which networks the path leads now, and tells what it carried
// there before.
func (p *dialPath) recall() wgbond.Memory {
	p.mu.Lock()
	p.at = cmp.Or(p.way.Networks, p.at) // a device that has lost its addresses comes back with them
	key := p.keyLocked()
	p.mu.Unlock()
	if p.lease != nil {
		return wgbond.Memory{} // what a lender leaves is another thing every time
	}
	return p.d.shell.Memory.Recall(key)
}

// learn has remembered what the path carries.
func (p *dialPath) learn() {
	p.mu.Lock()
	id, added, key := p.id, p.added, p.keyLocked()
	p.mu.Unlock()
	if book := p.d.shell.Memory; added && book != nil {
		book.Learn(key, p.d.learned(id), time.Now())
	}
}

func (p *dialPath) keyLocked() memory.Key {
	return memory.Key{Path: p.spec.Name, Device: p.spec.Device, Networks: p.at}
}

func (p *dialPath) wayNow() Way {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.way
}

// route leads to the peer by a socket: to where it was followed, unless it is
// reached by a relay.
func (p *dialPath) route(sock Socket) route {
	p.mu.Lock()
	r := route{sock: sock, to: p.to, direct: p.lease == nil, count: p.spec.Count}
	p.mu.Unlock()
	if r.direct {
		r.to = p.d.followed(r.to)
	}
	r.overhead = overhead(r.to.Addr())
	return r
}

// overhead is the size of the IP and UDP headers, bytes.
func overhead(a netip.Addr) int {
	if a.Is4() {
		return 28
	}
	return 48
}

func (p *dialPath) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quit == nil && p.broken == nil {
		p.quit, p.done = make(chan struct{}), make(chan struct{})
		go p.keep(p.quit, p.done)
	}
}

// stop closes the socket and waits for the keeper. The engine keeps the path,
// and the relay the lease.
func (p *dialPath) stop() {
	p.mu.Lock()
	quit, done, sock := p.quit, p.done, p.sock
	p.quit = nil
	if quit != nil {
		close(quit) // with the lock held: a socket that open has ready now is seen here, or sees this
	}
	p.mu.Unlock()
	if quit == nil {
		return
	}
	if sock != nil {
		_ = sock.Close()
	}
	<-done
	p.note(LinkClosed, nil)
}

// release gives the relay its lease back: the path is of no more use.
func (p *dialPath) release() {
	if sock := p.socket(); sock != nil && p.lease != nil {
		p.lease.release(sock)
	}
}

// withdraw takes the path out of the engine's hands.
func (p *dialPath) withdraw() {
	p.learn()
	p.mu.Lock()
	id, added := p.id, p.added
	p.added = false
	p.mu.Unlock()
	if !added {
		return
	}
	s := p.d.Session
	s.dropOutlet(id)
	now := s.begin()
	s.engine.RemovePath(now, id)
	s.end(now)
}

// join puts the path in the engine's hands, or leads it to its new socket. It
// reports whether the engine has just got it.
func (p *dialPath) join(sock Socket) (added bool) {
	s := p.d.Session
	r := p.route(sock)
	p.mu.Lock()
	id, there := p.id, p.added
	p.mu.Unlock()
	if there {
		s.setRoute(id, r)
		p.note(LinkOpen, nil)
		return false
	}
	m := p.recall()
	now := s.begin()
	id, err := s.engine.AddPath(now, wgbond.PathConfig{
		Name:     p.spec.Name,
		Backup:   p.spec.Backup,
		Metered:  p.spec.Metered,
		Weight:   p.spec.Weight,
		MaxRate:  p.spec.MaxRate,
		Lent:     p.lease != nil,
		Overhead: r.overhead,
		Memory:   m,
	})
	if err == nil {
		s.addOutletLocked(id, r)
	}
	s.end(now)
	if err != nil {
		p.note(LinkWaiting, err)
		return false
	}
	p.mu.Lock()
	p.id, p.added = id, true
	p.mu.Unlock()
	p.note(LinkOpen, nil)
	return true
}

// keep is the keeper goroutine.
func (p *dialPath) keep(quit, done chan struct{}) {
	defer close(done)
	for {
		sock, err := p.open(quit)
		if err != nil {
			p.note(LinkWaiting, err)
		} else {
			if p.lease != nil {
				p.note(LinkLeasing, nil)
				p.lease.begin(sock)
			} else {
				p.join(sock)
			}
			err = p.read(sock)
			if p.lease != nil {
				p.lease.end()
			}
			p.lost(sock, quit)
			select {
			case <-quit: // it was stop that closed the socket
				return
			default:
				p.note(LinkWaiting, err)
			}
		}
		select {
		case <-quit:
			return
		case <-p.wake:
		case <-time.After(retryOpen):
		}
	}
}

// open opens the socket, unless quit is closed.
func (p *dialPath) open(quit chan struct{}) (Socket, error) {
	p.mu.Lock()
	port, to, way := p.port, p.to, p.way
	p.mu.Unlock()
	local := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		local = netip.IPv6Unspecified()
	}
	if way.Known && way.distance(to.Addr()) == netwatch.Nowhere && p.lease == nil && !to.Addr().IsLinkLocalUnicast() {
		return nil, unreachable(p.spec.Device, to.Addr(), way)
	}
	cfg := udp.Config{Device: p.spec.Device, Local: netip.AddrPortFrom(local, port)}
	// The port of before keeps the peer's idea of the path, and a NAT's, true.
	sock, err := p.d.shell.Listen(cfg)
	if err != nil && port != 0 {
		cfg.Local = netip.AddrPortFrom(local, 0)
		sock, err = p.d.shell.Listen(cfg)
	}
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-quit: // stop has looked for the socket already
		_ = sock.Close()
	default:
	}
	p.sock, p.port = sock, sock.LocalAddr().Port()
	return sock, nil
}

// unreachable says why a device does not lead to an address.
func unreachable(device string, to netip.Addr, way Way) error {
	family, other := "IPv4", "IPv6"
	if to.Is6() {
		family, other = other, family
	}
	if way.V4 == netwatch.Nowhere && way.V6 == netwatch.Nowhere {
		return fmt.Errorf("%s has no address (yet)", device)
	}
	return fmt.Errorf("%s has no %s address, only %s, and the server is at %v: give the endpoint as a name that has both, or have the device's network name a NAT64 prefix (RFC 7050)", device, family, other, to)
}

// lost forgets the socket; the engine learns that the path is down, unless we
// are stopping, perhaps to be started again in a moment.
func (p *dialPath) lost(sock Socket, quit chan struct{}) {
	_ = sock.Close()
	p.mu.Lock()
	p.sock = nil
	id, added := p.id, p.added
	p.mu.Unlock()
	select {
	case <-quit:
		return
	default:
	}
	if added {
		s := p.d.Session
		s.setRoute(id, route{})
		now := s.begin()
		s.engine.PathDown(now, id)
		s.end(now)
	}
}

// read hands what arrives to the engine, a batch at a time, until the socket
// fails.
func (p *dialPath) read(sock Socket) error {
	shell, s := p.d.shell, p.d.Session
	ms := shell.Messages(BatchSize)
	defer shell.Release(ms)
	for {
		n, err := sock.ReadBatch(ms)
		if err != nil {
			return err
		}
		p.mu.Lock()
		id, added, to := p.id, p.added, p.to
		p.mu.Unlock()
		now := s.begin()
		if o := s.outlets[id]; added && o != nil && o.route.to.IsValid() {
			to = o.route.to // where the peer was followed to
		}
		bytes, took := 0, false
		for i := range ms[:n] {
			m := &ms[i]
			bytes += len(m.Buf) + overhead(to.Addr())
			if m.Peer == to {
				s.heard.Store(int64(now))
			}
			if m.Peer != to {
				if !p.foreign(now, id, added, m) {
					shell.Drops.Add(DropForeignSource, 1)
				}
			} else if reason, ok := p.sort(m.Buf); !ok {
				shell.Drops.Add(reason, 1)
			} else if wire.Kind(m.Buf) == wire.LeaseControl {
				p.lease.receive(m.Buf)
			} else if added {
				s.engine.Take(now, id, m.Buf)
				took = true
				m.Buf = nil
			} else {
				shell.Drops.Add(DropClosed, 1)
			}
		}
		if took {
			s.engine.Advance(now)
		}
		s.end(now)
		shell.Pool.arm(ms[:n])
		if p.spec.Count != nil {
			p.spec.Count.Add(uint64(bytes))
		}
	}
}

// foreign takes what came from elsewhere than the path leads to, and reports
// whether it was of use: the server may have moved. Session.mu is held.
func (p *dialPath) foreign(now time.Duration, id schedulers.PathID, added bool, m *udp.Message) bool {
	s := p.d.Session
	if _, ok := p.sort(m.Buf); !ok || !added || p.lease != nil || wire.Kind(m.Buf) == wire.LeaseControl {
		return false
	}
	switch {
	case s.engine.Bonded(), wire.Kind(m.Buf) == wire.SessionControl:
		s.engine.ReceiveForeign(now, id, wgbond.Remote{Peer: m.Peer}, m.Buf)
	case p.d.cfg.Foreign != nil:
		p.d.cfg.Foreign(m.Peer, [][]byte{m.Buf}) // rare: only until WireGuard has judged
	default:
		return false
	}
	m.Buf = nil
	return true
}

// sort tells whether a datagram is one that a client's path carries.
func (p *dialPath) sort(pkt []byte) (Reason, bool) {
	switch wire.Kind(pkt) {
	case wire.WGData, wire.WGHandshake:
		return 0, true
	case wire.SessionControl:
		if wire.ControlKind(pkt) == wire.Initiation {
			return DropUnexpected, false
		}
		return 0, true
	case wire.LeaseControl:
		if p.lease == nil {
			return DropLeaseHere, false
		}
		return 0, true
	}
	return DropMalformed, false
}

func (p *dialPath) socket() Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sock
}

// note records the path's state for people to see.
func (p *dialPath) note(state LinkState, why error) {
	reason := ""
	if why != nil {
		reason = why.Error()
	}
	p.mu.Lock()
	changed := p.state != state || p.reason != reason
	p.state, p.reason = state, reason
	p.mu.Unlock()
	if changed {
		level := slog.LevelInfo
		if state == LinkClosed { // as we wished
			level = slog.LevelDebug
		}
		p.d.shell.Log.Log(context.Background(), level, "path", "name", p.spec.Name, "device", p.spec.Device,
			"peer", p.d.cfg.Target, "state", string(state), "reason", reason)
	}
}

func (p *dialPath) link() Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := Link{
		Name:   p.spec.Name,
		Device: p.spec.Device,
		State:  p.state,
		Reason: p.reason,
		Path:   p.id,
		InUse:  p.added,
		Relay:  p.spec.Relay,
	}
	if p.sock != nil {
		l.Local = p.sock.LocalAddr()
	}
	if p.lease != nil {
		l.Lease = p.lease.describe()
	} else if to := p.d.followed(p.to); to != p.d.Target() {
		l.To = to
	}
	return l
}
