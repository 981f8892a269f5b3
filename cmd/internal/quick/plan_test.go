package quick

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

const (
	keyA = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
	keyB = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
)

func parse(t *testing.T, text string) *wgconf.Config {
	t.Helper()
	cfg, err := wgconf.Parse("wg0.conf", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func show(p *Plan) string {
	var b strings.Builder
	for _, step := range p.Steps {
		fmt.Fprintln(&b, step)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintln(&b, "warning:", warning)
	}
	return b.String()
}

func peer(key, allowed string) string {
	return "[Peer]\nPublicKey = " + key + "\nAllowedIPs = " + allowed + "\n"
}

// TestPlans shows the steps for a file, as the commands that would do the
// same.
func TestPlans(t *testing.T) {
	usual := Facts{FreeTable: 51820, Resolvconf: "resolvconf", Tables: map[string]uint32{"vpn": 42}}
	for _, c := range []struct {
		name, text string
		facts      Facts
		want       string
	}{
		{"nothing", "", usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
`},
		{"everything, in order", "[Interface]\nAddress = 10.0.0.2/24, fd00::2/64\nDNS = 9.9.9.9, home.arpa\nMTU = 1300\n" +
			"PreUp = pre %i\nPostUp = post %i %i\nPreDown = no\nPostDown = no\n" + peer(keyA, "192.168.0.0/16, 192.168.7.0/24, fd01::/32"), usual, `
ip tuntap add wg0 mode tun
pre wg0
wg addconf wg0 /dev/stdin
ip -4 address add 10.0.0.2/24 dev wg0
ip -6 address add fd00::2/64 dev wg0
ip link set mtu 1300 up dev wg0
resolvconf -a wg0 -m 0 -x <<'EOF'
nameserver 9.9.9.9
search home.arpa
EOF
ip -6 route add fd01::/32 dev wg0
ip -4 route add 192.168.7.0/24 dev wg0
ip -4 route add 192.168.0.0/16 dev wg0
post wg0 wg0
`},
		{"routes the kernel has made already", "[Interface]\nAddress = 10.0.0.2/24, 10.1.0.2, fd00::2\n" +
			peer(keyA, "10.0.0.0/24, 10.0.0.7/32, 10.0.0.0/16, 10.1.0.2/32, fd00::2/128"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip -4 address add 10.0.0.2/24 dev wg0
ip -4 address add 10.1.0.2/32 dev wg0
ip -6 address add fd00::2/128 dev wg0
ip link set mtu 1420 up dev wg0
ip -4 route add 10.1.0.2/32 dev wg0
ip -4 route add 10.0.0.0/16 dev wg0
`},
		{"two peers with the same range", peer(keyA, "10.0.0.0/8") + peer(keyB, "10.0.0.0/8"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
ip -4 route add 10.0.0.0/8 dev wg0
`},
		{"everywhere", "[Interface]\nAddress = 10.0.0.2/24, fd00::2/64, 10.0.1.2\n" + peer(keyA, "0.0.0.0/0, ::/0, 10.0.0.0/8"), Facts{FreeTable: 51821}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip -4 address add 10.0.0.2/24 dev wg0
ip -6 address add fd00::2/64 dev wg0
ip -4 address add 10.0.1.2/32 dev wg0
ip link set mtu 1420 up dev wg0
ip -4 route add 10.0.0.0/8 dev wg0
wg set wg0 fwmark 51821
ip -6 route add ::/0 dev wg0 table 51821
ip -6 rule add not fwmark 51821 table 51821
ip -6 rule add table main suppress_prefixlength 0
nft -f - <<'EOF'
add table ip6 wg-quick-wg0
add chain ip6 wg-quick-wg0 preraw { type filter hook prerouting priority -300; }
add chain ip6 wg-quick-wg0 premangle { type filter hook prerouting priority -150; }
add chain ip6 wg-quick-wg0 postmangle { type filter hook postrouting priority -150; }
add rule ip6 wg-quick-wg0 preraw iifname != "wg0" ip6 daddr fd00::2 fib saddr type != local drop
add rule ip6 wg-quick-wg0 postmangle meta l4proto udp mark 51821 ct mark set mark
add rule ip6 wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark
EOF
ip -4 route add 0.0.0.0/0 dev wg0 table 51821
ip -4 rule add not fwmark 51821 table 51821
ip -4 rule add table main suppress_prefixlength 0
sysctl -q net.ipv4.conf.all.src_valid_mark=1
nft -f - <<'EOF'
add table ip wg-quick-wg0
add chain ip wg-quick-wg0 preraw { type filter hook prerouting priority -300; }
add chain ip wg-quick-wg0 premangle { type filter hook prerouting priority -150; }
add chain ip wg-quick-wg0 postmangle { type filter hook postrouting priority -150; }
add rule ip wg-quick-wg0 preraw iifname != "wg0" ip daddr 10.0.0.2 fib saddr type != local drop
add rule ip wg-quick-wg0 preraw iifname != "wg0" ip daddr 10.0.1.2 fib saddr type != local drop
add rule ip wg-quick-wg0 postmangle meta l4proto udp mark 51821 ct mark set mark
add rule ip wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark
EOF
`},
		{"everywhere, with a mark of the user's", "[Interface]\nFwMark = 0x20\n" + peer(keyA, "::/0"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
ip -6 route add ::/0 dev wg0 table 32
ip -6 rule add not fwmark 32 table 32
ip -6 rule add table main suppress_prefixlength 0
nft -f - <<'EOF'
add table ip6 wg-quick-wg0
add chain ip6 wg-quick-wg0 preraw { type filter hook prerouting priority -300; }
add chain ip6 wg-quick-wg0 premangle { type filter hook prerouting priority -150; }
add chain ip6 wg-quick-wg0 postmangle { type filter hook postrouting priority -150; }
add rule ip6 wg-quick-wg0 postmangle meta l4proto udp mark 32 ct mark set mark
add rule ip6 wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark
EOF
`},
		{"a table of the user's", "[Interface]\nTable = 99\n" + peer(keyA, "0.0.0.0/0, 10.0.0.0/8"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
ip -4 route add 10.0.0.0/8 dev wg0 table 99
ip -4 route add 0.0.0.0/0 dev wg0 table 99
`},
		{"a table by name", "[Interface]\nTable = vpn\n" + peer(keyA, "10.0.0.0/8"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
ip -4 route add 10.0.0.0/8 dev wg0 table 42
`},
		{"no routes", "[Interface]\nTable = off\n" + peer(keyA, "0.0.0.0/0, 10.0.0.0/8"), usual, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
`},
		{"the narrowest path decides the MTU", "", Facts{PathMTU: 1480}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1400 up dev wg0
`},
		{"paths wider than datagrams may be", "", Facts{PathMTU: 9000}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 2016 up dev wg0
`},
		{"Debian's resolvconf", "[Interface]\nDNS = 9.9.9.9", Facts{Resolvconf: "resolvconf", DNSPrefix: "tun."}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
resolvconf -a tun.wg0 -m 0 -x <<'EOF'
nameserver 9.9.9.9
EOF
`},
		{"systemd-resolved", "[Interface]\nDNS = 9.9.9.9, home.arpa", Facts{Resolvconf: Resolvectl}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
exec -a resolvconf resolvectl -a wg0 -m 0 -x <<'EOF'
nameserver 9.9.9.9
search home.arpa
EOF
`},
		{"a strict filter in the way", "", Facts{StrictFilter: []string{"wwan0", "wlan0"}}, `
ip tuntap add wg0 mode tun
wg addconf wg0 /dev/stdin
ip link set mtu 1420 up dev wg0
warning: the strict reverse-path filter of wwan0, wlan0 drops what the server sends by a path that is not the best route to it; set net.ipv4.conf.{all,wwan0,wlan0}.rp_filter to 2 (loose)
`},
	} {
		plan, err := Make("wg0", parse(t, c.text), c.facts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), show(plan)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestPlansThatCannotBe(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no resolvconf", "[Interface]\nDNS = 9.9.9.9",
			"wg0.conf:2: [Interface] DNS: found name servers, but neither resolvconf(8) nor systemd-resolved's resolvectl to give them to; install openresolv or systemd-resolved, or take the line out"},
		{"unknown table", "[Interface]\nTable = vnp",
			`wg0.conf:2: [Interface] Table: found "vnp", which /etc/iproute2/rt_tables does not have; want auto, off, a number or a name that is there`},
		{"too large", "[Interface]\nMTU = 9000",
			"wg0.conf:2: [Interface] MTU: found 9000; want at most 2016, since datagrams over paths are limited to 2048 bytes"},
	} {
		plan, err := Make("wg0", parse(t, c.text), Facts{Tables: map[string]uint32{"vpn": 42}})
		if err == nil {
			t.Errorf("%s: no error, but %s", c.name, show(plan))
		} else if err.Error() != c.want {
			t.Errorf("%s: %s", c.name, cmp.Diff(c.want, err.Error()))
		}
	}
}

// TestStepsKeepSecrets: what is printed and logged has no keys in it.
func TestStepsKeepSecrets(t *testing.T) {
	private := "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	plan, err := Make("wg0", parse(t, "[Interface]\nPrivateKey = "+private+"\n"+peer(keyA, "::/0")+"PresharedKey = "+keyB), Facts{FreeTable: 51820})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{private, keyB} {
		if strings.Contains(show(plan), key) {
			t.Errorf("a key in\n%s", show(plan))
		}
	}
}
