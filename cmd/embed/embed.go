// Package embed bonds the WireGuard of programs that are not ours, as the side
// file NAME.bond.toml beside their configuration says (docs/wg-bond.md). The
// patches in patches/ use it; it is the one package of cmd that others may import.
//
// A program whose WireGuard is wireguard-go gives it the Bind, and tells the Bind of
// its keys and peers after every change:
//
//	bond, err := embed.Open("/etc/wireguard/wg0.conf")
//	d := device.NewDevice(tun, bond.Bind(), logger)
//	bond.IpcHandle(d, c)     // in place of d.IpcHandle(c), or
//	bond.Follow(d)           // after d.IpcSet
//
// A program whose WireGuard is a kernel's tells that other endpoints (package
// conn/front):
//
//	bond.Front(private, peers) → 127.0.0.1:port for each peer's endpoint
//
// Where there is no side file, Open returns nil, and a nil *Bond does what the
// program did before: Bind is wireguard-go's own, and so on.
//
// Plugins need wg-bond itself: only built-in schedulers can be named.
package embed

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	wgconn "golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"github.com/wg-bond/wg-bond/cmd/internal/bondconf"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/conn"
	"github.com/wg-bond/wg-bond/conn/front"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/wgbond/control"
)

// Bond is the bonding of one interface. Nil stands for none.
type Bond struct {
	name  string
	bind  *conn.Bind
	front *front.Front // owns the Bind, if there is one
}

// Open reads the side file of the WireGuard configuration at confPath, whose
// name is the interface's; the configuration itself need not exist. It returns
// nil and no error if there is no side file. Its error names line and remedy. What
// happens later is logged to slog.Default.
func Open(confPath string) (*Bond, error) {
	if _, err := os.Stat(bondconf.PathFor(confPath)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	side, err := bondconf.Load(confPath, builtin.Names())
	if err != nil {
		return nil, err
	}
	if _, err := builtin.New(side.Scheduler); err != nil {
		return nil, fmt.Errorf("%s: scheduler: %w; a plugin needs wg-bond itself", bondconf.PathFor(confPath), err)
	}
	b := &Bond{name: strings.TrimSuffix(filepath.Base(confPath), ".conf")}
	cfg := conn.Config{
		Exclude: func() []string { // a path is never a tunnel
			tunnels, _ := uapi.Names(uapi.SocketDir)
			return append(tunnels, b.name)
		},
		Log: slog.Default().With("interface", b.name),
		Scheduler: func() schedulers.Scheduler {
			s, _ := builtin.New(side.Scheduler) // it was there a moment ago
			return s
		},
	}
	for _, p := range side.Paths {
		cfg.Paths = append(cfg.Paths, p.Spec())
	}
	b.bind, err = conn.NewBind(cfg)
	return b, err
}

// Bind is what device.NewDevice is to be given.
func (b *Bond) Bind() wgconn.Bind {
	if b == nil {
		return wgconn.NewDefaultBind()
	}
	return b.bind
}

// Follow tells the Bind which keys and peers the device has. Call it after every
// change but those that come through IpcHandle. A peer that cannot be bonded is
// served plainly, and the error says why.
func (b *Bond) Follow(d *device.Device) error {
	if b == nil {
		return nil
	}
	text, err := d.IpcGet()
	if err != nil {
		return err
	}
	state, err := uapi.Parse(text)
	if err != nil {
		return err
	}
	var peers []conn.Peer
	for _, p := range state.Peers {
		peers = append(peers, conn.Peer{PublicKey: control.Key(p.PublicKey), PresharedKey: control.Key(p.PresharedKey), Endpoint: p.Endpoint})
	}
	return b.bind.SetPeers(control.Key(state.PrivateKey), peers)
}

// IpcHandle is the device's, and follows what it changes.
func (b *Bond) IpcHandle(d *device.Device, c net.Conn) {
	if b == nil {
		d.IpcHandle(c)
		return
	}
	uapi.Serve(c, d, func() {
		if err := b.Follow(d); err != nil {
			slog.Warn("not every peer can be bonded", "interface", b.name, "error", err)
		}
	})
}

// Front bonds for a WireGuard that is not in this process, with this private key
// and these peers. The answer says what it must be told in place of each peer's
// Endpoint, which is that itself where b is nil. Close ends it.
func (b *Bond) Front(private control.Key, peers []conn.Peer) ([]netip.AddrPort, error) {
	endpoints := make([]netip.AddrPort, len(peers))
	for i, p := range peers {
		endpoints[i] = p.Endpoint
	}
	if b == nil {
		return endpoints, nil
	}
	var err error
	if b.front, err = front.New(b.bind, private, peers); err != nil {
		return nil, err
	}
	for i := range endpoints {
		endpoints[i] = b.front.Endpoint(endpoints[i])
	}
	return endpoints, nil
}

// Close says farewell to the peers. The device is closed after it.
func (b *Bond) Close() error {
	switch {
	case b == nil:
		return nil
	case b.front != nil:
		return b.front.Close()
	}
	return b.bind.Shutdown()
}
