package demo

import (
	"fmt"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wg-bond/wg-bond/wgbond/sim"
)

// Addresses. Those of the links are on the loopback network, where every
// 127.x.y.z is ours without asking.
var (
	loopback         = netip.MustParseAddr("127.0.0.1")
	internet         = netip.MustParseAddr("127.93.0.1") // where the server is seen from outside
	ownAddress       = netip.MustParseAddr("127.93.1.1") // borrower, on its own modem
	wifiAddress      = netip.MustParseAddr("127.93.2.1") // borrower, on the Wi-Fi it shares with the neighbour
	neighbourAddress = netip.MustParseAddr("127.93.2.2") // relay, on its modem

	serverInside   = netip.MustParseAddr("10.77.0.1")
	borrowerInside = netip.MustParseAddr("10.77.0.2")
	inside         = netip.MustParsePrefix("10.77.0.0/24")
)

// The links: two alike mobile ones, as in the original experiment, and the
// Wi-Fi between the neighbours.
const (
	downRate = 3.6e6 // bit/s
	upRate   = 1.4e6
	rtt      = 60 * time.Millisecond
	queue    = 150 * time.Millisecond // at the link's rate

	wifiRate  = 20e6
	wifiDelay = time.Millisecond
)

func mobile(rate float64) sim.LinkConfig {
	return sim.LinkConfig{Rate: rate, Delay: rtt / 2, Queue: int(rate / 8 * queue.Seconds())}
}

// world is everything in the experiment that stays the same from one way of
// downloading to the other.
type world struct {
	network   *network
	own       *hop // the borrower's modem
	neighbour *hop // the neighbour's
	wifi      *hop

	keys, serverKeys keyPair
	server           *host
	file             *file

	closers []func() // in the order of starting
}

func newWorld(size int) (_ *world, err error) {
	w := &world{network: newNetwork(), file: newFile(size)}
	w.closers = append(w.closers, w.network.close)
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.own, err = w.network.addHop(mobile(upRate), mobile(downRate)); err != nil {
		return nil, err
	}
	if w.neighbour, err = w.network.addHop(mobile(upRate), mobile(downRate)); err != nil {
		return nil, err
	}
	air := sim.LinkConfig{Rate: wifiRate, Delay: wifiDelay}
	if w.wifi, err = w.network.addHop(air, air); err != nil {
		return nil, err
	}
	if w.keys, err = newKeyPair(); err != nil {
		return nil, err
	}
	if w.serverKeys, err = newKeyPair(); err != nil {
		return nil, err
	}
	w.server, err = newHost(serverInside, conn.NewDefaultBind(), w.serverKeys.private,
		peer{key: w.keys.public, allowed: netip.PrefixFrom(borrowerInside, 32)})
	if err != nil {
		return nil, fmt.Errorf("the server's WireGuard: %w", err)
	}
	w.closers = append(w.closers, w.server.close)
	if err := w.file.serve(w.server, serverInside); err != nil {
		return nil, fmt.Errorf("the web host: %w", err)
	}
	return w, nil
}

func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

// startSingle starts the borrower with a stock WireGuard over its own link.
func (w *world) startSingle() (borrower *host, stop func(), err error) {
	port, err := w.server.listenPort()
	if err != nil {
		return nil, nil, err
	}
	// A stock WireGuard's socket is bound to no address; the loopback
	// network's default source is 127.0.0.1.
	front, err := w.network.publish(internet, netip.AddrPortFrom(loopback, port), map[netip.Addr]*hop{loopback: w.own})
	if err != nil {
		return nil, nil, err
	}
	h, err := newHost(borrowerInside, conn.NewDefaultBind(), w.keys.private,
		peer{key: w.serverKeys.public, endpoint: front.String(), allowed: inside})
	if err != nil {
		return nil, nil, err
	}
	return h, h.close, nil
}
