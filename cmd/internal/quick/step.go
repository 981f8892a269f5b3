package quick

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// Step is one thing to do to the machine. It prints as the command that
// would do the same, without secrets.
type Step interface{ String() string }

// CreateLink makes the TUN device and starts WireGuard on it, with nothing
// configured yet.
type CreateLink struct {
	Device string
	MTU    int // of the new device, bytes
}

// Configure gives the device its keys, port, mark and peers. Names of
// endpoints are resolved when it is done, not before: a PreUp hook may be
// what brings the network.
type Configure struct {
	Device string
	Config *wgconf.Config
}

// AddAddress gives the interface an address.
type AddAddress struct {
	Device string
	Prefix netip.Prefix // host bits kept
}

// SetUp sets the MTU, bytes, and brings the interface up.
type SetUp struct {
	Device string
	MTU    int
}

// SetDNS hands name servers and search domains to resolvconf(8).
type SetDNS struct {
	Program Resolvconf
	Entry   string // the interface, perhaps with a prefix that orders it
	Servers []netip.Addr
	Search  []string
}

// Resolvconf is the program that plays resolvconf(8): openresolv's, Debian's
// or systemd-resolved's. Empty: there is none.
type Resolvconf string

// Resolvectl is systemd-resolved's program, which behaves as resolvconf if it
// is called so.
const Resolvectl Resolvconf = "resolvectl"

// SetMark marks everything the tunnel's sockets send.
type SetMark struct {
	Device string
	Mark   uint32
}

// AddRoute adds a route by the interface; Table 0 is the main one.
type AddRoute struct {
	Device string
	Prefix netip.Prefix
	Table  uint32
}

// AddRule adds a policy rule at the priority that the kernel chooses, which
// is just before all others.
type AddRule struct{ Rule Rule }

// Rule is a policy rule of one of two kinds: with NotMark set, packets
// without that mark look into Table; else all do, but take nothing of it that
// is a default route.
type Rule struct {
	Family  int    `json:"family"` // 4 or 6
	Table   uint32 `json:"table"`
	NotMark uint32 `json:"not_mark,omitempty"`
	// Priority is where the kernel put it, once it did.
	Priority int `json:"priority,omitempty"`
}

// Guard makes wg-quick(8)'s table of nftables for a tunnel that is the
// default route of a family:
//
//	preraw      packets to the tunnel's addresses that come by another
//	            interface, from another machine, are dropped: nobody on a
//	            path's link can reach what listens in the tunnel
//	postmangle  what the tunnel's sockets send marks its connection, …
//	premangle   … and the connection's mark marks the replies, which a
//	            reverse-path filter then looks up as it does our packets
type Guard struct {
	Device    string
	Family    int // 4 or 6
	Mark      uint32
	Addresses []netip.Addr // of the tunnel, in this family
}

// NftTable is a table of nftables.
type NftTable struct {
	Family int    `json:"family"` // 4 or 6
	Name   string `json:"name"`
}

// SetSysctl sets a kernel parameter unless it has the value already.
type SetSysctl struct{ Name, Value string }

// Hook runs a command of the configuration's with bash, %i being replaced.
type Hook struct {
	Device  string
	Key     string // PreUp, PostUp, PreDown or PostDown
	Command string
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 4
	}
	return 6
}

func (s CreateLink) String() string { return "ip tuntap add " + s.Device + " mode tun" }
func (s Configure) String() string  { return "wg addconf " + s.Device + " /dev/stdin" }
func (s AddAddress) String() string {
	return fmt.Sprintf("ip -%d address add %s dev %s", family(s.Prefix), s.Prefix, s.Device)
}
func (s SetUp) String() string {
	return fmt.Sprintf("ip link set mtu %d up dev %s", s.MTU, s.Device)
}
func (s SetDNS) String() string {
	command := "resolvconf"
	if s.Program == Resolvectl {
		command = "exec -a resolvconf resolvectl"
	}
	return fmt.Sprintf("%s -a %s -m 0 -x <<'EOF'\n%sEOF", command, s.Entry, s.stdin())
}
func (s SetMark) String() string {
	return fmt.Sprintf("wg set %s fwmark %d", s.Device, s.Mark)
}

func (s AddRoute) String() string {
	text := fmt.Sprintf("ip -%d route add %s dev %s", family(s.Prefix), s.Prefix, s.Device)
	if s.Table != 0 {
		text += fmt.Sprintf(" table %d", s.Table)
	}
	return text
}

func (s AddRule) String() string {
	if s.Rule.NotMark != 0 {
		return fmt.Sprintf("ip -%d rule add not fwmark %d table %d", s.Rule.Family, s.Rule.NotMark, s.Rule.Table)
	}
	table := fmt.Sprint(s.Rule.Table)
	if s.Rule.Table == mainTable {
		table = "main"
	}
	return fmt.Sprintf("ip -%d rule add table %s suppress_prefixlength 0", s.Rule.Family, table)
}

// table is where the guard's rules are; the name is wg-quick's, so that
// `wg-quick down` finds it.
func (s Guard) table() NftTable { return NftTable{Family: s.Family, Name: "wg-quick-" + s.Device} }

func (s Guard) String() string {
	ip := "ip"
	if s.Family == 6 {
		ip = "ip6"
	}
	table := ip + " " + s.table().Name
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("nft -f - <<'EOF'")
	line("add table %s", table)
	line("add chain %s preraw { type filter hook prerouting priority -300; }", table)
	line("add chain %s premangle { type filter hook prerouting priority -150; }", table)
	line("add chain %s postmangle { type filter hook postrouting priority -150; }", table)
	for _, address := range s.Addresses {
		line("add rule %s preraw iifname != %q %s daddr %s fib saddr type != local drop", table, s.Device, ip, address)
	}
	line("add rule %s postmangle meta l4proto udp mark %d ct mark set mark", table, s.Mark)
	line("add rule %s premangle meta l4proto udp meta mark set ct mark", table)
	return b.String() + "EOF"
}

func (s SetSysctl) String() string { return "sysctl -q " + s.Name + "=" + s.Value }
func (s Hook) String() string      { return strings.ReplaceAll(s.Command, "%i", s.Device) }

// stdin is what resolvconf reads.
func (s SetDNS) stdin() string {
	var b strings.Builder
	for _, server := range s.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(s.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(s.Search, " "))
	}
	return b.String()
}
