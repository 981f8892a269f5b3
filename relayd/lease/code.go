package lease

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Code is an invitation as it is handed to a borrower: short enough to be read
// out over a fence.
//
//	K7QF-2M0A-X9T4-RW1C-88HZ-P3ND
//	└────┬───┘└────────┬────────┘└ a check of one byte
//	     │             └ a secret, 9 bytes
//	     └ of the lender's public key, 5 bytes
//
// The secret itself is never sent. Who presents the code proves that he knows
// it, by a MAC over both public keys: so whoever passes himself off as the
// lender, by a key made to look alike in five bytes, learns nothing that the
// lender would take.
type Code [14]byte

const (
	codePrint = 5 // bytes of the lender's key
	codeText  = 24
)

// codeAlphabet is Crockford's: no I, L, O, U.
var codeAlphabet = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewCode makes an invitation of the lender with that public key; random is
// cryptographic.
func NewCode(random io.Reader, lender control.Key) (Code, error) {
	var c Code
	copy(c[:codePrint], keyPrint(lender))
	if _, err := io.ReadFull(random, c[codePrint:]); err != nil {
		return Code{}, fmt.Errorf("lease: reading randomness: %w", err)
	}
	return c, nil
}

func keyPrint(lender control.Key) []byte {
	h := sha256.Sum256(lender[:])
	return h[:codePrint]
}

// IsZero reports whether there is no code.
func (c Code) IsZero() bool { return c == Code{} }

// Of reports whether the code may be an invitation of the lender with that
// public key.
func (c Code) Of(lender control.Key) bool { return string(c[:codePrint]) == string(keyPrint(lender)) }

// String is the code as people read it.
func (c Code) String() string {
	sum := sha256.Sum256(c[:])
	text := codeAlphabet.EncodeToString(append(c[:len(c):len(c)], sum[0]))
	var b strings.Builder
	for i := 0; i < len(text); i += 4 {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(text[i : i+4])
	}
	return b.String()
}

// ParseCode reads a code however it was written down: in lower case, with
// spaces, with O for 0.
func ParseCode(text string) (Code, error) {
	plain := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(text)))
	if len(plain) != codeText {
		return Code{}, fmt.Errorf("an invitation has %d letters and digits, like K7QF-2M0A-…; this has %d", codeText, len(plain))
	}
	b, err := codeAlphabet.DecodeString(plain)
	if err != nil {
		return Code{}, fmt.Errorf("an invitation has digits and letters other than U, like K7QF-2M0A-…: %w", err)
	}
	c := Code(b[:14])
	if sum := sha256.Sum256(c[:]); sum[0] != b[14] || c.IsZero() {
		return Code{}, errors.New("the invitation's letters do not belong together: is one of them misread?")
	}
	return c, nil
}

// InvitationID names an invitation without telling its secret.
type InvitationID [8]byte

func (id InvitationID) String() string { return codeAlphabet.EncodeToString(id[:5]) }

// ID names the invitation.
func (c Code) ID() InvitationID { return InvitationID(c.mac("wg-bond invitation id")) }

// Proof shows the lender that a borrower, by their public keys, has the code.
func (c Code) Proof(lender, borrower control.Key) Token {
	return Token(c.mac("wg-bond invitation proof", lender[:], borrower[:]))
}

func (c Code) mac(label string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, c[codePrint:])
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)[:16]
}

// Invitation is what a QR code says: a code, and what is otherwise found by
// DNS-SD.
type Invitation struct {
	Code   Code
	Lender control.Key    // public; zero: found by DNS-SD
	At     netip.AddrPort // invalid: found by DNS-SD
}

const linkScheme = "wg-bond"

// String is the invitation as a link, wg-bond:CODE?at=ADDRESS&key=KEY.
func (i Invitation) String() string {
	q := url.Values{}
	if !i.Lender.IsZero() {
		q.Set("key", base64.RawURLEncoding.EncodeToString(i.Lender[:]))
	}
	if i.At.IsValid() {
		q.Set("at", i.At.String())
	}
	return (&url.URL{Scheme: linkScheme, Opaque: i.Code.String(), RawQuery: q.Encode()}).String()
}

// ParseInvitation reads a code or a link.
func ParseInvitation(text string) (Invitation, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(strings.ToLower(text), linkScheme+":") {
		c, err := ParseCode(text)
		return Invitation{Code: c}, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return Invitation{}, fmt.Errorf("the invitation is no link like wg-bond:CODE?at=…&key=…: %w", err)
	}
	var i Invitation
	if i.Code, err = ParseCode(u.Opaque); err != nil {
		return Invitation{}, err
	}
	if text := u.Query().Get("key"); text != "" {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) != len(i.Lender) || !i.Code.Of(control.Key(b)) {
			return Invitation{}, errors.New("the invitation's key is not that of the lender who gave its code")
		}
		i.Lender = control.Key(b)
	}
	if text := u.Query().Get("at"); text != "" {
		if i.At, err = netip.ParseAddrPort(text); err != nil {
			return Invitation{}, fmt.Errorf("the invitation's address: %w", err)
		}
	}
	return i, nil
}
