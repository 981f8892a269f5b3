package up

import (
	"net/netip"
	"testing"
)

func TestWantedMTU(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")
	m := mtuFollower{planned: 1420, is: 1420}
	for _, tc := range []struct {
		name      string
		fits      int
		addresses []netip.Prefix
		want      int
	}{
		{"all fits", 0, nil, 1420},
		{"less fits", 1340, []netip.Prefix{four, six}, 1340},
		{"more than planned fits", 1984, nil, 1420},
		{"less than IPv6 needs, without IPv6", 1200, []netip.Prefix{four}, 1200},
		{"less than IPv6 needs", 1200, []netip.Prefix{four, six}, 1280},
	} {
		if got := m.want(tc.fits, tc.addresses); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
