package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/flynn/noise"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// maxInitiations is how many unanswered initiations an Initiator remembers: on
// a path slower than the caller's patience the answer to an earlier one counts
// too.
const maxInitiations = 4

// Initiator makes handshakes with one responder, any number one after the
// other.
//
//	        Initiate                  response
//	idle ─────────────► 1…4 pending ───────────► Transport; idle
//	                       │    ▲
//	          cookie reply │    │ Initiate (with mac2)
//	                       └────┘
//
// An error of Consume changes nothing: the pending initiations still wait.
type Initiator struct {
	cfg        InitiatorConfig
	public     Key
	mac1       mac1Key // of responses, to us
	last       stamp   // of the latest initiation
	pending    []*initiation
	cookie     mac
	cookieTill time.Time // by the wall clock; zero: there is none
}

// initiation is one that waits for its response.
type initiation struct {
	index     uint32
	noise     *noise.HandshakeState
	ephemeral [32]byte
	message   []byte // Noise message 1's payload
	mac1      mac
	made      time.Time
}

// InitiatorConfig says who shakes hands with whom.
type InitiatorConfig struct {
	Service   Service
	Private   Key       // ours
	Remote    Key       // the responder's public key
	Preshared Key       // zero: none
	Rand      io.Reader // cryptographic randomness
}

// NewInitiator makes an Initiator.
func NewInitiator(cfg InitiatorConfig) (*Initiator, error) {
	if err := checkIdentity(cfg.Service, cfg.Private); err != nil {
		return nil, err
	}
	if cfg.Remote.IsZero() {
		return nil, errors.New("control: the responder's public key is missing")
	}
	if cfg.Rand == nil {
		return nil, errors.New("control: Rand is missing")
	}
	i := &Initiator{cfg: cfg, public: cfg.Private.Public()}
	i.mac1 = mac1KeyOf(i.public)
	return i, nil
}

// Initiate makes a fresh initiation that carries payload, encrypted. The same
// datagram may go out on several paths at once. The timestamp in it is wall, or
// just after that of the last initiation if wall is not later; only a responder
// that has seen a later one from us, perhaps before our clock was set back,
// refuses it.
func (i *Initiator) Initiate(wall time.Time, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("control: a payload of %d bytes, at most %d fit", len(payload), MaxPayload)
	}
	var random [32 + 4]byte
	if _, err := io.ReadFull(i.cfg.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("control: reading randomness: %w", err)
	}
	p := &initiation{ephemeral: [32]byte(random[:32]), index: le.Uint32(random[32:]), made: wall}
	i.last = after(i.last, stampOf(wall))
	p.message = append(append([]byte(nil), i.last[:]...), payload...)

	msg := putHeader(make([]byte, 0, wire.MinInitiationSize+len(payload)), i.cfg.Service, wire.Initiation)
	msg = le.AppendUint32(msg, p.index)
	msg, err := i.begin(p, msg)
	if err != nil {
		return nil, err
	}
	var cookie *mac
	if wall.Before(i.cookieTill) {
		cookie = &i.cookie
	}
	msg, p.mac1 = appendMACs(msg, i.cfg.Remote, cookie)

	if len(i.pending) == maxInitiations {
		i.pending = append(i.pending[:0], i.pending[1:]...)
	}
	i.pending = append(i.pending, p)
	return msg, nil
}

// begin sets p's Noise state to that of having sent message 1, which it
// appends to dst.
func (i *Initiator) begin(p *initiation, dst []byte) ([]byte, error) {
	cfg := noiseConfig(i.cfg.Service, p.index, &i.cfg.Private, &i.public, &i.cfg.Preshared)
	cfg.Initiator = true
	cfg.PeerStatic = i.cfg.Remote[:]
	cfg.Random = &once{p.ephemeral[:]}
	hs, err := noise.NewHandshakeState(cfg)
	if err != nil {
		return nil, err
	}
	dst, _, _, err = hs.WriteMessage(dst, p.message)
	if err != nil {
		return nil, fmt.Errorf("control: the responder's key cannot be used: %w", err)
	}
	p.noise = hs
	return dst, nil
}

// once gives out its bytes, then nothing.
type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.b)
	o.b = o.b[n:]
	return n, nil
}

// Consume takes a response or cookie reply. On a valid response it returns the
// session's transport and the response's payload; after a cookie reply
// (nil, nil, ErrCookie): call Initiate again.
//
// A cookie proves one address. If an initiation went out on several paths and
// several cookies came back, the next one passes on the path of the last.
func (i *Initiator) Consume(msg []byte) (*Transport, []byte, error) {
	switch {
	case checkHeader(msg, i.cfg.Service, wire.Response):
		return i.response(msg)
	case checkHeader(msg, i.cfg.Service, wire.CookieReply):
		return nil, nil, i.cookieReply(msg)
	}
	return nil, nil, ErrMalformed
}

// waiting finds the initiation with our index.
func (i *Initiator) waiting(index uint32) *initiation {
	for _, p := range i.pending {
		if p.index == index {
			return p
		}
	}
	return nil
}

func (i *Initiator) response(msg []byte) (*Transport, []byte, error) {
	if !i.mac1.check(msg) {
		return nil, nil, ErrMAC1
	}
	p := i.waiting(le.Uint32(msg[8:]))
	if p == nil {
		return nil, nil, ErrUnknownIndex
	}
	remote := msg[4:8]
	payload, send, recv, err := p.noise.ReadMessage(nil, msg[responseNoise:len(msg)-macsSize])
	if err != nil || !bytes.HasPrefix(payload, remote) {
		// A forged response must not spoil the handshake for the real one, but
		// the library's state cannot always be used after an error: make it
		// again from what it was made from.
		if _, err := i.begin(p, nil); err != nil {
			return nil, nil, err
		}
		return nil, nil, ErrAuth
	}
	t, err := newTransport(i.cfg.Service, p.index, le.Uint32(remote), send, recv)
	if err != nil {
		return nil, nil, err
	}
	clear(i.pending)
	i.pending = i.pending[:0]
	return t, payload[indexSize:], nil
}

func (i *Initiator) cookieReply(msg []byte) error {
	p := i.waiting(le.Uint32(msg[4:]))
	if p == nil {
		return ErrUnknownIndex
	}
	cookie, err := openCookie(msg[8:], i.cfg.Remote, p.mac1)
	if err != nil {
		return err
	}
	// The cookie is a little younger than the initiation that it answers.
	i.cookie, i.cookieTill = cookie, p.made.Add(cookieLife)
	return ErrCookie
}

// after is s, or the label just after last if s is not later.
func after(last, s stamp) stamp {
	if string(s[:]) > string(last[:]) {
		return s
	}
	for k := len(last) - 1; k >= 0; k-- {
		if last[k]++; last[k] != 0 {
			break
		}
	}
	return last
}
