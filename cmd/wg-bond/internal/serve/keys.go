package serve

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
	"github.com/wg-bond/wg-bond/conn/shim"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// identity is what the shim must know of the stock WireGuard behind it.
type identity struct {
	private control.Key
	port    uint16 // its ListenPort; 0: not known
	mark    uint32
	peers   []shim.Peer
}

func (a identity) equal(b identity) bool {
	return a.private == b.private && a.port == b.port && a.mark == b.mark && slices.Equal(a.peers, b.peers)
}

// devices finds WireGuard devices by name: *wgctrl.Client.
type devices interface {
	Device(name string) (*wgtypes.Device, error)
}

// identify asks the device called name, and takes the configuration's word
// only if there is no such device (now): peers may have been added to it with
// `wg set`, and keys by a hook.
func identify(all devices, name string, cfg *wgconf.Config) (id identity, fromDevice bool, err error) {
	d, err := all.Device(name)
	switch {
	case err == nil:
		return fromState(d), true, nil
	case errors.Is(err, os.ErrNotExist):
		return fromConfig(cfg), false, nil
	case errors.Is(err, os.ErrPermission):
		return identity{}, false, fmt.Errorf("the WireGuard device %s may not be read: %w; run it as root (sudo)", name, err)
	}
	return identity{}, false, fmt.Errorf("reading the WireGuard device %s: %w", name, err)
}

func fromState(d *wgtypes.Device) identity {
	id := identity{private: control.Key(d.PrivateKey), port: uint16(d.ListenPort), mark: uint32(d.FirewallMark)}
	for _, p := range d.Peers {
		id.peers = append(id.peers, shim.Peer{PublicKey: control.Key(p.PublicKey), PresharedKey: control.Key(p.PresharedKey)})
	}
	id.sort()
	return id
}

func fromConfig(cfg *wgconf.Config) identity {
	i := &cfg.Interface
	id := identity{private: control.Key(i.PrivateKey), port: i.ListenPort, mark: i.FwMark}
	for _, p := range cfg.Peers {
		id.peers = append(id.peers, shim.Peer{PublicKey: control.Key(p.PublicKey), PresharedKey: control.Key(p.PresharedKey)})
	}
	id.sort()
	return id
}

// sort makes identities comparable: devices list their peers in any order.
func (a *identity) sort() {
	slices.SortFunc(a.peers, func(x, y shim.Peer) int { return slices.Compare(x.PublicKey[:], y.PublicKey[:]) })
}

// upstream is where the stock WireGuard listens: as the side file says, or by
// its ListenPort.
func (a identity) upstream(given netip.AddrPort) (netip.AddrPort, error) {
	if given.IsValid() {
		return given, nil
	}
	if a.port == 0 {
		return netip.AddrPort{}, errors.New("found neither upstream in [serve] nor a ListenPort of the stock WireGuard; want one of them, upstream = \"127.0.0.1:51821\" for example")
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.port), nil
}

// client opens the system's WireGuard devices.
func client() (*wgctrl.Client, error) {
	c, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("looking for WireGuard devices: %w", err)
	}
	return c, nil
}
