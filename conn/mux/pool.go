package mux

import (
	"sync"

	"github.com/wg-bond/wg-bond/wgbond"
)

// Pool is a wgbond.Pool. The zero Pool is ready to use, by any number of
// goroutines at once.
type Pool struct{ free sync.Pool }

// Get lends a buffer of wgbond.MaxDatagram bytes.
func (p *Pool) Get() []byte {
	if b, ok := p.free.Get().(*[wgbond.MaxDatagram]byte); ok {
		return b[:]
	}
	return new([wgbond.MaxDatagram]byte)[:]
}

// Put takes back a buffer that Get lent, at whatever length it has by now; it
// must still start where it started.
func (p *Pool) Put(b []byte) {
	if cap(b) < wgbond.MaxDatagram {
		// Not one of ours, or cut at the front: leave it to the collector
		// rather than hand out a short buffer later.
		return
	}
	// An array pointer fits an interface without an allocation, a slice does not.
	p.free.Put((*[wgbond.MaxDatagram]byte)(b[:wgbond.MaxDatagram]))
}

// PutAll takes back many and forgets them in bs.
func (p *Pool) PutAll(bs [][]byte) {
	for i, b := range bs {
		p.Put(b)
		bs[i] = nil
	}
}
