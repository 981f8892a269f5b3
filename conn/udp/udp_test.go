package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
