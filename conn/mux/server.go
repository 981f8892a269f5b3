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

	"github.com/wg-bond/wg-bond/conn/udp"
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
	Ended func(peer control.Key)
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
	s  *served
	id schedulers.PathID
}

// initiation is a handshake to be answered.
type initiation struct {
	pkt  []byte // a Pool buffer
	from wgbond.Remote
	sock Socket
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

// reader is the memory of the goroutine that reads one listening socket.
type reader struct {
	sock       Socket
	generation uint64
	addr       netip.AddrPort // the latest address, and what it leads to
	hit        attachment
	plainAddrs map[netip.AddrPort]struct{} // known to belong to no session
	plain      [][]byte                    // to hand to Plain, all from one Remote
	plainFrom  wgbond.Remote
	in         *served // whose mutex is held
	now        time.Duration
}

// read reads one listening socket until it is closed.
func (v *Server) read(sock Socket, quit chan struct{}) {
	defer v.wg.Done()
	ms := v.shell.Messages(BatchSize)
	defer v.shell.Release(ms)
	r := &reader{sock: sock, plainAddrs: make(map[netip.AddrPort]struct{})}
	for {
		n, err := sock.ReadBatch(ms)
		switch {
		case err == nil:
			v.batch(r, ms[:n])
		case isClosed(err):
			return
		default:
			v.shell.Log.Error("listening socket fails; trying on", "local", sock.LocalAddr(), "err", err)
			select {
			case <-quit:
				return
			case <-time.After(retryOpen):
			}
		}
	}
}

// batch sorts one batch. Consecutive datagrams of one session enter its
// engine under one hold of its mutex.
func (v *Server) batch(r *reader, ms []udp.Message) {
	if g := v.generation.Load(); g != r.generation {
		r.generation, r.addr = g, netip.AddrPort{}
		clear(r.plainAddrs)
	}
	for i := range ms {
		m := &ms[i]
		if v.take(r, m) {
			m.Buf = v.shell.Pool.Get()
		}
		m.Buf = m.Buf[:wgbond.MaxDatagram]
	}
	r.leave()
	v.flushPlain(r)
}

// enter holds s's mutex, and no other session's.
func (r *reader) enter(s *served) {
	if r.in == s {
		return
	}
	r.leave()
	r.now = s.begin()
	s.heard.Store(int64(r.now))
	r.in = s
}

func (r *reader) leave() {
	if r.in != nil {
		r.in.end(r.now)
		r.in = nil
	}
}

func (v *Server) flushPlain(r *reader) {
	if len(r.plain) > 0 {
		v.cfg.Plain(r.plainFrom, r.plain)
		clear(r.plain)
		r.plain = r.plain[:0]
	}
}

// take sorts one datagram and reports whether it took the buffer.
func (v *Server) take(r *reader, m *udp.Message) bool {
	from := wgbond.Remote{Peer: m.Peer, Local: m.Local}
	switch kind := wire.Kind(m.Buf); kind {
	case wire.WGData, wire.WGHandshake:
		if a := v.at(r, m.Peer); a.s != nil {
			r.enter(a.s)
			a.s.engine.Receive(r.now, a.id, m.Buf)
			return true
		}
		if kind == wire.WGData {
			if s := v.owner(r, m); s != nil {
				r.enter(s)
				s.engine.ReceiveStray(r.now, from, m.Buf)
				return true
			}
		}
		if len(r.plain) > 0 && from != r.plainFrom {
			v.flushPlain(r)
		}
		r.plainFrom = from
		r.plain = append(r.plain, m.Buf)
		return true

	case wire.SessionControl:
		switch wire.ControlKind(m.Buf) {
		case wire.Sealed:
			return v.sealed(r, m, from)
		case wire.Initiation:
			select {
			case v.asks <- initiation{m.Buf, from, r.sock}:
				return true
			default:
				v.shell.Drops.Add(DropHandshakeBusy, 1)
			}
		default:
			v.shell.Drops.Add(DropUnexpected, 1)
		}
	case wire.LeaseControl:
		v.shell.Drops.Add(DropLeaseHere, 1)
	default:
		v.shell.Drops.Add(DropMalformed, 1)
	}
	return false
}

// at tells what an address leads to.
func (v *Server) at(r *reader, addr netip.AddrPort) attachment {
	if addr != r.addr {
		v.mu.RLock()
		r.hit = v.byAddr[addr]
		v.mu.RUnlock()
		r.addr = addr
	}
	return r.hit
}

// sealed sorts a sealed message: it belongs to the session with its receiver
// index, wherever it comes from.
func (v *Server) sealed(r *reader, m *udp.Message, from wgbond.Remote) bool {
	index, _ := wire.ReceiverIndex(m.Buf)
	a := v.at(r, m.Peer)
	v.mu.RLock()
	s := v.byIdx[index]
	v.mu.RUnlock()
	switch {
	case s != nil && s == a.s:
		r.enter(s)
		s.engine.Receive(r.now, a.id, m.Buf)
		return true
	case s != nil:
		r.enter(s)
		s.engine.ReceiveStray(r.now, from, m.Buf)
		return true
	}
	r.leave() // for establish enters a session of its own choice
	if s = v.establish(m.Buf, from); s == nil {
		return false
	}
	r.enter(s)
	s.engine.ReceiveStray(r.now, from, m.Buf)
	return true
}

// owner finds the session that a data message from an unknown address belongs
// to: a path's address may have changed under the client's feet.
func (v *Server) owner(r *reader, m *udp.Message) *served {
	if _, known := r.plainAddrs[m.Peer]; known {
		return nil
	}
	all := *v.all.Load()
	if len(all) > 0 && !v.searches.take(v.shell.Now(), ownerSearches) {
		return nil
	}
	index, _, _ := wire.DataHeader(m.Buf)
	r.leave()
	for _, s := range all {
		s.mu.Lock()
		owns := s.engine.OwnsIndex(index)
		s.mu.Unlock()
		if owns {
			return s
		}
	}
	if len(r.plainAddrs) >= maxKnownPlain {
		clear(r.plainAddrs)
	}
	r.plainAddrs[m.Peer] = struct{}{}
	return nil
}

// establish takes a sealed message of an unknown index. If it completes a
// handshake, the new keys become the session's, in a new session if the peer
// has none; the message itself is then the session's to open. It returns nil
// if there is no such session.
func (v *Server) establish(datagram []byte, from wgbond.Remote) *served {
	v.handsMu.Lock()
	defer v.handsMu.Unlock() // held throughout: two sessions of one peer at once cannot be
	if v.hands == nil {
		v.shell.Drops.Add(DropUnknownIndex, 1)
		return nil
	}
	accepted, err := v.hands.Confirm(v.shell.Now(), datagram)
	switch {
	case errors.Is(err, control.ErrUnknownIndex):
		// Perhaps another reader was faster.
		index, _ := wire.ReceiverIndex(datagram)
		v.mu.RLock()
		s := v.byIdx[index]
		v.mu.RUnlock()
		if s == nil {
			v.shell.Drops.Add(DropUnknownIndex, 1)
		}
		return s
	case err != nil:
		v.shell.Drops.Add(DropUnauthentic, 1)
		return nil
	}

	v.mu.RLock()
	s, room := v.byKey[accepted.Peer], len(v.byKey) < maxSessions
	v.mu.RUnlock()
	fresh := s == nil
	if fresh {
		if !room {
			err = fmt.Errorf("%d sessions are as many as there can be", maxSessions)
		} else {
			s, err = v.newServed(accepted.Peer)
		}
		if err != nil {
			v.shell.Drops.Add(DropTooManySessions, 1)
			v.shell.Log.Error("session refused", "peer", accepted.Peer.String(), "err", err)
			return nil
		}
	}
	now := s.begin()
	s.engine.Establish(now, accepted.Transport)
	s.end(now)
	s.remote.CompareAndSwap(nil, &from) // until a path is attached
	if fresh {
		s.start()
	}

	index := accepted.Transport.LocalIndex()
	v.mu.Lock()
	if fresh {
		v.byKey[accepted.Peer] = s
		v.listLocked()
	} else if v.byKey[accepted.Peer] != s { // it ended in this moment; the peer shakes hands again
		v.mu.Unlock()
		v.shell.Drops.Add(DropClosed, 1)
		return nil
	}
	s.indexes = append(s.indexes, index)
	if len(s.indexes) > 2 { // the previous keys stay good for what is under way
		delete(v.byIdx, s.indexes[0])
		s.indexes = slices.Delete(s.indexes, 0, 1)
	}
	v.byIdx[index] = s
	v.mu.Unlock()
	v.shell.Log.Info("session established", "peer", accepted.Peer.String(), "new", fresh)
	return s
}

// taken reports whether a receiver index is in use.
func (v *Server) taken(index uint32) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byIdx[index] != nil
}

// shakeHands answers initiations, away from the readers: a handshake costs as
// much as hundreds of datagrams.
func (v *Server) shakeHands(quit chan struct{}) {
	defer v.wg.Done()
	for {
		select {
		case <-quit:
			return
		case a := <-v.asks:
			v.shake(a)
		}
	}
}

func (v *Server) shake(a initiation) {
	defer v.shell.Pool.Put(a.pkt)
	v.handsMu.Lock()
	if v.hands == nil {
		v.handsMu.Unlock()
		v.shell.Drops.Add(DropHandshakeInvalid, 1)
		return
	}
	reply, err := v.hands.Handle(v.shell.Now(), a.from.Peer, a.pkt)
	v.handsMu.Unlock()
	switch {
	case errors.Is(err, control.ErrLimited):
		v.shell.Drops.Add(DropHandshakeRate, 1)
	case err != nil:
		v.shell.Drops.Add(DropHandshakeInvalid, 1)
		v.shell.Log.Debug("handshake refused", "from", a.from.Peer, "err", err)
	default:
		// A failure is counted; the peer asks again.
		_ = v.shell.Write(a.sock, [][]byte{reply}, a.from.Peer, a.from.Local)
	}
}

func (v *Server) newServed(peer control.Key) (*served, error) {
	scheduler := v.cfg.Scheduler()
	engine := wgbond.New(v.shell.Now(), wgbond.Config{
		Role:      wgbond.Server,
		Scheduler: scheduler,
		Pool:      &v.shell.Pool,
		Wall:      time.Now,
		Rand:      rand.Reader,
		Trace:     v.shell.recorder(peer.String()),
	})
	s := &served{Session: newSession(v.shell, engine, nil), peer: peer}
	s.attend(scheduler)
	s.socketFor = v.socketFor
	s.moved = func() { v.movedLocked(s) }
	s.closed = func() {
		select {
		case v.closed <- s:
		default: // its silence will tell as well
		}
	}
	sink, err := v.cfg.Sink(peer, s.Session)
	if err != nil {
		s.dismiss()
	}
	s.sink = sink
	return s, err
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
				v.byAddr[rem.Peer] = attachment{s, id}
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
		v.cfg.Ended(s.peer)
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

// tokens bounds how often something is done a second. It is safe for
// concurrent use; the zero value is ready.
type tokens struct {
	second atomic.Int64
	used   atomic.Int64
}

// take reports whether one more is allowed now.
func (t *tokens) take(now time.Duration, perSecond int64) bool {
	if s := int64(now / time.Second); t.second.Swap(s) != s {
		t.used.Store(0)
	}
	return t.used.Add(1) <= perSecond
}
