// Package control: see CONTRACTS. Skeleton.
package control

import (
	"io"
	"time"
)

// Key is an X25519 or preshared key.
type Key [32]byte

// Service separates the handshakes of different parties: it enters the prologue.
type Service string

// The services.
const (
	Bond  Service = "wg-bond v1 session"
	Lease Service = "wg-bond v1 lease"
)

// Initiator makes handshakes with one responder. Skeleton.
type Initiator struct{}

// InitiatorConfig says who shakes hands with whom.
type InitiatorConfig struct {
	Service   Service
	Private   Key
	Remote    Key
	Preshared Key
	Rand      io.Reader
}

// NewInitiator makes an Initiator.
func NewInitiator(cfg InitiatorConfig) (*Initiator, error) { panic("skeleton") }

// Initiate makes a fresh initiation that carries payload, encrypted.
func (i *Initiator) Initiate(wall time.Time, payload []byte) ([]byte, error) { panic("skeleton") }

// Consume takes a response or cookie reply. On a valid response it returns the
// session's transport and the response's payload; after a cookie reply
// (nil, nil, ErrCookie): call Initiate again.
func (i *Initiator) Consume(msg []byte) (*Transport, []byte, error) { panic("skeleton") }

// Transport seals and opens the control messages of one established session.
type Transport struct{}

// LocalIndex is the receiver index of messages to us.
func (t *Transport) LocalIndex() uint32 { panic("skeleton") }

// Seal appends a sealed datagram holding plaintext to dst.
func (t *Transport) Seal(dst, plaintext []byte) []byte { panic("skeleton") }

// Open checks and decrypts a sealed datagram, appending the plaintext to dst.
// Each message opens once.
func (t *Transport) Open(dst, datagram []byte) ([]byte, error) { panic("skeleton") }
