package control

import (
	"crypto/cipher"

	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/replay"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// MaxMessages is how many messages one Transport seals, and the limit of the
// counters it opens: as many as WireGuard seals with one key. A thousand
// messages a second take 36 million years.
const MaxMessages = 1 << 60

// Transport seals and opens the control messages of one established session.
// Once its caller's buffers are large enough it allocates nothing.
type Transport struct {
	service       Service
	local, remote uint32
	send, recv    cipher.AEAD
	counter       uint64 // of the next message
	window        replay.Filter

	// Memory for the nonces, which the compiler would otherwise put on the
	// heap with every call. The first four bytes stay zero.
	sendNonce, recvNonce [chacha20poly1305.NonceSize]byte

	sent, got *Tagger
}

// newTransport takes the halves of Noise's Split. Its own cipher interface
// allocates a nonce per message, so only the keys are taken from it.
func newTransport(s Service, local, remote uint32, send, recv *noise.CipherState) (*Transport, error) {
	t := &Transport{service: s, local: local, remote: remote}
	sendKey, recvKey := send.UnsafeKey(), recv.UnsafeKey()
	var err error
	if t.send, err = chacha20poly1305.New(sendKey[:]); err != nil {
		return nil, err
	}
	if t.recv, err = chacha20poly1305.New(recvKey[:]); err != nil {
		return nil, err
	}
	if t.sent, err = newTagger(sendKey); err != nil {
		return nil, err
	}
	t.got, err = newTagger(recvKey)
	return t, err
}

// Sent tags the data messages that we send, Got those that come: the peer's
// Got makes the same tags as our Sent.
func (t *Transport) Sent() *Tagger { return t.sent }

// Got is Sent's counterpart.
func (t *Transport) Got() *Tagger { return t.got }

// LocalIndex is the receiver index of messages to us.
func (t *Transport) LocalIndex() uint32 { return t.local }

// RemoteIndex is the receiver index of messages to the peer.
func (t *Transport) RemoteIndex() uint32 { return t.remote }

// Exhausted reports that MaxMessages were sealed: shake hands again.
func (t *Transport) Exhausted() bool { return t.counter >= MaxMessages }

// Seal appends a sealed datagram holding plaintext to dst: wire.SealedOverhead
// bytes more than plaintext, which must not lie in dst's spare room. An
// exhausted Transport appends nothing.
func (t *Transport) Seal(dst, plaintext []byte) []byte {
	if t.Exhausted() {
		return dst
	}
	start := len(dst)
	dst = putHeader(dst, t.service, wire.Sealed)
	dst = le.AppendUint32(dst, t.remote)
	dst = le.AppendUint64(dst, t.counter)
	le.PutUint64(t.sendNonce[4:], t.counter)
	t.counter++
	return t.send.Seal(dst, t.sendNonce[:], plaintext, dst[start:])
}

// Open checks and decrypts a sealed datagram, appending the plaintext to dst.
// Each message opens once. After an error nothing was appended and nothing has
// changed; what is in dst's spare room then means nothing.
func (t *Transport) Open(dst, datagram []byte) ([]byte, error) {
	counter, out, err := t.decrypt(dst, datagram)
	if err != nil {
		return dst, err
	}
	if !t.window.ValidateCounter(counter, MaxMessages) {
		return dst, ErrReplay
	}
	return out, nil
}

// Verify reports, by a nil error, that the datagram was sealed by the peer for
// this Transport. It does not count as opening it, and tells no first copy from
// a replay. scratch is memory to use, of any size.
func (t *Transport) Verify(scratch, datagram []byte) error {
	_, _, err := t.decrypt(scratch[:0], datagram)
	return err
}

func (t *Transport) decrypt(dst, datagram []byte) (counter uint64, out []byte, err error) {
	if wire.ControlKind(datagram) != wire.Sealed || datagram[0] != t.service.datagramType() {
		return 0, dst, ErrMalformed
	}
	if le.Uint32(datagram[4:]) != t.local {
		return 0, dst, ErrUnknownIndex
	}
	counter = le.Uint64(datagram[8:])
	if counter >= MaxMessages {
		return 0, dst, ErrCounter
	}
	le.PutUint64(t.recvNonce[4:], counter)
	out, err = t.recv.Open(dst, t.recvNonce[:], datagram[wire.SealedHeaderSize:], datagram[:wire.SealedHeaderSize])
	if err != nil {
		return 0, dst, ErrAuth
	}
	return counter, out, nil
}
