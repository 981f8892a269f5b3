package shim

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

func keyNo(i int) (k control.Key) {
	binary.BigEndian.PutUint32(k[:], uint32(i))
	return k
}

func TestAddressesAreOwnAndStable(t *testing.T) {
	var peers []control.Key
	for i := range 20_000 { // enough for some 47 collisions in 2²² places
		peers = append(peers, keyNo(i))
	}
	a := Addresses(peers)
	seen := make(map[netip.Addr]bool)
	probed := 0
	for k, addr := range a {
		if seen[addr] || !bondedBlock.Contains(addr) {
			t.Fatalf("address %v of a peer is another's too, or not in %v", addr, bondedBlock)
		}
		seen[addr] = true
		if addr != at(bondedBlock, offset("wg-bond client", k[:])) {
			probed++
		}
	}
	if probed == 0 {
		t.Error("no address collided: the test does not reach the probing")
	}
	shuffled := slices.Clone(peers)
	slices.Reverse(shuffled)
	if !maps.Equal(a, Addresses(shuffled)) {
		t.Error("the addresses depend on the order in which the peers are given")
	}
}

func TestAddressGolden(t *testing.T) {
	// A change of these would move every client to another address at the
	// next update of the shim.
	if got, want := Addresses([]control.Key{keyNo(1)})[keyNo(1)].String(), "127.113.136.34"; got != want {
		t.Errorf("the bonded peer's address is %v, was %v", got, want)
	}
	if got, want := plainAddress(source(netip.MustParseAddr("192.0.2.7"))).String(), "127.174.100.151"; got != want {
		t.Errorf("the plain client's address is %v, was %v", got, want)
	}
}

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7":        "192.0.2.7/32",
		"::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8:1:2::9":  "2001:db8:1:2::/64",
		"fe80::1%eth0":     "fe80::/64",
	} {
		if got := source(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("source(%v) = %v, want %v", in, got, want)
		}
	}
}

func TestLocalPort(t *testing.T) {
	for _, tc := range []struct{ upstream, public uint16 }{{51821, 51820}, {51820, 51821}, {32768, 1}, {40000, 40000%16384 + 32768}} {
		if p := localPort(tc.upstream, tc.public); p == tc.upstream || p == tc.public || p < 32768 {
			t.Errorf("localPort(%d, %d) = %d, which is taken or privileged", tc.upstream, tc.public, p)
		}
	}
}
