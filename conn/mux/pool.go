package mux

import (
	"sync"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/wgbond"
)

// maxNear bounds Pool.near; it is what is under way from the readers to
// WireGuard in a few batches.
const maxNear = 4 * BatchSize

// Pool is a wgbond.Pool. The zero Pool is ready to use, by any number of
// goroutines at once.
type Pool struct {
	free sync.Pool

	// A reader's buffers go to WireGuard's goroutine, on another processor, and
	// come back, a batch at a time. From free each of them would have to be taken
	// away from the other processor, and the reader would get the one that has been
	// out of use for longest, so that no cache holds it.
	mu   sync.Mutex // guards near; a leaf
	near [][]byte   // the latest put back last
}

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
	p.mu.Lock()
	for i, b := range bs {
		if len(p.near) < maxNear && cap(b) >= wgbond.MaxDatagram {
			p.near = append(p.near, b)
		} else {
			p.Put(b)
		}
		bs[i] = nil
	}
	p.mu.Unlock()
}

// arm prepares ms for ReadBatch: those whose buffer was taken (nil) get another,
// and all have their whole length.
func (p *Pool) arm(ms []udp.Message) {
	p.mu.Lock()
	for i := range ms {
		b := &ms[i].Buf
		if n := len(p.near) - 1; *b == nil && n >= 0 {
			*b, p.near[n], p.near = p.near[n], nil, p.near[:n]
		} else if *b == nil {
			*b = p.Get()
		}
		*b = (*b)[:wgbond.MaxDatagram]
	}
	p.mu.Unlock()
}
