package conn

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
)

func pkts(shell *mux.Shell, n int, first byte) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = append(shell.Pool.Get()[:0], first+byte(i))
	}
	return out
}

func receiver(n int) ([][]byte, []int, []wgconn.Endpoint) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	return bufs, make([]int, n), make([]wgconn.Endpoint, n)
}

// readAll gives each batch to f until the Bind is closed.
func readAll(receive wgconn.ReceiveFunc, f func(bufs [][]byte, sizes []int)) {
	bufs, sizes, eps := receiver(mux.BatchSize)
	for {
		n, err := receive(bufs, sizes, eps)
		if err != nil {
			return
		}
		f(bufs[:n], sizes[:n])
	}
}

func TestQueueKeepsOrderAndEndpoints(t *testing.T) {
	shell := mux.NewShell(nil, nil)
	q := newQueue(shell)
	a := &Endpoint{addr: netip.MustParseAddrPort("192.0.2.1:1")}
	b := &Endpoint{addr: netip.MustParseAddrPort("192.0.2.2:2")}
	q.push(a, pkts(shell, 3, 0))
	q.push(b, pkts(shell, 2, 3))
	bufs, sizes, eps := receiver(4)
	var got []byte
	for len(got) < 5 {
		n, err := q.receive(bufs, sizes, eps)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if sizes[i] != 1 {
				t.Fatalf("size %d, want 1", sizes[i])
			}
			want := a
			if len(got) >= 3 {
				want = b
			}
			if eps[i] != wgconn.Endpoint(want) {
				t.Errorf("datagram %d comes from %v, want %v", len(got), eps[i].DstToString(), want.DstToString())
			}
			got = append(got, bufs[i][0])
		}
	}
	if string(got) != "\x00\x01\x02\x03\x04" {
		t.Errorf("received %v, want 0 to 4", got)
	}
}

func TestQueueFullDropsAndCounts(t *testing.T) {
	shell := mux.NewShell(nil, nil)
	q := newQueue(shell)
	ep := &Endpoint{}
	for range queueSize/100 + 1 {
		q.push(ep, pkts(shell, 100, 0))
	}
	over := (queueSize/100+1)*100 - queueSize
	if n := shell.Drops.Count(mux.DropReceiverFull); n != uint64(over) {
		t.Errorf("%d drops counted, want %d", n, over)
	}
}

func TestQueueClosed(t *testing.T) {
	shell := mux.NewShell(nil, nil)
	q := newQueue(shell)
	errs := make(chan error)
	go func() {
		bufs, sizes, eps := receiver(1)
		_, err := q.receive(bufs, sizes, eps)
		errs <- err
	}()
	q.close()
	if err := <-errs; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v of a receive that was waiting, want net.ErrClosed", err)
	}
	q.push(&Endpoint{}, pkts(shell, 7, 0))
	bufs, sizes, eps := receiver(1)
	if _, err := q.receive(bufs, sizes, eps); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want net.ErrClosed", err)
	}
	if n := shell.Drops.Count(mux.DropClosed); n != 7 {
		t.Errorf("%d drops counted, want 7", n)
	}
}

func TestQueueAllocatesNothing(t *testing.T) {
	if wgtest.Slowness > 1 {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	shell := mux.NewShell(nil, nil)
	q := newQueue(shell)
	ep := &Endpoint{}
	bufs, sizes, eps := receiver(mux.BatchSize)
	batch := make([][]byte, mux.BatchSize)
	if n := wgtest.Allocations(func() {
		for i := range batch {
			batch[i] = shell.Pool.Get()[:1400]
		}
		q.push(ep, batch)
		if _, err := q.receive(bufs, sizes, eps); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations for a batch of %d, want 0", n, mux.BatchSize)
	}
}
