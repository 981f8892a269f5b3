package conn

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/schedulers"
)

// sinkhole is a socket that takes everything and gives nothing.
type sinkhole struct {
	written atomic.Int64
	closed  chan struct{}
}

func (s *sinkhole) WriteBatch(bufs [][]byte, _ netip.AddrPort, _ netip.Addr) (int, error) {
	s.written.Add(int64(len(bufs)))
	return len(bufs), nil
}

func (s *sinkhole) ReadBatch([]udp.Message) (int, error) {
	<-s.closed
	return 0, net.ErrClosed
}

func (s *sinkhole) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func (s *sinkhole) SetMark(uint32) error      { return nil }
func (s *sinkhole) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.9:9") }

// dataBatch is a batch of WireGuard data messages by their looks, of which
// number renews the counters.
type dataBatch struct {
	bufs [][]byte
	next uint64
}

func newDataBatch(n, size int) *dataBatch {
	d := &dataBatch{}
	for range n {
		b := make([]byte, size)
		b[0] = 4
		binary.LittleEndian.PutUint32(b[4:], 0x1234)
		d.bufs = append(d.bufs, b)
	}
	return d
}

func (d *dataBatch) number() {
	for _, b := range d.bufs {
		binary.LittleEndian.PutUint64(b[8:], d.next)
		d.next++
	}
}

// TestSendAllocatesNothing: a batch goes from wireguard-go's hands to the
// socket, through the session's mutex, the engine and the flusher, without an
// allocation.
func TestSendAllocatesNothing(t *testing.T) {
	if wgtest.Slowness > 1 {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	var path *sinkhole
	b, err := NewBind(Config{
		Paths:     []mux.PathSpec{{Name: "hole", Device: "hole"}},
		Scheduler: newEven,
		Listen: func(cfg udp.Config) (mux.Socket, error) {
			s := &sinkhole{closed: make(chan struct{})}
			if cfg.Device != "" {
				path = s
			}
			return s, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("192.0.2.1:51820")
	if err := b.SetPeers(wgtest.Key(t), []Peer{{PublicKey: wgtest.Key(t).Public(), Endpoint: to}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wgtest.Eventually(t, "the path is open", func() bool { return b.Status().Peers[0].Links[0].InUse })
	ep, err := b.ParseEndpoint(to.String())
	if err != nil {
		t.Fatal(err)
	}
	batch := newDataBatch(mux.BatchSize, 1452)
	send := func() {
		batch.number()
		want := path.written.Load() + mux.BatchSize
		if err := b.Send(batch.bufs, ep); err != nil {
			t.Fatal(err)
		}
		for path.written.Load() < want {
			runtime.Gosched()
		}
	}
	for range 10 { // the buffers that are reused from then on
		send()
	}
	if n := wgtest.Allocations(send); n >= 1 {
		t.Errorf("%v allocations for a batch of %d, want 0", n, mux.BatchSize)
	}
}

// roundTrip is a bonded pair of Binds over the loopback, without WireGuard.
type roundTrip struct {
	client, server *Bind
	ep             wgconn.Endpoint
	sent           int64        // less what has been given up for lost
	received       atomic.Int64 // counted by a goroutine
}

func newRoundTrip(t testing.TB, paths int, scheduler func() schedulers.Scheduler) *roundTrip {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Scheduler: scheduler}
	for i := range paths {
		cfg.Paths = append(cfg.Paths, mux.PathSpec{Name: string(rune('a' + i))})
	}
	var err error
	r := &roundTrip{}
	r.client, err = NewBind(cfg)
	must(err)
	r.server, err = NewBind(cfg)
	must(err)
	serverKey, clientKey := wgtest.Key(t), wgtest.Key(t)
	must(r.server.SetPeers(serverKey, []Peer{{PublicKey: clientKey.Public()}}))
	fns, port, err := r.server.Open(0)
	must(err)
	var reader sync.WaitGroup
	reader.Go(func() {
		readAll(fns[0], func(bufs [][]byte, _ []int) { r.received.Add(int64(len(bufs))) })
	})
	to := netip.MustParseAddrPort(wgtest.Loopback(port))
	must(r.client.SetPeers(clientKey, []Peer{{PublicKey: serverKey.Public(), Endpoint: to}}))
	_, _, err = r.client.Open(0)
	must(err)
	t.Cleanup(func() {
		_ = r.client.Close()
		_ = r.server.Close()
		reader.Wait()
	})
	r.ep, err = r.client.ParseEndpoint(to.String())
	must(err)
	wgtest.Eventually(t, "bonded", func() bool { return attached(r.client) == paths && attached(r.server) == paths })
	return r
}

// pass sends a batch, when few enough datagrams are under way. Those that do
// not arrive within a second (the kernel may drop some) are given up.
func (r *roundTrip) pass(t testing.TB, batch *dataBatch) {
	batch.number()
	for since, last := time.Now(), int64(-1); r.sent-r.received.Load() > 2*mux.BatchSize; runtime.Gosched() {
		if got := r.received.Load(); got != last {
			since, last = time.Now(), got
		} else if time.Since(since) > time.Second {
			r.sent = got
		}
	}
	if err := r.client.Send(batch.bufs, r.ep); err != nil {
		t.Fatal(err)
	}
	r.sent += int64(len(batch.bufs))
}

// TestRoundTripAllocates next to nothing, all goroutines of both ends counted:
// what there is belongs to plans and feedback, which come by time and not by
// packet.
func TestRoundTripAllocates(t *testing.T) {
	if wgtest.Slowness > 1 {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	// A collection empties sync.Pool; what is measured is what we ask for anew.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	r := newRoundTrip(t, 2, newEven)
	batch := newDataBatch(mux.BatchSize, 1452)
	for range 400 { // until as many buffers are about as are under way at once
		r.pass(t, batch)
	}
	// The least of several: a machine that is busy elsewhere makes few packets
	// and as many plans.
	const rounds, limit = 200, 0.1
	least := math.Inf(1)
	for try := 0; try < 20 && least > limit; try++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			r.pass(t, batch)
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/(rounds*mux.BatchSize))
	}
	if least > limit {
		t.Errorf("%.3f allocations for each datagram, there and back; want less than %v", least, limit)
	}
	t.Logf("%.3f allocations a datagram", least)
}

// BenchmarkRoundTrip is the shell and the engine and the kernel's loopback,
// without WireGuard's cryptography.
func BenchmarkRoundTrip(b *testing.B) {
	for name, paths := range map[string]int{"1path": 1, "4paths": 4} {
		b.Run(name, func(b *testing.B) {
			r := newRoundTrip(b, paths, newEven)
			batch := newDataBatch(mux.BatchSize, 1452)
			b.SetBytes(1452)
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += mux.BatchSize {
				r.pass(b, batch)
			}
		})
	}
}
