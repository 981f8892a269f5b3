package nat64

import (
	"net/netip"
	"testing"
)

// TestEmbed: the examples of RFC 6052, 2.4, there and back.
func TestEmbed(t *testing.T) {
	for prefix, want := range map[string]string{
		"2001:db8::/32":              "2001:db8:c000:221::",
		"2001:db8:100::/40":          "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":          "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56":      "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64":      "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96":      "2001:db8:122:344::192.0.2.33",
		"64:ff9b::/96":               "64:ff9b::192.0.2.33",
		"2001:db8:122:344:0:1::7/96": "2001:db8:122:344:0:1:192.0.2.33",
	} {
		p := netip.MustParsePrefix(prefix)
		if got := Embed(p, netip.MustParseAddr("192.0.2.33")); got != netip.MustParseAddr(want) {
			t.Errorf("in %s: %v, want %s", prefix, got, want)
		}
		answers := []netip.Addr{netip.MustParseAddr("2001:db8:9::1"), Embed(p, known[1])}
		if got, ok := Prefix(answers); !ok || got != p.Masked() {
			t.Errorf("from %v: %v, %v; want %s", answers, got, ok, prefix)
		}
	}
}

// TestNoPrefix: answers of networks without a translator, or of name servers
// that answer anything.
func TestNoPrefix(t *testing.T) {
	for _, answers := range [][]netip.Addr{
		nil,
		{known[0], known[1]},
		{netip.MustParseAddr("::ffff:192.0.0.170")},
		{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::")},
	} {
		if p, ok := Prefix(answers); ok {
			t.Errorf("from %v: %v", answers, p)
		}
	}
}
