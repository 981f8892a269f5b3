//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// patience is how long programs get to start on a busy machine.
const patience = 2 * time.Minute

// keys are new for every laboratory.
type keys struct {
	client, neighbour, server, preshared wgtypes.Key
	relays                               map[string]wgtypes.Key
}

func newKeys(hosts []string) (k keys, err error) {
	k.relays = map[string]wgtypes.Key{}
	into := []*wgtypes.Key{&k.client, &k.neighbour, &k.server}
	for _, p := range into {
		if *p, err = wgtypes.GeneratePrivateKey(); err != nil {
			return k, err
		}
	}
	for _, n := range hosts {
		if k.relays[n], err = wgtypes.GeneratePrivateKey(); err != nil {
			return k, err
		}
	}
	k.preshared, err = wgtypes.GenerateKey()
	return k, err
}

// startPrograms starts what all runs share.
func (l *Lab) startPrograms() error {
	if err := l.startWeb(); err != nil {
		return err
	}
	if err := l.startServer(); err != nil {
		return err
	}
	if l.Options.StockServer {
		return nil
	}
	if err := l.StartServe(); err != nil {
		return err
	}
	for _, n := range l.lenders() {
		if err := l.StartRelay(n); err != nil {
			return err
		}
	}
	return nil
}

// party is a machine with a tunnel of its own to the server.
type party struct {
	host   string
	key    wgtypes.Key
	tunnel netip.Prefix
}

// parties are the borrower and, if they lend to each other, its neighbour.
func (l *Lab) parties() []party {
	all := []party{{Borrower, l.keys.client, tunnelClient}}
	if l.Scenario.Mutual != nil {
		all = append(all, party{l.Scenario.Neighbours()[0], l.keys.neighbour, tunnelNeighbour})
	}
	return all
}

// lenders are the hosts with a relayd.
func (l *Lab) lenders() []string {
	all := l.Scenario.Neighbours()
	if l.Scenario.Mutual != nil {
		all = append(all, Borrower)
	}
	return all
}

// peers are the sections of the parties in the server's configuration.
func (l *Lab) peers() string {
	var b strings.Builder
	for _, p := range l.parties() {
		fmt.Fprintf(&b, "\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s\n", p.key.PublicKey(), l.keys.preshared, single(p.tunnel.Addr()))
	}
	return b.String()
}

// startWeb starts our own web server, this program again, on the web host.
func (l *Lab) startWeb() error {
	addr := netip.AddrPortFrom(WebAddr, webPort)
	p, err := l.startPath(Web, "/proc/self/exe", "web", "web", addr.String())
	if err != nil {
		return err
	}
	return p.Until("listening", patience, func() bool {
		return l.hosts[Web].Do(func() error {
			c, err := net.DialTimeout("tcp", addr.String(), time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
}

// startServer starts a stock wireguard-go on the server, set up by wg.
func (l *Lab) startServer() error {
	port := upstreamPort
	if l.Options.StockServer {
		port = ServerPort
	}
	conf := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = %d\n%s", l.keys.server, port, l.peers())
	return l.stockWireGuard(Server, conf, tunnelServer)
}

// stockWireGuard brings wg0 up in a host, with wireguard-go and wg setconf.
func (l *Lab) stockWireGuard(host, conf string, addr netip.Prefix, routes ...netip.Prefix) error {
	file, err := l.writeFile(host, "wg0.conf", conf)
	if err != nil {
		return err
	}
	dir, err := sandbox.Dir(host, "run/wireguard")
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "wg0.sock")
	os.Remove(socket) // of one that was killed
	p, err := l.Start(host, "wireguard-go", "-f", "wg0")
	if err != nil {
		return err
	}
	err = p.Until("ready for wg", patience, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	if err != nil {
		return err
	}
	wg, err := l.program("wg")
	if err != nil {
		return err
	}
	h := l.hosts[host]
	if _, err := h.Output(wg, "setconf", "wg0", file); err != nil {
		return err
	}
	if err := h.Device("wg0", wireGuardMTU, addr); err != nil {
		return err
	}
	for _, r := range routes {
		if err := h.Route(sandbox.Route{To: r, Dev: "wg0"}); err != nil {
			return err
		}
	}
	return nil
}

// wireGuardMTU is wg-quick's for a path of 1500 bytes.
const wireGuardMTU = 1420

// StartServe starts the shim, wg-bond serve.
func (l *Lab) StartServe() error {
	conf, err := l.writeFile(Server, "wg0.conf", fmt.Sprintf(
		"[Interface]\nPrivateKey = %s\nListenPort = %d\nAddress = %s\n%s", l.keys.server, upstreamPort, tunnelServer, l.peers()))
	if err != nil {
		return err
	}
	_, err = l.writeFile(Server, "wg0.bond.toml", fmt.Sprintf(
		"[serve]\nlisten = \":%d\"\nupstream = \"127.0.0.1:%d\"\n", ServerPort, upstreamPort))
	if err != nil {
		return err
	}
	if l.serve, err = l.Start(Server, "wg-bond", l.traced("server", "serve", conf, "-f")...); err != nil {
		return err
	}
	return l.serve.Until("listening", patience, func() bool { return l.listens(Server, ServerPort) })
}

// KillServe ends the shim without notice.
func (l *Lab) KillServe() {
	if l.serve != nil {
		l.serve.Kill()
	}
}

// StartRelay starts relayd on a lender, for the others.
func (l *Lab) StartRelay(n string) error {
	text := fmt.Sprintf("listen = %q\ndevice = %q\nprivate-key = %q\n", netip.AddrPortFrom(l.AirAddr(n), relayPort), "wwan0", l.keys.relays[n])
	for _, p := range l.parties() {
		if p.host != n {
			text += fmt.Sprintf("\n[[allow]]\npublic-key = %q\n", p.key.PublicKey())
		}
	}
	conf, err := l.writeFile(n, "relayd.toml", text)
	if err != nil {
		return err
	}
	p, err := l.Start(n, "relayd", "--config", conf)
	if err != nil {
		return err
	}
	l.relays[n] = p
	return p.Until("listening", patience, func() bool { return l.listens(n, relayPort) })
}

// StopRelay ends a neighbour's relay without notice.
func (l *Lab) StopRelay(n string) {
	if p := l.relays[n]; p != nil {
		p.Kill()
	}
}

// listens reports whether a UDP socket of the host has the port.
func (l *Lab) listens(host string, port uint16) bool {
	found := false
	l.hosts[host].Do(func() error {
		for _, table := range []string{"udp", "udp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			// sl: local_address(hex:PORT) …
			found = found || bytes.Contains(b, fmt.Appendf(nil, ":%04X 0000", port))
		}
		return nil
	})
	return found
}

// writeFile writes a file among a host's own, only readable by root.
func (l *Lab) writeFile(host, name, text string) (string, error) {
	dir, err := sandbox.Dir(host)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// SinkAddr is where the web host may take uploads.
var SinkAddr = netip.AddrPortFrom(WebAddr, webPort+1)

// URL is where the web host serves a file of so many bytes (-1: without
// end), sent with a TCP congestion control.
func (l *Lab) URL(bytes int64, congestion string) string {
	return fmt.Sprintf("http://%s/bytes/%d?cc=%s", netip.AddrPortFrom(WebAddr, webPort), bytes, congestion)
}
