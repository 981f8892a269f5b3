package main

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
)

// carrier is an operator's network without IPv4, with a stateless translator
// (tayga) as NAT64, and a name server that tells of it.
//
//	client ── wgbt-p6 ── carrier ── wgbt-s2 ── server   [2001:db8:6::2] ⇄ 2001:db8:64::/96 ⇄ 10.99.1.2
//	      └── wgbt-p1 ───────────────────────┘          10.99.1.1 → 10.99.1.2
type carrier struct {
	client, carrier, server *machine
}

func newCarrier(t *testing.T) *carrier {
	t.Helper()
	ms := machines(t, 3)
	if _, err := exec.LookPath("tayga"); err != nil {
		t.Skip("this test needs tayga")
	}
	c := &carrier{ms[0], ms[1], ms[2]}
	nstest.Cable(c.client.Namespace, c.server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(c.client.Namespace, c.carrier.Namespace, "wgbt-p6", "2001:db8:6::2/64", "2001:db8:6::1/64")
	nstest.Cable(c.carrier.Namespace, c.server.Namespace, "wgbt-s2", "10.99.2.1/24", "10.99.2.2/24")
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	}
	// From their link-local addresses routers ask for neighbours.
	c.client.Run("ip", "address", "add", "fe80::2/64", "dev", "wgbt-p6", "nodad")
	c.carrier.Run("ip", "address", "add", "fe80::1/64", "dev", "wgbt-p6", "nodad")
	c.client.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:6::1")
	c.carrier.Run("ip", "route", "add", "10.99.1.2/32", "via", "10.99.2.2")
	c.server.Run("ip", "route", "add", "192.168.255.0/24", "via", "10.99.2.1")
	c.carrier.tayga("wgbt-64", "ipv4-addr 192.168.255.1\nipv6-addr 2001:db8:6:ffff::1\nprefix 2001:db8:64::/96\ndynamic-pool 192.168.255.0/24\n")
	c.carrier.Run("ip", "route", "add", "192.168.255.0/24", "dev", "wgbt-64")
	c.carrier.Run("ip", "-6", "route", "add", "2001:db8:64::/96", "dev", "wgbt-64")
	c.server.serve("wgbt-6s")
	return c
}

// tayga starts one on a TUN device of its own, which is up.
func (m *machine) tayga(device, text string) {
	m.t.Helper()
	conf := m.file(device+".conf", fmt.Sprintf("tun-device %s\ndata-dir %s\n%s", device, m.t.TempDir(), text))
	m.Run("tayga", "-c", conf, "--mktun")
	m.Run("ip", "link", "set", device, "up")
	m.background("tayga", "-c", conf, "--nodetach")
}

// dns64 answers questions for the addresses of ipv4only.arpa, as the name
// servers of such a network do (RFC 7050), until the test ends.
func (m *machine) dns64(at, prefix string) {
	m.t.Helper()
	var c net.PacketConn
	var err error
	m.Do(func() { c, err = net.ListenPacket("udp", at) })
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(b[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			ask := q.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			if ask.Type == dnsmessage.TypeAAAA && ask.Name.String() == "ipv4only.arpa." {
				for _, v4 := range []string{"192.0.0.170", "192.0.0.171"} {
					body := dnsmessage.AAAAResource{AAAA: [16]byte(net.ParseIP(prefix + v4))}
					reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: ask.Name, Class: ask.Class, TTL: 60}, Body: &body})
				}
			}
			if packed, err := reply.Pack(); err == nil {
				_, _ = c.WriteTo(packed, from)
			}
		}
	}()
}

// upWith is up where files of /etc are others, by name.
func (m *machine) upWith(conf string, etc map[string]string) {
	m.t.Helper()
	line := ""
	for name, text := range etc {
		line += fmt.Sprintf("mount --bind %s /etc/%s && ", m.file(name, text), name)
	}
	name := strings.TrimSuffix(conf[strings.LastIndexByte(conf, '/')+1:], ".conf")
	m.t.Cleanup(func() {
		_, _, _ = m.Try("ip", "link", "delete", name)
		m.gone(name)
	})
	m.Run("unshare", "--mount", "sh", "-ec", line+`exec wg-bond up "$1"`, "sh", conf)
}

// bothCarry waits until two paths carry each a part of what is sent, and
// answers where each leads.
func (m *machine) bothCarry(name, first, second string) (remotes [2]string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s and %s to carry", first, second), func() bool {
		m.Run("ping", "-q", "-c", "50", "-i", "0.005", "-s", "1300", "-w", "20", "10.77.0.1")
		p := activePaths(m.status(name))
		remotes = [2]string{p[first].Remote, p[second].Remote}
		return len(p) == 2 && p[first].RxBytes > 20_000 && p[second].RxBytes > 20_000
	})
	return remotes
}

// roundRobin has every path used, however it compares.
const roundRobin = "scheduler = \"roundrobin\"\n"

// TestNAT64: an access network has IPv6 only, and the endpoint is an IPv4
// address. The path leads there by the network's own prefix, which its name
// server tells, and is bonded with an IPv4 path.
func TestNAT64(t *testing.T) {
	c := newCarrier(t)
	c.carrier.dns64("[2001:db8:6::1]:53", "2001:db8:64::")
	c.client.file("wgbt-6a.bond.toml", roundRobin+"[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p6\"\n")
	conf := c.client.file("wgbt-6a.conf", strings.Replace(clientConf, "0.0.0.0/0, ::/0", "10.77.0.0/24", 1))
	c.client.upWith(conf, map[string]string{"resolv.conf": "nameserver 192.0.2.53\nnameserver 2001:db8:6::1\n"})
	if got := c.client.bothCarry("wgbt-6a", "wgbt-p1", "wgbt-p6"); got != [2]string{"", "[2001:db8:64::a63:102]:51820"} {
		t.Errorf("the paths lead to %q", got)
	}
}

// TestCLAT: the same network and a machine with the other half of a 464XLAT
// (RFC 6877): a device with IPv4 that leads into the IPv6 of the link.
func TestCLAT(t *testing.T) {
	c := newCarrier(t)
	c.client.tayga("clat", "ipv4-addr 192.0.0.1\nipv6-addr 2001:db8:6:fffe::1\nprefix 2001:db8:64::/96\nmap 192.0.0.4 2001:db8:6::464\n")
	c.client.Run("ip", "address", "add", "192.0.0.4/32", "dev", "clat")
	c.client.Run("ip", "route", "add", "default", "dev", "clat", "metric", "2048")
	c.client.Run("ip", "-6", "route", "add", "2001:db8:6::464/128", "dev", "clat")
	c.carrier.Run("ip", "-6", "route", "add", "2001:db8:6::464/128", "via", "2001:db8:6::2")
	// No name server tells of the prefix, so the link itself cannot be used.
	c.client.file("wgbt-6c.bond.toml", roundRobin+"[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p6\"\n[[path]]\ndevice = \"clat\"\n")
	conf := c.client.file("wgbt-6c.conf", strings.Replace(clientConf, "0.0.0.0/0, ::/0", "10.77.0.0/24", 1))
	c.client.upWith(conf, map[string]string{"resolv.conf": "nameserver 192.0.2.53\n"})
	if got := c.client.bothCarry("wgbt-6c", "wgbt-p1", "clat"); got != [2]string{"", ""} {
		t.Errorf("the paths lead to %q", got)
	}
	for _, p := range c.client.status("wgbt-6c").Peers[0].Bond.Paths {
		if p.Name == "wgbt-p6" && !strings.Contains(p.Reason, "NAT64") {
			t.Errorf("it is not said why wgbt-p6 is not used: %+v", p)
		}
	}
}

// TestMixedFamilies: a server with both families, given by name; one path has
// IPv4 alone and the other IPv6 alone.
func TestMixedFamilies(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p6", "2001:db8:6::2/64", "2001:db8:6::1/64")
	server.serve("wgbt-6t")
	client.file("wgbt-6m.bond.toml", roundRobin+"[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p6\"\n")
	conf := client.file("wgbt-6m.conf", strings.NewReplacer("10.99.1.2:51820", "server.test:51820", "0.0.0.0/0, ::/0", "10.77.0.0/24").Replace(clientConf))
	client.upWith(conf, map[string]string{"hosts": "10.99.1.2 server.test\n2001:db8:6::1 server.test\n", "resolv.conf": "nameserver 127.0.0.1\n"})
	got := client.bothCarry("wgbt-6m", "wgbt-p1", "wgbt-p6")
	// Whichever came first is the endpoint, and needs no saying.
	if got != [2]string{"", "[2001:db8:6::1]:51820"} && got != [2]string{"10.99.1.2:51820", ""} {
		t.Errorf("the paths lead to %q", got)
	}
}
