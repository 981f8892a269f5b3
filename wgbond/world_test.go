package wgbond

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	ms   = time.Millisecond
	mbit = 1e6 // bit/s
)

// world is a client and a server session on simulated links, in virtual time.
//
//	client ═╦═ up[0] ═▶ ╦═ server        each direction of each path is a
//	        ╠═ up[1] ═▶ ╣               sim.Link; address 10.0.0.i is path i
//	        ╚◀═ down[i] ╝
type world struct {
	t      testing.TB
	now    time.Duration
	random *rand.ChaCha8
	pool   *countingPool

	client, server *Session
	responder      *control.Responder
	initiator      *control.Initiator
	serverClock    time.Duration // the server's clock is this far ahead
	startShim      func()        // (again), with no memory

	paths []*simPath
	// noShim makes the server silent to all but WireGuard.
	noShim bool

	atClient, atServer func(pkt []byte) // what the WireGuards get
	arrivedBy          *simPath         // of what atServer gets plainly
	at                 []event
	pairs              uint32 // see streams
}

type simPath struct {
	up, down *sim.Link[[]byte]
	addr     netip.AddrPort
	id       schedulers.PathID
	// server is where the server is now; invalid: where it was at first.
	server netip.AddrPort
	// tap sees what the client and the server put on the path.
	tap func(fromClient bool, pkt []byte)
	// forgets is how long the client's NAT remembers a mapping that the client
	// does not use; 0: for ever. What the server sends to one that is forgotten is
	// lost: forgotten counts the data among that.
	forgets   time.Duration
	used      time.Duration // the mapping
	forgotten int
	// lose tells what is lost on the way, whatever the link would do; nil: nothing.
	lose func(fromClient bool, pkt []byte) bool
}

type event struct {
	at time.Duration
	do func()
}

// countingPool is a Pool that knows what was not returned.
type countingPool struct {
	free [][]byte
	out  int
}

func (p *countingPool) Get() []byte {
	p.out++
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b[:cap(b)]
	}
	return make([]byte, MaxDatagram)
}

func (p *countingPool) Put(b []byte) {
	p.out--
	b = b[:cap(b)]
	for i := range 16 {
		b[i] = 0xDD // whoever still reads it will notice
	}
	p.free = append(p.free, b)
}

// pathSpec is one path: rate in bit/s and one-way delay for both directions.
type pathSpec struct {
	down, up float64
	delay    time.Duration
	queue    int // bytes; 0: 100 ms worth
	loss     float64
	mtu      int          // bytes of whole IP packets; 0: no limit
	changes  []sim.Change // of both directions, from 1 s on
	outages  []sim.Outage
	cfg      PathConfig
}

func newWorld(t testing.TB, seed uint64, specs ...pathSpec) *world {
	t.Helper()
	w := &world{t: t, pool: &countingPool{}, now: time.Second, serverClock: 1000 * time.Second}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	w.random = rand.NewChaCha8(key)
	clientKey, serverKey := w.key(), w.key()
	psk := w.key()
	var err error
	w.initiator, err = control.NewInitiator(control.InitiatorConfig{Service: control.Bond,
		Private: clientKey, Remote: serverKey.Public(), Preshared: psk, Rand: w.random})
	if err != nil {
		t.Fatal(err)
	}
	w.startShim = func() {
		w.server = nil
		w.responder, err = control.NewResponder(control.ResponderConfig{Service: control.Bond, Private: serverKey,
			Lookup: func(k control.Key) (control.Key, bool) { return psk, k == clientKey.Public() }, Rand: w.random})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.startShim()
	w.client = New(w.now, w.config(Client))
	for i, s := range specs {
		w.addPath(i, s)
	}
	return w
}

func (w *world) key() control.Key {
	k, err := control.GenerateKey(w.random)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) config(r Role) Config {
	c := Config{Role: r, Scheduler: earliest.New(), Pool: w.pool, Rand: w.random,
		Wall: func() time.Time { return time.Unix(1_700_000_000, 0).Add(w.now) }}
	if r == Client {
		c.Initiator = w.initiator
	}
	return c
}

func (w *world) addPath(i int, s pathSpec) {
	link := func(r float64, seed uint64) *sim.Link[[]byte] {
		q := s.queue
		if q == 0 {
			q = int(max(r/8*0.1, 15_000))
		}
		l, err := sim.NewLink[[]byte](sim.LinkConfig{Rate: r, Delay: s.delay, Queue: q, Loss: s.loss, MTU: s.mtu,
			Changes: s.changes, Outages: s.outages, Seed: seed})
		if err != nil {
			w.t.Fatal(err)
		}
		return l
	}
	p := &simPath{up: link(s.up, uint64(2*i+1)), down: link(s.down, uint64(2*i+2)),
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1000)}
	cfg := s.cfg
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("path%d", i)
	}
	id, err := w.client.AddPath(w.now, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	p.id = id
	w.paths = append(w.paths, p)
}

// after runs do once the world is d further on.
func (w *world) after(d time.Duration, do func()) {
	w.at = append(w.at, event{w.now + d, do})
}

// run advances the world by d.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for {
		w.settle()
		next := min(end, w.client.Next())
		if w.server != nil {
			if n := w.server.Next(); n != Never {
				next = min(next, n-w.serverClock)
			}
		}
		for _, p := range w.paths {
			next = min(next, p.up.Next(), p.down.Next())
		}
		for _, e := range w.at {
			next = min(next, e.at)
		}
		w.now = max(next, w.now)
		if w.now >= end {
			w.now = end
			w.settle()
			return
		}
		w.step()
	}
}

func (w *world) step() {
	for i := 0; i < len(w.at); i++ {
		if e := w.at[i]; e.at <= w.now {
			w.at = append(w.at[:i], w.at[i+1:]...)
			i--
			e.do()
		}
	}
	for _, p := range w.paths {
		for {
			pkt, _, ok := p.up.Pop(w.now)
			if !ok {
				break
			}
			w.arriveAtServer(p, pkt)
		}
		for {
			pkt, _, ok := p.down.Pop(w.now)
			if !ok {
				break
			}
			if r, _ := w.client.Remote(p.id); r.Peer != p.server {
				w.client.ReceiveForeign(w.now, p.id, Remote{Peer: p.server}, w.copy(pkt))
			} else {
				w.client.Receive(w.now, p.id, w.copy(pkt))
			}
		}
	}
	w.client.Advance(w.now)
	if w.server != nil {
		w.server.Advance(w.now + w.serverClock)
	}
}

func (w *world) copy(pkt []byte) []byte { return append(w.pool.Get()[:0], pkt...) }

// settle moves what the sessions have ready.
func (w *world) settle() {
	for again := true; again; {
		again = w.flush(w.client, w.now, func(id schedulers.PathID) *simPath {
			p := w.pathOf(id)
			if r, _ := w.client.Remote(id); p != nil && r.Peer != p.server {
				return nil // nobody is there any more
			}
			return p
		}, true)
		for _, s := range w.client.Strays(nil) {
			if p := w.pathOf(s.Path); p != nil && p.server == s.To.Peer {
				w.put(p, true, s.Datagram)
			}
		}
		if w.server != nil {
			again = w.flush(w.server, w.now+w.serverClock, func(id schedulers.PathID) *simPath {
				r, _ := w.server.Remote(id)
				return w.pathAt(r.Peer)
			}, false) || again
			for _, s := range w.server.Strays(nil) {
				if p := w.pathAt(s.To.Peer); p != nil {
					w.put(p, false, s.Datagram)
				}
			}
		}
	}
}

func (w *world) flush(s *Session, now time.Duration, find func(schedulers.PathID) *simPath, fromClient bool) (any bool) {
	for ready := s.Ready(); ready != 0; ready = s.Ready() {
		for id := range schedulers.PathID(schedulers.MaxPaths) {
			if ready>>id&1 == 0 {
				continue
			}
			out := s.Transmit(now, id, make([][]byte, 0, 16))
			for _, b := range out {
				if p := find(id); p != nil {
					w.put(p, fromClient, b)
				}
			}
			s.Transmitted(now, id)
			if len(out) == 0 && s.Ready()>>id&1 != 0 {
				w.t.Fatalf("path %d stays ready but transmits nothing", id)
			}
			any = true
		}
	}
	for _, b := range s.Deliver(nil) {
		any = true
		if to := w.atServer; fromClient {
			to = w.atClient
			if to != nil {
				to(b)
			}
		} else if to != nil {
			to(b)
		}
		w.pool.Put(b)
	}
	return any
}

func (w *world) put(p *simPath, fromClient bool, b []byte) {
	if p.tap != nil {
		p.tap(fromClient, b)
	}
	if p.lose != nil && p.lose(fromClient, b) || !w.translate(p, fromClient, b) {
		return
	}
	l := p.down
	if fromClient {
		l = p.up
	}
	l.Push(w.now, len(b)+28, append([]byte(nil), b...))
}

// translate is the NAT of a path. It is false if the datagram ends there.
func (w *world) translate(p *simPath, fromClient bool, b []byte) bool {
	gone := p.forgets > 0 && w.now-p.used > p.forgets
	switch {
	case !fromClient && gone:
		if wire.Kind(b) == wire.WGData {
			p.forgotten++
		}
		return false
	case fromClient && gone:
		p.addr = netip.AddrPortFrom(p.addr.Addr(), p.addr.Port()+1)
	}
	if fromClient {
		p.used = w.now
	}
	return true
}

func (w *world) pathOf(id schedulers.PathID) *simPath {
	for _, p := range w.paths {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (w *world) pathAt(a netip.AddrPort) *simPath {
	for _, p := range w.paths {
		if p.addr == a {
			return p
		}
	}
	return nil
}

// arriveAtServer is the server's shell: handshakes to the responder, what has
// a session to the session, the rest plainly to WireGuard.
func (w *world) arriveAtServer(p *simPath, pkt []byte) {
	now := w.now + w.serverClock
	from := Remote{Peer: p.addr}
	w.arrivedBy = p
	plain := func() {
		if w.atServer != nil && wire.Kind(pkt) != wire.SessionControl {
			w.atServer(pkt)
		}
	}
	if w.noShim {
		plain()
		return
	}
	if wire.Kind(pkt) == wire.SessionControl && wire.ControlKind(pkt) == wire.Initiation {
		if reply, err := w.responder.Handle(now, p.addr, pkt); err == nil || reply != nil {
			w.put(p, false, reply)
		}
		return
	}
	index, sealed := wire.ReceiverIndex(pkt)
	sealed = sealed && wire.ControlKind(pkt) == wire.Sealed
	if w.server != nil && (!sealed || w.server.OwnsReceiver(index)) {
		for id := range schedulers.PathID(schedulers.MaxPaths) {
			if r, ok := w.server.Remote(id); ok && r == from {
				w.server.Receive(now, id, w.copy(pkt))
				return
			}
		}
	}
	if wire.Kind(pkt) == wire.SessionControl {
		if a, err := w.responder.Confirm(now, pkt); err == nil && a != nil {
			if w.server == nil {
				w.server = New(now, w.config(Server))
			}
			w.server.Establish(now, a.Transport)
		}
		if w.server != nil {
			w.server.ReceiveStray(now, from, w.copy(pkt))
		}
		return
	}
	if index, _, ok := wire.DataHeader(pkt); ok && w.server != nil && w.server.OwnsIndex(index) {
		w.server.ReceiveStray(now, from, w.copy(pkt))
		return
	}
	plain()
}

// bond runs until both ends are bonded on all paths.
func (w *world) bond() {
	w.t.Helper()
	for range 100 {
		w.run(50 * ms)
		if w.server == nil || !w.client.Bonded() || !w.server.Bonded() {
			continue
		}
		n := 0
		for _, p := range w.server.Status(w.now + w.serverClock).Paths {
			if p.State == schedulers.Active {
				n++
			}
		}
		if n == len(w.paths) && popcount(w.client.workingLinks()) == n {
			return
		}
	}
	w.t.Fatalf("not bonded after 5 s: client %+v", w.client.Status(w.now))
}

func popcount(m uint32) (n int) {
	for ; m != 0; m &= m - 1 {
		n++
	}
	return n
}

// dataMessage is a WireGuard-shaped data message of size bytes.
func dataMessage(index uint32, counter uint64, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, wire.TypeWGData)
	binary.LittleEndian.PutUint32(b[4:], index)
	binary.LittleEndian.PutUint64(b[8:], counter)
	for i := 16; i < size; i++ {
		b[i] = byte(counter) + byte(i)
	}
	return b
}

// stream feeds a session with data messages at a constant rate and checks
// what comes out at the other end.
type stream struct {
	w       *world
	index   uint32
	next    uint64
	arrived map[uint64]int
	order   []uint64
	last    time.Duration
	maxGap  time.Duration
	bytes   int
	sentAt  map[uint64]time.Duration
	delays  []time.Duration
	corrupt int
}

func newStream(w *world, index uint32) *stream {
	return &stream{w: w, index: index, arrived: map[uint64]int{}, sentAt: map[uint64]time.Duration{}}
}

// feed sends rate bit/s of size-byte datagrams from s for d, batch at a time.
func (f *stream) feed(send func([][]byte), rate float64, size, batch int, d time.Duration) {
	interval := time.Duration(float64((size+28)*8*batch) / rate * float64(time.Second))
	end := f.w.now + d
	var tick func()
	tick = func() {
		if f.w.now >= end {
			return
		}
		var pkts [][]byte
		for range batch {
			f.sentAt[f.next] = f.w.now
			pkts = append(pkts, dataMessage(f.index, f.next, size))
			f.next++
		}
		send(pkts)
		f.w.after(interval, tick)
	}
	tick()
}

func (f *stream) receive(pkt []byte) {
	index, c, ok := wire.DataHeader(pkt)
	if !ok || index != f.index {
		return
	}
	for i := 16; i < len(pkt); i++ {
		if pkt[i] != byte(c)+byte(i) {
			f.corrupt++
			break
		}
	}
	if f.arrived[c]++; f.arrived[c] > 1 {
		return
	}
	if f.last > 0 {
		f.maxGap = max(f.maxGap, f.w.now-f.last)
	}
	f.last = f.w.now
	f.bytes += len(pkt) + 28
	f.order = append(f.order, c)
	f.delays = append(f.delays, f.w.now-f.sentAt[c])
}

// disorder counts the packets that came after a later one.
func (f *stream) disorder() (n int) {
	var top uint64
	for _, c := range f.order {
		if c < top {
			n++
		}
		top = max(top, c)
	}
	return n
}

func (w *world) sendDown(p [][]byte) { w.server.Send(w.now+w.serverClock, p) }
func (w *world) sendUp(p [][]byte)   { w.client.Send(w.now, p) }
