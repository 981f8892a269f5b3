package conn

import (
	"sync"

	"golang.org/x/crypto/blake2s"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// copies finds the second and later copies of WireGuard's handshake messages.
// They go out on every path, so each arrives several times. WireGuard needs
// one, and wireguard-go logs the others as errors.
type copies struct {
	mu   sync.Mutex // guards all below; a leaf
	seen [64][blake2s.Size]byte
	next int
}

// filter drops the copies among pkts, which it owns, and returns the rest.
func (c *copies) filter(shell *mux.Shell, pkts [][]byte) [][]byte {
	rest := pkts
	for i := 0; i < len(rest); i++ {
		if wire.Kind(rest[i]) != wire.WGHandshake || !c.copy(rest[i]) {
			continue
		}
		shell.Pool.Put(rest[i])
		shell.Drops.Add(mux.DropHandshakeCopy, 1)
		// Rare, and never in a batch of any size.
		rest = append(rest[:i], rest[i+1:]...)
		i--
	}
	return rest
}

// copy reports whether pkt was seen lately, and remembers it.
func (c *copies) copy(pkt []byte) bool {
	sum := blake2s.Sum256(pkt)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.seen {
		if c.seen[i] == sum {
			return true
		}
	}
	c.seen[c.next] = sum
	c.next = (c.next + 1) % len(c.seen)
	return false
}
