package judge

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/tunnel"
	"github.com/wg-bond/wg-bond/wgbond/trace"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	overhead = 28               // IPv4 and UDP
	skew     = 1000 * time.Hour // the server's clock is that far ahead
)

// World is a scenario under way.
type World struct {
	loop      sim.Loop
	pool      pool
	random    *rand.ChaCha8
	wires     []*wires
	Client    *End
	Server    *End
	responder *control.Responder
}

// wires are one path's links, which several paths may share.
type wires struct {
	addr     netip.AddrPort
	id       schedulers.PathID
	down, up []*sim.Link[parcel]
	owner    *owner // of the link, if it is lent
}

// parcel is a packet in a link: a pool buffer, and the path that it takes.
type parcel struct {
	path *wires
	b    []byte
}

// End is one end's host: WireGuard and what runs over it, with its Session.
type End struct {
	w      *World
	client bool
	skew   time.Duration // of its clock

	// Session is nil for stock WireGuard, and at a server before the first
	// handshake.
	Session *wgbond.Session
	accept  func() *wgbond.Session // makes a server's
	tunnel  *tunnel.Peer
	apps    []app

	batch [][]byte // what the apps send at one time
	lent  [][]byte
	got   [][]byte
}

// app is something that uses the tunnel: TCP, ping.
type app interface {
	// receive takes an inner packet; false: not for it.
	receive(now time.Duration, inner []byte) bool
	// output hands over the inner packets to send at now.
	output(now time.Duration, send func(inner []byte))
	next() time.Duration
}

// pool lends buffers, and knows how many are out.
type pool struct {
	free [][]byte
	out  int
}

func (p *pool) Get() []byte {
	p.out++
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b[:cap(b)]
	}
	return make([]byte, wgbond.MaxDatagram)
}

func (p *pool) Put(b []byte) {
	p.out--
	p.free = append(p.free, b)
}

func (p *pool) copy(b []byte) []byte { return append(p.Get()[:0], b...) }

func newWorld(s *Scenario) (*World, error) {
	w := &World{}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], s.Seed)
	w.random = rand.NewChaCha8(seed)
	w.Client = &End{w: w, client: true, tunnel: tunnel.New(1)}
	w.Server = &End{w: w, skew: skew, tunnel: tunnel.New(2)}

	if s.Scheduler != nil {
		initiator, err := w.handshakes()
		if err != nil {
			return nil, err
		}
		w.Client.Session = wgbond.New(0, w.config(s, wgbond.Client, initiator))
	}
	for i, p := range s.Paths {
		if err := w.addPath(s, i, p); err != nil {
			return nil, fmt.Errorf("path %d (%s): %w", i, p.Config.Name, err)
		}
	}
	if s.Scheduler != nil {
		w.Server.accept = func() *wgbond.Session {
			return wgbond.New(w.loop.Now()+skew, w.config(s, wgbond.Server, nil))
		}
	}
	if s.Owner != nil {
		if err := w.addOwner(s); err != nil {
			return nil, err
		}
	}
	w.loop.Add(w.Client, w.Server)
	return w, nil
}

// handshakes makes the two ends' parts of the key exchange.
func (w *World) handshakes() (*control.Initiator, error) {
	var keys [3]control.Key
	for i := range keys {
		k, err := control.GenerateKey(w.random)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	client, server, psk := keys[0], keys[1], keys[2]
	var err error
	w.responder, err = control.NewResponder(control.ResponderConfig{
		Service: control.Bond, Private: server, Rand: w.random,
		Lookup: func(k control.Key) (control.Key, bool) { return psk, k == client.Public() },
	})
	if err != nil {
		return nil, err
	}
	return control.NewInitiator(control.InitiatorConfig{
		Service: control.Bond, Private: client, Remote: server.Public(), Preshared: psk, Rand: w.random,
	})
}

func (w *World) config(s *Scenario, r wgbond.Role, i *control.Initiator) wgbond.Config {
	return wgbond.Config{
		Role: r, Scheduler: s.Scheduler(), Pool: &w.pool, Initiator: i, Rand: w.random, Trace: recorder(s, r),
		Wall: func() time.Time { return time.Unix(1_700_000_000, 0).Add(w.loop.Now()) },
	}
}

// recorder is for the trace of one session; nil if there shall be none.
func recorder(s *Scenario, r wgbond.Role) *trace.Recorder {
	if s.Record == nil {
		return nil
	}
	to := s.Record(r)
	if to == nil {
		return nil
	}
	h := trace.Header{Scenario: s.Name, Seed: s.Seed}
	for _, p := range s.Paths {
		h.Paths = append(h.Paths, p.Config.Name)
	}
	return trace.NewRecorder(to, h)
}

// addPath makes a path's links and gives it to the client.
func (w *World) addPath(s *Scenario, i int, p Path) error {
	p.Config.Overhead = overhead
	x := &wires{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 51820)}
	var err error
	if p.Behind != "" {
		k := slices.IndexFunc(s.Paths[:i], func(q Path) bool { return q.Config.Name == p.Behind })
		if k < 0 || p.Down != nil || p.Up != nil {
			return fmt.Errorf("Behind %q: want the name of an earlier path, and no links", p.Behind)
		}
		x.down, x.up = w.wires[k].down, w.wires[k].up
	} else if err = w.addLinks(s, i, p, x); err != nil {
		return err
	}
	if w.Client.Session != nil {
		if x.id, err = w.Client.Session.AddPath(w.loop.Now(), p.Config); err != nil {
			return err
		}
	}
	w.wires = append(w.wires, x)
	return nil
}

// addLinks makes the links of path i.
func (w *World) addLinks(s *Scenario, i int, p Path, x *wires) (err error) {
	seed := s.Seed<<16 | uint64(i)<<8
	chain := func(hops []sim.LinkConfig, up bool, arrive func(time.Duration, *wires, []byte)) ([]*sim.Link[parcel], error) {
		links := make([]*sim.Link[parcel], len(hops))
		for h := len(hops) - 1; h >= 0; h-- {
			seed++
			cfg := hops[h].Delayed(s.settle())
			cfg.Seed = seed
			l, err := sim.NewLink[parcel](cfg)
			if err != nil {
				return nil, err
			}
			to := func(now time.Duration, _ int, p parcel) { arrive(now, p.path, p.b) }
			if h+1 < len(hops) {
				to = func(now time.Duration, _ int, p parcel) { w.push(now, links[h+1], p) }
			} else if p.Hostile != nil {
				if to, err = w.hostile(*p.Hostile, seed, to); err != nil {
					return nil, err
				}
			}
			if i == s.lends() {
				to = w.beside(x, up, h, len(hops), to)
			}
			links[h] = l
			w.loop.Add(sim.Hop[parcel]{Link: l, To: to})
		}
		return links, nil
	}
	if x.up, err = chain(p.Up, true, w.Server.fromClient); err == nil {
		x.down, err = chain(p.Down, false, w.Client.fromServer)
	}
	return err
}

// push gives a packet to a link.
func (w *World) push(now time.Duration, l *sim.Link[parcel], p parcel) {
	if !l.Push(now, len(p.b)+overhead, p) {
		w.pool.Put(p.b)
	}
}

// put sends a copy of b over a path.
func (w *World) put(now time.Duration, x *wires, up bool, b []byte) {
	links := x.down
	if up {
		links = x.up
	}
	w.push(now, links[0], parcel{x, w.pool.copy(b)})
}

// Down is the first link of path i on its way to the client.
func (w *World) Down(i int) *sim.Link[parcel] { return w.wires[i].down[0] }

// bonded tells whether both ends are bonded and every path is active.
func (w *World) bonded() bool {
	if w.Server.Session == nil {
		return false
	}
	for _, e := range []*End{w.Client, w.Server} {
		active := 0
		for _, p := range e.Status().Paths {
			if p.State == schedulers.Active {
				active++
			}
		}
		if !e.Session.Bonded() || active < len(w.wires) {
			return false
		}
	}
	return true
}

// Status is that of the end's session.
func (e *End) Status() wgbond.Status { return e.Session.Status(e.clock(e.w.loop.Now())) }

func (e *End) clock(now time.Duration) time.Duration { return now + e.skew }

// Next makes an End a sim.Node.
func (e *End) Next() time.Duration {
	next := sim.Never
	for _, a := range e.apps {
		next = min(next, a.next())
	}
	if e.Session != nil {
		if e.Session.Ready() != 0 {
			return 0
		}
		if n := e.Session.Next(); n != wgbond.Never {
			next = min(next, n-e.skew)
		}
	}
	return next
}

// Step makes an End a sim.Node.
func (e *End) Step(now time.Duration) {
	if e.Session != nil && e.Session.Next() <= e.clock(now) {
		e.Session.Advance(e.clock(now))
	}
	e.settle(now)
}

// settle moves what is ready until nothing is.
func (e *End) settle(now time.Duration) {
	for again := true; again; {
		again = false
		for _, a := range e.apps {
			if a.next() <= now {
				a.output(now, e.queue)
			}
		}
		again = e.send(now) || again
		again = e.flush(now) || again
		again = e.deliver(now) || again
	}
}

// queue takes an inner packet of an app.
func (e *End) queue(inner []byte) {
	e.batch = append(e.batch, e.tunnel.Wrap(e.w.pool.Get()[:0], inner))
}

// send gives the batch to the session, or to the one path.
func (e *End) send(now time.Duration) bool {
	if len(e.batch) == 0 {
		return false
	}
	if e.Session != nil {
		e.Session.Send(e.clock(now), e.batch)
	}
	for _, b := range e.batch {
		if e.Session == nil {
			e.w.put(now, e.w.wires[0], e.client, b)
		}
		e.w.pool.Put(b)
	}
	e.batch = e.batch[:0]
	return true
}

// flush transmits what the session has ready.
func (e *End) flush(now time.Duration) (any bool) {
	if e.Session == nil {
		return false
	}
	for round := 0; ; round++ {
		ready := e.Session.Ready()
		if ready == 0 {
			break
		}
		if round > 10_000 {
			panic(fmt.Sprintf("judge: at %v Transmit does not end what is Ready: paths %b", now, ready))
		}
		for id := range schedulers.PathID(schedulers.MaxPaths) {
			if ready>>id&1 == 0 {
				continue
			}
			if cap(e.lent) == 0 {
				e.lent = make([][]byte, 0, 64)
			}
			e.lent = e.Session.Transmit(e.clock(now), id, e.lent[:0])
			if x := e.wires(id); x != nil {
				for _, b := range e.lent {
					e.w.put(now, x, e.client, b)
				}
			}
			e.Session.Transmitted(e.clock(now), id)
			any = true
		}
	}
	for _, s := range e.Session.Strays(nil) {
		if x := e.w.wiresAt(s.To.Peer); x != nil {
			e.w.put(now, x, e.client, s.Datagram)
		}
	}
	return any
}

// wires is where path id leads.
func (e *End) wires(id schedulers.PathID) *wires {
	if !e.client {
		r, _ := e.Session.Remote(id)
		return e.w.wiresAt(r.Peer)
	}
	for _, x := range e.w.wires {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (w *World) wiresAt(a netip.AddrPort) *wires {
	for _, x := range w.wires {
		if x.addr == a {
			return x
		}
	}
	return nil
}

// deliver takes what the session has for WireGuard.
func (e *End) deliver(now time.Duration) bool {
	if e.Session == nil {
		return false
	}
	e.got = e.Session.Deliver(e.got[:0])
	for _, b := range e.got {
		e.unwrap(now, b)
	}
	return len(e.got) > 0
}

// unwrap gives a datagram to WireGuard and the buffer back to the pool.
func (e *End) unwrap(now time.Duration, b []byte) {
	if inner, err := e.tunnel.Unwrap(b); err == nil {
		for _, a := range e.apps {
			if a.receive(now, inner) {
				break
			}
		}
	}
	e.w.pool.Put(b)
}

// fromServer takes a datagram at the client.
func (e *End) fromServer(now time.Duration, x *wires, b []byte) {
	if e.Session != nil {
		e.Session.Receive(now, x.id, b)
	} else {
		e.unwrap(now, b)
	}
	e.settle(now)
}

// fromClient takes a datagram at the server: the part of conn/shim that knows
// no sockets.
func (e *End) fromClient(now time.Duration, x *wires, b []byte) {
	e.sort(now, x, b)
	e.settle(now)
}

func (e *End) sort(now time.Duration, x *wires, b []byte) {
	clock, from := e.clock(now), wgbond.Remote{Peer: x.addr}
	sealed := wire.Kind(b) == wire.SessionControl
	if sealed && wire.ControlKind(b) == wire.Initiation {
		if e.w.responder != nil {
			if reply, _ := e.w.responder.Handle(clock, x.addr, b); reply != nil {
				e.w.put(now, x, false, reply)
			}
		}
		e.w.pool.Put(b)
		return
	}
	to, toSealed := wire.ReceiverIndex(b)
	if e.Session != nil && (!toSealed || e.Session.OwnsReceiver(to)) {
		for id := range schedulers.PathID(schedulers.MaxPaths) {
			if r, ok := e.Session.Remote(id); ok && r == from {
				e.Session.Receive(clock, id, b)
				return
			}
		}
	}
	if sealed {
		if a, err := e.w.responder.Confirm(clock, b); err == nil && a != nil {
			if e.Session == nil {
				e.Session = e.accept()
			}
			e.Session.Establish(clock, a.Transport)
		}
	}
	index, _, isData := wire.DataHeader(b)
	if e.Session != nil && (sealed || isData && e.Session.OwnsIndex(index)) {
		e.Session.ReceiveStray(clock, from, b)
		return
	}
	e.unwrap(now, b)
}
