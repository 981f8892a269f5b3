package relayd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd/access"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds the waits of these tests; only a failure takes so long.
const patience = time.Minute

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// start runs a Relay on loopback until the test ends, or stop is called.
func start(t *testing.T, change ...func(*Config)) (r *Relay, at netip.AddrPort, stop func()) {
	t.Helper()
	cfg := Config{
		Listen:     []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		PrivateKey: relayKey, Allow: []control.Key{aliceKey.Public(), bobKey.Public()},
		AllowLoopbackTargets: true,
	}
	for _, f := range change {
		f(&cfg)
	}
	r, err := New(cfg)
	for end := time.Now().Add(patience); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		r, err = New(cfg) // a test elsewhere may be given the port of a relay that starts again
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, r.Addrs()[0], stop
}

// socket is a UDP socket whose datagrams come in a channel.
type socket struct {
	t    *testing.T
	conn *net.UDPConn
	at   netip.AddrPort
	got  chan packet
}

type packet struct {
	from netip.AddrPort
	data []byte
}

// listen opens a socket; what take returns true for does not go to got.
func listen(t *testing.T, take func(s *socket, p packet) bool) *socket {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{t: t, conn: conn, at: conn.LocalAddr().(*net.UDPAddr).AddrPort(), got: make(chan packet, 4096)}
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			buf := make([]byte, bufferSize)
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error
			}
			p := packet{from, buf[:n]}
			if take != nil && take(s, p) {
				continue
			}
			select {
			case s.got <- p:
			default: // a test that leaves more than that unread does not miss it
			}
		}
	})
	t.Cleanup(func() { conn.Close(); reader.Wait() })
	return s
}

func (s *socket) send(to netip.AddrPort, data []byte) {
	s.t.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(data, to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) receive() packet {
	s.t.Helper()
	select {
	case p := <-s.got:
		return p
	case <-time.After(patience):
		s.t.Fatal("nothing comes")
		return packet{}
	}
}

// borrower is a lease.Borrower with a real socket and clock.
type borrower struct {
	*socket
	relay netip.AddrPort
	start time.Time

	mu     sync.Mutex
	b      *lease.Borrower
	frozen bool // no longer renews
	last   []byte
}

func borrow(t *testing.T, relay netip.AddrPort, key control.Key, target netip.AddrPort, lifetime time.Duration) *borrower {
	t.Helper()
	i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: key, Remote: relayKey.Public(), Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	lb, err := lease.NewBorrower(lease.BorrowerConfig{Initiator: i, Target: target, Lifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	b := &borrower{relay: relay, start: time.Now(), b: lb}
	b.socket = listen(t, b.take)
	return b
}

func (b *borrower) take(s *socket, p packet) bool {
	if wire.Kind(p.data) != wire.LeaseControl || p.from != b.relay {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.b.Consume(time.Since(b.start), p.data) // what is wrong shows in its status
	b.speakLocked(s)
	return true
}

// speakLocked sends what is due.
func (b *borrower) speakLocked(s *socket) {
	if b.frozen {
		return
	}
	out, err := b.b.Transmit(time.Since(b.start), time.Now(), nil)
	if err != nil {
		b.t.Error(err)
	}
	for _, datagram := range out {
		b.last = datagram
		s.send(b.relay, datagram)
	}
}

func (b *borrower) status() lease.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Since(b.start); b.b.Next() <= now {
		b.speakLocked(b.socket)
	}
	return b.b.Status(time.Since(b.start))
}

func (b *borrower) await(state lease.State) {
	b.t.Helper()
	eventually(b.t, "the lease is "+state.String(), func() bool { return b.status().State == state })
}

// data is a WireGuard data message of some size and content.
func data(counter uint64, size int) []byte {
	d := make([]byte, size)
	d[0] = wire.TypeWGData
	binary.LittleEndian.PutUint64(d[8:], counter)
	for i := 16; i < size; i++ {
		d[i] = byte(i * int(counter+1))
	}
	return d
}

func TestForwarding(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	alice, bob := borrow(t, at, aliceKey, server.at, 0), borrow(t, at, bobKey, server.at, 0)
	alice.await(lease.Granted)
	bob.await(lease.Granted)

	handshake := make([]byte, wire.WGInitiationSize)
	handshake[0] = wire.TypeWGInitiation
	session := make([]byte, 200)
	copy(session, []byte{wire.TypeSession, 4})
	seen := map[string]netip.AddrPort{}
	for name, b := range map[string]*borrower{"alice": alice, "bob": bob} {
		for _, datagram := range [][]byte{handshake, session, data(0, 32), data(1, 1452)} {
			b.send(at, datagram)
			p := server.receive()
			if !bytes.Equal(p.data, datagram) {
				t.Fatalf("%s sent %.20x…, %.20x… came", name, datagram, p.data)
			}
			if seen[name].IsValid() && seen[name] != p.from {
				t.Fatalf("%s comes from %v and from %v", name, seen[name], p.from)
			}
			seen[name] = p.from
			server.send(p.from, p.data)
			if back := b.receive(); !bytes.Equal(back.data, datagram) || back.from != at {
				t.Fatalf("%.20x… came back from %v", back.data, back.from)
			}
		}
	}
	if seen["alice"] == seen["bob"] || seen["alice"] == at {
		t.Errorf("the server sees %v", seen)
	}

	// Many at once, in order, both ways.
	const many = 500
	for n := range uint64(many) {
		alice.send(at, data(n, 100))
		if n%50 == 49 { // no more than the ring holds
			for k := n - 49; k <= n; k++ {
				if p := server.receive(); !bytes.Equal(p.data, data(k, 100)) {
					t.Fatalf("number %d is %.20x…", k, p.data)
				}
			}
		}
	}
	for n := range uint64(many) {
		server.send(seen["alice"], data(n, 1000))
		if n%50 == 49 { // no more than the kernel holds for us
			for k := n - 49; k <= n; k++ {
				if p := alice.receive(); !bytes.Equal(p.data, data(k, 1000)) {
					t.Fatalf("number %d is %.20x…", k, p.data)
				}
			}
		}
	}
	// What is written is counted a moment later.
	eventually(t, "all is counted", func() bool {
		s := r.Stats()
		return s.ToTarget.Packets >= 8+many && s.ToBorrower.Packets >= 8+many
	})
	s := r.Stats()
	if s.Leases != 2 || s.Granted != 2 || s.ToTarget.Packets != 8+many || s.ToBorrower.Packets != 8+many || len(s.DropsByReason()) != 0 {
		t.Errorf("stats %+v, drops %v", s, s.DropsByReason())
	}
}

func TestNothingWithoutALease(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	stranger := borrow(t, at, control.Key{1: 99}, server.at, 0)
	stranger.status()
	for n := range uint64(100) {
		stranger.send(at, data(n, 100))
	}
	eventually(t, "all is counted", func() bool {
		d := r.Stats().Drops
		return d[DropNoLease] == 100 && d[DropUnknownPeer] >= 1
	})
	if s := r.Stats(); s.Leases != 0 || s.Sessions != 0 || s.ToTarget.Packets != 0 {
		t.Errorf("stats %+v", s)
	}
	if n := len(server.got) + len(stranger.got); n != 0 {
		t.Errorf("%d datagrams came from somewhere", n)
	}
	if s := stranger.status(); s.State != lease.Seeking {
		t.Errorf("%+v", s)
	}
}

func TestOnlyTheTargetAnswers(t *testing.T) {
	r, at, _ := start(t)
	server, other := listen(t, nil), listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.send(at, data(0, 100))
	wan := server.receive().from
	lease := make([]byte, 100)
	copy(lease, []byte{wire.TypeLease, 4})
	other.send(wan, data(1, 100))
	server.send(wan, lease)
	server.send(wan, []byte("HTTP/1.1 200 OK"))
	server.send(wan, data(2, 100))
	if p := b.receive(); !bytes.Equal(p.data, data(2, 100)) {
		t.Errorf("%.20x… came", p.data)
	}
	eventually(t, "all is counted", func() bool {
		d := r.Stats().Drops
		return d[DropNotTarget] == 1 && d[DropWANControl] == 1 && d[DropWANShape] == 1
	})
}

func TestSilentTargetGetsAFewPackets(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	begin := time.Now()
	for n := range uint64(50) {
		b.send(at, data(n, 100))
	}
	eventually(t, "all is forwarded or dropped", func() bool {
		s := r.Stats()
		return s.ToTarget.Packets+s.Drops[DropUnanswered] == 50
	})
	if n := r.Stats().ToTarget.Packets; n < unanswered || n > unanswered+uint64(time.Since(begin)/refill)+1 {
		t.Errorf("%d have come, want %d and one a second", n, unanswered)
	}
	wan := server.receive().from
	for range r.Stats().ToTarget.Packets - 1 {
		server.receive()
	}
	server.send(wan, data(0, 32))
	b.receive()
	for n := range uint64(50) {
		b.send(at, data(n, 100))
		server.receive()
	}
}

func TestExpiredLeaseForwardsNothing(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.send(at, data(0, 100))
	wan := server.receive().from
	server.send(wan, data(0, 100))
	b.receive()
	b.mu.Lock()
	b.frozen = true
	b.mu.Unlock()
	// Its minute is over: a shorter lifetime might be so before the packets
	// above have passed.
	r.asked <- func(d *desk) {
		for l := range d.loans {
			l.expires = d.relay.now()
		}
	}
	eventually(t, "the lease has ended", func() bool { return r.Stats().Leases == 0 })
	b.send(at, data(1, 100))
	eventually(t, "the packet is dropped", func() bool { return r.Stats().Drops[DropNoLease] == 1 })
	// Its socket is closed as well: the port is free again.
	eventually(t, "the lease's port is closed", func() bool {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), wan.Port())))
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	if len(server.got) != 0 || len(b.got) != 0 {
		t.Error("something was forwarded")
	}
}

func TestReplayedLeaseControl(t *testing.T) {
	r, at, _ := start(t)
	server, thief := listen(t, nil), listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.mu.Lock()
	replay := b.last
	b.mu.Unlock()
	thief.send(at, replay)
	eventually(t, "it is counted", func() bool { return r.Stats().Drops[DropReplayed] == 1 })
	thief.send(at, data(0, 100))
	eventually(t, "the thief has no lease", func() bool { return r.Stats().Drops[DropNoLease] == 1 })
	b.send(at, data(1, 100))
	server.send(server.receive().from, data(2, 100))
	b.receive()
	if len(thief.got) != 0 {
		t.Error("the thief got something")
	}
}

func TestBorrowerMoves(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.send(at, data(0, 100))
	wan := server.receive().from

	next := listen(t, b.take)
	b.mu.Lock()
	b.socket = next
	b.b.Renew(time.Since(b.start))
	b.mu.Unlock()
	eventually(t, "the lease has moved", func() bool { b.status(); return r.Stats().Moved == 1 })
	server.send(wan, data(1, 100))
	next.receive()
	next.send(at, data(2, 100))
	if p := server.receive(); p.from != wan {
		t.Errorf("the server sees %v, was %v", p.from, wan)
	}
	if s := r.Stats(); s.Granted != 1 || s.Leases != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestGarbageFlood(t *testing.T) {
	r, at, _ := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	b.send(at, data(0, 100))
	wan := server.receive().from
	server.send(wan, data(0, 100))
	b.receive()

	begun, _ := r.Report() // a session more, if the machine was slow
	goroutines := runtime.NumGoroutine()
	flooder := listen(t, nil)
	junk := make([]byte, 600)
	counted := func() uint64 {
		var n uint64
		for _, k := range r.Stats().Drops {
			n += k
		}
		return n
	}
	const rounds, each = 100, 50
	for n := range rounds {
		b.status() // the lease is renewed when it is time
		before := counted()
		for k := range each {
			if _, err := rand.Read(junk); err != nil {
				t.Fatal(err)
			}
			to := at
			switch k % 5 {
			case 0:
				copy(junk, []byte{wire.TypeLease, 1, 0, 0})
			case 1:
				copy(junk, []byte{wire.TypeLease, 4, 0, 0})
			case 2:
				copy(junk, []byte{wire.TypeWGData, 0, 0, 0})
			case 3:
				to = wan
			}
			flooder.send(to, junk[:1+(n*each+k)%len(junk)])
		}
		// All of it is received and dropped, unless the kernel was faster.
		eventually(t, "the flood is counted", func() bool { return counted() == before+each })
	}
	if s := r.Stats(); s.Leases != 1 || s.Sessions != begun.Stats.Sessions || s.Granted != 1 {
		t.Errorf("stats %+v, at the beginning %+v", s, begun.Stats)
	}
	if len(flooder.got) != 0 {
		t.Errorf("the flooder got %d datagrams", len(flooder.got))
	}
	if now := runtime.NumGoroutine(); now > goroutines+1 { // flooder's own
		t.Errorf("%d goroutines, were %d", now, goroutines)
	}
	b.send(at, data(3, 100))
	server.receive()
}

func TestShutdownTellsBorrowers(t *testing.T) {
	_, at, stop := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 0)
	b.await(lease.Granted)
	stop()
	b.await(lease.Refused)
	if s := b.status(); s.Reason != lease.Ended {
		t.Errorf("%+v", s)
	}
}

func TestRestartedRelay(t *testing.T) {
	_, at, stop := start(t)
	server := listen(t, nil)
	b := borrow(t, at, aliceKey, server.at, 2*time.Second)
	b.await(lease.Granted)
	b.mu.Lock()
	b.frozen = true // it misses the farewell
	b.mu.Unlock()
	stop()
	_, _, _ = start(t, func(c *Config) { c.Listen = []netip.AddrPort{at} })
	b.mu.Lock()
	b.frozen = false
	b.b.Renew(time.Since(b.start))
	b.mu.Unlock()
	b.await(lease.Granted)
	eventually(t, "packets pass", func() bool {
		b.status()
		b.send(at, data(0, 100))
		select {
		case <-server.got:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
}

func TestBothFamilies(t *testing.T) {
	addrs, err := ParseListen(":0")
	if err != nil {
		t.Fatal(err)
	}
	r, _, _ := start(t, func(c *Config) { c.Listen = addrs })
	if n := len(r.Addrs()); n == 0 || n > 2 {
		t.Errorf("listening at %v", r.Addrs())
	}
}

func TestConfigErrors(t *testing.T) {
	any := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	allow := []control.Key{aliceKey.Public()}
	busy := listen(t, nil)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{PrivateKey: relayKey, Allow: allow}, "no address"},
		{Config{Listen: make([]netip.AddrPort, 1), PrivateKey: relayKey, Allow: allow}, "is empty"},
		{Config{Listen: any, Allow: allow}, "private key"},
		{Config{Listen: any, PrivateKey: relayKey}, "nobody is allowed"},
		{Config{Listen: any, PrivateKey: relayKey, Allow: make([]control.Key, 1)}, "is empty"},
		{Config{Listen: any, PrivateKey: relayKey, Allow: []control.Key{relayKey.Public()}}, "our own public key"},
		{Config{Listen: any, PrivateKey: relayKey, Allow: allow, MaxLeases: -1}, "MaxLeases is -1"},
		{Config{Listen: any, PrivateKey: relayKey, Allow: allow, MaxLifetime: -1}, "MaxLifetime is -1ns"},
		{Config{Listen: []netip.AddrPort{busy.at}, PrivateKey: relayKey, Allow: allow}, "address already in use"},
	} {
		r, err := New(c.cfg)
		if err == nil {
			r.closeListeners()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want it to say %q", err, c.want)
		}
	}
	for text, n := range map[string]int{":51900": 2, "192.0.2.1:1": 1, "[::1]:1": 1, "51900": 0, ":70000": 0, "host:1": 0, "": 0} {
		if as, err := ParseListen(text); len(as) != n || (err == nil) != (n > 0) {
			t.Errorf("ParseListen(%q): %v, %v", text, as, err)
		}
	}
}

// BenchmarkForwarding sends bursts of full packets through a relay, one way, on
// loopback: the figure is per packet.
func BenchmarkForwarding(b *testing.B) {
	r, err := New(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		PrivateKey: relayKey, Allow: []control.Key{aliceKey.Public()}, AllowLoopbackTargets: true})
	if err != nil {
		b.Fatal(err)
	}
	var sockets [2]*udp.Socket // borrower's, server's
	for i := range sockets {
		if sockets[i], err = udp.Listen(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}); err != nil {
			b.Fatal(err)
		}
		defer sockets[i].Close()
	}
	d, err := newDesk(r, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	l, refusal := d.grant(0, &surroundings{}, &session{}, access.Standing{}, sockets[1].LocalAddr())
	if refusal != nil {
		b.Fatal(refusal.Text)
	}
	at := home{peer: sockets[0].LocalAddr(), local: netip.MustParseAddr("127.0.0.1"), sock: r.listeners[0].sock}
	d.place(l, at)
	l.heard.Store(1)
	r.lend(l)
	var listening sync.WaitGroup
	listening.Go(func() { _ = r.listeners[0].run() }) // it ends with the socket
	defer func() {
		d.forget(l, "the benchmark is over")
		r.closeListeners()
		close(r.done)
		r.loans.Wait()
		listening.Wait()
	}()

	const burst = 64
	bufs := make([][]byte, burst)
	for i := range bufs {
		bufs[i] = data(uint64(i), 1452)
	}
	space := newBuffers(burst)
	ms := make([]udp.Message, burst)
	b.SetBytes(1452)
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += burst {
		if _, err := sockets[0].WriteBatch(bufs, r.Addrs()[0], netip.Addr{}); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < burst; {
			for i := range ms {
				ms[i].Buf = space[i]
			}
			n, err := sockets[1].ReadBatch(ms)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}

// TestMissingDevice needs no root: SO_BINDTODEVICE fails for a device that is
// not there, and its lease is refused.
func TestMissingDevice(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("binding to a device by name is tested on Linux")
	}
	if _, err := os.Stat("/sys/class/net/wgbt-missing"); err == nil {
		t.Skip("there is a device called wgbt-missing")
	}
	_, at, _ := start(t, func(c *Config) { c.Device = "wgbt-missing" })
	b := borrow(t, at, aliceKey, netip.MustParseAddrPort("127.0.0.1:9"), 0)
	b.await(lease.Refused)
	if s := b.status(); s.Reason != lease.Unreachable {
		t.Errorf("%+v", s)
	}
}
