package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	bond "github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/conn/udp"
	"github.com/wg-bond/wg-bond/relayd"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/wgbond/control"
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

	key, serverKey control.Key // private ones
	server         *host
	upstream       netip.AddrPort // where the server's WireGuard listens
	file           *file
	shim           *shim.Shim // the server's, since startBonded

	stops undo
}

func newWorld(size int) (_ *world, err error) {
	w := &world{network: newNetwork(), file: newFile(size)}
	w.stops.push(w.network.close)
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
	if w.key, err = control.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	if w.serverKey, err = control.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	w.server, err = newHost(serverInside, conn.NewDefaultBind(), w.serverKey,
		peer{key: w.key.Public(), allowed: netip.PrefixFrom(borrowerInside, 32)})
	if err != nil {
		return nil, fmt.Errorf("the server's WireGuard: %w", err)
	}
	w.stops.push(w.server.close)
	port, err := w.server.listenPort()
	if err != nil {
		return nil, fmt.Errorf("the server's WireGuard: %w", err)
	}
	w.upstream = netip.AddrPortFrom(loopback, port)
	if err := w.file.serve(w.server, serverInside); err != nil {
		return nil, fmt.Errorf("the web host: %w", err)
	}
	return w, nil
}

func (w *world) close() { w.stops.run() }

// startSingle starts the borrower with a stock WireGuard over its own link.
func (w *world) startSingle(context.Context) (borrower *host, stop func(), err error) {
	// A stock WireGuard's socket is bound to no address; the loopback
	// network's default source is 127.0.0.1.
	front, err := w.network.publish(internet, w.upstream, map[netip.Addr]*hop{loopback: w.own})
	if err != nil {
		return nil, nil, err
	}
	h, err := newHost(borrowerInside, conn.NewDefaultBind(), w.key,
		peer{key: w.serverKey.Public(), endpoint: front, allowed: inside})
	if err != nil {
		return nil, nil, err
	}
	return h, h.close, nil
}

// startBonded starts the shim, the neighbour's relay and the borrower with
// our Bind, and waits until both paths carry data.
func (w *world) startBonded(ctx context.Context) (borrower *host, stop func(), err error) {
	var stops undo
	defer func() {
		if err != nil {
			stops.run()
		}
	}()
	server, err := shim.New(shim.Config{
		Listen:    netip.AddrPortFrom(loopback, 0),
		Upstream:  w.upstream,
		Private:   w.serverKey,
		Peers:     []shim.Peer{{PublicKey: w.key.Public()}},
		Scheduler: earliest.New,
	})
	if err != nil {
		return nil, nil, err
	}
	stops.push(func() { _ = server.Close() })
	w.shim = server
	// The relay's socket towards the server is bound to no address.
	front, err := w.network.publish(internet, netip.AddrPortFrom(loopback, server.Port()),
		map[netip.Addr]*hop{ownAddress: w.own, loopback: w.neighbour})
	if err != nil {
		return nil, nil, err
	}

	relayKey, err := control.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	relay, err := relayd.New(relayd.Config{
		Listen:               []netip.AddrPort{netip.AddrPortFrom(loopback, 0)},
		PrivateKey:           relayKey,
		Allow:                []control.Key{w.key.Public()},
		AllowLoopbackTargets: true,
	})
	if err != nil {
		return nil, nil, err
	}
	lending, endLending := context.WithCancel(context.Background())
	lent := make(chan struct{})
	go func() {
		defer close(lent)
		_ = relay.Run(lending) // without it the path does not come up, and that is reported
	}()
	stops.push(func() { endLending(); <-lent })
	nearby, err := w.network.publish(internet, relay.Addrs()[0], map[netip.Addr]*hop{wifiAddress: w.wifi})
	if err != nil {
		return nil, nil, err
	}

	bind, err := bond.NewBind(bond.Config{
		Paths: []mux.PathSpec{
			{Name: "own", Device: modem},
			{Name: "neighbour", Device: wifi, Relay: nearby, RelayKey: relayKey.Public()},
		},
		Scheduler: earliest.New,
		Listen:    listenByDevice,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := bind.SetPeers(w.key, []bond.Peer{{PublicKey: w.serverKey.Public(), Endpoint: front}}); err != nil {
		return nil, nil, err
	}
	h, err := newHost(borrowerInside, bind, w.key, peer{key: w.serverKey.Public(), endpoint: front, allowed: inside})
	if err != nil {
		return nil, nil, err
	}
	stops.push(h.close)
	return h, stops.run, awaitPaths(ctx, bind)
}

// The devices of the borrower, and the addresses that stand for them.
const (
	modem = "wwan0"
	wifi  = "wlan0"
)

// listenByDevice opens a socket at the address that stands for the device.
func listenByDevice(cfg udp.Config) (mux.Socket, error) {
	switch cfg.Device {
	case modem:
		cfg.Local = netip.AddrPortFrom(ownAddress, cfg.Local.Port())
	case wifi:
		cfg.Local = netip.AddrPortFrom(wifiAddress, cfg.Local.Port())
	}
	cfg.Device = ""
	return mux.ListenUDP(cfg)
}

// awaitPaths waits until the bond is made and all its paths are in use.
func awaitPaths(ctx context.Context, bind *bond.Bind) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var waiting []string
		for _, p := range bind.Status().Peers {
			if !p.Session.Bonded {
				waiting = append(waiting, "not bonded: "+p.Session.PlainReason)
			}
			for _, l := range p.Links {
				if !l.InUse {
					waiting = append(waiting, fmt.Sprintf("path %s: %s %s", l.Name, l.State, l.Reason))
				}
			}
			for _, path := range p.Session.Paths {
				if !path.Attached || path.State != schedulers.Active {
					waiting = append(waiting, fmt.Sprintf("path %s: %v", path.Name, path.State))
				}
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the paths are not up after %v: %s", patience, strings.Join(waiting, "; "))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// undo holds what is to be done at the end, the last first.
type undo []func()

func (s *undo) push(f func()) { *s = append(*s, f) }

func (s *undo) run() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
}
