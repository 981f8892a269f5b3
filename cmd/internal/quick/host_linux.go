package quick

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// Tunnel is the WireGuard device, as Host needs it.
type Tunnel interface {
	// Create makes the TUN device and starts WireGuard on it.
	Create(mtu int) error
	// Configure takes the body of a UAPI set operation.
	Configure(uapi string) error
	// Up opens its sockets.
	Up() error
	// Close ends WireGuard and removes the device.
	Close() error
}

// Host is this machine: the network namespace of the thread that made it.
type Host struct {
	Tunnel Tunnel
	// Resolve finds the address of an endpoint; Output is where hooks and
	// resolvconf print.
	Resolve func(context.Context, wgconf.Endpoint) (netip.AddrPort, error)
	Output  io.Writer

	nl       *netlink.Handle
	nftables []nftables.ConnOption // of the guard's connection; a test's stands for a kernel without
}

// NewHost opens the machine. tunnel may be nil where nothing is created.
func NewHost(tunnel Tunnel) (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &Host{Tunnel: tunnel, Resolve: SystemResolver(os.Stderr).Resolve, Output: os.Stderr, nl: nl}, nil
}

// Close gives the handle to the kernel back.
func (h *Host) Close() { h.nl.Close() }

// Foresee tells what will take step back.
func (h *Host) Foresee(step Step) (Undo, error) {
	switch s := step.(type) {
	case CreateLink:
		return Undo{Link: s.Device}, nil
	case SetDNS:
		return Undo{DNS: s.Entry}, nil
	case AddRule:
		rule, err := h.placeRule(s.Rule)
		return Undo{Rule: rule}, err
	case SetSysctl:
		return foreseeSysctl(s)
	case Guard:
		table := s.table()
		return Undo{Nft: &table}, nil
	}
	return Undo{}, nil
}

// Do does step.
func (h *Host) Do(ctx context.Context, step Step, undo Undo) error {
	switch s := step.(type) {
	case CreateLink:
		return h.Tunnel.Create(s.MTU)
	case Configure:
		return h.configure(ctx, s)
	case AddAddress:
		return h.onLink(s.Device, func(link netlink.Link) error { return addAddress(h.nl, link, s.Prefix) })
	case SetUp:
		return h.onLink(s.Device, func(link netlink.Link) error { return h.setUp(link, s.MTU) })
	case SetDNS:
		return h.resolvconf(ctx, s.Program, s.stdin(), "-a", s.Entry, "-m", "0", "-x")
	case SetMark:
		return h.Tunnel.Configure(fmt.Sprintf("fwmark=%d\n", s.Mark))
	case AddRoute:
		return h.onLink(s.Device, func(link netlink.Link) error { return addRoute(h.nl, link, s) })
	case AddRule:
		return wrap(h.nl.RuleAdd(kernelRule(*undo.Rule)), "the policy rule")
	case SetSysctl:
		return writeSysctl(s)
	case Guard:
		return h.guard(s)
	case Hook:
		return h.hook(ctx, s)
	}
	return fmt.Errorf("no such step: %T", step)
}

// Undo takes a step back.
func (h *Host) Undo(u Undo) error {
	switch {
	case u.Link != "":
		return h.removeLink(u.Link)
	case u.Rule != nil:
		err := h.nl.RuleDel(kernelRule(*u.Rule))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return wrap(err, "deleting the policy rule %d", u.Rule.Priority)
	case u.DNS != "":
		program, _ := findResolvconf("")
		return h.resolvconf(context.Background(), program, "", "-d", u.DNS, "-f")
	case u.Sysctl != nil:
		return writeSysctl(*u.Sysctl)
	case u.Nft != nil:
		return removeTable(*u.Nft)
	}
	return nil
}

// removeLink ends the tunnel, with which the interface goes. A journal of a
// program that crashed may name an interface that the kernel has removed
// already; one of that name that is there now is somebody else's.
func (h *Host) removeLink(string) error {
	if h.Tunnel == nil {
		return nil
	}
	return h.Tunnel.Close()
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func (h *Host) onLink(name string, do func(netlink.Link) error) error {
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return do(link)
}

func (h *Host) configure(ctx context.Context, s Configure) error {
	endpoints := make([]netip.AddrPort, len(s.Config.Peers))
	for i, peer := range s.Config.Peers {
		if peer.Endpoint.IsZero() {
			continue
		}
		var err error
		if endpoints[i], err = h.Resolve(ctx, peer.Endpoint); err != nil {
			return fmt.Errorf("%s: %w", s.Config.AtPeer(i, "Endpoint"), err)
		}
	}
	return h.Tunnel.Configure(s.Config.UAPI(endpoints))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addAddress(nl *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	// Without a broadcast address, as `ip address add` has it by default.
	err := nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Broadcast: net.IPv4zero})
	if family(p) == 6 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)) {
		return fmt.Errorf("the address %s: %w; IPv6 seems to be off on this machine: set net.ipv6.conf.{all,default}.disable_ipv6 to 0, or take the address out", p, err)
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("the address %s: the interface has it already; it is twice in the file, or a hook has added it: take one out", p)
	}
	return wrap(err, "the address %s", p)
}

// setUp also keeps the kernel from inventing a link-local address and
// soliciting routers by it: a kernel WireGuard interface has none either. In a
// container whose kernel parameters are read-only it does no harm.
func (h *Host) setUp(link netlink.Link, mtu int) error {
	name := link.Attrs().Name
	const none = "1" // IN6_ADDR_GEN_MODE_NONE
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/addr_gen_mode", []byte(none), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EROFS) {
		return err
	}
	if err := h.nl.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("the MTU %d of %s: %w", mtu, name, err)
	}
	if err := h.Tunnel.Up(); err != nil {
		return err
	}
	return wrap(h.nl.LinkSetUp(link), "bringing up %s", name)
}

func addRoute(nl *netlink.Handle, link netlink.Link, s AddRoute) error {
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(s.Prefix),
		Table:     int(s.Table),
		Protocol:  unix.RTPROT_BOOT,
	}
	if s.Table == 0 {
		route.Table = mainTable
	}
	if family(s.Prefix) == 4 {
		route.Scope = netlink.SCOPE_LINK
	}
	err := nl.RouteAdd(route)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("the route to %s: another interface has one already (`ip route show %s`); narrow AllowedIPs, or say Table = off or a table's number", s.Prefix, s.Prefix)
	}
	return wrap(err, "the route to %s", s.Prefix)
}

func kernelFamily(f int) int {
	if f == 4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func kernelRule(r Rule) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = kernelFamily(r.Family)
	rule.Table = int(r.Table)
	if r.Priority != 0 {
		rule.Priority = r.Priority
	}
	if r.NotMark != 0 {
		rule.Invert = true
		rule.Mark = r.NotMark
	} else {
		rule.SuppressPrefixlen = 0
	}
	return rule
}

// placeRule gives r the priority that the kernel would choose: just before
// all others but the first, which is that of the local table.
func (h *Host) placeRule(r Rule) (*Rule, error) {
	rules, err := h.nl.RuleList(kernelFamily(r.Family))
	if err != nil {
		return nil, fmt.Errorf("listing the policy rules: %w", err)
	}
	r.Priority = mainPriority
	for _, have := range rules {
		if have.Priority > 0 {
			r.Priority = min(r.Priority, have.Priority)
		}
	}
	if r.Priority--; r.Priority <= 0 {
		return nil, errors.New("the policy rule: there is no priority left before that of the first rule (`ip rule`); give that one a higher number")
	}
	return &r, nil
}

// mainPriority is where the kernel looks into the main table unless told
// otherwise.
const mainPriority = 32766

func sysctlPath(name string) string {
	return "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
}

func readSysctl(name string) (string, error) {
	value, err := os.ReadFile(sysctlPath(name))
	return strings.TrimSpace(string(value)), err
}

func foreseeSysctl(s SetSysctl) (Undo, error) {
	before, err := readSysctl(s.Name)
	if err != nil || before == s.Value {
		return Undo{}, err
	}
	return Undo{Sysctl: &SetSysctl{Name: s.Name, Value: before}}, nil
}

// writeSysctl need not be able to write what is there already: a container
// may have it from outside.
func writeSysctl(s SetSysctl) error {
	if now, err := readSysctl(s.Name); err == nil && now == s.Value {
		return nil
	}
	if err := os.WriteFile(sysctlPath(s.Name), []byte(s.Value), 0o644); err != nil {
		return fmt.Errorf("%w; in a container, set it from outside (--sysctl %s=%s)", err, s.Name, s.Value)
	}
	return nil
}

// guard does not keep a tunnel from coming up on a kernel that cannot guard it,
// but says what that means.
func (h *Host) guard(s Guard) error {
	err := addGuard(s, h.nftables...)
	if !cannotGuard(err) {
		return err
	}
	fmt.Fprintf(h.Output, "Warning: %v; this kernel lacks nf_tables, nft_fib or nft_ct (`modprobe -a nf_tables nft_fib_inet nft_ct`). "+
		"Without it, who is on a path's link can send to the tunnel's addresses, and a strict reverse-path filter (rp_filter 1) drops what the server sends.\n", err)
	return nil
}

// hook runs a command as wg-quick does, which evaluates it in a bash with
// these options set.
func (h *Host) hook(ctx context.Context, s Hook) error {
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-O", "extglob", "-c", s.String())
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return wrap(h.run(ctx, cmd, ""), "[Interface] %s", s.Key)
}

func (h *Host) resolvconf(ctx context.Context, program Resolvconf, stdin string, args ...string) error {
	if program == "" {
		return errors.New("there is no resolvconf any more")
	}
	cmd := exec.CommandContext(ctx, string(program), args...)
	cmd.Args[0] = "resolvconf" // by which resolvectl knows what it is to be
	return h.run(ctx, cmd, stdin)
}

func (h *Host) run(ctx context.Context, cmd *exec.Cmd, stdin string) error {
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = h.Output, h.Output
	// Interrupted, a hook may clean up, for a while.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s failed: %w", cmd.Args[0], err)
	}
	return err
}
