package conn

import (
	"net"
	"sync"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/mux"
)

// queueSize bounds what waits for wireguard-go, datagrams. At 1 Gbit/s it is
// 46 ms; what finds no room is dropped, as a socket's full buffer drops.
const queueSize = 4096

// queue is where all readers leave what wireguard-go shall receive. There is
// one, and one ReceiveFunc, because wireguard-go has a goroutine for each
// ReceiveFunc and the datagrams of two of them overtake each other.
type queue struct {
	shell *mux.Shell

	mu     sync.Mutex // guards all below; a leaf, held for copying references only
	filled sync.Cond
	ring   [queueSize]item
	head   int // of the oldest
	n      int
	closed bool
}

type item struct {
	pkt []byte // a Pool buffer
	ep  *Endpoint
}

func newQueue(shell *mux.Shell) *queue {
	q := &queue{shell: shell}
	q.filled.L = &q.mu
	return q
}

// push takes ownership of pkts, all from ep. It never blocks.
func (q *queue) push(ep *Endpoint, pkts [][]byte) {
	q.mu.Lock()
	room := queueSize - q.n
	if q.closed {
		room = 0
	}
	take := min(room, len(pkts))
	for i, p := range pkts[:take] {
		q.ring[(q.head+q.n+i)%queueSize] = item{p, ep}
	}
	q.n += take
	closed := q.closed
	q.mu.Unlock()
	if take > 0 {
		q.filled.Signal()
	}
	if rest := pkts[take:]; len(rest) > 0 {
		reason := mux.DropReceiverFull
		if closed {
			reason = mux.DropClosed
		}
		q.shell.Drops.Add(reason, len(rest))
		q.shell.Pool.PutAll(rest)
	}
}

// close makes receive return net.ErrClosed, now and ever after.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	for ; q.n > 0; q.n-- {
		q.shell.Pool.Put(q.ring[q.head].pkt)
		q.ring[q.head] = item{}
		q.head = (q.head + 1) % queueSize
	}
	q.mu.Unlock()
	q.filled.Broadcast()
}

// receive is a wgconn.ReceiveFunc.
func (q *queue) receive(bufs [][]byte, sizes []int, eps []wgconn.Endpoint) (int, error) {
	var batch [mux.BatchSize]item
	q.mu.Lock()
	for q.n == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		return 0, net.ErrClosed
	}
	n := min(q.n, len(bufs), len(batch))
	for i := range batch[:n] {
		batch[i] = q.ring[q.head]
		q.ring[q.head] = item{}
		q.head = (q.head + 1) % queueSize
	}
	q.n -= n
	q.mu.Unlock()

	var done [mux.BatchSize][]byte
	for i, it := range batch[:n] {
		sizes[i] = copy(bufs[i], it.pkt)
		eps[i] = it.ep
		done[i] = it.pkt
	}
	q.shell.Pool.PutAll(done[:n])
	return n, nil
}
