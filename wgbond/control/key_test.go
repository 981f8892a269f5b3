package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// A pair that wg genkey and wg pubkey made.
const (
	wgPrivate = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	wgPublic  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
)

func TestKeyIsWireGuards(t *testing.T) {
	private, err := ParseKey(wgPrivate)
	if err != nil {
		t.Fatal(err)
	}
	if private.String() != wgPrivate || private.Public().String() != wgPublic {
		t.Errorf("got %s and %s", private.String(), private.Public().String())
	}
}

func TestGenerateKeyClamps(t *testing.T) {
	for seed := range byte(20) {
		if k := key(seed); k[0]&7 != 0 || k[31]&0xc0 != 0x40 {
			t.Errorf("%x is not clamped", k[:])
		}
	}
}

func TestParseKeyErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "44 characters of base64, this has 0"},
		{wgPrivate[:43], "this has 43"},
		{wgPrivate + "\n", "this has 45"},
		{wgPrivate[:42] + "l=", "this is not"}, // bits set beyond the 32nd byte
		{strings.Repeat("A", 44), "this is not"},
		{"!" + wgPrivate[1:], "this is not"},
		{wgPrivate[:20] + "\n" + wgPrivate[21:], "this is not"},
	} {
		_, err := ParseKey(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		} else if len(c.text) > 20 && strings.Contains(err.Error(), c.text[1:10]) {
			t.Errorf("the error repeats the key: %v", err)
		}
		var k Key
		if k.UnmarshalText([]byte(c.text)) == nil || !k.IsZero() {
			t.Errorf("%q: UnmarshalText takes it", c.text)
		}
	}
}

func TestKeyDoesNotShowItself(t *testing.T) {
	k, err := ParseKey(wgPrivate)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Key  Key
		Ptr  *Key
		List []Key
	}{k, &k, []Key{k}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+" ", k)
		fmt.Fprintf(&out, verb+" ", holder)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "key", k, "holder", holder)
	}
	if j, err := json.Marshal(holder); err == nil {
		t.Errorf("marshalled: %s", j)
	}
	for _, leak := range []string{wgPrivate[:12], fmt.Sprintf("%x", k[:6]), fmt.Sprintf("%X", k[:6]), "200 9 243", "200,9,243", "0xc8, 0x9"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q stands in:\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Errorf("no placeholder in:\n%s", out.String())
	}
}
