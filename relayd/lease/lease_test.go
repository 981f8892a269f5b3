package lease

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

var golden = []struct {
	name  string
	frame Frame
	hex   string
}{
	{"Request IPv4", &Request{ID: 1, Lifetime: time.Minute, Target: netip.MustParseAddrPort("192.0.2.1:51820")},
		"20 1e00 01000000 3c000000 00000000000000000000000000000000 6cca c0000201"},
	{"Request IPv6", &Request{ID: 0x01020304, Lifetime: time.Second, Token: Token{1, 15: 9}, Target: netip.MustParseAddrPort("[2001:db8::1]:1")},
		"20 2a00 04030201 01000000 01000000000000000000000000000009 0100 20010db8000000000000000000000001"},
	{"Prove", &Prove{ID: 7, Token: Token{0xaa, 15: 0xbb}},
		"21 1400 07000000 aa0000000000000000000000000000bb"},
	{"Grant", &Grant{ID: 7, Lifetime: 90 * time.Second, Terms: Terms{Rate: 125000, Left: Unlimited}},
		"22 1800 07000000 5a000000 48e8010000000000 ffffffffffffffff"},
	{"Refuse", &Refuse{ID: 7, Reason: Busy, Text: "täglich"}, "23 0d00 07000000 01 74c3a4676c696368"},
	{"Refuse without text", &Refuse{Reason: Ended}, "23 0500 00000000 04"},
	{"Release", &Release{}, "24 0000"},
	{"Redeem", &Redeem{ID: InvitationID{1, 7: 8}, Proof: Token{0xcc, 15: 0xdd}}, "25 1800 0100000000000008 cc0000000000000000000000000000dd"},
	{"Hint", &Hint{Up: 125000, Down: Unlimited}, "26 1000 48e8010000000000 ffffffffffffffff"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("bad hex in the test: %v", err)
	}
	return b
}

var addresses = cmpopts.EquateComparable(netip.AddrPort{})

func TestGoldenFrames(t *testing.T) {
	var all []byte
	var frames []Frame
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, "ff"+g.hex)
			if got := Append(nil, g.frame); string(got) != string(want) {
				t.Errorf("encoded\n got %x\nwant %x", got, want)
			}
			got, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Frame{g.frame}, got, addresses); diff != "" {
				t.Errorf("decoded, -want +got:\n%s", diff)
			}
		})
		all = append(Append(all, g.frame), 200, 1, 0, 0) // and an unknown frame
		frames = append(frames, g.frame)
	}
	got, err := Decode(all)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(frames, got, addresses); diff != "" {
		t.Errorf("all in one message, -want +got:\n%s", diff)
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct{ name, hex, want string }{
		{"empty", "", "begins with 255"},
		{"a path", "00 24 0000", "begins with 255"},
		{"cut", "ff 24 00", "2 bytes are left"},
		{"long body", "ff 24 0100 00", "Release, byte 4: a body of 1 bytes, it has 0"},
		{"odd address", "ff 20 1f00" + strings.Repeat("01", 31), "it has 30 or 42"},
		{"request without ID", "ff 20 1e00 00000000" + strings.Repeat("01", 26), "ID is not 0"},
		{"mapped address", "ff 20 2a00" + strings.Repeat("01", 26) + "00000000000000000000ffff01020304", "not mapped"},
		{"text that is none", "ff 23 0600 00000000 01 ff", "not UTF-8"},
		{"text too long", "ff 23 ce00" + strings.Repeat("41", 206), "it has 5 to 205"},
		{"seventeen frames", "ff" + strings.Repeat("240000", 17), "more than 16 frames"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode(unhex(t, c.hex))
			if !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestTextIsCutBetweenCharacters(t *testing.T) {
	for _, text := range []string{strings.Repeat("ä", 150), "a" + strings.Repeat("ä", 150), strings.Repeat("x", 500), "\xff\xfe"} {
		frames, err := Decode(Append(nil, &Refuse{ID: 1, Text: text}))
		if err != nil {
			t.Errorf("%.10q…: %v", text, err)
			continue
		}
		if got := frames[0].(*Refuse).Text; len(got) > MaxText || !strings.HasPrefix(text, got) && got != "?" {
			t.Errorf("%.10q… becomes %q", text, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		f.Add(Append(nil, g.frame))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		frames, err := Decode(msg)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again := []byte{wire.NoPath}
		for _, f := range frames {
			again = Append(again, f)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("%x is taken, %x, made from it, is not: %v", msg, again, err)
		}
		if diff := cmp.Diff(frames, back, addresses); diff != "" {
			t.Fatalf("-first +second:\n%s", diff)
		}
	})
}

var target = netip.MustParseAddrPort("192.0.2.1:51820")

// lender is the least that a lender does, in virtual time.
type lender struct {
	t         *testing.T
	responder *control.Responder
	session   *control.Transport
	asked     []*Request // with the right token
	released  int
	lifetime  time.Duration
	prove     bool
	refuse    *Refuse // instead of granting
	silent    bool
	from      netip.AddrPort
}

// world is a borrower and its lender.
type world struct {
	t    *testing.T
	now  time.Duration
	b    *Borrower
	l    *lender
	sent []time.Duration // when the borrower sent something
}

var (
	wall      = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	borrowers = control.Key{1: 1}
	lenders   = control.Key{1: 2}
)

func newWorld(t *testing.T) *world {
	t.Helper()
	initiator, err := control.NewInitiator(control.InitiatorConfig{
		Service: control.Lease, Private: borrowers, Remote: lenders.Public(), Rand: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBorrower(BorrowerConfig{Initiator: initiator, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	l := &lender{t: t, lifetime: time.Minute, prove: true, from: netip.MustParseAddrPort("10.0.0.1:1000")}
	l.restart()
	return &world{t: t, b: b, l: l}
}

// restart makes the lender forget everything.
func (l *lender) restart() {
	r, err := control.NewResponder(control.ResponderConfig{
		Service: control.Lease, Private: lenders, Rand: rand.NewChaCha8([32]byte{2}),
		Lookup: func(k control.Key) (control.Key, bool) { return control.Key{}, k == borrowers.Public() }})
	if err != nil {
		l.t.Fatal(err)
	}
	l.responder, l.session = r, nil
}

func (l *lender) token() Token {
	var t Token
	copy(t[:], l.from.String())
	return t
}

// handle answers one datagram of the borrower, or not.
func (l *lender) handle(now time.Duration, datagram []byte) []byte {
	if l.silent {
		return nil
	}
	if wire.ControlKind(datagram) == wire.Initiation {
		reply, err := l.responder.Handle(now, l.from, datagram)
		if err != nil {
			l.t.Fatalf("initiation: %v", err)
		}
		return reply
	}
	if a, err := l.responder.Confirm(now, datagram); err == nil {
		l.session = a.Transport
	}
	if l.session == nil {
		return nil
	}
	plaintext, err := l.session.Open(nil, datagram)
	if err != nil {
		return nil
	}
	frames, err := Decode(plaintext)
	if err != nil {
		l.t.Fatalf("the borrower sends %x: %v", plaintext, err)
	}
	switch f := frames[0].(type) {
	case *Request:
		if l.prove && f.Token != l.token() {
			return l.session.Seal(nil, Append(nil, &Prove{ID: f.ID, Token: l.token()}))
		}
		l.asked = append(l.asked, f)
		if l.refuse != nil {
			r := *l.refuse
			r.ID = f.ID
			return l.session.Seal(nil, Append(nil, &r))
		}
		return l.session.Seal(nil, Append(nil, &Grant{ID: f.ID, Lifetime: l.lifetime, Terms: Terms{Left: Unlimited}}))
	case *Release:
		l.released++
	}
	return nil
}

// settle lets both talk at the present time, over a path without delay, until
// nothing is due.
func (w *world) settle() {
	w.t.Helper()
	for range 20 {
		if w.b.Next() > w.now {
			return
		}
		w.exchange()
	}
	w.t.Fatalf("at %v the borrower does not stop sending", w.now)
}

func (w *world) exchange() {
	w.t.Helper()
	out, err := w.b.Transmit(w.now, wall.Add(w.now), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, datagram := range out {
		w.sent = append(w.sent, w.now)
		if reply := w.l.handle(w.now, datagram); reply != nil {
			// New keys may have come in just before an answer under the old ones.
			if err := w.b.Consume(w.now, reply); err != nil && !errors.Is(err, control.ErrUnknownIndex) {
				w.t.Fatalf("at %v: %v", w.now, err)
			}
		}
	}
}

// until runs the world up to a time.
func (w *world) until(end time.Duration) {
	w.t.Helper()
	for w.settle(); w.b.Next() <= end; w.settle() {
		w.now = w.b.Next()
	}
	w.now = end
}

func (w *world) wantState(want State) {
	w.t.Helper()
	if got := w.b.Status(w.now); got.State != want {
		w.t.Fatalf("at %v: %+v, want it %v", w.now, got, want)
	}
}

func TestLeaseIsGrantedAndRenewed(t *testing.T) {
	w := newWorld(t)
	w.wantState(Seeking)
	w.settle()
	w.wantState(Granted)
	if len(w.sent) != 3 {
		t.Errorf("%d datagrams for a lease, want initiation, request and its proof", len(w.sent))
	}
	if r := w.l.asked[0]; r.Target != target || r.Lifetime != DefaultLifetime {
		t.Errorf("asked for %+v", r)
	}
	if s := w.b.Status(w.now); s.Until != time.Minute || s.Terms.Left != Unlimited {
		t.Errorf("status %+v", s)
	}
	w.until(5 * time.Minute)
	w.wantState(Granted)
	if len(w.l.asked) != 11 { // at 0, 30 s, … 5 min
		t.Errorf("asked %d times, want once every half lifetime", len(w.l.asked))
	}
}

func TestSilentLenderIsTriedWithBackOff(t *testing.T) {
	w := newWorld(t)
	w.l.silent = true
	w.until(time.Minute)
	w.wantState(Seeking)
	want := []time.Duration{0, 250 * time.Millisecond, 750 * time.Millisecond, 1750 * time.Millisecond, 3750 * time.Millisecond,
		7750 * time.Millisecond, 15750 * time.Millisecond, 30750 * time.Millisecond, 45750 * time.Millisecond}
	if diff := cmp.Diff(want, w.sent); diff != "" {
		t.Errorf("sent at, -want +got:\n%s", diff)
	}
	if n := w.b.Status(w.now).Unanswered; n != len(want) {
		t.Errorf("%d unanswered, want %d", n, len(want))
	}
	w.l.silent = false
	w.until(61 * time.Second)
	w.wantState(Granted)
}

func TestLostLeaseRunsOut(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.l.silent = true
	w.until(time.Minute - 1)
	w.wantState(Granted)
	w.until(time.Minute)
	w.wantState(Seeking)
}

func TestRestartedLenderIsNoticed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.l.restart()
	w.b.Renew(w.now) // the engine says that the path seems dead
	w.until(10 * time.Second)
	w.wantState(Granted)
	if len(w.l.asked) != 2 {
		t.Errorf("asked %d times, want a second lease", len(w.l.asked))
	}
	// And without a hint, at the next renewal.
	w.l.restart()
	w.until(time.Minute)
	w.wantState(Granted)
	if len(w.l.asked) != 3 {
		t.Errorf("asked %d times, want a third lease", len(w.l.asked))
	}
}

func TestAddressChangeMovesTheLease(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.now = time.Second
	w.l.from = netip.MustParseAddrPort("10.0.0.2:2000")
	w.b.Renew(w.now)
	w.settle()
	w.wantState(Granted)
	if n := len(w.l.asked); n != 2 || w.l.asked[1].Token != w.l.token() {
		t.Errorf("asked %d times with the token of the address, want 2", n)
	}
	if w.now != time.Second {
		t.Errorf("it took until %v", w.now)
	}
}

func TestRefusal(t *testing.T) {
	w := newWorld(t)
	w.l.refuse = &Refuse{Reason: BadTarget, Text: "no"}
	w.settle()
	w.wantState(Refused)
	if s := w.b.Status(w.now); s.Reason != BadTarget || s.Text != "no" {
		t.Errorf("status %+v", s)
	}
	w.until(15 * time.Second)
	if len(w.l.asked) != 4 { // at 0, 2, 6, 14 s
		t.Errorf("asked %d times", len(w.l.asked))
	}
	w.l.refuse = nil
	w.until(31 * time.Second)
	w.wantState(Granted)
}

func TestLenderEndsALease(t *testing.T) {
	w := newWorld(t)
	w.settle()
	if err := w.b.Consume(w.now, w.l.session.Seal(nil, Append(nil, &Refuse{Reason: Ended}))); err != nil {
		t.Fatal(err)
	}
	w.wantState(Refused)
	w.until(2 * time.Second)
	w.wantState(Granted)
}

func TestStaleAnswersAreIgnored(t *testing.T) {
	w := newWorld(t)
	w.settle()
	before := w.b.Status(w.now)
	for _, f := range []Frame{
		&Refuse{ID: w.b.request.ID - 1, Reason: Busy},
		&Grant{ID: w.b.request.ID - 1, Lifetime: time.Hour},
		&Prove{ID: w.b.request.ID - 1},
		&Request{ID: 1, Target: target},
	} {
		if err := w.b.Consume(w.now, w.l.session.Seal(nil, Append(nil, f))); err != nil {
			t.Fatal(err)
		}
	}
	if after := w.b.Status(w.now); after != before {
		t.Errorf("status %+v, was %+v", after, before)
	}
}

func TestLenderCannotKeepTheBorrowerBusy(t *testing.T) {
	// settle fails if the borrower answers every Prove, or asks again and
	// again for a lease of no duration.
	w := newWorld(t)
	w.settle()
	w.l.prove = false
	w.l.lifetime = 0
	w.b.Renew(w.now)
	w.settle()

	w = newWorld(t)
	tokens := byte(0)
	w.l.prove = false
	w.settle()
	w.b.Renew(w.now)
	for range 10 {
		out, err := w.b.Transmit(w.now, wall, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.sent = append(w.sent, make([]time.Duration, len(out))...)
		tokens++
		prove := Append(nil, &Prove{ID: w.b.request.ID, Token: Token{tokens}})
		if err := w.b.Consume(w.now, w.l.session.Seal(nil, prove)); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.sent) > 2+1+maxImmediate {
		t.Errorf("%d datagrams sent at once", len(w.sent))
	}
}

func TestKeysAreRenewed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	first := w.b.transport
	w.until(rekeyAfter + time.Minute)
	w.wantState(Granted)
	if w.b.transport == first {
		t.Error("the session still has its first keys")
	}
	if got := w.l.responder.Stats().Answered; got != 2 {
		t.Errorf("%d handshakes, want 2", got)
	}
}

func TestRelease(t *testing.T) {
	w := newWorld(t)
	w.settle()
	out := w.b.Release(nil)
	if len(out) != 1 {
		t.Fatalf("%d datagrams", len(out))
	}
	w.l.handle(w.now, out[0])
	if w.l.released != 1 || w.b.Next() != Never {
		t.Errorf("released %d times, next %v", w.l.released, w.b.Next())
	}
	if out = w.b.Release(nil); len(out) != 0 {
		t.Error("released twice")
	}
	if out, _ := w.b.Transmit(time.Hour, wall, nil); len(out) != 0 {
		t.Error("it still sends")
	}
	if err := w.b.Consume(time.Hour, out0(w)); err == nil {
		t.Error("it still listens")
	}
}

func out0(w *world) []byte { return w.l.session.Seal(nil, Append(nil, &Refuse{Reason: Ended})) }

func TestGarbageChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.settle()
	before, next := w.b.Status(w.now), w.b.Next()
	good := out0(w)
	for bit := range 8 * len(good) {
		bad := append([]byte(nil), good...)
		bad[bit/8] ^= 1 << (bit % 8)
		if w.b.Consume(w.now, bad) == nil {
			t.Fatalf("bit %d flipped, and it is taken", bit)
		}
	}
	for _, bad := range [][]byte{nil, {wire.TypeLease}, make([]byte, 148), good[:40]} {
		if w.b.Consume(w.now, bad) == nil {
			t.Fatalf("%x is taken", bad)
		}
	}
	if w.b.Status(w.now) != before || w.b.Next() != next {
		t.Errorf("status %+v, was %+v", w.b.Status(w.now), before)
	}
}

func TestConfigErrors(t *testing.T) {
	i := newWorld(t).b.cfg.Initiator
	for _, c := range []struct {
		cfg  BorrowerConfig
		want string
	}{
		{BorrowerConfig{Target: target}, "Initiator"},
		{BorrowerConfig{Initiator: i}, "is no target"},
		{BorrowerConfig{Initiator: i, Target: netip.AddrPortFrom(target.Addr(), 0)}, "is no target"},
		{BorrowerConfig{Initiator: i, Target: target, Lifetime: time.Second}, "at least 2s"},
	} {
		if _, err := NewBorrower(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want it to say %q", err, c.want)
		}
	}
}
