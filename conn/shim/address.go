package shim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/crypto/blake2s"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

// The blocks of loopback addresses that clients appear from: bonded ones by
// their key, plain ones by their IP address.
//
//  127. 0 1|22 bits of a hash     127.64.0.0/10    bonded
//  127. 1 0|22 bits of a hash     127.128.0.0/10   plain
//
// WireGuard limits handshakes, and makes its cookies, by source address: a
// client of its own must have an address of its own, or one client's flood
// shuts out the others.
var (
	bondedBlock = netip.MustParsePrefix("127.64.0.0/10")
	plainBlock  = netip.MustParsePrefix("127.128.0.0/10")
)

const blockSize = 1 << 22

// offset is where a name falls in a block, before probing.
func offset(label string, name []byte) uint32 {
	sum := blake2s.Sum256(append([]byte(label), name...))
	return binary.BigEndian.Uint32(sum[:]) % blockSize
}

// at is the address at an offset of a block.
func at(block netip.Prefix, off uint32) netip.Addr {
	base := block.Addr().As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+off%blockSize)
	return netip.AddrFrom4(a)
}

// offsets gives each peer a place of its own. It depends on nothing but the
// set of the peers, so it is the same after a restart: a hash of the public
// key, and for the rare collision the next free place, in the order of keys.
func offsets(peers []control.Key) map[control.Key]uint32 {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b control.Key) int { return bytes.Compare(a[:], b[:]) })
	taken := make(map[uint32]bool, len(sorted))
	out := make(map[control.Key]uint32, len(sorted))
	for _, k := range slices.Compact(sorted) {
		off := offset("wg-bond client", k[:])
		for taken[off] {
			off = (off + 1) % blockSize
		}
		taken[off] = true
		out[k] = off
	}
	return out
}

// Addresses gives the loopback address that WireGuard sees each of the peers
// at while it is bonded.
func Addresses(peers []control.Key) map[control.Key]netip.Addr {
	out := make(map[control.Key]netip.Addr, len(peers))
	for k, off := range offsets(peers) {
		out[k] = at(bondedBlock, off)
	}
	return out
}

// source is what counts as one plain client's: an IPv4 address, or the 64 bits
// of an IPv6 address within which anyone may choose.
func source(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails for the invalid address only: one source too
	return p
}

// plainAddress is the loopback address that WireGuard sees a plain client at.
// Clients of one source share it, as they share the source's limits.
func plainAddress(from netip.Prefix) netip.Addr {
	b := from.Addr().As16()
	return at(plainBlock, offset("wg-bond plain", b[:]))
}

// localPort is the port of bonded clients' upstream sockets: fixed, so that
// the address is the same after a restart, apart from shim to shim on one
// machine, and neither the upstream's own nor the public one, whose sockets
// may be bound to all addresses.
func localPort(upstream, public uint16) uint16 {
	p := upstream%16384 + 32768
	for p == upstream || p == public {
		p++
	}
	return p
}
