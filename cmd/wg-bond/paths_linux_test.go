package main

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

// modem forwards UDP from the port to the server, as a modem with a network and
// a NAT of its own does. It ends with the test.
func (m *machine) modem(at, server string) {
	m.t.Helper()
	listen := func(address string) (c *net.UDPConn) {
		m.t.Helper()
		var err error
		m.Do(func() {
			var a *net.UDPAddr
			if a, err = net.ResolveUDPAddr("udp", address); err == nil {
				c, err = net.ListenUDP("udp", a)
			}
		})
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { c.Close() })
		return c
	}
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		m.t.Fatal(err)
	}
	inside, outside := listen(at), listen(":0")
	var client atomic.Pointer[net.UDPAddr] // the latest
	carry := func(from *net.UDPConn, each func(b []byte, from *net.UDPAddr)) {
		b := make([]byte, 2048)
		for {
			n, a, err := from.ReadFromUDP(b)
			if err != nil {
				return
			}
			each(b[:n], a)
		}
	}
	go carry(inside, func(b []byte, from *net.UDPAddr) {
		client.Store(from)
		_, _ = outside.WriteToUDP(b, to)
	})
	go carry(outside, func(b []byte, _ *net.UDPAddr) {
		if to := client.Load(); to != nil {
			_, _ = inside.WriteToUDP(b, to)
		}
	})
}

// activePaths are the paths in use, by name.
func activePaths(i *status.Interface) map[string]status.Path {
	active := map[string]status.Path{}
	if len(i.Peers) == 1 && i.Peers[0].Bond != nil && i.Peers[0].Bond.Bonded {
		for _, p := range i.Peers[0].Bond.Paths {
			if p.State == "active" {
				active[p.Name] = p
			}
		}
	}
	return active
}

// TestTwins: two modems that give us the same address, behind the same gateway,
// found by a pattern and by their driver; one is unplugged, and comes back.
func TestTwins(t *testing.T) {
	ms := machines(t, 4)
	client, server := ms[0], ms[3]
	for n := 1; n <= 2; n++ {
		near, far := fmt.Sprintf("wgbt-p%d", n), fmt.Sprintf("wgbt-s%d", n)
		nstest.Cable(client.Namespace, ms[n].Namespace, near, "192.168.8.100/24", "192.168.8.1/24")
		nstest.Cable(ms[n].Namespace, server.Namespace, far, fmt.Sprintf("10.99.%d.1/24", n), fmt.Sprintf("10.99.%d.2/24", n))
		ms[n].modem("192.168.8.1:51820", fmt.Sprintf("10.99.%d.2:51820", n))
	}
	server.serve("wgbt-t2")
	client.file("wgbt-t1.bond.toml", "[[path]]\ndevice = \"wgbt-p?\"\ndriver = \"ve*\"\n")
	client.up(client.file("wgbt-t1.conf", strings.NewReplacer("10.99.1.2", "192.168.8.1", "0.0.0.0/0, ::/0", "10.77.0.0/24").Replace(clientConf)))
	both := func() bool {
		client.Run("ping", "-c", "20", "-i", "0.01", "-s", "1300", "-w", "60", "10.77.0.1")
		p := activePaths(client.status("wgbt-t1"))
		return len(p) == 2 && p["wgbt-p1"].RxBytes > 1000 && p["wgbt-p2"].RxBytes > 1000
	}
	eventually(t, "both modems to be paths", both)
	ms[1].Run("ip", "link", "set", "wgbt-p1", "down")
	eventually(t, "only the other one to be left", func() bool {
		client.Run("ping", "-c", "1", "-w", "60", "10.77.0.1")
		p := activePaths(client.status("wgbt-t1"))
		return len(p) == 1 && p["wgbt-p2"].Name != ""
	})
	ms[1].Run("ip", "link", "set", "wgbt-p1", "up")
	eventually(t, "both modems to be paths again", both)
}

// TestFallback: the shim dies and the stock WireGuard takes its port, as it may
// be set up to; then the shim is back. The tunnel goes on throughout, by the
// same WireGuard session, and status says how and why.
func TestFallback(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	for _, n := range []string{"1", "2"} {
		nstest.Cable(client.Namespace, server.Namespace, "wgbt-p"+n, "10.99."+n+".1/24", "10.99."+n+".2/24")
	}
	client.Run("ip", "route", "add", "10.99.1.2/32", "via", "10.99.2.2", "metric", "9")
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
	}
	behind := server.file("wgbt-f2.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51821\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	server.file("wgbt-f2.bond.toml", "[serve]\nlisten = \":51820\"\n")
	server.background("wireguard-go", "-f", "wgbt-f2")
	eventually(t, "wireguard-go", func() bool { _, _, err := server.Try("wg", "setconf", "wgbt-f2", behind); return err == nil })
	server.Run("ip", "address", "add", "10.77.0.1/24", "dev", "wgbt-f2")
	server.Run("ip", "link", "set", "wgbt-f2", "up")
	shim, _ := server.background("wg-bond", "serve", "-f", behind)

	client.file("wgbt-f1.bond.toml", "[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p2\"\n")
	client.up(client.file("wgbt-f1.conf", strings.Replace(clientConf, "0.0.0.0/0, ::/0", "10.77.0.0/24", 1)))
	pings := func() bool {
		_, _, err := client.Try("ping", "-c", "1", "-W", "1", "10.77.0.1")
		return err == nil
	}
	bonded := func() bool { return pings() && len(activePaths(client.status("wgbt-f1"))) == 2 }
	eventually(t, "the bond", bonded)
	handshake, began := client.status("wgbt-f1").Peers[0].LatestHandshake, time.Now()

	if err := shim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = shim.Wait()
	server.Run("wg", "set", "wgbt-f2", "listen-port", "51820")
	eventually(t, "plain WireGuard, and the reason", func() bool {
		ok := pings()
		b := client.status("wgbt-f1").Peers[0].Bond
		return ok && !b.Bonded && strings.Contains(b.PlainReason, "stopped answering")
	})

	server.Run("wg", "set", "wgbt-f2", "listen-port", "51821")
	server.background("wg-bond", "serve", "-f", behind)
	eventually(t, "the bond again", bonded)
	took, after := time.Since(began), client.status("wgbt-f1").Peers[0].LatestHandshake
	t.Logf("there and back in %v", took)
	// After 15 s without an answer WireGuard itself would shake hands anew.
	if took < 15*time.Second && after != handshake {
		t.Errorf("WireGuard has shaken hands anew: at %d, before at %d", after, handshake)
	}
}
