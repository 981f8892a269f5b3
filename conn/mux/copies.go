package mux

import (
	"sync"

	"golang.org/x/crypto/blake2s"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// copies finds the second and later copies of WireGuard's handshake messages.
// They go out on every path, so each arrives several times. WireGuard must get
// one only: of two in the same instant it may take both (see wgbond/greet.go),
// and wireguard-go logs the others as errors.
type copies struct {
	mu   sync.Mutex // guards all below; a leaf
	seen map[digest]struct{}
	ring [1024]digest // what is in seen, oldest at next
	next int
}

type digest = [blake2s.Size128]byte

// DropCopies drops from pkts, which it owns, the handshake messages that passed
// here lately, and returns the rest. Use it on all that goes to one WireGuard.
func (sh *Shell) DropCopies(pkts [][]byte) [][]byte {
	rest := pkts
	for i := 0; i < len(rest); i++ {
		if wire.Kind(rest[i]) != wire.WGHandshake || !sh.copies.copy(rest[i]) {
			continue
		}
		sh.Pool.Put(rest[i])
		sh.Drops.Add(DropHandshakeCopy, 1)
		// Rare, and never in a batch of any size.
		rest = append(rest[:i], rest[i+1:]...)
		i--
	}
	return rest
}

// copy reports whether pkt was seen lately, and remembers it.
func (c *copies) copy(pkt []byte) bool {
	full := blake2s.Sum256(pkt)
	sum := digest(full[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.seen[sum]; ok {
		return true
	}
	if c.seen == nil {
		c.seen = make(map[digest]struct{}, len(c.ring))
	}
	delete(c.seen, c.ring[c.next])
	c.seen[sum] = struct{}{}
	c.ring[c.next] = sum
	c.next = (c.next + 1) % len(c.ring)
	return false
}
