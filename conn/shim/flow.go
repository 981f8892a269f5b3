package shim

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Bounds of what plain clients cost.
const (
	maxFlows          = 1024
	maxFlowsPerSource = 64
	// flowLife is how long a flow may be silent: longer than WireGuard's keys
	// live. A flow that WireGuard never answered goes sooner.
	flowLife     = 5 * time.Minute
	unprovenLife = 30 * time.Second
)

// flow is one plain client's way to WireGuard: a socket of its own, so that
// answers find back.
type flow struct {
	peer   netip.AddrPort
	source netip.Prefix
	up     *upstream
	local  atomic.Pointer[netip.Addr] // the address of ours that it writes to
	used   atomic.Int64               // engine time of the latest datagram, either way
	// proven: WireGuard has answered with what it gives to known peers only.
	proven atomic.Bool
}

// flows is the table of plain clients. It never grows beyond its bounds: a
// newcomer takes the place of a flow that WireGuard has not answered, or of
// one whose source has more than the newcomer's; otherwise it is refused.
type flows struct {
	mu       sync.Mutex // guards all below; a leaf
	byPeer   map[netip.AddrPort]*flow
	bySource map[netip.Prefix]int
}

func (t *flows) get(peer netip.AddrPort) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byPeer[peer]
}

// add makes f part of the table. It returns false if there is no room for it,
// and otherwise the flow that had to leave for it, if any.
func (t *flows) add(f *flow) (evicted *flow, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.bySource[f.source] >= maxFlowsPerSource:
		evicted = t.worstLocked(func(o *flow) bool { return o.source == f.source && !o.proven.Load() })
		if evicted == nil {
			return nil, false
		}
	case len(t.byPeer) >= maxFlows:
		evicted = t.worstLocked(func(o *flow) bool {
			return !o.proven.Load() || t.bySource[o.source] > t.bySource[f.source]+1
		})
		if evicted == nil {
			return nil, false
		}
	}
	if evicted != nil {
		t.removeLocked(evicted)
	}
	t.byPeer[f.peer] = f
	t.bySource[f.source]++
	return evicted, true
}

// worstLocked finds, among the flows that may go, an unproven one before a
// proven one, of the source with the most flows, the longest silent.
func (t *flows) worstLocked(mayGo func(*flow) bool) *flow {
	var worst *flow
	for _, f := range t.byPeer {
		if mayGo(f) && (worst == nil || t.worseLocked(f, worst)) {
			worst = f
		}
	}
	return worst
}

func (t *flows) worseLocked(a, b *flow) bool {
	if pa, pb := a.proven.Load(), b.proven.Load(); pa != pb {
		return !pa
	}
	if na, nb := t.bySource[a.source], t.bySource[b.source]; na != nb {
		return na > nb
	}
	return a.used.Load() < b.used.Load()
}

func (t *flows) removeLocked(f *flow) {
	delete(t.byPeer, f.peer)
	if t.bySource[f.source]--; t.bySource[f.source] == 0 {
		delete(t.bySource, f.source)
	}
}

// expire removes and returns the flows that have been silent too long.
func (t *flows) expire(now time.Duration) []*flow {
	return t.removeIf(func(f *flow) bool {
		life := unprovenLife
		if f.proven.Load() {
			life = flowLife
		}
		return now-time.Duration(f.used.Load()) > life
	})
}

func (t *flows) removeIf(which func(*flow) bool) (gone []*flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.byPeer {
		if which(f) {
			t.removeLocked(f)
			gone = append(gone, f)
		}
	}
	return gone
}

func (t *flows) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byPeer)
}

// opens reports whether a datagram from an unknown address may open a flow: an
// initiation, or data of a client whose address has changed.
func opens(pkt []byte) bool {
	return len(pkt) > 0 && (pkt[0] == wire.TypeWGInitiation || pkt[0] == wire.TypeWGData)
}

// proves reports whether an answer of WireGuard's shows that it knows the
// client: anything but a cookie, which it sends to whomever.
func proves(pkt []byte) bool {
	return len(pkt) > 0 && (pkt[0] == wire.TypeWGInitiation || pkt[0] == wire.TypeWGResponse || pkt[0] == wire.TypeWGData)
}

// plain takes datagrams from an address that belongs to no session.
func (m *Shim) plain(from wgbond.Remote, pkts [][]byte) {
	if m.closing.Load() {
		// A bonded client that has heard our farewell goes on plainly at once.
		// Were that passed on, WireGuard would answer to a flow that is about
		// to end, and not to the client's own address, which the next shim
		// will have again; a client that only listens would wait in vain.
		m.shell.Drops.Add(mux.DropClosed, len(pkts))
		m.shell.Pool.PutAll(pkts)
		return
	}
	if pkts = m.shell.DropCopies(pkts); len(pkts) == 0 {
		return
	}
	f := m.flows.get(from.Peer)
	if f == nil {
		if f = m.openFlow(from, pkts[0]); f == nil {
			m.shell.Drops.Add(mux.DropFlowLimit, len(pkts))
			m.shell.Pool.PutAll(pkts)
			return
		}
	}
	if l := f.local.Load(); l == nil || *l != from.Local {
		f.local.Store(&from.Local)
	}
	f.used.Store(int64(m.shell.Now()))
	f.up.deliver(pkts)
}

func (m *Shim) openFlow(from wgbond.Remote, first []byte) *flow {
	if !opens(first) {
		return nil
	}
	f := &flow{peer: from.Peer, source: source(from.Peer.Addr())}
	f.used.Store(int64(m.shell.Now()))
	up, err := m.dialUpstream(netip.AddrPortFrom(plainAddress(f.source), 0))
	if err != nil {
		m.shell.Log.Warn("plain client refused", "from", from.Peer, "err", err)
		return nil
	}
	f.up = up
	evicted, ok := m.flows.add(f)
	if evicted != nil {
		evicted.up.close()
	}
	if !ok {
		up.close()
		return nil
	}
	up.serve(quietBatch, func(pkts [][]byte) {
		to := wgbond.Remote{Peer: f.peer}
		if l := f.local.Load(); l != nil {
			to.Local = *l
		}
		f.used.Store(int64(m.shell.Now()))
		if !f.proven.Load() && proves(pkts[0]) {
			f.proven.Store(true)
		}
		_ = m.server.Send(pkts, to) // a failure is counted
	})
	return f
}
