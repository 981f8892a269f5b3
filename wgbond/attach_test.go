package wgbond

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// TestAttachWithOneLost loses one message of those that take a second path on,
// each in turn: the path works a fifth of a second later at most.
func TestAttachWithOneLost(t *testing.T) {
	attach := func(lost int) (took time.Duration, messages int) {
		w := newWorld(t, 1, ten)
		w.bond()
		begin := w.now
		w.addPath(1, ten)
		w.paths[1].lose = func(_ bool, pkt []byte) bool {
			if wire.ControlKind(pkt) != wire.Sealed {
				return false
			}
			messages++
			return messages == lost
		}
		for w.now-begin < 3*time.Second {
			w.run(5 * ms)
			if popcount(w.client.workingLinks()) == 2 && popcount(w.server.workingLinks()) == 2 {
				return w.now - begin, messages
			}
		}
		return w.now - begin, messages
	}
	undisturbed, messages := attach(0)
	within(t, "messages", float64(messages), 6, 20)
	within(t, "ms without loss", float64(undisturbed)/1e6, 80, 180)
	for lost := 1; lost <= messages; lost++ {
		t.Run(fmt.Sprintf("message %d", lost), func(t *testing.T) {
			took, _ := attach(lost)
			within(t, "ms longer than without loss", float64(took-undisturbed)/1e6, 0, 200)
		})
	}
}

// moved is where a server moves to in these tests.
var moved = netip.MustParseAddrPort("198.51.100.7:51820")

// TestServerMoves: the server's address changes under load, in both directions;
// on one path the client's NAT, which knows the old one, gives it a new address
// for it. The client follows on every path.
func TestServerMoves(t *testing.T) {
	w := newWorld(t, 1, ten, ten)
	w.bond()
	down, up := newStream(w, 7), newStream(w, 8)
	w.atClient, w.atServer = down.receive, up.receive
	down.feed(w.sendDown, 9*mbit, 1452, 4, 4*time.Second)
	up.feed(w.sendUp, 4*mbit, 1452, 4, 4*time.Second)
	w.run(2 * time.Second)
	for _, p := range w.paths {
		p.server = moved
	}
	w.paths[1].addr = netip.MustParseAddrPort("192.0.2.1:4242")
	w.run(3 * time.Second)
	for _, p := range w.paths {
		if r, _ := w.client.Remote(p.id); r.Peer != moved {
			t.Errorf("path %d leads to %v, want %v", p.id, r.Peer, moved)
		}
	}
	within(t, "paths moved", float64(w.client.Status(w.now).ServerMoves), 2, 2)
	within(t, "bonds lost", float64(w.client.Status(w.now).BondLost), 0, 0)
	within(t, "packets missing downwards", float64(int(down.next)-len(down.arrived)), 0, 0)
	within(t, "packets missing upwards", float64(int(up.next)-len(up.arrived)), 0, 0)
	within(t, "longest gap downwards, ms", float64(down.maxGap)/1e6, 0, 300)
	within(t, "longest gap upwards, ms", float64(up.maxGap)/1e6, 0, 300)
	if t.Failed() {
		report(t, w, down)
	}
}

// TestServerMovedFalsely: what the server sends is held up and comes from an
// address that is not its own, and copies of what came already, and forgeries.
// Nothing moves, for nobody answers there.
func TestServerMovedFalsely(t *testing.T) {
	w := newWorld(t, 1, ten)
	w.bond()
	var held, seen [][]byte
	hold := false
	w.paths[0].tap = func(fromClient bool, b []byte) {
		if !fromClient && wire.ControlKind(b) == wire.Sealed {
			seen = append(seen, bytes.Clone(b))
			if hold {
				held = append(held, bytes.Clone(b))
			}
		}
	}
	w.paths[0].lose = func(fromClient bool, b []byte) bool {
		return hold && !fromClient && wire.ControlKind(b) == wire.Sealed
	}
	w.run(30 * time.Second)
	hold = true
	w.run(30 * time.Second)
	hold = false
	false_ := Remote{Peer: moved}
	for _, b := range seen[:len(seen)-len(held)] {
		w.client.ReceiveForeign(w.now, 0, false_, w.copy(b)) // copies
		b[len(b)-1] ^= 1
		w.client.ReceiveForeign(w.now, 0, false_, w.copy(b)) // forgeries
	}
	if n := len(w.client.Strays(nil)); n != 0 {
		t.Errorf("%d questions went to an address that only a copier or forger named", n)
	}
	for _, b := range held {
		w.client.ReceiveForeign(w.now, 0, false_, w.copy(b)) // the server's own, diverted
	}
	if n := len(w.client.Strays(nil)); n == 0 || n > 1 {
		t.Errorf("%d questions went to the address that the server's messages came from, all at once; want 1", n)
	}
	w.run(10 * time.Second)
	if r, moved := w.client.Remote(0); moved {
		t.Errorf("the path was led to %v", r.Peer)
	}
	if !w.client.Bonded() {
		t.Error("the bond is lost")
	}
}

// TestCloseWhileAttaching: a client that ends while its only path is still
// being attached tells the server, which would keep the session for minutes.
func TestCloseWhileAttaching(t *testing.T) {
	w := newWorld(t, 1, ten)
	for range 1000 {
		if w.run(ms); w.server != nil {
			break // the session is there; the path is not
		}
	}
	if w.server == nil || w.client.links[0].attached {
		t.Fatal("there was no moment between the session's beginning and the path's")
	}
	w.client.Close(w.now, wire.CloseShutdown)
	w.run(100 * ms)
	if !w.server.Closed() {
		t.Error("the server does not know that the client has gone")
	}
}
