// Package tunnel is WireGuard's data plane without the cryptography: it wraps
// inner packets into messages of WireGuard's shape and size, and judges what
// arrives as WireGuard would.
//
//	04 00 00 00 | receiver index u32 | counter u64 | inner packet, padded | tag 16
//
// The simulation puts bonding engines between two of these.
package tunnel

import (
	"encoding/binary"
	"errors"
)

// Sizes in bytes, of UDP payload.
const (
	// MTU is the tunnel's, as wg-quick sets it.
	MTU = 1420
	// Overhead is what a data message adds to the padded inner packet.
	Overhead    = 16 + tag
	tag         = 16
	padding     = 16
	typeData    = 4
	maxKeyPairs = 3 // key pairs that are known at a time: previous, current, next
)

// Size is the data message's size for an inner packet of n bytes: it is padded
// to 16 bytes, but not beyond the MTU.
func Size(n int) int { return Overhead + max(n, min((n+padding-1)&^(padding-1), MTU)) }

// Why Unwrap refuses a message.
var (
	ErrNotData   = errors.New("tunnel: not a data message")
	ErrDuplicate = errors.New("tunnel: the counter came before")
	ErrForged    = errors.New("tunnel: the tag is not what Wrap made")
	ErrLate      = errors.New("tunnel: the counter is beyond the replay window")
)

// Stats counts the messages that came.
type Stats struct {
	Received   uint64 // accepted
	OutOfOrder uint64 // of these, after one with a higher counter, as small ones may go
	Duplicates uint64 // refused: came before
	Late       uint64 // refused: beyond the replay window
	Forged     uint64 // refused: altered on the way, as far as the tag shows
	NotData    uint64 // refused: something else
	MaxLag     uint64 // farthest that an accepted one was behind the newest
}

// Peer is one end. Give both ends the same first index.
type Peer struct {
	index   uint32
	counter uint64
	windows []keyPair // newest last
	stats   Stats
}

type keyPair struct {
	index uint32
	window
}

// New makes an end that sends with index as receiver index.
func New(index uint32) *Peer { return &Peer{index: index} }

// Rekey begins a new key pair: counters start again at 0.
func (p *Peer) Rekey(index uint32) { p.index, p.counter = index, 0 }

// Stats tells what came so far.
func (p *Peer) Stats() Stats { return p.stats }

// Wrap appends the data message that carries inner.
func (p *Peer) Wrap(dst, inner []byte) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = le.AppendUint32(dst, typeData)
	dst = le.AppendUint32(dst, p.index)
	dst = le.AppendUint64(dst, p.counter)
	dst = append(dst, inner...)
	for size := Size(len(inner)); len(dst)-start < size; {
		dst = append(dst, 0)
	}
	p.counter++
	return dst
}

// Unwrap judges a message and returns the inner packet with its padding, a
// part of msg.
func (p *Peer) Unwrap(msg []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(msg) < Overhead || le.Uint32(msg) != typeData {
		p.stats.NotData++
		return nil, ErrNotData
	}
	if [tag]byte(msg[len(msg)-tag:]) != ([tag]byte{}) {
		p.stats.Forged++
		return nil, ErrForged
	}
	k, counter := p.keyPair(le.Uint32(msg[4:])), le.Uint64(msg[8:])
	lag := uint64(0)
	if k.any && counter < k.newest {
		lag = k.newest - counter
	}
	switch {
	case lag > Window:
		p.stats.Late++
		return nil, ErrLate
	case !k.accept(counter):
		p.stats.Duplicates++
		return nil, ErrDuplicate
	}
	p.stats.Received++
	if lag > 0 {
		p.stats.OutOfOrder++
		p.stats.MaxLag = max(p.stats.MaxLag, lag)
	}
	return msg[16 : len(msg)-tag], nil
}

func (p *Peer) keyPair(index uint32) *keyPair {
	for i := range p.windows {
		if p.windows[i].index == index {
			return &p.windows[i]
		}
	}
	if len(p.windows) == maxKeyPairs {
		p.windows = append(p.windows[:0], p.windows[1:]...)
	}
	p.windows = append(p.windows, keyPair{index: index})
	return &p.windows[len(p.windows)-1]
}

// Window is how far behind the newest counter WireGuard accepts one that it has
// not seen (RFC 6479 with 128 words of 64 bits, of which one is in change).
const Window = (words - 1) * 64

const words = 128

type window struct {
	any    bool
	newest uint64
	bits   [words]uint64
}

// accept notes a counter within the window; false if it was noted before.
func (w *window) accept(c uint64) bool {
	if !w.any || c > w.newest {
		from := w.newest/64 + 1
		if !w.any {
			from = 0
		}
		for n := uint64(0); n < words && from+n <= c/64; n++ {
			w.bits[(c/64-n)%words] = 0
		}
		w.any, w.newest = true, c
	}
	word, bit := &w.bits[c/64%words], uint64(1)<<(c%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
