package control

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/blake2s"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// counting gives 0, 1, 2 … as randomness, so that golden vectors can be made
// elsewhere.
type counting byte

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(*c)
		*c++
	}
	return len(p), nil
}

func random(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func key(seed byte) Key {
	k, err := GenerateKey(random(seed))
	if err != nil {
		panic(err)
	}
	return k
}

var (
	alice = key(1) // initiates
	bob   = key(2) // responds
	wall  = time.Date(2026, 11, 22, 13, 0, 0, 123456789, time.UTC)
	home  = netip.MustParseAddrPort("192.0.2.1:4000")
)

// pair is an initiator and the responder that it knows.
type pair struct {
	t *testing.T
	i *Initiator
	r *Responder
	// What the next one is made from.
	ic      InitiatorConfig
	rc      ResponderConfig
	allowed map[Key]Key
	answer  string
}

func newPair(t *testing.T, change ...func(*pair)) *pair {
	t.Helper()
	p := &pair{t: t, allowed: map[Key]Key{alice.Public(): {}}}
	p.ic = InitiatorConfig{Service: Bond, Private: alice, Remote: bob.Public(), Rand: random(3)}
	p.rc = ResponderConfig{
		Service: Bond, Private: bob, Rand: random(4),
		Lookup: func(k Key) (Key, bool) { psk, ok := p.allowed[k]; return psk, ok },
		Answer: func(Key, []byte) []byte { return []byte(p.answer) },
	}
	for _, f := range change {
		f(p)
	}
	var err error
	if p.i, err = NewInitiator(p.ic); err != nil {
		t.Fatal(err)
	}
	if p.r, err = NewResponder(p.rc); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pair) initiate(payload string) []byte {
	p.t.Helper()
	msg, err := p.i.Initiate(wall, []byte(payload))
	if err != nil {
		p.t.Fatal(err)
	}
	return msg
}

func (p *pair) handle(now time.Duration, msg []byte) []byte {
	p.t.Helper()
	reply, err := p.r.Handle(now, home, msg)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply
}

// shake does a whole handshake.
func (p *pair) shake(now time.Duration) (client *Transport, a *Accepted) {
	p.t.Helper()
	client, _, err := p.i.Consume(p.handle(now, p.initiate("")))
	if err != nil {
		p.t.Fatal(err)
	}
	a, err = p.r.Confirm(now, client.Seal(nil, []byte{wire.NoPath}))
	if err != nil {
		p.t.Fatal(err)
	}
	return client, a
}

func mustOpen(t *testing.T, tr *Transport, datagram []byte) string {
	t.Helper()
	out, err := tr.Open(nil, datagram)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		name                string
		service             Service
		psk                 Key
		question, answer    string
		initiation, respond int // sizes
	}{
		{"bare", Bond, Key{}, "", "", 148, 96},
		{"preshared key", Bond, Key{7}, "", "", 148, 96},
		{"payloads, lease", Lease, Key{}, "may I?", "you may", 154, 103},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, func(p *pair) {
				p.ic.Service, p.rc.Service = c.service, c.service
				p.ic.Preshared, p.allowed[alice.Public()] = c.psk, c.psk
				p.answer = c.answer
			})
			initiation := p.initiate(c.question)
			if len(initiation) != c.initiation || strings.Contains(string(initiation), "may I?") {
				t.Errorf("initiation of %d bytes, want %d, its payload hidden", len(initiation), c.initiation)
			}
			response := p.handle(0, initiation)
			if len(response) != c.respond {
				t.Errorf("response of %d bytes, want %d", len(response), c.respond)
			}
			client, payload, err := p.i.Consume(response)
			if err != nil || string(payload) != c.answer {
				t.Fatalf("Consume: payload %q, error %v", payload, err)
			}
			first := client.Seal(nil, []byte("hello"))
			a, err := p.r.Confirm(0, first)
			if err != nil {
				t.Fatal(err)
			}
			if a.Peer != alice.Public() || string(a.Payload) != c.question {
				t.Errorf("accepted %s with payload %q", a.Peer.String(), a.Payload)
			}
			server := a.Transport
			if got := mustOpen(t, server, first); got != "hello" {
				t.Errorf("the first message says %q", got)
			}
			if got := mustOpen(t, client, server.Seal(nil, []byte("welcome"))); got != "welcome" {
				t.Errorf("the answer says %q", got)
			}
			if client.LocalIndex() != server.RemoteIndex() || server.LocalIndex() != client.RemoteIndex() {
				t.Error("the ends disagree on the indices")
			}
			if i, ok := wire.ReceiverIndex(first); !ok || i != server.LocalIndex() {
				t.Errorf("wire reads receiver index %d, %v; it is %d", i, ok, server.LocalIndex())
			}
			want := ResponderStats{Answered: 1, Confirmed: 1}
			if diff := cmp.Diff(want, p.r.Stats()); diff != "" {
				t.Errorf("stats, -want +got:\n%s", diff)
			}
		})
	}
}

func TestGoldenHandshake(t *testing.T) {
	var ri, rr counting
	rr = 100
	p := newPair(t, func(p *pair) {
		for i := range 32 {
			p.ic.Private[i] = 0x11
			p.rc.Private[i] = 0x22
			p.ic.Preshared[i] = 0x33
		}
		p.allowed[p.ic.Private.Public()] = p.ic.Preshared
		p.ic.Remote = p.rc.Private.Public()
		p.ic.Rand, p.rc.Rand = &ri, &rr
		p.answer = "answer"
	})
	check := func(name string, got []byte, want string) {
		t.Helper()
		if h := hex.EncodeToString(got); h != strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(want) {
			t.Errorf("%s\n got %s", name, h)
		}
	}
	initiation := p.initiate("question")
	check("initiation", initiation, goldenInitiation)
	response := p.handle(0, initiation)
	check("response", response, goldenResponse)
	client, _, err := p.i.Consume(response)
	if err != nil {
		t.Fatal(err)
	}
	first := client.Seal(nil, []byte{0, 4, 1, 0, 0})
	check("sealed by the initiator", first, goldenSealed)
	a, err := p.r.Confirm(0, first)
	if err != nil {
		t.Fatal(err)
	}
	check("sealed by the responder", a.Transport.Seal(nil, []byte{0xff}), goldenSealedBack)

	p.r.unproven = bucket(time.Hour) // under load
	check("cookie", p.handle(0, p.initiate("")), goldenCookie)
}

// TestMAC1AsDocumented makes mac1 from the package doc's words alone.
func TestMAC1AsDocumented(t *testing.T) {
	p := newPair(t)
	msg := p.initiate("x")
	public := bob.Public()
	k := blake2s.Sum256(append([]byte("wg-bond mac1 v1"), public[:]...))
	h, err := blake2s.New128(k[:])
	if err != nil {
		t.Fatal(err)
	}
	h.Write(msg[:len(msg)-32])
	if got := msg[len(msg)-32 : len(msg)-16]; string(h.Sum(nil)) != string(got) {
		t.Errorf("mac1 is %x, want %x", got, h.Sum(nil))
	}
}

func TestStampAsTAI64N(t *testing.T) {
	s := stampOf(time.Unix(0, 1))
	if got := hex.EncodeToString(s[:]); got != "400000000000000a00000001" {
		t.Errorf("got %s", got)
	}
	a, b := stampOf(wall), stampOf(wall.Add(-time.Second))
	if n := after(a, b); string(n[:]) <= string(a[:]) {
		t.Errorf("after %x comes %x", a, n)
	}
	if n := after(b, a); n != a {
		t.Errorf("after %x comes %x, want %x", b, n, a)
	}
	full := stamp{11: 0xff}
	if n := after(full, stamp{}); n != (stamp{10: 1}) {
		t.Errorf("the carry goes to %x", n)
	}
}

func TestWrongKeys(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pair)
		handle error
		dial   error
	}{
		{"another responder", func(p *pair) { p.ic.Remote = key(9).Public() }, ErrMAC1, nil},
		{"unknown initiator", func(p *pair) { p.ic.Private = key(9) }, ErrUnknownPeer, nil},
		{"another preshared key", func(p *pair) { p.ic.Preshared = Key{1} }, nil, ErrAuth},
		{"preshared key at the responder only", func(p *pair) { p.allowed[alice.Public()] = Key{1} }, nil, ErrAuth},
		{"another service", func(p *pair) { p.ic.Service = Lease }, ErrMalformed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.change)
			reply, err := p.r.Handle(0, home, p.initiate(""))
			if !errors.Is(err, c.handle) || err != nil && reply != nil {
				t.Fatalf("Handle: %x, %v; want error %v", reply, err, c.handle)
			}
			if err != nil {
				if len(p.r.peers)+len(p.r.queue)+len(p.r.byHash) != 0 {
					t.Error("it left state behind")
				}
				return
			}
			if _, _, err := p.i.Consume(reply); !errors.Is(err, c.dial) {
				t.Errorf("Consume: %v, want %v", err, c.dial)
			}
		})
	}
}

// TestServicesAreSeparate gives each service the other's datagrams with the
// type byte and mac1 set right: the prologue tells them apart.
func TestServicesAreSeparate(t *testing.T) {
	p := newPair(t, func(p *pair) { p.ic.Service = Lease })
	msg := p.initiate("")
	msg[0] = wire.TypeSession
	if _, err := p.r.Handle(0, home, remac(msg, bob.Public())); !errors.Is(err, ErrAuth) {
		t.Errorf("got %v, want %v", err, ErrAuth)
	}
}

// remac sets mac1 of a changed handshake datagram right, as anybody can who
// knows the receiver's public key.
func remac(msg []byte, receiver Key) []byte {
	out, _ := appendMACs(append([]byte(nil), msg[:len(msg)-macsSize]...), receiver, nil)
	return out
}

func TestRepeatedInitiation(t *testing.T) {
	p := newPair(t)
	msg := p.initiate("")
	first := p.handle(0, msg)
	for n := range maxRepeats {
		if again := p.handle(time.Duration(n)*time.Millisecond, msg); string(again) != string(first) {
			t.Fatalf("copy %d is answered otherwise", n)
		}
	}
	if reply, err := p.r.Handle(time.Second, home, msg); !errors.Is(err, ErrReplay) || reply != nil {
		t.Errorf("one copy too many: %v", err)
	}
	client, _, err := p.i.Consume(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.i.Consume(first); !errors.Is(err, ErrUnknownIndex) {
		t.Errorf("the response a second time: %v", err)
	}
	sealed := client.Seal(nil, []byte{0})
	if _, err := p.r.Confirm(0, sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := p.r.Confirm(0, sealed); !errors.Is(err, ErrUnknownIndex) {
		t.Errorf("confirmed twice: %v", err)
	}
	// Replayed, with its hash remembered and later forgotten.
	for _, now := range []time.Duration{time.Second, time.Minute} {
		if reply, err := p.r.Handle(now, home, msg); !errors.Is(err, ErrReplay) || reply != nil {
			t.Errorf("at %v: %v", now, err)
		}
	}
	want := ResponderStats{Answered: 1, Repeated: maxRepeats, Confirmed: 1, Replayed: 3, UnknownIndex: 1}
	if diff := cmp.Diff(want, p.r.Stats()); diff != "" {
		t.Errorf("stats, -want +got:\n%s", diff)
	}
}

func TestTimestampMustRise(t *testing.T) {
	p := newPair(t)
	old := p.initiate("")
	p.handle(0, p.initiate("")) // same wall clock: the stamp rises by itself
	if _, err := p.r.Handle(0, home, old); !errors.Is(err, ErrReplay) {
		t.Errorf("an older initiation: %v", err)
	}
}

func TestAnswerToAnEarlierInitiationCounts(t *testing.T) {
	p := newPair(t)
	var responses [][]byte
	for n := range maxInitiations + 1 {
		responses = append(responses, p.handle(time.Duration(n)*time.Second, p.initiate("")))
	}
	if _, _, err := p.i.Consume(responses[0]); !errors.Is(err, ErrUnknownIndex) {
		t.Errorf("answer to the oldest, forgotten one: %v", err)
	}
	client, _, err := p.i.Consume(responses[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.r.Confirm(5*time.Second, client.Seal(nil, []byte{0})); err != nil {
		t.Fatal(err)
	}
	if p.r.Waiting() != maxInitiations-1 {
		t.Errorf("%d handshakes wait, want those after the confirmed one: %d", p.r.Waiting(), maxInitiations-1)
	}
}

func TestForgedResponseSpoilsNothing(t *testing.T) {
	p := newPair(t)
	response := p.handle(0, p.initiate(""))
	lowOrder := append([]byte(nil), response...)
	clear(lowOrder[responseNoise : responseNoise+32])
	changed := append([]byte(nil), response...)
	changed[50] ^= 1
	for _, forged := range [][]byte{lowOrder, changed, lowOrder} {
		if _, _, err := p.i.Consume(remac(forged, alice.Public())); !errors.Is(err, ErrAuth) {
			t.Fatalf("forged: %v", err)
		}
	}
	client, _, err := p.i.Consume(response)
	if err != nil {
		t.Fatalf("the real one after forged ones: %v", err)
	}
	if _, err := p.r.Confirm(0, client.Seal(nil, []byte{0})); err != nil {
		t.Fatal(err)
	}
}

func TestForgedInitiationSpoilsNothing(t *testing.T) {
	p := newPair(t)
	msg := p.initiate("")
	other := append([]byte(nil), msg...)
	other[4] ^= 1 // the sender index: a relay's attempt to divert the response
	lowOrder := append([]byte(nil), msg...)
	clear(lowOrder[initiationNoise : initiationNoise+32])
	for _, forged := range [][]byte{other, lowOrder} {
		if _, err := p.r.Handle(0, home, remac(forged, bob.Public())); !errors.Is(err, ErrAuth) {
			t.Errorf("forged: %v", err)
		}
	}
	if _, _, err := p.i.Consume(p.handle(0, msg)); err != nil {
		t.Errorf("the real one after forged ones: %v", err)
	}
}

// TestEveryBitCounts flips each bit of every kind of datagram, with the MACs
// left and with mac1 set right.
func TestEveryBitCounts(t *testing.T) {
	p := newPair(t)
	initiation := p.initiate("payload")
	flipped := func(msg []byte, bit int) []byte {
		out := append([]byte(nil), msg...)
		out[bit/8] ^= 1 << (bit % 8)
		return out
	}
	now := time.Duration(0)
	for bit := range 8 * (len(initiation) - 16) { // mac2 means nothing without load
		now += time.Second
		msg := flipped(initiation, bit)
		if reply, err := p.r.Handle(now, home, msg); err == nil {
			t.Fatalf("initiation: bit %d flipped, answered by %x", bit, reply)
		}
		if bit%5 != 0 || bit >= 8*(len(initiation)-macsSize) {
			continue // DHs are slow: a fifth of the bits, all bytes
		}
		if reply, err := p.r.Handle(now, home, remac(msg, bob.Public())); err == nil {
			t.Fatalf("initiation: bit %d flipped and mac1 right, answered by %x", bit, reply)
		}
	}
	response := p.handle(now, initiation)
	for bit := range 8 * (len(response) - 16) {
		msg := flipped(response, bit)
		if _, _, err := p.i.Consume(msg); err == nil {
			t.Fatalf("response: bit %d flipped and taken", bit)
		}
		if bit%5 != 0 || bit >= 8*(len(response)-macsSize) {
			continue
		}
		if _, _, err := p.i.Consume(remac(msg, alice.Public())); err == nil {
			t.Fatalf("response: bit %d flipped and mac1 right, and taken", bit)
		}
	}
	client, _, err := p.i.Consume(response)
	if err != nil {
		t.Fatal(err)
	}
	sealed := client.Seal(nil, []byte("message"))
	for bit := range 8 * len(sealed) {
		if _, err := p.r.Confirm(now, flipped(sealed, bit)); err == nil {
			t.Fatalf("sealed: bit %d flipped and confirmed", bit)
		}
	}
	a, err := p.r.Confirm(now, sealed)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(sealed) {
		if _, err := a.Transport.Open(nil, flipped(sealed, bit)); err == nil {
			t.Fatalf("sealed: bit %d flipped and opened", bit)
		}
	}
	mustOpen(t, a.Transport, sealed)

	p.r.unproven = bucket(now + time.Hour) // under load
	cookie := p.handle(now, p.initiate(""))
	for bit := range 8 * len(cookie) {
		if _, _, err := p.i.Consume(flipped(cookie, bit)); err == nil || errors.Is(err, ErrCookie) {
			t.Fatalf("cookie: bit %d flipped: %v", bit, err)
		}
	}
	if _, _, err := p.i.Consume(cookie); !errors.Is(err, ErrCookie) {
		t.Errorf("the cookie itself: %v", err)
	}
}

// busy takes all that addresses which proved nothing may have.
func (p *pair) busy(now time.Duration) { p.r.unproven = bucket(now + time.Hour) }

func TestCookie(t *testing.T) {
	p := newPair(t)
	p.busy(0)
	reply := p.handle(0, p.initiate(""))
	if wire.ControlKind(reply) != wire.CookieReply || p.r.Waiting() != 0 {
		t.Fatalf("got a %v, %d waiting", wire.ControlKind(reply), p.r.Waiting())
	}
	if _, _, err := p.i.Consume(reply); !errors.Is(err, ErrCookie) {
		t.Fatal(err)
	}
	msg := p.initiate("")
	elsewhere := netip.MustParseAddrPort("192.0.2.1:4001")
	if reply, err := p.r.Handle(0, elsewhere, msg); err != nil || wire.ControlKind(reply) != wire.CookieReply {
		t.Errorf("another port: %v, %v; want a cookie of its own", wire.ControlKind(reply), err)
	}
	client, _, err := p.i.Consume(p.handle(0, msg))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.r.Confirm(0, client.Seal(nil, []byte{0})); err != nil {
		t.Fatal(err)
	}

	// After two minutes the secret is another, and the initiator has no more
	// use for the cookie either.
	p.busy(3 * time.Minute)
	msg = p.initiate("")
	if reply := p.handle(cookieLife, msg); wire.ControlKind(reply) != wire.CookieReply {
		t.Errorf("with a cookie of the last secret: %v", wire.ControlKind(reply))
	}
	msg, err = p.i.Initiate(wall.Add(cookieLife), nil)
	if err != nil {
		t.Fatal(err)
	}
	if mac(msg[len(msg)-16:]) != (mac{}) {
		t.Error("the cookie is used beyond its life")
	}
}

func TestRateLimits(t *testing.T) {
	p := newPair(t)
	// A burst from one address that proved nothing gets cookies …
	var cookie []byte
	for range sourceBurst + 2 {
		reply := p.handle(0, p.initiate(""))
		if wire.ControlKind(reply) == wire.CookieReply {
			cookie = reply
		}
	}
	if s := p.r.Stats(); s.Answered != sourceBurst || s.Cookies != 2 {
		t.Fatalf("%d answered, %d cookies; want %d and 2", s.Answered, s.Cookies, sourceBurst)
	}
	// … others are served meanwhile …
	other := netip.MustParseAddrPort("192.0.2.2:1")
	if reply, err := p.r.Handle(0, other, p.initiate("")); err != nil || wire.ControlKind(reply) != wire.Response {
		t.Errorf("another address: %v, %v", wire.ControlKind(reply), err)
	}
	// … and with a cookie it has a limit again, of its own.
	if _, _, err := p.i.Consume(cookie); !errors.Is(err, ErrCookie) {
		t.Fatal(err)
	}
	for n := range sourceBurst {
		if reply := p.handle(0, p.initiate("")); wire.ControlKind(reply) != wire.Response {
			t.Fatalf("proven, number %d: %v", n, wire.ControlKind(reply))
		}
	}
	if _, err := p.r.Handle(0, home, p.initiate("")); !errors.Is(err, ErrLimited) {
		t.Errorf("proven, over its limit: %v", err)
	}
	if reply := p.handle(sourceInterval, p.initiate("")); wire.ControlKind(reply) != wire.Response {
		t.Errorf("one interval later: %v", wire.ControlKind(reply))
	}
}

func TestBucket(t *testing.T) {
	var b bucket
	now, got := time.Duration(0), 0
	for range 1000 { // ten seconds at 100 tries a second
		if b.take(now, 50*time.Millisecond, 5) {
			got++
		}
		now += 10 * time.Millisecond
	}
	if got != 204 { // 4 beyond the first, then 20 a second
		t.Errorf("%d taken", got)
	}
}

func TestPendingHandshakesExpire(t *testing.T) {
	p := newPair(t)
	client, _, err := p.i.Consume(p.handle(0, p.initiate("")))
	if err != nil {
		t.Fatal(err)
	}
	sealed := client.Seal(nil, []byte{0})
	if _, err := p.r.Confirm(PendingLife, sealed); !errors.Is(err, ErrUnknownIndex) {
		t.Errorf("too late: %v", err)
	}
	if p.r.Waiting() != 0 || len(p.r.queue) != 0 || len(p.r.byHash) != 0 || p.r.Stats().Expired != 1 {
		t.Errorf("%d wait, %d queued, %d hashes, stats %+v", p.r.Waiting(), len(p.r.queue), len(p.r.byHash), p.r.Stats())
	}
}

func TestPendingHandshakesOfOnePeerAreBounded(t *testing.T) {
	p := newPair(t)
	now := time.Duration(0)
	for range 3 * maxPendingPerPeer {
		now += time.Second / 10
		p.handle(now, p.initiate(""))
	}
	if p.r.Waiting() != maxPendingPerPeer {
		t.Errorf("%d wait, want %d", p.r.Waiting(), maxPendingPerPeer)
	}
}

func TestRevokedPeerIsNotConfirmed(t *testing.T) {
	p := newPair(t)
	client, _, err := p.i.Consume(p.handle(0, p.initiate("")))
	if err != nil {
		t.Fatal(err)
	}
	delete(p.allowed, alice.Public())
	if _, err := p.r.Confirm(0, client.Seal(nil, []byte{0})); !errors.Is(err, ErrUnknownPeer) || p.r.Waiting() != 0 {
		t.Errorf("%v, %d waiting", err, p.r.Waiting())
	}
}

func TestTakenIndexIsNotUsed(t *testing.T) {
	var asked []uint32
	p := newPair(t, func(p *pair) {
		p.rc.Taken = func(i uint32) bool { asked = append(asked, i); return len(asked) < 3 }
	})
	_, a := p.shake(0)
	if len(asked) != 3 || a.Transport.LocalIndex() != asked[2] {
		t.Errorf("asked for %v, took %d", asked, a.Transport.LocalIndex())
	}
}

// TestFloodsLeaveNoState sends what a stranger can send, from many addresses,
// and then shakes hands.
func TestFloodsLeaveNoState(t *testing.T) {
	p := newPair(t)
	r := rand.New(rand.NewPCG(5, 6))
	stranger, err := NewInitiator(InitiatorConfig{Service: Bond, Private: key(9), Remote: bob.Public(), Rand: random(10)})
	if err != nil {
		t.Fatal(err)
	}
	genuine, err := stranger.Initiate(wall, nil)
	if err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, 200)
	const floods = 100_000
	for n := range floods {
		now := time.Duration(n) * 50 * time.Microsecond // 5 s in all
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1)
		switch n % 4 {
		case 0: // garbage
			for i := range junk {
				junk[i] = byte(r.Uint32())
			}
			p.r.Handle(now, from, junk[:r.IntN(len(junk))])
		case 1: // the right shape
			copy(junk, []byte{wire.TypeSession, 1, 0, 0})
			p.r.Handle(now, from, junk[:wire.MinInitiationSize])
			copy(junk, []byte{wire.TypeSession, 4, 0, 0})
			p.r.Confirm(now, junk)
		case 2: // the right mac1
			fake := append([]byte(nil), genuine...)
			le.PutUint32(fake[40:], uint32(n))
			p.r.Handle(now, from, remac(fake, bob.Public()))
		case 3: // somebody who may not connect
			p.r.Handle(now, from, genuine)
		}
	}
	s := p.r.Stats()
	if s.Answered != 0 || s.BadAuth+s.UnknownPeer > unprovenBurst+5*50+1 || s.Cookies == 0 || s.BadMAC1 == 0 || s.Malformed == 0 {
		t.Errorf("stats %+v", s)
	}
	if n := s.Malformed + s.BadMAC1 + s.BadAuth + s.UnknownPeer + s.Cookies + s.UnknownIndex; n != floods+floods/4 {
		t.Errorf("%d datagrams are accounted for, %d came", n, floods+floods/4)
	}
	if n := len(p.r.peers) + len(p.r.queue) + len(p.r.byHash) + len(p.r.byIndex) + len(p.r.provenSource.sources); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	if n := len(p.r.unprovenSource.sources); n > unprovenBurst+5*50+1 {
		t.Errorf("%d sources are remembered", n)
	}
	p.shake(6 * time.Second)
}

// TestManyPeers lets more peers connect than are remembered.
func TestManyPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of handshakes")
	}
	p := newPair(t, func(p *pair) {
		p.rc.Lookup = func(Key) (Key, bool) { return Key{}, true }
	})
	now := time.Duration(0)
	var first *Initiator
	for n := range maxPending + 20 {
		now += 15 * time.Millisecond // 1024 of them live together
		p.ic.Private = Key{1, byte(n), byte(n >> 8)}
		i, err := NewInitiator(p.ic)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = i
		}
		msg, err := i.Initiate(wall, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.r.unproven = 0
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1)
		if _, err := p.r.Handle(now, from, msg); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.r.queue) != maxPending || len(p.r.byHash) != maxPending || p.r.Waiting() != maxPending {
		t.Errorf("%d queued, %d hashes, %d waiting; want %d of each", len(p.r.queue), len(p.r.byHash), p.r.Waiting(), maxPending)
	}
	// Fill the memory of peers: the one silent longest goes.
	for n := len(p.r.peers); n < maxPeers; n++ {
		p.r.peers[Key{2, byte(n), byte(n >> 8)}] = &peer{seen: now}
	}
	p.ic.Private = key(77)
	p.i, _ = NewInitiator(p.ic)
	p.r.unproven = 0
	p.shake(now + time.Second)
	if _, still := p.r.peers[first.public]; still || len(p.r.peers) != maxPeers {
		t.Errorf("%d peers are remembered, the oldest among them: %v", len(p.r.peers), still)
	}
}

func TestLimiterForgets(t *testing.T) {
	l := limiter{interval: sourceInterval, burst: sourceBurst, max: 3}
	at := func(n byte) netip.Prefix {
		return sourceOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 1, 1, n}), 0))
	}
	for n := range byte(3) {
		if !l.allow(time.Second, at(n)) {
			t.Fatal("there is room")
		}
	}
	if l.allow(time.Second, at(3)) {
		t.Error("a fourth source where there is room for three")
	}
	if !l.allow(2*time.Second, at(3)) || len(l.sources) != 1 {
		t.Errorf("a second later %d sources are remembered", len(l.sources))
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
	} {
		if got := sourceOf(netip.MustParseAddrPort(c.a)) == sourceOf(netip.MustParseAddrPort(c.b)); got != c.same {
			t.Errorf("%s and %s: one source %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

func TestTransport(t *testing.T) {
	p := newPair(t)
	client, a := p.shake(0)
	server := a.Transport
	var sent [][]byte
	for n := range 20_000 {
		sent = append(sent, client.Seal(nil, fmt.Appendf(nil, "%d", n)))
	}
	open := func(n int) error {
		out, err := server.Open([]byte("before "), sent[n])
		if err == nil && string(out) != fmt.Sprintf("before %d", n) {
			t.Fatalf("message %d says %q", n, out)
		}
		if err != nil && string(out) != "before " {
			t.Fatalf("message %d: refused, but appended %q", n, out)
		}
		return err
	}
	if err := server.Verify(make([]byte, 0, 100), sent[7]); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		n    int
		want error
	}{
		{7, nil}, {7, ErrReplay}, {3, nil}, {3, ErrReplay},
		{10_000, nil}, {10_000 - 8127, nil}, {10_000 - 8127, ErrReplay},
		{10_000 - 8200, ErrReplay}, {5, ErrReplay},
		{19_999, nil}, {19_998, nil}, {10_001, ErrReplay},
	} {
		if err := open(step.n); !errors.Is(err, step.want) {
			t.Errorf("message %d: %v, want %v", step.n, err, step.want)
		}
	}
	if _, err := client.Open(nil, sent[0]); !errors.Is(err, ErrUnknownIndex) {
		t.Errorf("reflected to its sender: %v", err)
	}
	le.PutUint32(sent[0][4:], client.LocalIndex())
	if _, err := client.Open(nil, sent[0]); !errors.Is(err, ErrAuth) {
		t.Errorf("reflected to its sender under his index: %v", err)
	}
}

func TestTransportEnds(t *testing.T) {
	p := newPair(t)
	client, a := p.shake(0)
	client.counter = MaxMessages - 1
	last := client.Seal(nil, []byte{1})
	mustOpen(t, a.Transport, last)
	if !client.Exhausted() {
		t.Error("not exhausted after MaxMessages")
	}
	if out := client.Seal([]byte("x"), []byte{1}); string(out) != "x" {
		t.Errorf("sealed beyond MaxMessages: %x", out)
	}
	le.PutUint64(last[8:], MaxMessages)
	if _, err := a.Transport.Open(nil, last); !errors.Is(err, ErrCounter) {
		t.Errorf("got %v", err)
	}
}

func TestTransportAllocatesNothing(t *testing.T) {
	p := newPair(t)
	client, a := p.shake(0)
	datagram, plain := make([]byte, 0, 2048), make([]byte, 0, 2048)
	message := make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		datagram = client.Seal(datagram[:0], message)
		var err error
		if plain, err = a.Transport.Open(plain[:0], datagram); err != nil {
			t.Fatal(err)
		}
		if _, err = a.Transport.Open(plain[:0], datagram); err != ErrReplay {
			t.Fatal(err)
		}
		datagram[20] ^= 1
		if err = a.Transport.Verify(plain, datagram); err != ErrAuth {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func TestConfigErrors(t *testing.T) {
	lookup := func(Key) (Key, bool) { return Key{}, false }
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"service", second(NewInitiator(InitiatorConfig{Service: "x", Private: alice, Remote: bob, Rand: random(0)})), `"x"`},
		{"private", second(NewInitiator(InitiatorConfig{Service: Bond, Remote: bob, Rand: random(0)})), "private key is missing"},
		{"remote", second(NewInitiator(InitiatorConfig{Service: Bond, Private: alice, Rand: random(0)})), "public key is missing"},
		{"rand", second(NewInitiator(InitiatorConfig{Service: Bond, Private: alice, Remote: bob})), "Rand"},
		{"responder's private", second(NewResponder(ResponderConfig{Service: Bond, Lookup: lookup, Rand: random(0)})), "private key is missing"},
		{"responder's lookup", second(NewResponder(ResponderConfig{Service: Bond, Private: alice, Rand: random(0)})), "Lookup"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %s", c.name, c.err, c.want)
		}
	}
	i := newPair(t).i
	if _, err := i.Initiate(wall, make([]byte, MaxPayload+1)); err == nil {
		t.Error("a payload that is too long is taken")
	}
	i.cfg.Rand = strings.NewReader("short")
	if _, err := i.Initiate(wall, nil); err == nil {
		t.Error("too little randomness is taken")
	}
}

func second[T any](_ T, err error) error { return err }

func TestLargestPayloads(t *testing.T) {
	p := newPair(t, func(p *pair) { p.answer = strings.Repeat("a", MaxPayload) })
	_, payload, err := p.i.Consume(p.handle(0, p.initiate(strings.Repeat("q", MaxPayload))))
	if err != nil || len(payload) != MaxPayload {
		t.Errorf("payload of %d bytes, %v", len(payload), err)
	}
}

func FuzzDatagrams(f *testing.F) {
	t := &testing.T{}
	p := newPair(t)
	initiation := p.initiate("seed")
	response := p.handle(0, initiation)
	client, _, err := p.i.Consume(response)
	if err != nil {
		f.Fatal(err)
	}
	p.busy(0)
	cookie := p.handle(0, p.initiate(""))
	for _, msg := range [][]byte{initiation, response, cookie, client.Seal(nil, []byte{0, 4, 1, 0, 0}), nil, {0xb0, 1, 0, 0}} {
		f.Add(msg, false)
		f.Add(msg, true)
	}
	// Other ends, in the middle of a handshake, that never saw these datagrams.
	// Nothing that fails may change them, so that one pair serves all inputs.
	p = newPair(t, func(p *pair) { p.ic.Rand, p.rc.Rand = random(50), random(51) })
	waiting, _, err := p.i.Consume(p.handle(0, p.initiate("")))
	if err != nil {
		f.Fatal(err)
	}
	p.initiate("")
	f.Fuzz(func(t *testing.T, msg []byte, mac bool) {
		p.r.unproven, p.r.unprovenSource.sources = 0, nil
		toBob, toAlice := msg, msg
		if mac && len(msg) >= macsSize {
			toBob, toAlice = remac(msg, bob.Public()), remac(msg, alice.Public())
		}
		if _, err := p.r.Handle(0, home, toBob); err == nil && string(toBob) != string(initiation) &&
			string(toBob[:len(toBob)-16]) != string(initiation[:len(initiation)-16]) {
			t.Fatalf("an initiation that nobody made is answered: %x", toBob)
		}
		if _, err := p.r.Confirm(0, msg); err == nil {
			t.Fatalf("a sealed message that nobody made is confirmed: %x", msg)
		}
		if _, _, err := p.i.Consume(toAlice); err == nil || errors.Is(err, ErrCookie) {
			t.Fatalf("a response that nobody made is taken: %x", toAlice)
		}
		if _, err := waiting.Open(nil, msg); err == nil {
			t.Fatalf("a sealed message that nobody made is opened: %x", msg)
		}
	})
}

func BenchmarkHandshake(b *testing.B) {
	p := newPair(&testing.T{})
	for n := 0; b.Loop(); n++ {
		p.r.unproven = 0
		p.shake(time.Duration(n) * time.Second)
	}
}

func BenchmarkSealOpen(b *testing.B) {
	client, a := newPair(&testing.T{}).shake(0)
	datagram, plain := make([]byte, 0, 2048), make([]byte, 0, 2048)
	message := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		datagram = client.Seal(datagram[:0], message)
		plain, _ = a.Transport.Open(plain[:0], datagram)
	}
}
