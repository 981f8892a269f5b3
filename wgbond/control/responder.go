package control

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/flynn/noise"
	"golang.org/x/crypto/blake2s"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// What a responder does and remembers at most.
const (
	// PendingLife is how long a handshake waits for its first sealed message.
	PendingLife = 20 * time.Second

	maxPending        = 1024 // handshakes that wait, over all peers
	maxPendingPerPeer = 8
	maxPeers          = 4096 // whose last timestamp is remembered
	maxSources        = 4096 // whose rate is remembered
	maxRepeats        = 32   // answers to copies of one initiation; a session has 16 paths

	// Per source, as WireGuard limits it: 20 a second, 5 at once.
	sourceInterval = time.Second / 20
	sourceBurst    = 5
	// Over all sources that proved no address: beyond this we are under load.
	unprovenInterval = time.Second / 50
	unprovenBurst    = 50
)

// ResponderConfig says whom a Responder answers.
type ResponderConfig struct {
	Service Service
	Private Key
	// Lookup finds the preshared key (zero: none) of a peer by its public key;
	// false if the peer may not connect.
	Lookup func(peer Key) (preshared Key, ok bool)
	// Answer gives the payload of the response to an initiation of peer; nil
	// for none. It may be called for initiations that nobody follows up.
	Answer func(peer Key, payload []byte) []byte
	// Taken reports whether a receiver index is in use elsewhere, by a session
	// that was accepted before. May be nil.
	Taken func(index uint32) bool
	Rand  io.Reader // cryptographic randomness
}

// Responder answers handshakes.
//
//	initiation                                          the same again
//	    │                                                     │
//	malformed? mac1? ── no ─► error                           │
//	    │ seen? ── yes ─► the same response, or ErrReplay ◄───┘
//	    │ limits? ── over ─► cookie reply; ErrLimited if mac2 is right
//	    │ Noise, peer, timestamp? ── no ─► error
//	    ▼
//	 response, pending ── first sealed message (Confirm) ─► Accepted
//	    └── PendingLife, or too many ─► forgotten
//
// All that it remembers is bounded, whatever is sent to it. What waits is
// forgotten when the next handshake comes, so nobody need call it for that.
type Responder struct {
	cfg    ResponderConfig
	public Key
	mac1   mac1Key // of initiations, to us
	cookie cookies

	unproven       bucket
	unprovenSource limiter
	provenSource   limiter

	peers   map[Key]*peer
	byIndex map[uint32]*pending // those that wait for Confirm
	byHash  map[hash]*pending   // all in queue
	queue   []*pending          // by age
	stats   ResponderStats
}

type hash = [blake2s.Size]byte

// peer is what is remembered of a peer that passed Lookup.
type peer struct {
	last    stamp         // of its latest initiation
	seen    time.Duration // when that was
	waiting []*pending    // in byIndex, by age
}

// pending is a handshake answered within the last PendingLife.
type pending struct {
	hash      hash
	key       Key
	stamp     stamp
	expires   time.Duration
	payload   []byte
	response  []byte
	repeats   int
	transport *Transport // nil once it no longer waits
}

// Accepted is an established session.
type Accepted struct {
	Peer      Key // public
	Transport *Transport
	Payload   []byte // of the initiation, the caller's to keep
}

// ResponderStats counts what became of the datagrams given to a Responder.
type ResponderStats struct {
	Answered  uint64 // initiations answered by a response
	Repeated  uint64 // copies of them, answered by the same response
	Confirmed uint64 // handshakes that became sessions

	Cookies uint64 // initiations answered by a cookie
	Expired uint64 // handshakes that nobody followed up, or too many waited

	Malformed    uint64 // not of this service, or of an impossible size
	BadMAC1      uint64
	Limited      uint64 // of an address that was proven but asks too often
	BadAuth      uint64 // initiations and first sealed messages that fail to decrypt
	UnknownPeer  uint64
	Replayed     uint64 // timestamp not later than the last
	UnknownIndex uint64 // sealed messages of no waiting handshake
}

// NewResponder makes a Responder.
func NewResponder(cfg ResponderConfig) (*Responder, error) {
	if err := checkIdentity(cfg.Service, cfg.Private); err != nil {
		return nil, err
	}
	if cfg.Lookup == nil || cfg.Rand == nil {
		return nil, errors.New("control: Lookup or Rand is missing")
	}
	public := cfg.Private.Public()
	return &Responder{
		cfg:    cfg,
		public: public,
		mac1:   mac1KeyOf(public),
		cookie: cookies{sealKey: labelled(labelCookie, public), rand: cfg.Rand},

		unprovenSource: limiter{interval: sourceInterval, burst: sourceBurst, max: maxSources},
		provenSource:   limiter{interval: sourceInterval, burst: sourceBurst, max: maxSources},

		peers:   make(map[Key]*peer),
		byIndex: make(map[uint32]*pending),
		byHash:  make(map[hash]*pending),
	}, nil
}

// Stats counts what has happened so far.
func (r *Responder) Stats() ResponderStats { return r.stats }

// Waiting is the number of handshakes that wait for their first sealed message.
func (r *Responder) Waiting() int { return len(r.byIndex) }

// Handle takes an initiation that came from an address, and gives the datagram
// to send back there. The error says why there is none. A reply is never much
// larger than what it answers, unless Answer makes it so.
func (r *Responder) Handle(now time.Duration, from netip.AddrPort, msg []byte) (reply []byte, err error) {
	r.expire(now)
	if !checkHeader(msg, r.cfg.Service, wire.Initiation) {
		r.stats.Malformed++
		return nil, ErrMalformed
	}
	if !r.mac1.check(msg) {
		r.stats.BadMAC1++
		return nil, ErrMAC1
	}
	h := hash(blake2s.Sum256(msg[:len(msg)-16])) // mac2 makes no difference
	if p := r.byHash[h]; p != nil {
		if p.transport == nil || p.repeats == maxRepeats {
			r.stats.Replayed++
			return nil, ErrReplay
		}
		p.repeats++
		r.stats.Repeated++
		return append([]byte(nil), p.response...), nil
	}

	source := sourceOf(from)
	if r.cookie.proven(now, from, msg) {
		if !r.provenSource.allow(now, source) {
			r.stats.Limited++
			return nil, ErrLimited
		}
	} else if !r.unproven.take(now, unprovenInterval, unprovenBurst) || !r.unprovenSource.allow(now, source) {
		reply = putHeader(make([]byte, 0, wire.CookieReplySize), r.cfg.Service, wire.CookieReply)
		reply = append(reply, msg[4:8]...)
		if reply, err = r.cookie.appendReply(reply, now, from, msg); err != nil {
			return nil, fmt.Errorf("control: making a cookie: %w", err)
		}
		r.stats.Cookies++
		return reply, nil
	}
	return r.respond(now, h, msg)
}

// respond does the costly part: Noise.
func (r *Responder) respond(now time.Duration, h hash, msg []byte) ([]byte, error) {
	remote := le.Uint32(msg[4:])
	cfg := noiseConfig(r.cfg.Service, remote, &r.cfg.Private, &r.public, &Key{})
	cfg.PresharedKey = nil // not known before the peer is
	cfg.Random = r.cfg.Rand
	hs, err := noise.NewHandshakeState(cfg)
	if err != nil {
		return nil, err
	}
	content, _, _, err := hs.ReadMessage(nil, msg[initiationNoise:len(msg)-macsSize])
	if err != nil || len(content) < timestampSize {
		r.stats.BadAuth++
		return nil, ErrAuth
	}
	key := Key(hs.PeerStatic())
	preshared, ok := r.cfg.Lookup(key)
	if !ok {
		r.stats.UnknownPeer++
		return nil, ErrUnknownPeer
	}
	p := &pending{hash: h, key: key, stamp: stamp(content), payload: content[timestampSize:], expires: now + PendingLife}
	who := r.peers[key]
	if who != nil && string(p.stamp[:]) <= string(who.last[:]) {
		r.stats.Replayed++
		return nil, ErrReplay
	}

	index, err := r.freeIndex()
	if err != nil {
		return nil, err
	}
	if err := hs.SetPresharedKey(preshared[:]); err != nil {
		return nil, err
	}
	var answer []byte
	if r.cfg.Answer != nil {
		if answer = r.cfg.Answer(key, p.payload); len(answer) > MaxPayload {
			return nil, fmt.Errorf("control: an answer of %d bytes, at most %d fit", len(answer), MaxPayload)
		}
	}
	response := putHeader(make([]byte, 0, wire.MinResponseSize+len(answer)), r.cfg.Service, wire.Response)
	response = le.AppendUint32(response, index)
	response = le.AppendUint32(response, remote)
	content = append(le.AppendUint32(nil, index), answer...)
	response, recv, send, err := hs.WriteMessage(response, content)
	if err != nil {
		r.stats.BadAuth++ // the peer's ephemeral key is one that no honest peer makes
		return nil, ErrAuth
	}
	p.response, _ = appendMACs(response, key, nil)
	if p.transport, err = newTransport(r.cfg.Service, index, remote, send, recv); err != nil {
		return nil, err
	}
	if who == nil {
		who = r.remember(key)
	}
	who.last, who.seen = p.stamp, now
	r.enqueue(who, p)
	r.stats.Answered++
	return append([]byte(nil), p.response...), nil
}

// freeIndex draws a receiver index that is not in use.
func (r *Responder) freeIndex() (uint32, error) {
	for range 100 {
		var b [4]byte
		if _, err := io.ReadFull(r.cfg.Rand, b[:]); err != nil {
			return 0, fmt.Errorf("control: reading randomness: %w", err)
		}
		index := le.Uint32(b[:])
		if r.byIndex[index] == nil && (r.cfg.Taken == nil || !r.cfg.Taken(index)) {
			return index, nil
		}
	}
	return 0, errors.New("control: Rand gave a hundred receiver indices that are all in use")
}

// remember makes room for one more peer and adds it. Who has been silent
// longest is forgotten: a replay of its last initiation would get an answer
// again, no more.
func (r *Responder) remember(key Key) *peer {
	if len(r.peers) >= maxPeers {
		var oldest Key
		var seen time.Duration = 1<<63 - 1
		for k, p := range r.peers {
			if p.seen < seen && len(p.waiting) == 0 {
				oldest, seen = k, p.seen
			}
		}
		delete(r.peers, oldest) // there is one: fewer than maxPeers can wait
	}
	p := &peer{}
	r.peers[key] = p
	return p
}

// enqueue adds p to what waits, at the cost of the oldest if there is no room.
func (r *Responder) enqueue(who *peer, p *pending) {
	if len(who.waiting) == maxPendingPerPeer {
		r.settle(who.waiting[0], &r.stats.Expired)
	}
	if len(r.queue) == maxPending {
		r.dequeue()
	}
	who.waiting = append(who.waiting, p)
	r.byIndex[p.transport.local] = p
	r.byHash[p.hash] = p
	r.queue = append(r.queue, p)
}

// dequeue forgets the oldest entry of queue.
func (r *Responder) dequeue() {
	p := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	r.settle(p, &r.stats.Expired)
	delete(r.byHash, p.hash)
}

// settle makes p wait no longer, if it does, and counts that. Its hash stays
// until it is dequeued, so that copies still under way cost no DH.
func (r *Responder) settle(p *pending, count *uint64) {
	if p.transport == nil {
		return
	}
	*count++
	delete(r.byIndex, p.transport.local)
	who := r.peers[p.key]
	for i, w := range who.waiting {
		if w == p {
			who.waiting = append(who.waiting[:i], who.waiting[i+1:]...)
			break
		}
	}
	p.transport, p.response, p.payload = nil, nil, nil
}

func (r *Responder) expire(now time.Duration) {
	for len(r.queue) > 0 && r.queue[0].expires <= now {
		r.dequeue()
	}
}

// Confirm takes a sealed message whose receiver index is no session's. If it is
// the first one of a handshake that waits, that session now exists: datagram
// itself has not been opened, give it to Accepted.Transport (or to what it
// becomes part of) like all that follow. Older handshakes of the same peer wait
// no longer.
func (r *Responder) Confirm(now time.Duration, datagram []byte) (*Accepted, error) {
	r.expire(now)
	if wire.ControlKind(datagram) != wire.Sealed || datagram[0] != r.cfg.Service.datagramType() {
		r.stats.Malformed++
		return nil, ErrMalformed
	}
	p := r.byIndex[le.Uint32(datagram[4:])]
	if p == nil {
		r.stats.UnknownIndex++
		return nil, ErrUnknownIndex
	}
	if err := p.transport.Verify(nil, datagram); err != nil {
		r.stats.BadAuth++
		return nil, err
	}
	if _, ok := r.cfg.Lookup(p.key); !ok {
		r.settle(p, &r.stats.UnknownPeer) // it was, when it began
		return nil, ErrUnknownPeer
	}
	a := &Accepted{Peer: p.key, Transport: p.transport, Payload: p.payload}
	who := r.peers[p.key]
	for len(who.waiting) > 0 && string(who.waiting[0].stamp[:]) < string(p.stamp[:]) {
		r.settle(who.waiting[0], &r.stats.Expired)
	}
	r.settle(p, &r.stats.Confirmed)
	return a, nil
}
