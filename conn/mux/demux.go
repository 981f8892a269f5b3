package mux

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

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
			m.Buf = nil
		}
	}
	r.leave()
	v.flushPlain(r)
	v.shell.Pool.arm(ms)
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
		r.in.engine.Advance(r.now)
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
			a.s.engine.Take(r.now, a.id, m.Buf)
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
	case s != nil && s == a.s && m.Local == a.local: // else the client found us at another address
		r.enter(s)
		s.engine.Take(r.now, a.id, m.Buf)
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
