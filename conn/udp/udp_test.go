package udp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = time.Minute

var families = []struct {
	name     string
	loopback netip.Addr
}{
	{"IPv4", netip.MustParseAddr("127.0.0.1")},
	{"IPv6", netip.IPv6Loopback()},
}

// open opens a socket on the loopback that the test closes.
func open(t testing.TB, cfg Config) *Socket {
	t.Helper()
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// messages makes n messages with buffers of size bytes.
func messages(n, size int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		ms[i].Buf = make([]byte, size)
	}
	return ms
}

func TestOneDatagram(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			cfg := Config{Local: netip.AddrPortFrom(f.loopback, 0)}
			a, b := open(t, cfg), open(t, cfg)
			want := []byte("four score")
			if n, err := a.WriteBatch([][]byte{want}, b.LocalAddr(), netip.Addr{}); n != 1 || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
			ms := messages(4, 100)
			n, err := b.ReadBatch(ms)
			if n != 1 || err != nil {
				t.Fatalf("ReadBatch = %d, %v", n, err)
			}
			if !bytes.Equal(ms[0].Buf, want) || ms[0].Peer != a.LocalAddr() || ms[0].Local.IsValid() {
				t.Errorf("got %q from %v to %v", ms[0].Buf, ms[0].Peer, ms[0].Local)
			}
		})
	}
}

func TestCloseUnblocksReading(t *testing.T) {
	s := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	failed := make(chan error)
	go func() {
		_, err := s.ReadBatch(messages(1, 100))
		failed <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadBatch in progress: %v, want net.ErrClosed", err)
	}
	if _, err := s.ReadBatch(messages(1, 100)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadBatch after Close: %v, want net.ErrClosed", err)
	}
	if _, err := s.WriteBatch([][]byte{{1}}, s.LocalAddr(), netip.Addr{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteBatch after Close: %v, want net.ErrClosed", err)
	}
}

// receiveAll reads until want datagrams came, in calls of varying size.
func receiveAll(t testing.TB, s *Socket, want int) [][]byte {
	t.Helper()
	// A datagram that the kernel lost would leave ReadBatch waiting for ever.
	alarm := time.AfterFunc(patience, func() { _ = s.Close() })
	defer alarm.Stop()
	var got [][]byte
	for size := 1; len(got) < want; size = size%97 + 16 {
		ms := messages(size, 2000)
		n, err := s.ReadBatch(ms)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v; %+v", len(got), want, err, s.Stats())
		}
		for _, m := range ms[:n] {
			got = append(got, m.Buf)
		}
	}
	return got
}

// Batches of every mixture of sizes arrive byte for byte.
func TestMixedSizes(t *testing.T) {
	const seed = 20100711
	for _, f := range families {
		for _, offload := range []string{"offload", "none"} {
			t.Run(f.name+" "+offload, func(t *testing.T) {
				cfg := Config{Local: netip.AddrPortFrom(f.loopback, 0), NoOffload: offload == "none"}
				a, b := open(t, cfg), open(t, cfg)
				rnd := rand.New(rand.NewPCG(seed, 1))
				total := 0
				for round := range 60 {
					batch := mixedBatch(rnd)
					if n, err := a.WriteBatch(batch, b.LocalAddr(), netip.Addr{}); n != len(batch) || err != nil {
						t.Fatalf("round %d: WriteBatch = %d of %d, %v", round, n, len(batch), err)
					}
					got := receiveAll(t, b, len(batch))
					// Loopback may reorder when we change processors between
					// two calls, but within a round nothing may be amiss.
					slices.SortFunc(got, bytes.Compare)
					slices.SortFunc(batch, bytes.Compare)
					if !slices.EqualFunc(batch, got, bytes.Equal) {
						t.Fatalf("round %d (seed %d): what arrived is not what was sent", round, seed)
					}
					total += len(batch)
				}
				sent, received := a.Stats(), b.Stats()
				if sent.Sent != uint64(total) || received.Received != uint64(total) {
					t.Errorf("counted %d sent and %d received of %d", sent.Sent, received.Received, total)
				}
				if offload == "none" && (sent.GSO || sent.SentTrains+received.ReceivedTrains > 0) {
					t.Errorf("trains in spite of NoOffload: %+v, %+v", sent, received)
				}
			})
		}
	}
}

// mixedBatch makes up to 200 datagrams in runs of equal size, up to 1500 bytes,
// some empty.
func mixedBatch(rnd *rand.Rand) [][]byte {
	var batch [][]byte
	for most := 1 + rnd.IntN(200); len(batch) < most; {
		size := rnd.IntN(1501)
		if rnd.IntN(10) == 0 {
			size = 0
		}
		for range min(1+rnd.IntN(1+rnd.IntN(100)), most-len(batch)) {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			batch = append(batch, b)
		}
	}
	return batch
}

func TestTooShortBuffer(t *testing.T) {
	cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	a, b := open(t, cfg), open(t, cfg)
	for _, size := range []int{101, 100} {
		if _, err := a.WriteBatch([][]byte{make([]byte, size)}, b.LocalAddr(), netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	ms := messages(2, 100)
	n, err := b.ReadBatch(ms)
	if n != 1 || err != nil || len(ms[0].Buf) != 100 {
		t.Fatalf("ReadBatch = %d of %d bytes, %v", n, len(ms[0].Buf), err)
	}
	if st := b.Stats(); st.Truncated != 1 || st.Received != 1 {
		t.Errorf("one datagram should be counted as truncated, one as received: %+v", st)
	}
}

func TestBadDestinations(t *testing.T) {
	s := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	for name, to := range map[string]string{"other family": "[::1]:1", "port 0": "127.0.0.1:0"} {
		n, err := s.WriteBatch([][]byte{{1}}, netip.MustParseAddrPort(to), netip.Addr{})
		var e *Error
		if n != 0 || !errors.As(err, &e) || Gone(err) || TooLong(err) || Transient(err) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if st := s.Stats(); st.Failed != 2 || st.Sent != 0 {
		t.Errorf("two failures should be counted: %+v", st)
	}
	if _, err := Listen(Config{}); err == nil {
		t.Error("Listen accepts a Config that names no family")
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(s.LocalAddr().Addr().As16()), s.LocalAddr().Port())
	if n, err := s.WriteBatch([][]byte{{1}}, mapped, netip.Addr{}); n != 1 || err != nil {
		t.Errorf("to an IPv4 address in IPv6 form: %d, %v", n, err)
	}
}

func TestPredicates(t *testing.T) {
	type kinds struct{ gone, tooLong, transient bool }
	for _, c := range []struct {
		errs []error
		want kinds
	}{
		{goneErrors, kinds{gone: true}},
		{tooLongErrors, kinds{tooLong: true}},
		{noBufferErrors, kinds{transient: true}},
		{refusedErrors, kinds{transient: true}},
		{deniedErrors, kinds{}},
		{[]error{nil, net.ErrClosed, ErrFamily}, kinds{}},
	} {
		for _, err := range c.errs {
			wrapped := error(nil)
			if err != nil {
				wrapped = &Error{Op: "send", Err: os.NewSyscallError("sendmmsg", err)}
			}
			if got := (kinds{Gone(wrapped), TooLong(wrapped), Transient(wrapped)}); got != c.want {
				t.Errorf("%v: %+v, want %+v", wrapped, got, c.want)
			}
		}
	}
}

// BenchmarkLoopback writes and reads batches of 1420 bytes a datagram.
func BenchmarkLoopback(b *testing.B) {
	for _, offload := range []bool{true, false} {
		for _, size := range []int{1, 64} {
			b.Run(fmt.Sprintf("batch=%d/offload=%v", size, offload), func(b *testing.B) {
				cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0"), NoOffload: !offload}
				tx, rx := open(b, cfg), open(b, cfg)
				batch := make([][]byte, size)
				for i := range batch {
					batch[i] = make([]byte, 1420)
				}
				ms := messages(size, 2048)
				to := rx.LocalAddr()
				packets := 0
				b.ReportAllocs()
				b.SetBytes(int64(size * 1420))
				for b.Loop() {
					if _, err := tx.WriteBatch(batch, to, netip.Addr{}); err != nil {
						b.Fatal(err)
					}
					for got := 0; got < size; {
						n, err := rx.ReadBatch(ms)
						if err != nil {
							b.Fatal(err)
						}
						for i := range ms[:n] {
							ms[i].Buf = ms[i].Buf[:cap(ms[i].Buf)]
						}
						got += n
					}
					packets += size
				}
				b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
			})
		}
	}
}
