//go:build linux

package peers

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/guest"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
)

// kind is what an end of a tunnel is.
type kind int

const (
	bond   kind = iota // wg-bond up
	stock              // the wireguard-go that our go.mod names
	debian             // that of Debian's package
	kernel             // Linux's own, in a guest
)

// debianGo is where Debian's package has its wireguard-go.
const debianGo = "/usr/bin/wireguard-go"

// An end is one machine with its WireGuard.
type end struct {
	*machine
	Name  string // for people
	kind  kind
	serve bool // wg-bond serve stands before it
	key   wgtypes.Key
	addr  netip.Addr // outside the tunnels
	index int        // of its list, from 0
}

// The ends. Each client has an interface for each server, all at once.
func clients() []*end {
	return []*end{
		{Name: "wg-bond", kind: bond}, {Name: "wireguard-go", kind: stock},
		{Name: "Debian's wireguard-go", kind: debian}, {Name: "kernel", kind: kernel},
	}
}

func servers() []*end {
	return []*end{
		{Name: "wg-bond up", kind: bond}, {Name: "serve, wireguard-go", kind: stock, serve: true},
		{Name: "serve, kernel", kind: kernel, serve: true}, {Name: "bare wireguard-go", kind: stock},
	}
}

// bonds reports whether a server joins what several paths bring.
func (e *end) bonds() bool { return e.kind == bond || e.serve }

// iface is a client's interface for a server; a server has wg0 for all.
func iface(server *end) string { return fmt.Sprintf("w%d", server.index) }

func inside(server, client *end) netip.Prefix {
	host := byte(1) // the server
	if client != nil {
		host = byte(10 + client.index)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, byte(server.index), host}), 24)
}

// The ports of a server.
const (
	port   = 51820
	behind = 51821 // where the WireGuard behind wg-bond serve listens
)

// Options of a comparison.
type Options struct {
	Bin string    // where wg-bond and the stock wireguard-go are
	Log io.Writer // gets the programs' output; nil: none
	// Rekey waits for WireGuard's own new keys, two minutes, too.
	Rekey bool
	// Size is how many bytes go each way.
	Size int
}

// lab is all machines. Every end is a network of its own at the router:
//
//	client ── p1 ──┐                  ┌── p1 ── server
//	wg-bond's: p2 ─┤ router 10.98.n.1 ├── …
//	guest ── TAP ──┘                  └── TAP ── guest
type lab struct {
	opt              Options
	parts            *guest.Parts
	environ          []string
	router           *sandbox.Host
	hosts            []*sandbox.Host
	guests           []*guest.Guest
	programs         []*sandbox.Program
	clients, servers []*end
	preshared        wgtypes.Key
	data             string // the file that is transferred
	initramfs        string
	networks         byte // so far
}

// missing is what this machine lacks; errors.Is it is guest.ErrMissing.
func missing(opt Options) (*guest.Parts, error) {
	parts, err := guest.Find()
	if _, e := os.Stat(debianGo); err == nil && e != nil {
		err = fmt.Errorf("%w: Debian's wireguard-go: %w; run .ci/install-test-deps as root", guest.ErrMissing, e)
	}
	for _, program := range []string{"wg-bond", "wireguard-go"} {
		if _, e := exec.LookPath(filepath.Join(opt.Bin, program)); err == nil && e != nil {
			err = fmt.Errorf("%w; run `make build`", e)
		}
	}
	return parts, err
}

func build(opt Options) (l *lab, err error) {
	l = &lab{opt: opt, clients: clients(), servers: servers()}
	if l.parts, err = missing(opt); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := l.makeFiles(); err != nil {
		return nil, err
	}
	if l.router, err = l.host("r"); err != nil {
		return nil, err
	}
	if err := l.router.Sysctl("ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	for letter, ends := range map[string][]*end{"c": l.clients, "s": l.servers} {
		for i, e := range ends {
			e.index = i
			if err := l.place(e, fmt.Sprintf("%s%d", letter, i)); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range l.guests { // they have booted side by side
		if err := g.Wait(2 * patience); err != nil {
			return nil, err
		}
	}
	for _, s := range l.servers {
		if err := l.startServer(s); err != nil {
			return nil, err
		}
	}
	for _, c := range l.clients {
		for _, s := range l.servers {
			if err := l.startClient(c, s); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// makeFiles makes what all machines share.
func (l *lab) makeFiles() error {
	dir, err := sandbox.Dir("peers")
	if err != nil {
		return err
	}
	l.data = filepath.Join(dir, "data")
	content := make([]byte, l.opt.Size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	if err := os.WriteFile(l.data, content, 0o600); err != nil {
		return err
	}
	l.initramfs = filepath.Join(dir, "initramfs")
	err = l.parts.Initramfs(l.initramfs, map[string]string{"bin/wg-bond": filepath.Join(l.opt.Bin, "wg-bond"), "tmp/data": l.data})
	if err != nil {
		return err
	}
	// Everywhere nc, sha256sum and ping are busybox's.
	for _, applet := range []string{"nc", "sha256sum", "ping"} {
		if err := os.Symlink(l.parts.Busybox, filepath.Join(dir, applet)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	l.environ = append(os.Environ(), "PATH="+dir+":"+l.opt.Bin+":"+os.Getenv("PATH"), "LOG_LEVEL=")
	l.preshared, err = wgtypes.GenerateKey()
	return err
}

func (l *lab) host(name string) (*sandbox.Host, error) {
	h, err := sandbox.NewHost(name)
	if err == nil {
		l.hosts = append(l.hosts, h)
	}
	return h, err
}

// network is the next free one: the router's end and the other.
func (l *lab) network() (router netip.Prefix, other netip.Addr) {
	l.networks++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, l.networks, 1}), 24), netip.AddrFrom4([4]byte{10, 98, l.networks, 2})
}

// place makes an end's machine and connects it.
func (l *lab) place(e *end, name string) (err error) {
	if e.key, err = wgtypes.GeneratePrivateKey(); err != nil {
		return err
	}
	e.machine = &machine{name: name, lab: l, dir: "/tmp"}
	if e.kind == kernel {
		gateway, addr := l.network()
		e.addr = addr
		e.guest, err = guest.Boot(l.router, guest.Config{
			Parts: l.parts, Initramfs: l.initramfs, Tap: "tap-" + name, Gateway: gateway, Address: addr, Memory: 256, Log: l.opt.Log,
		})
		if err == nil {
			l.guests = append(l.guests, e.guest)
		}
		return err
	}
	if e.host, err = l.host(name); err != nil {
		return err
	}
	if e.dir, err = sandbox.Dir(name); err != nil {
		return err
	}
	paths := 1
	if e.kind == bond {
		paths = 2
	}
	for i := range paths {
		gateway, addr := l.network()
		e.addr = addr
		device := fmt.Sprintf("p%d", i+1)
		if err := sandbox.Veth(e.host, device, l.router, name+device); err != nil {
			return err
		}
		if err := l.router.Device(name+device, 0, gateway); err != nil {
			return err
		}
		if err := e.host.Device(device, 0, netip.PrefixFrom(addr, gateway.Bits())); err != nil {
			return err
		}
		err := e.host.Route(sandbox.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: gateway.Addr(), Dev: device, Metric: 100 + i})
		if err != nil {
			return err
		}
	}
	return nil
}

// bringUp sets up an interface: text is what `wg setconf` takes.
func (e *end) bringUp(name, text string, address netip.Prefix, side string) error {
	if e.kind == bond {
		conf, err := e.write(name+".conf", fmt.Sprintf("[Interface]\nAddress = %v\n%s", address, text))
		if err != nil {
			return err
		}
		if side != "" {
			if _, err := e.write(name+".bond.toml", side); err != nil {
				return err
			}
		}
		if err := e.start("wg-bond", "up", conf, "-f"); err != nil {
			return err
		}
		return e.eventually("wg-bond status %s >/dev/null", name)
	}
	conf, err := e.write(name+".conf", "[Interface]\n"+text)
	if err != nil {
		return err
	}
	switch e.kind {
	case kernel:
		_, err = e.sh("ip link add %s type wireguard", name)
	case debian:
		err = e.start(debianGo, "-f", name)
	case stock:
		err = e.start("wireguard-go", "-f", name)
	}
	if err != nil {
		return err
	}
	// wireguard-go takes its time until it has the socket.
	if err := e.eventually("wg setconf %s %s", name, conf); err != nil {
		return err
	}
	_, err = e.sh("ip address add %v dev %s; ip link set %s mtu 1420; ip link set %s up", address, name, name, name)
	return err
}

func (l *lab) startServer(s *end) error {
	listen := port
	if s.serve {
		listen = behind
	}
	text := fmt.Sprintf("PrivateKey = %v\nListenPort = %d\n", s.key, listen)
	for _, c := range l.clients {
		text += fmt.Sprintf("[Peer]\nPublicKey = %v\nPresharedKey = %v\nAllowedIPs = %v/32\n", c.key.PublicKey(), l.preshared, inside(s, c).Addr())
	}
	if err := s.bringUp("wg0", text, inside(s, nil), ""); err != nil {
		return err
	}
	if s.serve {
		if _, err := s.write("wg0.bond.toml", fmt.Sprintf("[serve]\nlisten = \":%d\"\n", port)); err != nil {
			return err
		}
		if err := s.start("wg-bond", "serve", filepath.Join(s.dir, "wg0.conf"), "-f"); err != nil {
			return err
		}
		if err := s.eventually("wg-bond status wg0 >/dev/null"); err != nil {
			return err
		}
	}
	data := l.data
	if s.guest != nil {
		data = "/tmp/data"
	}
	nc := "nc"
	if s.guest == nil {
		nc = filepath.Join(filepath.Dir(l.data), "nc")
	}
	if err := s.start(nc, "-ll", "-p", fmt.Sprint(downPort), "-e", "cat", data); err != nil {
		return err
	}
	return s.start(nc, "-ll", "-p", fmt.Sprint(upPort), "-e", "sha256sum")
}

func (l *lab) startClient(c, s *end) error {
	text := fmt.Sprintf("PrivateKey = %v\n[Peer]\nPublicKey = %v\nPresharedKey = %v\nAllowedIPs = %v\nEndpoint = %v:%d\n",
		c.key, s.key.PublicKey(), l.preshared, inside(s, nil).Masked(), s.addr, port)
	return c.bringUp(iface(s), text, inside(s, c), "[[path]]\ndevice = \"p1\"\n[[path]]\ndevice = \"p2\"\n")
}

func (l *lab) close() {
	for _, p := range slices.Backward(l.programs) {
		p.Stop(2 * time.Second)
	}
	for _, g := range l.guests {
		g.Stop()
	}
	for _, h := range l.hosts {
		h.Close()
	}
}
