package lease

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

func TestCode(t *testing.T) {
	lender, other := control.Key{1: 1}, control.Key{1: 2}
	c, err := NewCode(rand.NewChaCha8([32]byte{1}), lender)
	if err != nil {
		t.Fatal(err)
	}
	text := c.String()
	if len(text) != 29 || strings.ContainsAny(text, "ILOU") {
		t.Errorf("the code reads %q", text)
	}
	misread := strings.NewReplacer("0", "o", "1", "l", "-", " ").Replace(strings.ToLower(text))
	for _, written := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", ""), " " + misread + "\n"} {
		if got, err := ParseCode(written); got != c || err != nil {
			t.Errorf("%q is read as %v: %v", written, got, err)
		}
	}
	for i := range text {
		if text[i] == '-' {
			continue
		}
		wrong := text[:i] + string(codeOther(text[i])) + text[i+1:]
		if got, err := ParseCode(wrong); err == nil && got == c {
			t.Errorf("%q is taken for the code", wrong)
		}
	}
	for _, bad := range []string{"", text[:28], text + "0", strings.Repeat("U", 24), strings.Repeat("0", 24)} {
		if _, err := ParseCode(bad); err == nil {
			t.Errorf("%q is a code", bad)
		}
	}
	if !c.Of(lender) || c.Of(other) {
		t.Error("it is not known whose it is")
	}
	p := c.Proof(lender, other)
	if p == c.Proof(other, lender) || p == c.Proof(other, other) || p == c.Proof(lender, lender) || strings.Contains(string(p[:]), string(c[codePrint:])) {
		t.Error("the proof would serve another, or tells the secret")
	}
}

func codeOther(b byte) byte {
	if b == 'Z' {
		return 'Y'
	}
	return 'Z'
}

func TestInvitationLink(t *testing.T) {
	lender := control.Key{1: 1}
	c, err := NewCode(rand.NewChaCha8([32]byte{1}), lender)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []Invitation{{Code: c}, {Code: c, Lender: lender}, {Code: c, Lender: lender, At: netip.MustParseAddrPort("[2001:db8::1]:51900")}} {
		if got, err := ParseInvitation(i.String()); got != i || err != nil {
			t.Errorf("%s is read as %+v: %v", i, got, err)
		}
	}
	for _, bad := range []string{
		"http://example.org", "wg-bond:", "wg-bond:" + c.String() + "?at=nowhere",
		Invitation{Code: c, Lender: control.Key{1: 2}}.String(), // somebody else's key under the code
	} {
		if got, err := ParseInvitation(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}
