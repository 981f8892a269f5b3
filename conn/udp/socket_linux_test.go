package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// equal makes n datagrams of size bytes.
func equal(n, size int) [][]byte {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = bytes.Repeat([]byte{byte(i + 1)}, size)
	}
	return bufs
}

// setInt sets a socket option behind a Socket's back.
func setInt(t *testing.T, s *Socket, level, opt, value int) {
	t.Helper()
	var err error
	if cerr := s.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, opt, value) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func TestTrains(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			cfg := Config{Local: netip.AddrPortFrom(f.loopback, 0)}
			a, b := open(t, cfg), open(t, cfg)
			if !a.Stats().GSO {
				t.Skip("this kernel has no UDP_SEGMENT")
			}
			bufs := append(equal(63, 1000), equal(1, 500)...)
			if n, err := a.WriteBatch(bufs, b.LocalAddr(), netip.Addr{}); n != 64 || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
			if st := a.Stats(); st.Sent != 64 || st.SendCalls != 1 || st.SentTrains != 1 {
				t.Errorf("64 datagrams should go as one train by one call: %+v", st)
			}
			// Ten messages a call: what is left of the train waits in the slab.
			calls := 0
			for got := 0; got < 64; calls++ {
				ms := messages(10, 1000)
				n, err := b.ReadBatch(ms)
				if err != nil {
					t.Fatal(err)
				}
				for i, m := range ms[:n] {
					if !bytes.Equal(m.Buf, bufs[got+i]) || m.Peer != a.LocalAddr() {
						t.Fatalf("datagram %d from %v: %d bytes of %#x…", got+i, m.Peer, len(m.Buf), m.Buf[0])
					}
				}
				got += n
			}
			if st := b.Stats(); calls != 7 || st.Received != 64 || st.ReceiveCalls != 1 || st.ReceivedTrains != 1 {
				t.Errorf("%d calls of ReadBatch, want 7 for one train received by one call: %+v", calls, st)
			}
		})
	}
}

// A batch of more packets than a system call takes.
func TestLongBatch(t *testing.T) {
	cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	a, b := open(t, cfg), open(t, cfg)
	var bufs [][]byte
	for i := range 300 {
		bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, 10+i)) // each longer: no trains
	}
	if n, err := a.WriteBatch(bufs, b.LocalAddr(), netip.Addr{}); n != 300 || err != nil {
		t.Fatalf("WriteBatch = %d, %v", n, err)
	}
	if st := a.Stats(); st.SendCalls != 5 || st.SentTrains != 0 {
		t.Errorf("300 single datagrams should take 5 calls of 64: %+v", st)
	}
	for i, got := range receiveAll(t, b, 300) {
		if !bytes.Equal(got, bufs[i]) {
			t.Fatalf("datagram %d: %d bytes", i, len(got))
		}
	}
}

// SO_NO_CHECK has the kernel refuse trains (udp_send_skb), and not datagrams.
func TestFallbackFromTrains(t *testing.T) {
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			cfg := Config{Local: netip.AddrPortFrom(f.loopback, 0)}
			a, b := open(t, cfg), open(t, cfg)
			if !a.Stats().GSO {
				t.Skip("this kernel has no UDP_SEGMENT")
			}
			if i == 0 {
				setInt(t, a, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
			} else {
				setInt(t, a, unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, 1)
				setInt(t, b, unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, 1)
			}
			bufs := append(equal(30, 900), equal(20, 800)...) // two trains
			for range 2 {
				if n, err := a.WriteBatch(bufs, b.LocalAddr(), netip.Addr{}); n != 50 || err != nil {
					t.Fatalf("WriteBatch = %d, %v", n, err)
				}
				for i, got := range receiveAll(t, b, 50) {
					if !bytes.Equal(got, bufs[i]) {
						t.Fatalf("datagram %d: %d bytes", i, len(got))
					}
				}
			}
			if st := a.Stats(); st.GSO || st.GSOFallbacks != 1 || st.Sent != 100 || st.SentTrains != 0 {
				t.Errorf("one train should be refused, and none tried thereafter: %+v", st)
			}
		})
	}
}

func TestRefusesTrain(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{
		unix.EIO: true, unix.EINVAL: true, unix.EMSGSIZE: true, unix.EOPNOTSUPP: true,
		unix.ENOBUFS: false, unix.EPERM: false, unix.ENETUNREACH: false, unix.ECONNREFUSED: false,
	} {
		if refusesTrain(errno) != want {
			t.Errorf("%v: %v, want %v", errno, !want, want)
		}
	}
}

// raceEnabled is set where the race detector is on: there sync.Pool forgets at
// random.
var raceEnabled bool

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	for _, f := range families {
		for _, size := range []int{1, 64} {
			t.Run(f.name, func(t *testing.T) {
				cfg := Config{Local: netip.AddrPortFrom(f.loopback, 0), PacketInfo: true}
				a, b := open(t, cfg), open(t, cfg)
				bufs, ms, to := equal(size, 1420), messages(size, 2048), b.LocalAddr()
				allocs := testing.AllocsPerRun(200, func() {
					if n, err := a.WriteBatch(bufs, to, f.loopback); n != size || err != nil {
						t.Fatalf("WriteBatch = %d, %v", n, err)
					}
					for got := 0; got < size; {
						n, err := b.ReadBatch(ms)
						if err != nil {
							t.Fatal(err)
						}
						for i := range ms[:n] {
							ms[i].Buf = ms[i].Buf[:2048]
						}
						got += n
					}
				})
				if allocs != 0 {
					t.Errorf("%v allocations to send and receive a batch of %d", allocs, size)
				}
			})
		}
	}
}

// A server on all addresses is told which was written to and answers from it.
func TestPacketInfo(t *testing.T) {
	server := open(t, Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), PacketInfo: true})
	client := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	at := netip.AddrPortFrom(netip.MustParseAddr("127.3.2.1"), server.LocalAddr().Port())
	if _, err := client.WriteBatch(equal(3, 100), at, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	ms := messages(3, 200)
	n, err := server.ReadBatch(ms)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms[:n] {
		if m.Local != at.Addr() || m.Peer != client.LocalAddr() {
			t.Errorf("from %v to %v, want %v to %v", m.Peer, m.Local, client.LocalAddr(), at.Addr())
		}
	}
	if _, err := server.WriteBatch(equal(3, 100), ms[0].Peer, ms[0].Local); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ReadBatch(ms); err != nil || ms[0].Peer != at {
		t.Errorf("the answer came from %v (%v), want %v", ms[0].Peer, err, at)
	}
}

// An address to send from that is not ours (any more) is gone.
func TestForeignSource(t *testing.T) {
	for i, foreign := range []string{"192.0.2.1", "2001:db8::1"} {
		s := open(t, Config{Local: netip.AddrPortFrom(families[i].loopback, 0)})
		for _, n := range []int{1, 5} {
			if sent, err := s.WriteBatch(equal(n, 10), s.LocalAddr(), netip.MustParseAddr(foreign)); sent != 0 || !Gone(err) {
				t.Errorf("%d datagrams from %s: %d sent, %v", n, foreign, sent, err)
			}
		}
		if st := s.Stats(); st.Gone != 2 || !st.GSO {
			t.Errorf("two losses should be counted and trains not be blamed: %+v", st)
		}
	}
}

// With IP_RECVERR the kernel queues ICMP errors at the socket, which the next
// system call reports, whichever it is.
func TestICMPErrors(t *testing.T) {
	cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	// Its socket hears one peer only, and keeps the port from all others.
	deaf, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	nobody := deaf.LocalAddr().(*net.UDPAddr).AddrPort()
	a, b := open(t, cfg), open(t, cfg)
	setInt(t, b, unix.SOL_IP, unix.IP_RECVERR, 1)

	// Met in sending: the second batch goes all the same.
	for _, to := range []netip.AddrPort{nobody, a.LocalAddr()} {
		if n, err := b.WriteBatch(equal(4, 10), to, netip.Addr{}); n != 4 || err != nil {
			t.Fatalf("WriteBatch to %v = %d, %v", to, n, err)
		}
	}
	receiveAll(t, a, 4)

	// Met in reading: ReadBatch waits on.
	got := make(chan error)
	go func() {
		_, err := b.ReadBatch(messages(1, 100))
		got <- err
	}()
	eventually(t, "an error passed over in reading", func() bool {
		if _, err := b.WriteBatch(equal(1, 10), nobody, netip.Addr{}); err != nil && !Transient(err) {
			t.Fatal(err)
		}
		return b.Stats().ReceiveErrors > 0
	})
	if _, err := a.WriteBatch(equal(1, 10), b.LocalAddr(), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestOverflowIsCounted(t *testing.T) {
	cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	a := open(t, cfg)
	cfg.RecvBuffer = 1 // the kernel makes it its least
	b := open(t, cfg)
	if _, err := a.WriteBatch(equal(128, 1000), b.LocalAddr(), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteBatch(equal(1, 10), b.LocalAddr(), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an overflow counted", func() bool { return b.Stats().BufferOverflow > 0 })
}

// Several goroutines may write by one socket.
func TestConcurrentWriters(t *testing.T) {
	cfg := Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	a, b := open(t, cfg), open(t, cfg)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for range 5 {
				bufs := [][]byte{{byte(w)}, {byte(w)}, {byte(w), 1}, {byte(w), 2, 3}}
				if n, err := a.WriteBatch(bufs, b.LocalAddr(), netip.Addr{}); n != 4 || err != nil {
					t.Errorf("WriteBatch = %d, %v", n, err)
				}
			}
		})
	}
	count := map[byte]int{}
	for _, got := range receiveAll(t, b, 80) {
		count[got[0]]++
	}
	writers.Wait()
	for w := range byte(4) {
		if count[w] != 20 {
			t.Errorf("writer %d: %d of 20 datagrams", w, count[w])
		}
	}
}

func TestSetMarkAfterClose(t *testing.T) {
	s := open(t, Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMark(1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
}

func TestNoSuchDevice(t *testing.T) {
	_, err := Listen(Config{Local: netip.MustParseAddrPort("0.0.0.0:0"), Device: "wgbt-none"})
	if !Gone(err) {
		t.Errorf("%v, want an error that is Gone", err)
	}
}
