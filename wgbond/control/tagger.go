package control

import (
	"crypto/cipher"
	"encoding/binary"
	"math/bits"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Tagger makes tags of WireGuard's data messages, by which the two ends of a
// session can compare what left with what came. Nobody else can make one, nor
// tell which messages they are made of. It is not safe for concurrent use and
// allocates nothing.
type Tagger struct {
	aead  cipher.AEAD
	mix   uint64 // picks the sample
	nonce [chacha20poly1305.NonceSize]byte
	tag   [chacha20poly1305.Overhead]byte
}

// One of 4 messages is tagged, of those below smallMessage bytes one of 64: for
// them a tag weighs more.
const smallMessage = 512

func newTagger(key [32]byte) (*Tagger, error) {
	h, err := blake2s.New256(key[:])
	if err != nil {
		return nil, err
	}
	h.Write([]byte("wg-bond receipts"))
	own := h.Sum(nil)
	t := new(Tagger)
	if t.aead, err = chacha20poly1305.New(own); err != nil {
		return nil, err
	}
	t.aead.Seal(t.tag[:0], t.nonce[:], nil, own[:0])
	t.mix = binary.LittleEndian.Uint64(t.tag[:])
	return t, nil
}

// Samples reports whether a message of that counter and size, bytes, is one to
// tag.
func (t *Tagger) Samples(counter uint64, size int) bool {
	x := (counter ^ t.mix) * 0x9e3779b97f4a7c15
	x = bits.RotateLeft64(x, 32) ^ t.mix
	x *= 0xbf58476d1ce4e5b9
	if size < smallMessage {
		return x>>58 == 0 // of 64
	}
	return x>>62 == 0 // of 4
}

// Tag is that of a data message, all of whose bytes count.
func (t *Tagger) Tag(message []byte) uint32 {
	clear(t.nonce[:])
	copy(t.nonce[:], message[4:min(len(message), 16)]) // receiver index and counter
	t.aead.Seal(t.tag[:0], t.nonce[:], nil, message)
	return binary.LittleEndian.Uint32(t.tag[:])
}
