package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/flynn/noise"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Service separates the handshakes of different parties: it begins the Noise
// prologue, and each has datagrams of a type of its own.
type Service string

// The services.
const (
	Bond  Service = "wg-bond v1 session" // borrower ⇄ server, wire.TypeSession
	Lease Service = "wg-bond v1 lease"   // borrower ⇄ relayd, wire.TypeLease
)

// datagramType is the first byte of the service's datagrams; 0 if there is no
// such service.
func (s Service) datagramType() byte {
	switch s {
	case Bond:
		return wire.TypeSession
	case Lease:
		return wire.TypeLease
	}
	return 0
}

// MaxPayload is the most that the payload of an initiation or a response can
// have, bytes.
const MaxPayload = 1024

// maxHandshake bounds the datagrams of a handshake that are looked at.
const maxHandshake = wire.MinInitiationSize + MaxPayload

// Why a datagram was not accepted.
var (
	// ErrMalformed: no datagram of this service, or of a size it cannot have.
	ErrMalformed = errors.New("control: not a well-formed datagram of this service")
	// ErrMAC1: the sender does not know whom it is writing to.
	ErrMAC1 = errors.New("control: mac1 is wrong: the datagram is not meant for this key")
	// ErrAuth: decryption failed: other keys, another preshared key, or a
	// changed datagram.
	ErrAuth = errors.New("control: not authentic: other keys, or changed on the way")
	// ErrUnknownPeer: a genuine initiation of somebody who may not connect.
	ErrUnknownPeer = errors.New("control: the peer's key is not among those allowed")
	// ErrReplay: seen before, or too old to tell.
	ErrReplay = errors.New("control: seen before, or older than what was seen")
	// ErrUnknownIndex: no handshake or session under this receiver index.
	ErrUnknownIndex = errors.New("control: no handshake waits under this receiver index")
	// ErrCookie: the responder is under load and has sent a cookie. Initiate
	// again: the cookie is used by itself.
	ErrCookie = errors.New("control: the responder wants the address proven: initiate again")
	// ErrLimited: an address asks too often.
	ErrLimited = errors.New("control: too many handshakes from this address")
	// ErrCounter: a counter beyond MaxMessages.
	ErrCounter = errors.New("control: the counter is beyond its limit")
)

// Offsets in the datagrams of a handshake.
const (
	initiationNoise = 4 + 4     // header, sender index
	responseNoise   = 4 + 4 + 4 // header, sender index, receiver index
	macsSize        = 16 + 16
	timestampSize   = 12
	indexSize       = 4
)

// putHeader appends a control datagram's four bytes.
func putHeader(dst []byte, s Service, k wire.MessageKind) []byte {
	return append(dst, s.datagramType(), byte(k), 0, 0)
}

// checkHeader reports whether msg is of service s and kind k and not oversized.
func checkHeader(msg []byte, s Service, k wire.MessageKind) bool {
	return wire.ControlKind(msg) == k && msg[0] == s.datagramType() && len(msg) <= maxHandshake
}

var (
	suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
	le    = binary.LittleEndian
)

// noiseConfig is common to both ends; index is the initiator's. The caller adds
// its randomness and, at the initiator, the responder's key.
func noiseConfig(s Service, index uint32, private, public, psk *Key) noise.Config {
	return noise.Config{
		CipherSuite:           suite,
		Pattern:               noise.HandshakeIK,
		Prologue:              le.AppendUint32([]byte(s), index),
		PresharedKey:          psk[:],
		PresharedKeyPlacement: 2,
		StaticKeypair:         noise.DHKey{Private: private[:], Public: public[:]},
	}
}

// checkIdentity reports what is wrong with a service and a private key.
func checkIdentity(s Service, private Key) error {
	if s.datagramType() == 0 {
		return fmt.Errorf("control: no service is called %q", string(s))
	}
	if private.IsZero() {
		return errors.New("control: the private key is missing")
	}
	return nil
}

// stamp is a TAI64N label: it compares as its time does.
type stamp [timestampSize]byte

// stampOf labels a wall clock time. As WireGuard does, it leaves leap seconds
// out of account: a label is compared only with others of the same sender.
func stampOf(t time.Time) stamp {
	var s stamp
	binary.BigEndian.PutUint64(s[:], 1<<62+10+uint64(t.Unix()))
	binary.BigEndian.PutUint32(s[8:], uint32(t.Nanosecond()))
	return s
}
