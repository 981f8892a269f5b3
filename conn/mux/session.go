package mux

import (
	"errors"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// A Sink takes what a session delivers to the local WireGuard.
type Sink interface {
	// Deliver takes ownership of the datagrams (Pool buffers), not of the
	// slice. It is called by one goroutine at a time, in order, with no lock
	// held, and should not block for long: meanwhile the session piles up
	// what arrives, and beyond maxInbox it drops.
	Deliver(pkts [][]byte)
}

// maxInbox bounds what waits for the Sink, datagrams.
const maxInbox = 4096

// minSleep is the shortest time the timer is set for: it bounds the work that
// a session asks for by the clock.
const minSleep = 100 * time.Microsecond

// goneRetry is how long a path that has no device or route is left alone.
const goneRetry = 50 * time.Millisecond

// farewellTime is how long a farewell may take: much longer than it does on a
// busy machine, for it is only meant for sockets that block.
const farewellTime = 2 * time.Second

var errNoSocket = errors.New("the path has no socket")

// Session is the shell around one wgbond.Session: its mutex, its timer, a
// flusher for each of its paths, and the hand-over to its Sink. Both roles use
// it: Dialled and Server own the Sessions and feed them.
//
// A Session runs between start and halt, which its owner calls; while halted
// it does nothing and keeps all that it knows.
type Session struct {
	shell *Shell
	sink  Sink

	// refused, if set, is told of a write that failed because the path's
	// device or route is gone, by the path's flusher, with no lock held.
	refused func(id schedulers.PathID, sock Socket, err error)
	// moved, if set, is told when a server's paths, or a client's straight ones, lead elsewhere. It is
	// called with mu held.
	moved func()
	// closed, if set, is told once that the peer has ended the session. It is
	// called with mu held and must not block.
	closed func()
	// socketFor gives a server's sessions the socket to reach an address from.
	socketFor func(netip.Addr) Socket

	scheduler schedulers.Scheduler // the engine's; see attend

	// remote is a server's latest idea of where the peer is; a client's, where
	// the server was followed to, nil if it is where it was set.
	remote atomic.Pointer[wgbond.Remote]
	heard  atomic.Int64 // when anything arrived: engine time
	over   atomic.Bool  // ended for good

	// mu guards the engine and all below. It is never held over I/O, nor
	// while calling the Sink. Lock order: Session.mu before Server.mu.
	mu       sync.Mutex
	engine   *wgbond.Session
	outlets  [schedulers.MaxPaths]*outlet
	flushing uint32        // a bit for each outlet whose flusher is at work
	inbox    [][]byte      // delivered by the engine, not yet handed over
	spare    [][]byte      // the slice to collect the next inbox in
	handing  bool          // a goroutine is handing over
	due      time.Duration // what timer is set for
	timer    *time.Timer
	asked    time.Duration // when WireGuard first sent something since the peer was heard
	version  uint64        // of the engine's remotes
	strays   []wgbond.Stray
	run      *run // nil while halted
}

// run is one period between start and halt.
type run struct {
	quit chan struct{}
	wg   sync.WaitGroup
}

// outlet is one path's way out. Its flusher is the only goroutine that calls
// Transmit and Transmitted for the path, so a socket that blocks holds up its
// own path and no other.
type outlet struct {
	id   schedulers.PathID
	wake chan struct{} // room for one
	quit chan struct{} // closed when the path is removed
	done chan struct{} // closed when the flusher of the present run has left

	route route // guarded by Session.mu
}

// route is where an outlet leads. The zero route leads nowhere.
type route struct {
	sock Socket
	to   netip.AddrPort
	from netip.Addr // a server's: of our addresses the one that the peer writes to

	direct   bool           // a client's: to the peer itself, not to a relay
	count    *atomic.Uint64 // of bytes written, headers included; nil: not counted
	overhead int            // of each datagram; only if count is set
}

func newSession(shell *Shell, engine *wgbond.Session, sink Sink) *Session {
	s := &Session{shell: shell, sink: sink, engine: engine, due: wgbond.Never}
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	s.heard.Store(int64(shell.Now()))
	return s
}

// attend connects a scheduler that works beside the session, like one in
// another process: if it has a method Notify(func()), it may call what that is
// given to have the session plan again, on a goroutine of its own; if it is an
// io.Closer, it is closed when the session is over.
func (s *Session) attend(sched schedulers.Scheduler) {
	s.scheduler = sched
	if n, ok := sched.(interface{ Notify(func()) }); ok {
		n.Notify(s.replan)
	}
}

// dismiss tells the scheduler that the session is over.
func (s *Session) dismiss() {
	if c, ok := s.scheduler.(io.Closer); ok {
		_ = c.Close()
	}
}

func (s *Session) replan() {
	now := s.begin()
	if s.run != nil {
		s.engine.Replan(now)
	}
	s.end(now)
}

// Send takes WireGuard's datagrams for the peer. It keeps none of the buffers.
func (s *Session) Send(pkts [][]byte) {
	now := s.begin()
	if s.run == nil {
		s.mu.Unlock()
		s.shell.Drops.Add(DropClosed, len(pkts))
		return
	}
	if s.asked <= time.Duration(s.heard.Load()) {
		s.asked = now
	}
	s.engine.Send(now, pkts)
	s.end(now)
}

// Status describes the engine's session.
func (s *Session) Status() wgbond.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.Status(s.shell.Now())
}

// FitsMTU is the engine's.
func (s *Session) FitsMTU() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.FitsMTU()
}

// learned is what is to be remembered of a client's path.
func (s *Session) learned(id schedulers.PathID) wgbond.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.Learned(s.shell.Now(), id)
}

// Remote is where a server's session last knew its peer to be.
func (s *Session) Remote() wgbond.Remote {
	if r := s.remote.Load(); r != nil {
		return *r
	}
	return wgbond.Remote{}
}

// Ended reports whether the session is over for good: what is to be sent must
// go another way.
func (s *Session) Ended() bool { return s.over.Load() }

// begin locks the session for engine calls at the time it returns.
func (s *Session) begin() time.Duration {
	s.mu.Lock()
	return s.shell.Now()
}

// end follows engine calls: it takes from the engine what came of them, unlocks,
// and passes it on.
func (s *Session) end(now time.Duration) {
	s.inbox = s.engine.Deliver(s.inbox)
	if n := len(s.inbox) - maxInbox; n > 0 {
		s.shell.Drops.Add(DropReceiverFull, n)
		s.shell.Pool.PutAll(s.inbox[maxInbox:])
		s.inbox = s.inbox[:maxInbox]
	}
	s.followRemotes()
	s.call(now)
	if s.closed != nil && s.engine.Closed() {
		s.closed()
		s.closed = nil
	}

	s.strays = s.engine.Strays(s.strays[:0])
	var strays []wgbond.Stray
	if len(s.strays) > 0 { // rare: a path being attached
		strays, s.strays = s.strays, nil
	}
	var batch [][]byte
	if len(s.inbox) > 0 && !s.handing {
		s.handing = true
		batch, s.inbox, s.spare = s.inbox, s.spare[:0], nil
	}
	s.mu.Unlock()

	for _, st := range strays {
		s.sendStray(st)
	}
	if batch != nil {
		s.handOver(batch)
	}
}

// handOver gives batch, and what piles up meanwhile, to the Sink.
func (s *Session) handOver(batch [][]byte) {
	for len(batch) > 0 {
		s.sink.Deliver(batch)
		clear(batch)
		s.mu.Lock()
		s.spare = batch[:0]
		batch = s.inbox
		if len(batch) > 0 {
			s.inbox, s.spare = s.spare, nil
		} else {
			s.handing = false
		}
		s.mu.Unlock()
	}
}

// call wakes the flushers of the paths that are ready, and sets the timer if
// the engine wants to be called before it goes off. That it wants to be called
// at once for what is ready needs no timer: a flusher that was woken calls again.
func (s *Session) call(now time.Duration) {
	woken := false
	for ready := s.engine.Ready() &^ s.flushing; ready != 0; ready &= ready - 1 {
		if o := s.outlets[lowestBit(ready)]; o != nil {
			o.signal()
			woken = true
		}
	}
	next := s.engine.Next()
	if woken && next <= now {
		return
	}
	if next < s.due && s.run != nil {
		s.due = next
		s.timer.Reset(max(next-now, minSleep))
	}
}

// tick calls Advance when it is due.
func (s *Session) tick(r *run) {
	defer r.wg.Done()
	for {
		select {
		case <-r.quit:
			return
		case <-s.timer.C:
		}
		now := s.begin()
		s.due = wgbond.Never
		if s.run == r && s.engine.Next() <= now {
			s.engine.Advance(now)
		}
		s.end(now)
	}
}

// start sets the timer and the flushers going.
func (s *Session) start() {
	now := s.begin()
	if s.run == nil && !s.over.Load() {
		s.run = &run{quit: make(chan struct{})}
		s.run.wg.Add(1)
		go s.tick(s.run)
		for _, o := range s.outlets {
			if o != nil {
				s.startFlusherLocked(o)
			}
		}
	}
	s.end(now)
}

// halt ends what start began and waits for it. Sockets that a flusher may be
// writing to must be closed before, or be able to take what is written.
func (s *Session) halt() {
	s.mu.Lock()
	r := s.run
	s.run = nil
	s.timer.Stop()
	s.due = wgbond.Never
	s.mu.Unlock()
	if r != nil {
		close(r.quit)
		r.wg.Wait()
		s.mu.Lock()
		s.engine.FlushTrace()
		s.mu.Unlock()
	}
}

// farewell tells the peer that the session is over, as far as that can be done
// at once, and halts it for good.
func (s *Session) farewell(reason wire.CloseReason) {
	now := s.begin()
	running := s.run != nil
	if running {
		s.engine.Close(now, reason)
	}
	s.over.Store(true)
	s.end(now)
	s.halt()
	s.dismiss()
	if !running {
		return
	}
	// The flushers have left; what they did not get to say is said here.
	for id := range schedulers.PathID(schedulers.MaxPaths) {
		s.mu.Lock()
		o := s.outlets[id]
		s.mu.Unlock()
		if o != nil {
			s.flushOnce(o, make([][]byte, 0, BatchSize))
		}
	}
}

// addOutlet makes path id's outlet and, if the session runs, its flusher.
func (s *Session) addOutletLocked(id schedulers.PathID, r route) {
	o := &outlet{id: id, wake: make(chan struct{}, 1), quit: make(chan struct{}), route: r}
	s.outlets[id] = o
	if s.run != nil {
		s.startFlusherLocked(o)
	}
}

// dropOutlet ends path id's flusher and forgets its outlet.
func (s *Session) dropOutlet(id schedulers.PathID) {
	s.mu.Lock()
	o := s.outlets[id]
	var done chan struct{}
	if o != nil {
		o.route = route{}
		done = o.done
	}
	s.mu.Unlock()
	if o == nil {
		return
	}
	close(o.quit)
	if done != nil {
		<-done
	}
	s.mu.Lock()
	s.outlets[id] = nil
	s.mu.Unlock()
}

// setRoute leads path id elsewhere.
func (s *Session) setRoute(id schedulers.PathID, r route) {
	s.mu.Lock()
	if o := s.outlets[id]; o != nil && o.route != r {
		o.route = r
		o.signal()
	}
	s.mu.Unlock()
}

func (s *Session) startFlusherLocked(o *outlet) {
	o.done = make(chan struct{})
	s.run.wg.Add(1)
	go s.flush(s.run, o, o.done)
	o.signal()
}

func (o *outlet) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush is the flusher of one path.
func (s *Session) flush(r *run, o *outlet, done chan struct{}) {
	defer r.wg.Done()
	defer close(done)
	batch := make([][]byte, 0, BatchSize)
	pause := time.NewTimer(goneRetry)
	defer pause.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-o.quit:
			return
		case <-o.wake:
		}
		if s.flushOnce(o, batch) {
			continue
		}
		// The path is gone, which the engine has been told. Whatever it still
		// has ready there (a probe) is not tried at the full speed of failure.
		pause.Reset(goneRetry)
		select {
		case <-r.quit:
			return
		case <-o.quit:
			return
		case <-pause.C:
		}
	}
}

// flushOnce transmits until path o has nothing ready, and reports false if
// that is not to be tried again at once. batch is scratch.
func (s *Session) flushOnce(o *outlet, batch [][]byte) bool {
	bit := uint32(1) << o.id
	now := s.begin()
	s.flushing |= bit
	ok, empty := true, 0
	for ok && s.engine.Ready()&bit != 0 {
		batch = s.engine.Transmit(now, o.id, batch[:0])
		r := o.route
		s.call(now)
		s.mu.Unlock()

		var err error
		var tooLong int
		if r.sock != nil && r.to.IsValid() {
			tooLong, err = s.shell.write(r.sock, batch, r.to, r.from)
			r.tally(batch)
			if err != nil && udp.Gone(err) && r.from.IsValid() {
				// Perhaps only the address that the peer wrote to is gone: it finds us
				// at another. What this batch held is lost, as on any path.
				s.leaveAddress(o, r)
				err = nil
			}
		} else {
			s.shell.Drops.Add(DropNoSocket, len(batch))
			err = errNoSocket
		}
		if len(batch) == 0 { // what waited was reported delivered meanwhile: rare
			empty++
		}
		ok = err == nil && empty < 3
		clear(batch)
		if err != nil && r.sock != nil && s.refused != nil {
			s.refused(o.id, r.sock, err)
		}

		now = s.begin()
		s.engine.Transmitted(now, o.id)
		if tooLong > 0 {
			s.engine.PathTooLong(now, o.id, tooLong)
		}
		if err != nil {
			s.engine.PathDown(now, o.id)
		}
	}
	s.flushing &^= bit
	s.end(now)
	return ok
}

// tally counts what was written.
func (r *route) tally(batch [][]byte) {
	if r.count == nil {
		return
	}
	n := len(batch) * r.overhead
	for _, b := range batch {
		n += len(b)
	}
	r.count.Add(uint64(n))
}

// leaveAddress has outlet o, if it still leads where r does, send from whatever
// address the routes say.
func (s *Session) leaveAddress(o *outlet, r route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.route == r {
		o.route.from = netip.Addr{}
	}
}

// followRemotes brings the outlets up to date with where the engine knows the
// paths to lead: a server's to its peer, a client's to a server that moved.
func (s *Session) followRemotes() {
	v := s.engine.RemotesVersion()
	if v == s.version {
		return
	}
	s.version = v
	if s.socketFor == nil {
		s.followServerLocked()
		return
	}
	s.rerouteLocked()
	if s.moved != nil {
		s.moved()
	}
}

// followServerLocked leads a client's paths to where the server proved to be.
func (s *Session) followServerLocked() {
	for id, o := range s.outlets {
		r, ok := s.engine.Remote(schedulers.PathID(id))
		if !ok || o == nil || !o.route.direct || o.route.to == r.Peer {
			continue
		}
		if o.route.to.IsValid() {
			s.shell.Log.Info("the server has moved", "from", o.route.to, "to", r.Peer)
			o.route.to = r.Peer
		}
		s.remote.Store(&r)
		if s.moved != nil {
			s.moved()
		}
	}
}

// rerouteLocked finds every path's route anew.
func (s *Session) rerouteLocked() {
	var first *wgbond.Remote
	current := s.remote.Load()
	kept := false
	for id := range schedulers.PathID(schedulers.MaxPaths) {
		rem, ok := s.engine.Remote(id)
		if !ok {
			// The outlet stays, for the path may come back while its flusher
			// is still writing; it has nothing to send meanwhile.
			continue
		}
		if first == nil {
			first = &rem
		}
		kept = kept || current != nil && *current == rem
		r := route{sock: s.socketFor(rem.Peer.Addr()), to: rem.Peer, from: rem.Local}
		if o := s.outlets[id]; o != nil {
			o.route = r
		} else {
			s.addOutletLocked(id, r)
		}
	}
	if first != nil && !kept {
		s.remote.Store(first)
	}
}

func (s *Session) sendStray(st wgbond.Stray) {
	var sock Socket
	if s.socketFor != nil {
		sock = s.socketFor(st.To.Peer.Addr())
	} else {
		s.mu.Lock()
		if o := s.outlets[st.Path]; o != nil {
			sock = o.route.sock
		}
		s.mu.Unlock()
	}
	if sock == nil {
		s.shell.Drops.Add(DropNoSocket, 1)
		return
	}
	// A failure is counted; the peer asks again.
	_ = s.shell.Write(sock, [][]byte{st.Datagram}, st.To.Peer, st.To.Local)
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

func lowestBit(set uint32) int { return bits.TrailingZeros32(set) }
