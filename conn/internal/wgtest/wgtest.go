// Package wgtest makes real WireGuard peers for tests: wireguard-go on any
// Bind, with a network stack of its own in place of a TUN, so that no root is
// needed. It is for tests only.
//
//	Host: TCP ⇄ Stack ⇄ wireguard-go ⇄ Tap ⇄ the Bind under test ⇄ loopback
package wgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"github.com/wg-bond/wg-bond/conn/netstack"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// Patience is how long a test waits for what must happen: some of WireGuard's
// timers are of 15 s, and a busy machine may have it miss one or two.
const Patience = 3 * time.Minute

// Key makes a private key.
func Key(t testing.TB) control.Key {
	t.Helper()
	k, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Host is a WireGuard peer with an address inside the tunnel.
type Host struct {
	Device *device.Device
	Net    *netstack.Stack
	Tap    *Tap
	Key    control.Key // private
	Addr   netip.Addr  // inside
}

// NewHost makes a host that is down. It is closed when the test ends.
func NewHost(t testing.TB, bind wgconn.Bind, key control.Key, addr string) *Host {
	t.Helper()
	inside := netip.MustParseAddr(addr)
	stack, err := netstack.New(inside)
	if err != nil {
		t.Fatal(err)
	}
	tap := &Tap{Bind: bind}
	level := device.LogLevelError
	if testing.Verbose() && testing.Short() { // go test -v -short: show WireGuard's mind
		level = device.LogLevelVerbose
	}
	dev := device.NewDevice(stack, tap, device.NewLogger(level, fmt.Sprintf("(%s) ", addr)))
	t.Cleanup(dev.Close)
	h := &Host{Device: dev, Net: stack, Tap: tap, Key: key, Addr: inside}
	h.Set(t, "private_key="+hex.EncodeToString(key[:]))
	return h
}

// Set configures the device in the UAPI's language.
func (h *Host) Set(t testing.TB, lines ...string) {
	t.Helper()
	if err := h.Device.IpcSet(strings.Join(lines, "\n")); err != nil {
		t.Fatalf("setting %q: %v", lines[0], err)
	}
}

// Get reads a value of the device's configuration.
func (h *Host) Get(t testing.TB, key string) string {
	t.Helper()
	all, err := h.Device.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(all) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == key {
			return v
		}
	}
	return ""
}

// AddPeer allows another host; endpoint may be empty.
func (h *Host) AddPeer(t testing.TB, other *Host, endpoint string) {
	t.Helper()
	public := other.Key.Public()
	lines := []string{"public_key=" + hex.EncodeToString(public[:]), "allowed_ip=" + other.Addr.String() + "/32"}
	if endpoint != "" {
		lines = append(lines, "endpoint="+endpoint)
	}
	h.Set(t, lines...)
}

// Up brings the host up and tells the port it listens on.
func (h *Host) Up(t testing.TB) uint16 {
	t.Helper()
	if err := h.Device.Up(); err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(h.Get(t, "listen_port"), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(port)
}

// Loopback is a port of 127.0.0.1.
func Loopback(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Transfer sends n bytes from one host to another over TCP through the tunnel
// and checks that they arrive unchanged. dial says who opens the connection;
// a client behind nothing but a server's idea of it must.
func Transfer(t testing.TB, dial, accept *Host, fromAccept bool, n int) {
	t.Helper()
	if err := transfer(dial, accept, fromAccept, n, n, Patience); err != nil {
		t.Fatal(err)
	}
}

// TryTransfer is Transfer with an error, for use in goroutines.
func TryTransfer(dial, accept *Host, fromAccept bool, n int, patience time.Duration) error {
	return transfer(dial, accept, fromAccept, n, n, patience)
}

// TryTrickle is TryTransfer of an application that writes 16 kB a millisecond:
// enough to be under way for a while, and little in flight when the network
// fails.
func TryTrickle(dial, accept *Host, fromAccept bool, n int, patience time.Duration) error {
	return transfer(dial, accept, fromAccept, n, 16<<10, patience)
}

func transfer(dial, accept *Host, fromAccept bool, n, chunk int, patience time.Duration) error {
	n /= Slowness
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lis, err := accept.Net.Listen(netip.AddrPortFrom(accept.Addr, 0))
	if err != nil {
		return fmt.Errorf("listening inside the tunnel: %w", err)
	}
	defer lis.Close()
	data := sample(n)
	errs := make(chan error, 1)
	deadline := time.Now().Add(patience)
	send := func(c io.WriteCloser) error {
		for rest := data; len(rest) > 0; {
			k := min(chunk, len(rest))
			if _, err := c.Write(rest[:k]); err != nil {
				return fmt.Errorf("sending through the tunnel: %w", err)
			}
			if rest = rest[k:]; len(rest) > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return c.Close()
	}
	receive := func(c io.Reader) error {
		// Not until the end of the stream: a FIN alone is so small that it passes
		// the last data (decision 0011), and gVisor drops one that came early
		// (receiver.handleRcvdSegment takes it for acknowledged), so that it comes
		// again after 200 ms. Linux keeps it.
		got := make([]byte, n)
		if k, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("receiving through the tunnel: after %d of %d bytes: %w", k, n, err)
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("received %d bytes through the tunnel that differ from the %d sent", len(got), n)
		}
		return nil
	}
	go func() {
		c, err := lis.Accept()
		if err != nil {
			errs <- fmt.Errorf("accepting inside the tunnel: %w", err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(deadline)
		if fromAccept {
			errs <- send(c)
		} else {
			errs <- receive(c)
		}
	}()
	c, err := dial.Net.Dial(ctx, netip.MustParseAddrPort(lis.Addr().String()))
	if err != nil {
		return fmt.Errorf("dialling through the tunnel: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(deadline)
	if fromAccept {
		err = receive(c)
	} else {
		err = send(c)
	}
	if err != nil {
		return err
	}
	return <-errs
}

// noise is what transfers send, made once: making it takes a seventh as long as
// sending it, and would count as the tunnel's.
var noise struct {
	sync.Mutex
	bytes []byte
}

func sample(n int) []byte {
	noise.Lock()
	defer noise.Unlock()
	if len(noise.bytes) < n {
		noise.bytes = make([]byte, n)
		_, _ = mathrand.NewChaCha8([32]byte{}).Read(noise.bytes)
	}
	return noise.bytes[:n]
}

// Eventually waits until ok is true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Tap is a Bind that notes what WireGuard sends and receives through it. (What
// a stock one receives may also be ours, which it does not understand.)
type Tap struct {
	wgconn.Bind

	mu        sync.Mutex
	recording bool
	sent, got map[[sha256.Size]byte]int
}

// Record begins to note datagrams.
func (p *Tap) Record() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recording = true
	p.sent, p.got = make(map[[sha256.Size]byte]int), make(map[[sha256.Size]byte]int)
}

// Send notes and sends.
func (p *Tap) Send(bufs [][]byte, ep wgconn.Endpoint) error {
	p.mu.Lock()
	if p.recording {
		for _, b := range bufs {
			p.sent[sha256.Sum256(b)]++
		}
	}
	p.mu.Unlock()
	return p.Bind.Send(bufs, ep)
}

// Open wraps the receive functions.
func (p *Tap) Open(port uint16) ([]wgconn.ReceiveFunc, uint16, error) {
	fns, port, err := p.Bind.Open(port)
	for i, fn := range fns {
		fns[i] = func(bufs [][]byte, sizes []int, eps []wgconn.Endpoint) (int, error) {
			n, err := fn(bufs, sizes, eps)
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.recording {
				for i := range n {
					if got := bufs[i][:sizes[i]]; wire.Kind(got) == wire.WGData || wire.Kind(got) == wire.WGHandshake {
						p.got[sha256.Sum256(got)]++
					}
				}
			}
			return n, err
		}
	}
	return fns, port, err
}

// CheckIdentical reports datagrams that one WireGuard received and the other
// did not send, byte for byte. least is how many must have been received.
func CheckIdentical(t testing.TB, sender, receiver *Tap, least int) {
	t.Helper()
	receiver.mu.Lock()
	got := make(map[[sha256.Size]byte]int, len(receiver.got))
	for k, n := range receiver.got {
		got[k] = n
	}
	receiver.mu.Unlock()
	sender.mu.Lock()
	defer sender.mu.Unlock()
	var strange int
	for k := range got {
		if sender.sent[k] == 0 {
			strange++
		}
	}
	least /= Slowness
	if strange > 0 || len(got) < least {
		t.Errorf("of %d different datagrams received, %d were never sent; at least %d identical ones were expected",
			len(got), strange, least)
	}
}

// Garbage is datagrams that nobody should be impressed by: random bytes, and
// random bytes dressed up as each kind of message.
func Garbage(n int) [][]byte {
	rnd := mathrand.New(mathrand.NewPCG(42, 42))
	types := []byte{0, wire.TypeWGCookie, wire.TypeSession, wire.TypeLease, 0xff, wire.TypeWGResponse}
	kinds := []wire.MessageKind{0, wire.Initiation, wire.Response, wire.CookieReply, wire.Sealed, 99}
	sizes := []int{0, 1, 3, 4, 8, 31, 32, 33, 64, 92, 148, 149, 500, 1400}
	var out [][]byte
	for range n {
		b := make([]byte, sizes[rnd.IntN(len(sizes))])
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if len(b) >= 4 && rnd.IntN(4) != 0 {
			b[0], b[1], b[2], b[3] = types[rnd.IntN(len(types))], byte(kinds[rnd.IntN(len(kinds))]), 0, 0
		}
		out = append(out, b)
	}
	return out
}
