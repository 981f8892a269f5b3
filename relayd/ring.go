package relayd

import (
	"sync"
	"time"
)

const (
	// bufferSize is the largest datagram that is forwarded, bytes; longer ones
	// are dropped by conn/udp, and counted there.
	bufferSize = 2048
	// batch is how many datagrams are received or sent at once.
	batch = 64
	// ringSlots is what may wait for the lent link, per lease: 0.4 s of full
	// packets at 3.6 Mbit/s. The borrower's rate control keeps it emptier.
	ringSlots = 128
)

// newBuffers makes n buffers in one piece of memory.
func newBuffers(n int) [][]byte {
	slab := make([]byte, n*bufferSize)
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = slab[i*bufferSize : (i+1)*bufferSize : (i+1)*bufferSize]
	}
	return bufs
}

// ring is a bounded queue of datagrams between one or more producers and one
// consumer. Every slot owns a buffer of bufferSize; both ends swap theirs for
// it.
type ring struct {
	mu     sync.Mutex
	slots  [][]byte
	head   int // of the oldest
	n      int
	closed bool

	wake chan struct{} // has room for one: the consumer looks again
	gone chan struct{} // closed with the ring

	timer *time.Timer // the consumer's; nil until it first rests
}

func newRing() *ring {
	return &ring{slots: newBuffers(ringSlots), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// push puts the datagram *buf in, leaving in *buf another buffer of full
// length. It is false, and nothing is changed, if the ring is full. Call signal
// after one or more pushes.
func (r *ring) push(buf *[]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == len(r.slots) || r.closed {
		return false
	}
	slot := &r.slots[(r.head+r.n)%len(r.slots)]
	*slot, *buf = *buf, (*slot)[:bufferSize]
	r.n++
	return true
}

// signal wakes the consumer.
func (r *ring) signal() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// pop waits for datagrams and takes up to len(bufs) of them, leaving in the
// ring the buffers that were in bufs. It returns 0 once the ring is closed.
func (r *ring) pop(bufs [][]byte) int {
	for {
		n, closed := r.take(bufs)
		if n > 0 || closed {
			return n
		}
		<-r.wake
	}
}

func (r *ring) take(bufs [][]byte) (n int, closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, true
	}
	for n = 0; n < len(bufs) && r.n > 0; n++ {
		slot := &r.slots[r.head]
		*slot, bufs[n] = bufs[n][:bufferSize], *slot
		r.head = (r.head + 1) % len(r.slots)
		r.n--
	}
	return n, false
}

// close discards what waits and ends the consumer.
func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.gone)
	r.signal()
}

// rest has the consumer wait for a time, or until the ring is closed.
func (r *ring) rest(d time.Duration) {
	if r.timer == nil {
		r.timer = time.NewTimer(d)
	} else {
		r.timer.Reset(d)
	}
	select {
	case <-r.timer.C:
	case <-r.gone:
		r.timer.Stop()
	}
}
