package mux

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// initiation is a handshake to be answered.
type initiation struct {
	pkt  []byte // a Pool buffer
	from wgbond.Remote
	sock Socket
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
		Order:     v.shell.order,
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
