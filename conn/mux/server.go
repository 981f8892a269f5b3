package mux

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// ServerConfig says whom a Server serves.
type ServerConfig struct {
	// Private is our private key; zero: nobody can bond, and all is plain.
	Private control.Key
	// Lookup tells a peer's preshared key, and whether it may bond at all. It
	// is called by the handshake goroutine.
	Lookup func(peer control.Key) (preshared control.Key, ok bool)
	// Scheduler makes the scheduler of one session.
	Scheduler func() schedulers.Scheduler
	// Sink makes a new session's Sink. An error refuses the session.
	Sink func(peer control.Key, s *Session) (Sink, error)
	// Ended is told that a session is over, after its Sink's last delivery.
	Ended func(peer control.Key, s *Session)
	// Plain takes WireGuard's datagrams that belong to no session, in order,
	// all from the same address. It takes ownership of the datagrams (Pool
	// buffers), not of the slice, and should not block for long. It is called
	// by several goroutines at once, one for each listening socket.
	Plain func(from wgbond.Remote, pkts [][]byte)
}

// Bounds of a Server's state.
const (
	maxSessions    = 1024
	maxInitiations = 128 // waiting for the handshake goroutine
	// maxKnownPlain bounds each reader's memory of addresses that belong to
	// no session.
	maxKnownPlain = 4096
	// ownerSearches bounds how often a second all sessions are asked whether
	// a data message from an unknown address is theirs.
	ownerSearches = 1000

	// sessionLife is how long a session may be silent. WireGuard's keys are
	// rejected after 180 s; a client that returns later shakes hands anew.
	sessionLife = 240 * time.Second
	sweepEvery  = 5 * time.Second
)

// Server serves sessions in the server's role on listening sockets that all
// of them, and plain WireGuard clients, share.
type Server struct {
	shell *Shell
	cfg   ServerConfig

	socks  atomic.Pointer[listeners] // what to send by
	asks   chan initiation
	closed chan *served // whose peer said farewell
	mu     sync.RWMutex // guards the maps; taken after Session.mu, never before
	byKey  map[control.Key]*served
	byIdx  map[uint32]*served // by the receiver index of sealed messages
	byAddr map[netip.AddrPort]attachment
	// generation changes with byAddr: readers' memories are valid within one.
	generation atomic.Uint64
	all        atomic.Pointer[[]*served]
	searches   tokens // of ownerSearches

	// handsMu guards hands, and makes the establishing of sessions one at a
	// time. Taken before Session.mu and Server.mu.
	handsMu sync.Mutex
	hands   *control.Responder // nil without a private key

	life sync.Mutex // guards quit; held while starting and stopping
	quit chan struct{}
	wg   sync.WaitGroup
}

// served is a session and how its peer is known.
type served struct {
	*Session
	peer control.Key
	// indexes are the receiver indexes of its present and previous keys, and
	// addrs the addresses of its paths. Guarded by Server.mu.
	indexes []uint32
	addrs   []netip.AddrPort
}

// attachment is what an address leads to.
type attachment struct {
	s     *served
	id    schedulers.PathID
	local netip.Addr // our own address that it is known to write to
}

type listeners struct{ v4, v6 Socket }

// NewServer makes a server with no sockets.
func (sh *Shell) NewServer(cfg ServerConfig) (*Server, error) {
	v := &Server{
		shell:  sh,
		cfg:    cfg,
		asks:   make(chan initiation, maxInitiations),
		closed: make(chan *served, maxSessions),
		byKey:  make(map[control.Key]*served),
		byIdx:  make(map[uint32]*served),
		byAddr: make(map[netip.AddrPort]attachment),
	}
	v.socks.Store(&listeners{})
	v.all.Store(&[]*served{})
	if cfg.Private.IsZero() {
		return v, nil
	}
	var err error
	v.hands, err = control.NewResponder(control.ResponderConfig{
		Service: control.Bond,
		Private: cfg.Private,
		Lookup:  cfg.Lookup,
		Taken:   v.taken,
		Rand:    rand.Reader,
	})
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return v, nil
}

// Start serves on the sockets, of which either may be nil. It owns them.
func (v *Server) Start(v4, v6 Socket) {
	v.life.Lock()
	defer v.life.Unlock()
	v.socks.Store(&listeners{v4, v6})
	v.quit = make(chan struct{})
	for _, s := range *v.all.Load() {
		s.mu.Lock()
		s.rerouteLocked()
		s.mu.Unlock()
		s.start()
	}
	v.wg.Add(2)
	go v.shakeHands(v.quit)
	go v.sweep(v.quit)
	for _, sock := range []Socket{v4, v6} {
		if sock != nil {
			v.wg.Add(1)
			go v.read(sock, v.quit)
		}
	}
}

// Stop closes the sockets and ends all goroutines; sessions are kept for the
// next Start.
func (v *Server) Stop() {
	v.life.Lock()
	defer v.life.Unlock()
	v.stopLocked()
}

func (v *Server) stopLocked() {
	if v.quit == nil {
		return
	}
	close(v.quit)
	v.quit = nil
	l := v.socks.Swap(&listeners{})
	for _, sock := range []Socket{l.v4, l.v6} {
		if sock != nil {
			_ = sock.Close()
		}
	}
	v.wg.Wait()
	for _, s := range *v.all.Load() {
		s.halt()
	}
	for {
		select {
		case a := <-v.asks:
			v.shell.Pool.Put(a.pkt)
			v.shell.Drops.Add(DropClosed, 1)
		default:
			return
		}
	}
}

// Close says farewell to all peers and stops for good.
func (v *Server) Close(reason wire.CloseReason) {
	v.life.Lock()
	defer v.life.Unlock()
	// A farewell is not worth waiting for a socket that takes nothing.
	defer time.AfterFunc(farewellTime, func() {
		l := v.socks.Load()
		for _, sock := range []Socket{l.v4, l.v6} {
			if sock != nil {
				_ = sock.Close()
			}
		}
	}).Stop()
	for _, s := range *v.all.Load() {
		v.finish(s, reason)
	}
	v.stopLocked()
	for _, s := range *v.all.Load() { // established meanwhile
		v.finish(s, reason)
	}
}

// Revoke ends the sessions of the peers that are no longer allowed.
func (v *Server) Revoke(allowed func(peer control.Key) bool) {
	v.life.Lock()
	defer v.life.Unlock()
	for _, s := range *v.all.Load() {
		if !allowed(s.peer) {
			v.finish(s, wire.CloseRevoked)
		}
	}
}

// SetMark marks the listening sockets.
func (v *Server) SetMark(mark uint32) error {
	l := v.socks.Load()
	var errs []error
	for _, sock := range []Socket{l.v4, l.v6} {
		if sock != nil {
			if err := sock.SetMark(mark); err != nil && !isClosed(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Sessions calls f with every session, ordered by the peer's key.
func (v *Server) Sessions(f func(peer control.Key, s *Session)) {
	all := slices.Clone(*v.all.Load())
	slices.SortFunc(all, func(a, b *served) int { return slices.Compare(a.peer[:], b.peer[:]) })
	for _, s := range all {
		f(s.peer, s.Session)
	}
}

// Port is that of the listening sockets; 0 while there are none.
func (v *Server) Port() uint16 {
	l := v.socks.Load()
	for _, sock := range []Socket{l.v4, l.v6} {
		if sock != nil {
			return sock.LocalAddr().Port()
		}
	}
	return 0
}

// Knows reports whether an address is a path's of some session.
func (v *Server) Knows(addr netip.AddrPort) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if _, ok := v.byAddr[addr]; ok {
		return true
	}
	for _, s := range v.byKey { // also where one was last known to be
		if s.Remote().Peer == addr {
			return true
		}
	}
	return false
}

// Handshakes counts what became of the handshakes.
func (v *Server) Handshakes() control.ResponderStats {
	v.handsMu.Lock()
	defer v.handsMu.Unlock()
	if v.hands == nil {
		return control.ResponderStats{}
	}
	return v.hands.Stats()
}

// Send writes datagrams to an address that belongs to no session, from the
// local address that it wrote to, if known.
func (v *Server) Send(pkts [][]byte, to wgbond.Remote) error {
	sock := v.socketFor(to.Peer.Addr())
	if sock == nil {
		v.shell.Drops.Add(DropNoSocket, len(pkts))
		return fmt.Errorf("send to %v: %w", to.Peer, errNoSocket)
	}
	return v.shell.Write(sock, pkts, to.Peer, to.Local)
}

func (v *Server) socketFor(a netip.Addr) Socket {
	if l := v.socks.Load(); a.Is4() || a.Is4In6() {
		return l.v4
	} else {
		return l.v6
	}
}

// movedLocked brings byAddr up to date with a session's paths. Session.mu is
// held.
func (v *Server) movedLocked(s *served) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range s.addrs {
		if v.byAddr[a].s == s {
			delete(v.byAddr, a)
		}
	}
	s.addrs = s.addrs[:0]
	if v.byKey[s.peer] == s {
		for id := range schedulers.PathID(schedulers.MaxPaths) {
			if rem, ok := s.engine.Remote(id); ok {
				// The latest to prove an address its own has it.
				v.byAddr[rem.Peer] = attachment{s, id, rem.Local}
				s.addrs = append(s.addrs, rem.Peer)
			}
		}
	}
	v.generation.Add(1)
}

// finish ends a session.
func (v *Server) finish(s *served, reason wire.CloseReason) {
	v.mu.Lock()
	if v.byKey[s.peer] != s {
		v.mu.Unlock()
		return
	}
	delete(v.byKey, s.peer)
	for _, i := range s.indexes {
		delete(v.byIdx, i)
	}
	for _, a := range s.addrs {
		if v.byAddr[a].s == s {
			delete(v.byAddr, a)
		}
	}
	v.listLocked()
	v.generation.Add(1)
	v.mu.Unlock()
	s.farewell(reason)
	if v.cfg.Ended != nil {
		v.cfg.Ended(s.peer, s.Session)
	}
	v.shell.Log.Info("session ended", "peer", s.peer.String(), "reason", reason.String())
}

func (v *Server) listLocked() {
	all := make([]*served, 0, len(v.byKey))
	for _, s := range v.byKey {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *served) int { return cmp.Compare(b.heard.Load(), a.heard.Load()) })
	v.all.Store(&all)
}

// sweep removes what has had its time.
func (v *Server) sweep(quit chan struct{}) {
	defer v.wg.Done()
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-quit:
			return
		case s := <-v.closed:
			v.finish(s, wire.CloseShutdown)
		case <-t.C:
			v.sweepAt(v.shell.Now())
		}
	}
}

func (v *Server) sweepAt(now time.Duration) {
	for _, s := range *v.all.Load() {
		if now-time.Duration(s.heard.Load()) > sessionLife {
			v.finish(s, wire.CloseShutdown)
		}
	}
}
