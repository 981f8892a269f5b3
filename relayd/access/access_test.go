package access

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

var (
	lender = control.Key{1: 1}
	alice  = control.Key{1: 2}
	bob    = control.Key{1: 3}
	day0   = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
)

const gb = 1e9

func book(t *testing.T, cfg Config) *Book {
	t.Helper()
	cfg.Lender = lender
	b, err := NewBook(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func invite(t *testing.T, b *Book, terms Terms) lease.Code {
	t.Helper()
	c, err := b.Invite(day0, rand.NewChaCha8([32]byte{byte(len(b.all))}), terms)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func redeem(c lease.Code, peer control.Key) *lease.Redeem {
	return &lease.Redeem{ID: c.ID(), Proof: c.Proof(lender, peer)}
}

func (b *Book) judged(now time.Time, peer control.Key, near bool) string {
	_, why := b.Judge(now, peer, near)
	return why
}

func TestWhoMayBorrow(t *testing.T) {
	b := book(t, Config{Listed: []control.Key{alice}})
	if why := b.judged(day0, alice, false); why != "" {
		t.Errorf("one who is listed is refused: %s", why)
	}
	if b.MayKnock(day0, bob) || b.judged(day0, bob, true) == "" {
		t.Error("one who is not listed may borrow")
	}
	code := invite(t, b, Terms{Volume: gb, Life: 7 * 24 * time.Hour})
	if !b.MayKnock(day0, bob) {
		t.Error("one who could have the invitation may not say so")
	}
	if b.judged(day0, bob, true) == "" {
		t.Error("an invitation that nobody redeemed serves everybody")
	}
	forged := redeem(code, bob)
	forged.Proof[3] ^= 1
	for name, r := range map[string]*lease.Redeem{"a wrong proof": forged, "another's proof": redeem(code, alice), "an unknown one": {}} {
		if err := b.Redeem(day0, bob, r); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for range 2 { // a borrower that got no answer says it again
		if err := b.Redeem(day0, bob, redeem(code, bob)); err != nil {
			t.Fatal(err)
		}
	}
	if s, why := b.Judge(day0, bob, false); why != "" || s.Kind != Invited || s.Left != gb {
		t.Errorf("the invited one: %+v, %s", s, why)
	}
	if err := b.Redeem(day0, control.Key{1: 9}, redeem(code, control.Key{1: 9})); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second borrower: %v", err)
	}
	if b.MayKnock(day0, control.Key{1: 9}) {
		t.Error("no invitation is open, and strangers are still listened to")
	}
	week := day0.Add(7 * 24 * time.Hour)
	if b.judged(week.Add(-time.Second), bob, true) != "" || b.judged(week, bob, true) == "" {
		t.Error("the invitation does not end when it should")
	}
	if _, err := b.Revoke("no such"); err == nil {
		t.Error("nothing was revoked, and no error")
	}
	if n, err := b.Revoke(strings.ToLower(code.ID().String())); n != 1 || err != nil {
		t.Errorf("revoked %d: %v", n, err)
	}
	if why := b.judged(day0, bob, true); !strings.Contains(why, "revoked") {
		t.Errorf("after revocation: %q", why)
	}
}

func TestOpenToThoseNearby(t *testing.T) {
	b := book(t, Config{Open: Open{Leases: 2, Rate: 1000, PerDay: 10_000}})
	if b.judged(day0, bob, false) == "" {
		t.Error("open to the whole internet")
	}
	s, why := b.Judge(day0, bob, true)
	if why != "" || s.Kind != Stranger || s.Leases != 2 || s.Left != 10_000 {
		t.Fatalf("%+v, %s", s, why)
	}
	// 250 ms of the rate at once, then no faster than it.
	now, got := time.Duration(0), 0
	for ; now < 4*time.Second; now += 10 * time.Millisecond {
		if s.Meter.Take(now, 50) {
			got += 50
		}
	}
	if got < 4000 || got > 4300 {
		t.Errorf("%d bytes in 4 s at 1000 B/s", got)
	}
	other, _ := b.Judge(day0, alice, true)
	for ; other.Meter.Take(now, 50); now += 100 * time.Millisecond {
		got += 50
	}
	if got != 10_000 {
		t.Errorf("two strangers got %d bytes, they share 10,000 a day", got)
	}
	if b.judged(day0, alice, true) == "" {
		t.Error("more is lent although the day's share is used up")
	}
	if s, why := b.Judge(day0.Add(24*time.Hour), alice, true); why != "" || s.Left != 10_000 {
		t.Errorf("the next day: %+v, %s", s, why)
	}
}

func TestVolumeSurvivesCrashAndRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "invitations.json")
	b := book(t, Config{Path: path})
	code := invite(t, b, Terms{For: "Bob", Volume: 100e6, Life: time.Hour})
	if err := b.Redeem(day0, bob, redeem(code, bob)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Fatalf("the file of secrets: %v, %v", info, err)
	}
	carried := 0
	carry := func(want int) {
		t.Helper()
		s, why := b.Judge(day0, bob, false)
		if why != "" {
			t.Fatal(why)
		}
		for n := 0; n < want; n += 1000 {
			if !s.Meter.Take(0, 1000) {
				if err := b.Settle(); err != nil {
					t.Fatal(err)
				}
				if !s.Meter.Take(0, 1000) {
					break
				}
			}
			carried += 1000
		}
	}
	carry(10e6)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = book(t, Config{Path: path})
	if s, why := b.Judge(day0, bob, false); why != "" || s.Left != 90e6 {
		t.Fatalf("after a restart: %+v, %s: want 90 MB left", s, why)
	}
	carry(20e6)
	b = book(t, Config{Path: path}) // a crash: nothing was closed
	s, why := b.Judge(day0, bob, false)
	if why != "" || s.Left > 70e6 || s.Left < 70e6-portion {
		t.Fatalf("after a crash: %+v, %s: want 70 MB left but for one portion at most", s, why)
	}
	lost := 70e6 - float64(s.Left)
	carry(1e9)
	if want := 100e6 - int(lost); carried > want || carried < want-1000 {
		t.Errorf("%d bytes carried, in packets of 1000; the rest is %d", carried, want)
	}
	if b.judged(day0, bob, false) == "" {
		t.Error("the volume is used up and more is lent")
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	b := book(t, Config{Path: filepath.Join(dir, "invitations.json")})
	if _, err := b.Invite(day0, rand.NewChaCha8([32]byte{}), Terms{Volume: gb, Life: time.Hour}); err == nil {
		t.Fatal("an invitation that was not written down")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	code := invite(t, b, Terms{Volume: gb, Life: time.Hour})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Redeem(day0, bob, redeem(code, bob)); err == nil {
		t.Error("redeemed, and not written down")
	}
	if b.judged(day0, bob, true) == "" {
		t.Error("lent all the same")
	}
}

func TestBookIsBounded(t *testing.T) {
	b := book(t, Config{})
	for range maxInvitations {
		invite(t, b, Terms{Life: time.Hour})
	}
	if _, err := b.Invite(day0, rand.NewChaCha8([32]byte{9}), Terms{Life: time.Hour}); err == nil {
		t.Error("one too many")
	}
	if _, err := b.Invite(day0.Add(2*time.Hour), rand.NewChaCha8([32]byte{9}), Terms{Life: time.Hour}); err != nil {
		t.Errorf("those that are over take up room: %v", err)
	}
}
