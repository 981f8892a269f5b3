package quick

import (
	"bufio"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkExists reports whether there is an interface called name.
func (h *Host) LinkExists(name string) bool {
	_, err := h.nl.LinkByName(name)
	return err == nil
}

// Addresses are the interface's addresses, host bits kept.
func (h *Host) Addresses(name string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	err := h.onLink(name, func(link netlink.Link) error {
		addresses, err := h.nl.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range addresses {
			ip, ok := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			if ok {
				if a.IP.To4() != nil {
					ip = ip.Unmap()
				}
				all = append(all, netip.PrefixFrom(ip, bits))
			}
		}
		return err
	})
	return all, err
}

// MTU is the interface's MTU, bytes.
func (h *Host) MTU(name string) (mtu int, err error) {
	err = h.onLink(name, func(link netlink.Link) error { mtu = link.Attrs().MTU; return nil })
	return mtu, err
}

// SetMTU changes that, bytes.
func (h *Host) SetMTU(name string, mtu int) error {
	return h.onLink(name, func(link netlink.Link) error { return h.nl.LinkSetMTU(link, mtu) })
}

// Facts gathers what a plan depends on. devices are the paths' interfaces.
func (h *Host) Facts(devices []string) (Facts, error) {
	var facts Facts
	var strict []string
	devices = slices.Compact(slices.Sorted(slices.Values(devices)))
	for _, device := range devices {
		mtu, err := h.MTU(device)
		if err != nil {
			continue // it may come later
		}
		if facts.PathMTU == 0 || mtu < facts.PathMTU {
			facts.PathMTU = mtu
		}
		if StrictFilter(device) {
			strict = append(strict, device)
		}
	}
	if len(devices) > 1 {
		facts.StrictFilter = strict
	}
	var err error
	if facts.FreeTable, err = h.freeTable(); err != nil {
		return Facts{}, err
	}
	facts.Tables = tableNames("/usr/share/iproute2", "/usr/lib/iproute2", "/etc/iproute2")
	facts.Resolvconf, facts.DNSPrefix = findResolvconf("/etc/resolvconf/interface-order")
	return facts, nil
}

// findResolvconf finds who takes name servers, and what goes before an
// interface's name so that Debian's resolvconf puts it first. A resolvconf
// that is a link is systemd's, which has no such order.
func findResolvconf(order string) (program Resolvconf, prefix string) {
	if path, err := exec.LookPath("resolvconf"); err == nil {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			prefix = dnsPrefix(order)
		}
		return "resolvconf", prefix
	}
	if _, err := exec.LookPath(string(Resolvectl)); err == nil {
		return Resolvectl, ""
	}
	return "", ""
}

// freeTable is the first table from firstTable on without a route.
func (h *Host) freeTable() (uint32, error) {
	used := map[int]bool{}
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := h.nl.RouteListFiltered(f, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return 0, fmt.Errorf("listing routes: %w", err)
		}
		for _, route := range routes {
			used[route.Table] = true
		}
		// A rule whose table is empty still claims the number: some other
		// interface is between its two.
		rules, err := h.nl.RuleList(f)
		if err != nil {
			return 0, fmt.Errorf("listing policy rules: %w", err)
		}
		for _, rule := range rules {
			used[rule.Table] = true
		}
	}
	for table := firstTable; table < math.MaxInt32; table++ {
		if !used[table] {
			return uint32(table), nil
		}
	}
	return 0, fmt.Errorf("no routing table from %d on is free", firstTable)
}

// StrictFilter reports whether the reverse-path filter of device is strict:
// the kernel takes the greater of its and the general setting.
func StrictFilter(device string) bool {
	value := 0
	for _, name := range []string{"all", device} {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/rp_filter")
		if err != nil {
			continue
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		value = max(value, n)
	}
	return value == 1
}

// tableNames reads iproute2's files rt_tables and rt_tables.d/*.conf in dirs;
// a later one wins.
func tableNames(dirs ...string) map[string]uint32 {
	names := map[string]uint32{"default": 253, "main": mainTable, "local": 255}
	for _, dir := range dirs {
		more, _ := filepath.Glob(filepath.Join(dir, "rt_tables.d", "*.conf"))
		for _, path := range append([]string{filepath.Join(dir, "rt_tables")}, more...) {
			data, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(data)) {
				line, _, _ = strings.Cut(line, "#")
				words := strings.Fields(line)
				if len(words) != 2 {
					continue
				}
				if n, err := strconv.ParseUint(words[0], 0, 32); err == nil {
					names[words[1]] = uint32(n)
				}
			}
		}
	}
	return names
}

var orderPattern = regexp.MustCompile(`^([A-Za-z0-9-]+)\*$`)

// dnsPrefix is the first pattern of the order of Debian's resolvconf.
func dnsPrefix(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if m := orderPattern.FindStringSubmatch(lines.Text()); m != nil {
			return m[1] + "."
		}
	}
	return ""
}
