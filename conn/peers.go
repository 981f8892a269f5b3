package conn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Peer is what a Bind must know of a WireGuard peer to bond with it.
type Peer struct {
	PublicKey    control.Key
	PresharedKey control.Key    // zero: none
	Endpoint     netip.AddrPort // invalid: it dials us, or is not there
	// Name is what Endpoint was found by, as "host:port"; empty: it was given
	// as an address. A name is asked for again when the peer does not answer,
	// and for addresses of the other family.
	Name string
}

// dialledPeer is a peer that we dial.
type dialledPeer struct {
	*mux.Dialled
	peer Peer
	ep   *Endpoint
	name lookup
	// unnamed: the user has set another endpoint than the name's.
	unnamed bool
}

// SetPeers sets our private key and the peers: those with an endpoint are
// dialled, the others may dial us. It may be called at any time, with the
// whole list each time; what stays the same is not disturbed. An endpoint that
// is only where a peer who dials us was last heard does not make it one to
// dial, so WireGuard's own state can be passed on as it is.
func (b *Bind) SetPeers(private control.Key, peers []Peer) error {
	b.mu.Lock()
	defer b.mu.Unlock()

	allowed := make(map[control.Key]control.Key, len(peers))
	for _, p := range peers {
		allowed[p.PublicKey] = p.PresharedKey
	}
	b.allowedMu.Lock()
	changedKeys := make(map[control.Key]bool)
	for k, psk := range b.allowed {
		if now, ok := allowed[k]; ok && now != psk {
			changedKeys[k] = true
		}
	}
	b.allowed = allowed
	b.allowedMu.Unlock()

	fresh := private != b.private
	b.private, b.peers = private, slices.Clone(peers)
	if fresh {
		if err := b.replaceServerLocked(); err != nil {
			return err
		}
	} else if v := b.server.Load(); v != nil {
		v.Revoke(func(peer control.Key) bool {
			_, ok := allowed[peer]
			return ok && !changedKeys[peer]
		})
	}
	return b.redialLocked(fresh)
}

// redialLocked brings the dialled peers up to date with b.peers; all of them
// anew if our own key is another.
func (b *Bind) redialLocked(fresh bool) error {
	was := *b.dialled.Load()
	next := make(map[netip.AddrPort]*dialledPeer)
	var errs []error
	for _, p := range b.peers {
		if !p.Endpoint.IsValid() || b.private.IsZero() {
			continue
		}
		p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port())
		unnamed := false
		for addr, d := range was {
			switch {
			case d.peer.PublicKey != p.PublicKey:
			case addr == p.Endpoint && !d.unnamed:
			case addr != p.Endpoint && d.Target() == p.Endpoint:
				p.Endpoint = addr // where it was followed to, or its name led
				p.Name = d.peer.Name
			default:
				p.Name, unnamed = "", true
			}
		}
		if was[p.Endpoint] == nil && b.learnt(p.Endpoint) {
			continue
		}
		if d := was[p.Endpoint]; d != nil && d.peer == p && !fresh {
			next[p.Endpoint] = d
			continue
		}
		if next[p.Endpoint] != nil {
			errs = append(errs, fmt.Errorf("bind: two peers have the endpoint %v; the second stays plain", p.Endpoint))
			continue
		}
		d, err := b.dial(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.unnamed = unnamed
		next[p.Endpoint] = d
	}
	b.dialled.Store(&next)
	for addr, d := range was {
		if next[addr] != d {
			d.Close(wire.CloseShutdown)
		}
	}
	for addr, d := range next {
		if was[addr] != d {
			d.SetPaths(b.paths.paths)
			if b.queue.Load() != nil {
				d.Start()
			}
		}
	}
	return errors.Join(errs...)
}

// learnt reports whether an address is not one that the user set but where a
// peer was heard that dials us: WireGuard's state does not tell these apart.
// Such a peer must be answered from the listening socket.
func (b *Bind) learnt(addr netip.AddrPort) bool {
	b.configuredMu.Lock()
	_, set := b.configured[addr]
	b.configuredMu.Unlock()
	if set {
		return false
	}
	if v := b.server.Load(); v != nil && v.Knows(addr) {
		return true
	}
	b.plainMu.RLock()
	defer b.plainMu.RUnlock()
	for r := range b.plainEps {
		if r.Peer == addr {
			return true
		}
	}
	return false
}

func (b *Bind) dial(p Peer) (*dialledPeer, error) {
	ep := &Endpoint{addr: p.Endpoint}
	d, err := b.shell.Dial(mux.DialConfig{
		Target:    p.Endpoint,
		Private:   b.private,
		Remote:    p.PublicKey,
		Preshared: p.PresharedKey,
		Scheduler: b.cfg.Scheduler(),
		Sink:      &sink{b, ep},
		Foreign:   func(from netip.AddrPort, pkts [][]byte) { b.foreign(ep, from, pkts) },
	})
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	ep.dialled = d
	return &dialledPeer{Dialled: d, peer: p, ep: ep}, nil
}

// foreign hands to WireGuard what may be a dialled peer's from another
// address. If it is, WireGuard answers to the endpoint that it came with.
func (b *Bind) foreign(ep *Endpoint, from netip.AddrPort, pkts [][]byte) {
	b.push(&Endpoint{addr: from, dialled: ep.dialled, foreign: true}, pkts)
}

// replaceServerLocked makes a server with the present private key.
func (b *Bind) replaceServerLocked() error {
	v, err := b.newServer()
	if err != nil {
		return err
	}
	old := b.server.Swap(v)
	if old == nil {
		return nil // Open starts it
	}
	port := old.Port()
	old.Close(wire.CloseShutdown)
	if b.queue.Load() == nil {
		return nil
	}
	v4, v6, err := b.shell.ListenAll(port)
	if err != nil {
		return err
	}
	v.Start(v4, v6)
	return nil
}

func (b *Bind) newServer() (*mux.Server, error) {
	return b.shell.NewServer(mux.ServerConfig{
		Private:   b.private,
		Lookup:    b.lookup,
		Scheduler: b.cfg.Scheduler,
		Sink: func(_ control.Key, s *mux.Session) (mux.Sink, error) {
			return &sink{b, &Endpoint{session: s}}, nil
		},
		Ended: b.ended,
		Plain: b.plain,
	})
}

// ended keeps in mind where a session's peer was: WireGuard goes on sending
// there, and without a session it is a plain peer's address (see learnt).
func (b *Bind) ended(_ control.Key, s *mux.Session) {
	if r := s.Remote(); r.Peer.IsValid() {
		b.plainMu.Lock()
		defer b.plainMu.Unlock()
		b.plainEndpointLocked(r)
	}
}

func (b *Bind) lookup(peer control.Key) (control.Key, bool) {
	b.allowedMu.RLock()
	defer b.allowedMu.RUnlock()
	psk, ok := b.allowed[peer]
	return psk, ok
}
