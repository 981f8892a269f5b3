package quick

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// mainTable is the number of the routing table "main".
const mainTable = 254

// firstTable is where wg-quick(8) begins to look for a free routing table;
// the table's number is also the mark.
const firstTable = 51820

// overhead is what WireGuard adds to a packet at most, with the UDP and IPv6
// headers (RFC 8200) around it: 40 + 8 + 32 bytes.
const overhead = 80

// maxDatagram is the largest UDP payload that the engine carries, bytes
// (wgbond.MaxDatagram); WireGuard adds 32 bytes and pads to 16.
const (
	maxDatagram = 2048
	maxMTU      = maxDatagram - 32
)

// Facts is what a plan depends on besides the configuration.
type Facts struct {
	// PathMTU is the smallest MTU of the paths' interfaces, bytes; 0: unknown.
	PathMTU int
	// FreeTable is the first routing table from firstTable on that is empty.
	FreeTable uint32
	// Tables are the names of routing tables, from iproute2's rt_tables.
	Tables map[string]uint32
	// Resolvconf is the program that takes name servers; DNSPrefix goes before
	// the interface's name in its list ("" or "tun.").
	Resolvconf Resolvconf
	DNSPrefix  string
	// StrictFilter are interfaces with a strict reverse-path filter, if there
	// are several paths.
	StrictFilter []string
}

// Plan is what Up does, in order.
type Plan struct {
	Steps    []Step
	Warnings []string // what the user should know beforehand
}

// Make plans how to bring up the interface called name. Its error says where in
// the configuration the mistake is.
func Make(name string, cfg *wgconf.Config, facts Facts) (*Plan, error) {
	p := new(Plan)
	i := &cfg.Interface
	mtu, err := pickMTU(cfg, facts.PathMTU)
	if err != nil {
		return nil, err
	}
	table, err := pickTable(cfg, facts.Tables)
	if err != nil {
		return nil, err
	}
	p.add(CreateLink{Device: name, MTU: mtu})
	p.hooks(name, "PreUp", i.PreUp)
	p.add(Configure{Device: name, Config: cfg})
	for _, address := range i.Addresses {
		p.add(AddAddress{Device: name, Prefix: address})
	}
	p.add(SetUp{Device: name, MTU: mtu})
	if len(i.DNS) > 0 {
		if facts.Resolvconf == "" {
			return nil, fmt.Errorf("%s: found name servers, but neither resolvconf(8) nor systemd-resolved's resolvectl to give them to; "+
				"install openresolv or systemd-resolved, or take the line out", cfg.At("DNS"))
		}
		p.add(SetDNS{Program: facts.Resolvconf, Entry: facts.DNSPrefix + name, Servers: i.DNS, Search: i.Search})
	}
	p.routes(name, cfg, table, facts)
	p.hooks(name, "PostUp", i.PostUp)
	if len(facts.StrictFilter) > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the strict reverse-path filter of %s drops what the server sends by a path that is not the best route to it; "+
			"set net.ipv4.conf.{all,%s}.rp_filter to 2 (loose)", strings.Join(facts.StrictFilter, ", "), strings.Join(facts.StrictFilter, ",")))
	}
	return p, nil
}

func (p *Plan) add(steps ...Step) { p.Steps = append(p.Steps, steps...) }

func (p *Plan) hooks(name, key string, commands []string) {
	for _, command := range commands {
		p.add(Hook{Device: name, Key: key, Command: command})
	}
}

func pickMTU(cfg *wgconf.Config, path int) (int, error) {
	switch given := cfg.Interface.MTU; {
	case given > maxMTU:
		return 0, fmt.Errorf("%s: found %d; want at most %d, since datagrams over paths are limited to %d bytes", cfg.At("MTU"), given, maxMTU, maxDatagram)
	case given > 0:
		return given, nil
	case path > overhead:
		return min(path-overhead, maxMTU), nil
	}
	return 1500 - overhead, nil
}

// MTU is what the interface has when it is up, bytes; 0: it is not brought up.
func (p *Plan) MTU() int {
	for _, step := range p.Steps {
		if up, ok := step.(SetUp); ok {
			return up.MTU
		}
	}
	return 0
}

// pickTable is the routing table that Table= means: 0 for auto. For off it
// is 0, too.
func pickTable(cfg *wgconf.Config, names map[string]uint32) (uint32, error) {
	t := cfg.Interface.Table
	if t == wgconf.TableAuto || t == wgconf.TableOff {
		return 0, nil
	}
	if n, err := strconv.ParseUint(string(t), 10, 32); err == nil {
		return uint32(n), nil
	}
	if n, ok := names[string(t)]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("%s: found %q, which /etc/iproute2/rt_tables does not have; want auto, off, a number or a name that is there", cfg.At("Table"), string(t))
}

// routes plans a route for each range of AllowedIPs, the longest first, as
// wg-quick does: one to everywhere goes to a table of its own, which all look
// into but our sockets, and which the specific routes of the main table
// precede.
func (p *Plan) routes(name string, cfg *wgconf.Config, table uint32, facts Facts) {
	if cfg.Interface.Table == wgconf.TableOff {
		return
	}
	// The kernel's own routes by the interface. It makes one even for a
	// single IPv6 address, but not for a single IPv4 address.
	var covered []netip.Prefix
	for _, a := range cfg.Interface.Addresses {
		if !a.IsSingleIP() || family(a) == 6 {
			covered = append(covered, a.Masked())
		}
	}
	mark := cfg.Interface.FwMark
	for _, prefix := range allowed(cfg) {
		switch {
		case table != 0:
			p.add(AddRoute{Device: name, Prefix: prefix, Table: table})
		case prefix.Bits() == 0:
			if mark == 0 {
				mark = facts.FreeTable
				p.add(SetMark{Device: name, Mark: mark})
			}
			p.defaultRoute(name, prefix, mark, cfg.Interface.Addresses)
		case !covers(covered, prefix):
			p.add(AddRoute{Device: name, Prefix: prefix})
		}
	}
}

func (p *Plan) defaultRoute(name string, prefix netip.Prefix, mark uint32, addresses []netip.Prefix) {
	guard := Guard{Device: name, Family: family(prefix), Mark: mark}
	for _, a := range addresses {
		if family(a) == guard.Family {
			guard.Addresses = append(guard.Addresses, a.Addr())
		}
	}
	p.add(
		AddRoute{Device: name, Prefix: prefix, Table: mark},
		AddRule{Rule{Family: guard.Family, NotMark: mark, Table: mark}},
		AddRule{Rule{Family: guard.Family, Table: mainTable}},
	)
	if guard.Family == 4 {
		p.add(SetSysctl{"net.ipv4.conf.all.src_valid_mark", "1"})
	}
	p.add(guard)
}

// allowed is every range of AllowedIPs once, the longest first, and those of
// one length in the order of wg-quick's `sort -nr`.
func allowed(cfg *wgconf.Config) []netip.Prefix {
	seen := map[netip.Prefix]bool{}
	var all []netip.Prefix
	for _, peer := range cfg.Peers {
		for _, prefix := range peer.AllowedIPs {
			if !seen[prefix] {
				seen[prefix] = true
				all = append(all, prefix)
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), strings.Compare(b.String(), a.String()))
	})
	return all
}

func covers(ranges []netip.Prefix, prefix netip.Prefix) bool {
	for _, r := range ranges {
		if r.Bits() <= prefix.Bits() && r.Contains(prefix.Addr()) {
			return true
		}
	}
	return false
}
