package demo

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// A stock WireGuard tunnel over the emulated network carries a file whole.
func TestStockTunnel(t *testing.T) {
	net := newNetwork()
	defer net.close()
	link := sim.LinkConfig{Rate: 20e6, Delay: 2 * time.Millisecond, Queue: 100 << 10}
	only, err := net.addHop(link, link)
	if err != nil {
		t.Fatal(err)
	}
	server, client := mustKey(t), mustKey(t)
	inside := netip.MustParsePrefix("10.77.0.0/24")
	s, err := newHost(serverInside, conn.NewDefaultBind(), server, peer{key: client.Public(), allowed: inside})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	port, err := s.listenPort()
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.publish(internet, netip.AddrPortFrom(loopback, port), map[netip.Addr]*hop{loopback: only})
	if err != nil {
		t.Fatal(err)
	}
	c, err := newHost(borrowerInside, conn.NewDefaultBind(), client,
		peer{key: server.Public(), allowed: inside, endpoint: front})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	f := newFile(100_000)
	if err := f.serve(s, serverInside); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := 0
	took, err := f.download(ctx, c, serverInside, func(n int) { last = n })
	if err != nil {
		t.Fatal(err)
	}
	if last != 100_000 {
		t.Errorf("progress ended at %d bytes", last)
	}
	// Physics, not speed: no faster than the link.
	if least := 40 * time.Millisecond; took < least {
		t.Errorf("100 kB took %v; a link of 20 Mbit/s needs %v", took, least)
	}
	if got := only.received(); got < 100_000 {
		t.Errorf("only %d bytes came over the link", got)
	}
}

// What comes from an address without a link goes nowhere.
func TestNoLinkNoWay(t *testing.T) {
	n := newNetwork()
	defer n.close()
	target, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	plugged, err := n.addHop(sim.LinkConfig{}, sim.LinkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	front, err := n.publish(internet, target.LocalAddr().(*net.UDPAddr).AddrPort(), map[netip.Addr]*hop{ownAddress: plugged})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []netip.Addr{neighbourAddress, ownAddress} {
		c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(front))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(from.String())); err != nil {
			t.Fatal(err)
		}
	}
	// The first was sent first; only the second may arrive.
	if err := target.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	size, source, err := target.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:size]); got != ownAddress.String() {
		t.Errorf("got %q, want what %v sent", got, ownAddress)
	}
	if source.Addr() != ownAddress {
		t.Errorf("it came from %v, want from %v: the network keeps addresses", source.Addr(), ownAddress)
	}
}

func mustKey(t *testing.T) control.Key {
	t.Helper()
	k, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
