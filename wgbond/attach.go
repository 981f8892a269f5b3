package wgbond

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

const (
	// Attach is repeated after attachFirst, at first at that pace, for one lost
	// message should cost no more than that; from attachEager on the wait
	// doubles to attachMax.
	attachFirst = 100 * time.Millisecond
	attachEager = 5
	attachMax   = 10 * time.Second
	// attachRare is the number of tries after which that longest wait has come.
	attachRare = attachEager + 10
)

// ErrTooManyPaths is returned by AddPath for path number MaxPaths.
var ErrTooManyPaths = errors.New("wgbond: a session has at most 16 paths")

// AddPath adds a path at a client. The id is the lowest free one.
func (s *Session) AddPath(now time.Duration, cfg PathConfig) (schedulers.PathID, error) {
	s.now = now
	for id, l := range s.links {
		if l != nil {
			continue
		}
		l = s.newLink(schedulers.PathID(id), cfg)
		l.attachAt = now
		if s.transport == nil || s.dial.lost {
			s.redial() // the new path may be the one that works
		}
		s.advance()
		return l.id, nil
	}
	return 0, ErrTooManyPaths
}

// RemovePath withdraws a path at a client. What was in flight on it is sent
// again elsewhere.
func (s *Session) RemovePath(now time.Duration, id schedulers.PathID) {
	s.now = now
	l := s.links[id]
	if l == nil {
		return
	}
	attached := l.attached
	s.dropLink(l)
	if by := s.controlLink(); by != nil && attached {
		s.begin(by.id)
		s.add(&wire.Detach{Path: uint8(id)})
		s.finish(by)
	}
	s.advance()
}

// dropLink forgets a path. If a writer has borrowed from it, the path stays
// behind as retired until it is Transmitted.
func (s *Session) dropLink(l *link) {
	l.attached = false
	s.linkSuspect(l)
	s.giveUpFlight(l)
	if l.lending {
		s.retired[l.id] = l
	}
	for l.control.len() > 0 {
		s.cfg.Pool.Put(l.control.popFront())
	}
	s.links[l.id] = nil
	if s.plain.link == l {
		s.plain.link = nil
	}
	s.unhold(l, Never)
	s.order.PathGone(s.now, l.id)
	s.recv.PathGone(l.id)
	s.remotes++
	s.carriesAll()
}

// PathDown tells that path id's socket failed (no route, device gone): it is
// treated as suspect at once and probed.
func (s *Session) PathDown(now time.Duration, id schedulers.PathID) {
	s.now = now
	l := s.links[id]
	if l == nil {
		return
	}
	if l.path.Down(now) {
		s.linkSuspect(l)
	}
	s.plainFailed(l)
	s.advance()
}

// sendAttach asks the server to take a path on.
func (s *Session) sendAttach(l *link) {
	f := &wire.Attach{Path: uint8(l.id), Weight: uint16(min(l.cfg.Weight*256, 65535)), MTU: uint16(min(l.cfg.MTU, 65535))}
	if l.cfg.Backup {
		f.Flags |= wire.AttachBackup
	}
	if l.cfg.Metered {
		f.Flags |= wire.AttachMetered
	}
	if l.cfg.Lent {
		f.Flags |= wire.AttachLent
	}
	s.begin(l.id)
	s.add(&wire.Hello{Instance: s.instance})
	s.add(f)
	if r := l.remembered(); r.Rate > 0 && !l.attached {
		s.add(r)
	}
	s.finish(l)
	most := attachMax
	if l.cfg.Metered {
		most = restPing
	}
	l.attachAt = s.now + min(attachFirst<<max(0, min(l.attachTries-attachEager+2, 16)), most)
	l.attachTries++
}

// onAttach answers a client that wants from to be a path.
func (s *Session) onAttach(f *wire.Attach, from Remote) {
	if s.cfg.Role != Server {
		s.counts.drop(dropWrongRole)
		return
	}
	id := schedulers.PathID(f.Path)
	l := s.links[id]
	if l == nil {
		l = s.newLink(id, PathConfig{})
	}
	l.cfg.Backup = f.Flags&wire.AttachBackup != 0
	l.cfg.Metered = f.Flags&wire.AttachMetered != 0
	l.cfg.Lent = f.Flags&wire.AttachLent != 0
	l.rate.SetParams(l.rateParams())
	l.cfg.Weight = max(float64(f.Weight)/256, 1.0/256)
	l.cfg.MTU = int(f.MTU)
	l.mtu.Limit(s.now, l.cfg.MTU)
	s.judgeMTU(l)
	if l.attached && l.remote == from {
		s.confirmAttached(l)
		return
	}
	s.challenge(l, from)
}

// Probe asks at once whether path id works: its own address has changed, or
// the peer's. The peer learns of the new address by the question.
func (s *Session) Probe(now time.Duration, id schedulers.PathID) {
	s.now = now
	if l := s.links[id]; l != nil {
		l.path.Hasten(now)
		s.advance()
	}
}

// askEvery is how often at most a client asks an address whether the server is
// there.
const askEvery = 50 * time.Millisecond

// ReceiveForeign takes, at a client, a datagram that came to path id's socket
// from an address that the path does not lead to. WireGuard judges its own
// datagrams. A control message that opens under the session's keys was made by
// the server, which seems to have moved: it is asked at the new address, and
// its answer, which none other can give, moves the path there. So a copy sent
// from a false address moves nothing.
func (s *Session) ReceiveForeign(now time.Duration, id schedulers.PathID, from Remote, pkt []byte) {
	s.now = now
	l := s.links[id]
	if l == nil || wire.Kind(pkt) != wire.SessionControl || wire.ControlKind(pkt) != wire.Sealed {
		s.ReceiveStray(now, from, pkt)
		return
	}
	authentic := s.receiveControl(l, from, pkt)
	s.cfg.Pool.Put(pkt)
	l = s.links[id] // which is another now if the server has begun anew
	if authentic && l != nil && s.transport != nil && (l.candidate != from || s.now-l.askedAt >= askEvery) {
		l.candidate, l.askedAt, l.askID = from, s.now, l.path.ProbeID()
		l.pings[l.askID%uint32(len(l.pings))] = sentPing{id: l.askID, sent: s.now}
		s.begin(l.id)
		s.add(&wire.Ping{Path: uint8(l.id), ID: l.askID, Sent: wire.ClockOf(s.now)})
		s.sendStray(l, from)
	}
	s.advance()
}

// proved moves a client's path to the address that answered.
func (s *Session) proved(l *link, id uint32) {
	if s.cfg.Role == Client && l.askID == id && l.candidate.Peer.IsValid() && l.candidate != l.remote {
		l.remote, l.candidate = l.candidate, Remote{}
		s.remotes++
		s.counts.serverMoves++
	}
}

// sendStray seals the message being made for an address that is not l's.
func (s *Session) sendStray(l *link, to Remote) {
	if len(s.strays) >= maxStrays {
		s.counts.drop(dropControlQueue)
		return
	}
	b := s.transport.Seal(nil, s.message)
	s.trace.made(l.id, len(b)+l.cfg.Overhead, true)
	s.strays = append(s.strays, Stray{To: to, Path: l.id, Datagram: b})
}

// onStrayPath challenges the new address of a path that is attached: its NAT
// changed, or it roamed.
func (s *Session) onStrayPath(id schedulers.PathID, from Remote) {
	if id >= schedulers.MaxPaths || s.links[id] == nil || !s.links[id].attached || s.links[id].remote == from {
		return
	}
	s.challenge(s.links[id], from)
}

// challenge asks an address to prove that it is the client's. The same address
// gets the same nonce, so that repeated requests do not cross their answers.
func (s *Session) challenge(l *link, to Remote) {
	if l.candidate != to || l.nonce == [8]byte{} {
		l.candidate = to
		binary.LittleEndian.PutUint64(l.nonce[:], s.random()|1)
	}
	s.begin(l.id)
	s.add(&wire.Challenge{Path: uint8(l.id), Nonce: l.nonce})
	s.sendStray(l, to)
}

const maxStrays = 64

// onChallenge returns a challenge, on the path it names and came by, to where
// it came from.
func (s *Session) onChallenge(l *link, from Remote, f *wire.Challenge) {
	if s.cfg.Role != Client || l == nil || uint8(l.id) != f.Path {
		s.counts.drop(dropWrongRole)
		return
	}
	s.begin(l.id)
	s.add(&wire.ChallengeReply{Path: f.Path, Nonce: f.Nonce})
	if from != l.remote { // the server has moved
		s.sendStray(l, from)
		return
	}
	s.finish(l)
	if l.attached {
		l.path.Hasten(s.now) // the question before came from an address not proved yet
	}
}

// onChallengeReply attaches the path if it is the challenged address that
// answers.
func (s *Session) onChallengeReply(f *wire.ChallengeReply, from Remote) {
	l := s.links[f.Path]
	if s.cfg.Role != Server || l == nil || l.candidate != from || l.nonce != f.Nonce || l.nonce == [8]byte{} {
		s.counts.drop(dropBadChallenge)
		return
	}
	l.nonce = [8]byte{}
	moved := l.remote != from && l.remote.Peer.IsValid()
	if l.remote != from {
		l.remote = from
		s.remotes++
	}
	l.cfg.Overhead = 28
	if a := from.Peer.Addr(); a.Is6() && !a.Is4In6() {
		l.cfg.Overhead = 48
	}
	l.path.Heard(s.now)
	s.proven(l)
	l.path.Hasten(s.now)
	l.attached, l.carried = true, s.now
	if moved {
		// What is not reported by now went to where nobody is any more.
		s.giveUpFlight(l)
	}
	s.confirmAttached(l)
}

// confirmAttached tells the client, and what it must know before data comes.
func (s *Session) confirmAttached(l *link) {
	s.begin(l.id)
	s.add(&wire.Hello{Instance: s.instance})
	s.add(&wire.Attached{Path: uint8(l.id)})
	s.addKeyPair()
	s.finish(l)
}

// addKeyPair appends the announcement of the current key pair, if there is one.
func (s *Session) addKeyPair() {
	if s.ordinal > 0 {
		s.add(&wire.KeyPair{Index: s.index, Ordinal: s.ordinal, First: s.hist.Lowest()})
	}
}

// onAttached begins to use a path.
func (s *Session) onAttached(f *wire.Attached) {
	l := s.links[f.Path]
	if s.cfg.Role != Client || l == nil || l.attached {
		return
	}
	l.attached, l.attachTries = true, 0
	l.path.Hasten(s.now)
	l.carried = s.now // long enough awake to be measured
	s.begin(l.id)
	s.addKeyPair()
	s.finish(l)
	if l.told != NoCeiling {
		s.tellCeiling(l)
	}
}

func (s *Session) onDetach(f *wire.Detach) {
	if l := s.links[f.Path]; l != nil && s.cfg.Role == Server {
		s.dropLink(l)
	}
}

// onHello notices a peer that has begun anew: it knows nothing of what went
// before, and its clock is another.
func (s *Session) onHello(f *wire.Hello) {
	known := s.peer
	s.peer = f.Instance
	if known == f.Instance || known == 0 {
		return
	}
	s.counts.peerRestarts++
	s.forgetPeer()
}

// forgetPeer drops all that depends on the peer's memory. A server drops the
// paths too: the new client will attach its own.
func (s *Session) forgetPeer() {
	s.lastReport = 0
	s.tuned, s.tunedAt = wire.Tune{}, 0
	s.queue.clear()
	s.express.clear()
	s.hist.Clear()
	s.recv.Forget()
	for _, l := range s.links {
		if l != nil {
			s.unhold(l, Never)
		}
	}
	s.equalized, s.equalizedAt = wire.Equalize{}, 0
	s.order.Forget(s.now)
	for id, l := range s.links {
		if l == nil {
			continue
		}
		if s.cfg.Role == Server {
			s.dropLink(l)
			continue
		}
		l.cfg.Memory = s.Learned(s.now, l.id)
		fresh := s.newLink(schedulers.PathID(id), l.cfg)
		fresh.told = l.told
		s.limit(fresh, l.ceiling)
		fresh.control, fresh.lending = l.control, l.lending
		fresh.lentPackets, fresh.lentControl = l.lentPackets, l.lentControl
		fresh.txPackets, fresh.txBytes, fresh.rxPackets, fresh.rxBytes = l.txPackets, l.txBytes, l.rxPackets, l.rxBytes
		fresh.attachAt = s.now
		fresh.path.Heard(s.now)
		if s.plain.link == l {
			s.plain.link = fresh
		}
	}
	if s.ordinal > 0 {
		s.hist.KeyPair(s.index, s.next)
	}
}

// Strays appends datagrams for addresses that are not paths. They are the
// caller's, not Pool buffers.
func (s *Session) Strays(out []Stray) []Stray {
	out = append(out, s.strays...)
	clear(s.strays)
	s.strays = s.strays[:0]
	return out
}

// Remote tells where path id leads: at a server, false if it is not attached;
// at a client, true only if the server has moved (see ReceiveForeign).
func (s *Session) Remote(id schedulers.PathID) (Remote, bool) {
	l := s.links[id]
	if l == nil || !l.remote.Peer.IsValid() {
		return Remote{}, false
	}
	return l.remote, true
}

// RemotesVersion changes whenever an answer of Remote does.
func (s *Session) RemotesVersion() uint64 { return s.remotes }
