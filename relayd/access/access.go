// Package access is the lender's book of who may borrow: those it lists by
// their WireGuard public keys, those who hold an invitation, and, if it is open,
// whoever is near.
//
//	Judge ─► listed? ─► invited, and the invitation good? ─► open, near, room? ─► refused
//	            │                  │                              │
//	            ▼                  ▼                              ▼
//	         no limit     a Meter of its own           one Meter for all strangers
//
// An invitation (package lease, Code) is good for the first borrower who
// redeems it, until it expires, is revoked or its volume is used up. What it
// has left survives a crash: volume is noted as used a portion ahead of its
// use, so a crash can cost the borrower that portion and the lender nothing.
package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wg-bond/wg-bond/conn/durable"
	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

const (
	// maxInvitations bounds the book; what is over is forgotten first.
	maxInvitations = 256
	// portion is how much of a volume is noted as used ahead of its use, bytes.
	portion = 16 << 20
	// least is what a volume must have left to be of use: a full packet.
	least = 1500
	// keepOver is how long an invitation that is over is still listed.
	keepOver = 31 * 24 * time.Hour
)

// Open is what a lender gives to whoever is near, unasked. All strangers share
// it.
type Open struct {
	Leases int    // at once; 0: not open
	Rate   uint64 // bytes per second of whole IP packets, each way together; 0: no limit
	PerDay uint64 // bytes of whole IP packets in a day, UTC; 0: no limit
}

// What an Open has unless told otherwise: enough to write home, little enough
// not to be missed.
const (
	OpenLeases = 2
	OpenRate   = 1e6 / 8
	OpenPerDay = 200e6
)

// Config makes a Book.
type Config struct {
	Lender control.Key // our public key
	Listed []control.Key
	Open   Open
	// Path is the file of invitations, made when needed; empty: they are
	// forgotten with the Book.
	Path string
}

// Kind says why somebody may borrow.
type Kind uint8

// The kinds.
const (
	Listed Kind = iota
	Invited
	Stranger
)

// Standing is what somebody may borrow.
type Standing struct {
	Kind  Kind
	Meter *Meter // nil: without a limit of his own
	// Leases is how many he may have at once, 0: as the lender has it. A
	// Stranger shares them with all others.
	Leases int
	Until  time.Time // zero: no end
	Left   uint64    // bytes of whole IP packets; lease.Unlimited: no limit
}

// Book is the lender's. It is safe for concurrent use.
type Book struct {
	cfg Config

	mu        sync.Mutex
	listed    map[control.Key]bool
	all       []*Invitation
	meters    map[lease.InvitationID]*Meter
	strangers *Meter
	day       int64 // that strangers is for, since 1970
}

// Invitation is one entry of the book. Its JSON is that of the file, and of
// relayd invitations.
type Invitation struct {
	Code     string    `json:"code,omitempty"` // a secret; empty when shown
	ID       string    `json:"id"`
	For      string    `json:"for,omitempty"` // whom the lender means, in its own words
	Made     time.Time `json:"made"`
	Expires  time.Time `json:"expires"`
	Volume   uint64    `json:"volume"` // bytes of whole IP packets, both ways; 0: no limit
	Used     uint64    `json:"used"`   // of Volume; in the file up to a portion more
	Borrower string    `json:"borrower,omitempty"`
	Revoked  bool      `json:"revoked,omitempty"`

	code     lease.Code
	borrower control.Key
}

// NewBook reads the file of invitations, if there is one.
func NewBook(cfg Config) (*Book, error) {
	b := &Book{cfg: cfg, listed: map[control.Key]bool{}, meters: map[lease.InvitationID]*Meter{}}
	for _, k := range cfg.Listed {
		b.listed[k] = true
	}
	if cfg.Path == "" {
		return b, nil
	}
	data, err := os.ReadFile(cfg.Path)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &b.all)
	}
	if err != nil {
		return nil, fmt.Errorf("the file of invitations: %w", err)
	}
	for n, i := range b.all {
		var err error
		if i == nil {
			return nil, fmt.Errorf("%s: invitation %d is empty", cfg.Path, n+1)
		}
		if i.code, err = lease.ParseCode(i.Code); err == nil && i.Borrower != "" {
			i.borrower, err = control.ParseKey(i.Borrower)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: invitation %d, %s: %w", cfg.Path, n+1, i.ID, err)
		}
	}
	return b, nil
}

// MayKnock reports whether a handshake with somebody is worth its cost: he is
// known, or could have an invitation.
func (b *Book) MayKnock(now time.Time, peer control.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listed[peer] || b.cfg.Open.Leases > 0 || slices.ContainsFunc(b.all, func(i *Invitation) bool {
		return b.overLocked(i, now) == "" && (i.borrower.IsZero() || i.borrower == peer)
	})
}

// Judge says what somebody may borrow, or why he may not. near tells that he
// is on a link of the lender's that is not the one it lends.
func (b *Book) Judge(now time.Time, peer control.Key, near bool) (Standing, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listed[peer] {
		return Standing{Kind: Listed, Left: lease.Unlimited}, ""
	}
	refusal := "you are not among those who may borrow here"
	for _, i := range b.all {
		if i.borrower != peer {
			continue
		}
		if refusal = b.overLocked(i, now); refusal == "" {
			s := Standing{Kind: Invited, Meter: b.meterLocked(i), Until: i.Expires, Left: lease.Unlimited}
			if i.Volume > 0 {
				s.Left = i.Volume - b.usedLocked(i)
			}
			return s, ""
		}
	}
	switch o := b.cfg.Open; {
	case o.Leases == 0:
		return Standing{}, refusal
	case !near:
		return Standing{}, "open only to those on the lender's own links"
	default:
		m := b.strangersLocked(now)
		s := Standing{Kind: Stranger, Meter: m, Leases: o.Leases, Left: lease.Unlimited}
		if o.PerDay > 0 {
			s.Left = uint64(max(0, m.left.Load()))
		}
		if s.Left == 0 {
			return Standing{}, "what is open to all is used up for today"
		}
		return s, ""
	}
}

// usedLocked is what was really used of an invitation's volume.
func (b *Book) usedLocked(i *Invitation) uint64 {
	if m := b.meters[i.code.ID()]; m != nil {
		return i.Used - min(i.Used, uint64(max(0, m.left.Load())))
	}
	return i.Used
}

// overLocked says why an invitation is of no more use; empty if it is.
func (b *Book) overLocked(i *Invitation, now time.Time) string {
	switch {
	case i.Revoked:
		return "the invitation was revoked"
	case !now.Before(i.Expires):
		return "the invitation has run out"
	case i.Volume > 0 && b.usedLocked(i)+least > i.Volume:
		return "the invitation's volume is used up"
	}
	return ""
}

// meterLocked is that of an invitation. Its first portion is due with Settle.
func (b *Book) meterLocked(i *Invitation) *Meter {
	if i.Volume == 0 {
		return nil
	}
	id := i.code.ID()
	m := b.meters[id]
	if m == nil {
		m = new(Meter)
		b.meters[id] = m
		_ = b.settleLocked() // if it cannot be noted, it is not lent: Settle says why
	}
	return m
}

func (b *Book) strangersLocked(now time.Time) *Meter {
	day := now.Unix() / (24 * 60 * 60)
	if b.strangers == nil {
		b.strangers = &Meter{rate: b.cfg.Open.Rate}
		b.day = day - 1
	}
	if b.day != day {
		b.day = day
		left := int64(unlimited)
		if b.cfg.Open.PerDay > 0 {
			left = int64(b.cfg.Open.PerDay)
		}
		b.strangers.left.Store(left)
	}
	return b.strangers
}

// Redeem binds an invitation to the borrower who presents it. An error says why
// not, in words that the borrower may read.
func (b *Book) Redeem(now time.Time, peer control.Key, r *lease.Redeem) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := slices.IndexFunc(b.all, func(i *Invitation) bool { return i.code.ID() == r.ID })
	if n < 0 || b.all[n].code.Proof(b.cfg.Lender, peer) != r.Proof {
		return errors.New("there is no such invitation here")
	}
	i := b.all[n]
	if why := b.overLocked(i, now); why != "" {
		return errors.New(why)
	}
	switch i.borrower {
	case peer:
		return nil
	case control.Key{}:
	default:
		return errors.New("the invitation is another borrower's already")
	}
	i.borrower, i.Borrower = peer, peer.String()
	if err := b.saveLocked(); err != nil {
		i.borrower, i.Borrower = control.Key{}, ""
		return errors.New("the lender cannot write down who redeemed the invitation; ask it to look at its log")
	}
	return nil
}

// Terms of a new invitation.
type Terms struct {
	For    string
	Volume uint64 // bytes of whole IP packets; 0: no limit
	Life   time.Duration
}

// Invite makes an invitation; random is cryptographic.
func (b *Book) Invite(now time.Time, random io.Reader, t Terms) (lease.Code, error) {
	if t.Life <= 0 {
		return lease.Code{}, fmt.Errorf("an invitation for %v: it would be over at once", t.Life)
	}
	code, err := lease.NewCode(random, b.cfg.Lender)
	if err != nil {
		return code, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.all
	b.all = slices.DeleteFunc(slices.Clone(b.all), func(i *Invitation) bool {
		return b.overLocked(i, now) != "" && now.Sub(i.Made) > keepOver
	})
	if len(b.all) >= maxInvitations {
		n := slices.IndexFunc(b.all, func(i *Invitation) bool { return b.overLocked(i, now) != "" })
		if n < 0 {
			b.all = before
			return lease.Code{}, fmt.Errorf("there are %d invitations already: revoke some", len(b.all))
		}
		b.all = slices.Delete(b.all, n, n+1)
	}
	b.all = append(b.all, &Invitation{Code: code.String(), ID: code.ID().String(), For: t.For,
		Made: now.UTC(), Expires: now.Add(t.Life).UTC(), Volume: t.Volume, code: code})
	if err := b.saveLocked(); err != nil {
		b.all = before
		return lease.Code{}, err
	}
	return code, nil
}

// Revoke ends invitations, redeemed or not: that of an ID, or those of a
// borrower by its public key. One who is listed is so no more, for as long as
// the Book lasts. The leases end when the borrower is judged next.
func (b *Book) Revoke(what string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	if key, err := control.ParseKey(what); err == nil && b.listed[key] {
		delete(b.listed, key)
		n++
	}
	for _, i := range b.all {
		if !i.Revoked && (strings.EqualFold(i.ID, what) || i.Borrower == what) {
			i.Revoked = true
			n++
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("%q is neither the ID of a valid invitation nor the key of one who redeemed one or is listed", what)
	}
	return n, b.saveLocked()
}

// List is the book without its secrets, oldest first, with what was really
// used.
func (b *Book) List() []Invitation {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Invitation, 0, len(b.all))
	for _, i := range b.all {
		shown := *i
		shown.Code, shown.code = "", lease.Code{}
		shown.Used = b.usedLocked(i)
		out = append(out, shown)
	}
	return out
}

// Settle notes the next portion of volumes in use. Call it every second while
// anything is lent. Its error means that no more is lent than was noted.
func (b *Book) Settle() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settleLocked()
}

func (b *Book) settleLocked() error {
	type grant struct {
		m *Meter
		n int64
	}
	var grants []grant
	for _, i := range b.all {
		m := b.meters[i.code.ID()]
		if m == nil {
			continue
		}
		used := m.taken.Swap(0)
		want := int64(max(portion, min(4*used, i.Volume/10))) // four seconds of it
		left := m.left.Load()
		if left > want/2 || i.Used >= i.Volume {
			continue
		}
		n := min(want-left, int64(i.Volume-i.Used))
		i.Used += uint64(n)
		grants = append(grants, grant{m, n})
	}
	if len(grants) == 0 {
		return nil
	}
	if err := b.saveLocked(); err != nil {
		for _, i := range b.all { // the next try reckons anew
			for _, g := range grants {
				if b.meters[i.code.ID()] == g.m {
					i.Used -= uint64(g.n)
				}
			}
		}
		return err
	}
	for _, g := range grants {
		g.m.left.Add(g.n)
	}
	return nil
}

// Close gives back what was noted and not used.
func (b *Book) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.meters) == 0 {
		return nil
	}
	for _, i := range b.all {
		if m := b.meters[i.code.ID()]; m != nil {
			i.Used -= min(i.Used, uint64(max(0, m.left.Swap(0))))
		}
	}
	clear(b.meters)
	return b.saveLocked()
}

// saveLocked writes the file whole, or not at all.
func (b *Book) saveLocked() error {
	if b.cfg.Path == "" {
		return nil
	}
	data, err := json.MarshalIndent(b.all, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Write(b.cfg.Path, append(data, '\n')); err != nil {
		return fmt.Errorf("the file of invitations: %w", err)
	}
	return nil
}
