package quick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// dummyTunnel is an interface without WireGuard, and without anybody who reads
// from it.
type dummyTunnel struct {
	ns   *nstest.Namespace
	name string
	log  []string
}

func (d *dummyTunnel) Create(int) error {
	_, _, err := d.ns.Try("ip", "tuntap", "add", d.name, "mode", "tun")
	return err
}

func (d *dummyTunnel) Configure(uapi string) error {
	d.log = append(d.log, strings.ReplaceAll(strings.TrimSuffix(uapi, "\n"), "\n", " "))
	return nil
}

func (d *dummyTunnel) Up() error { d.log = append(d.log, "up"); return nil }

func (d *dummyTunnel) Close() error {
	_, _, err := d.ns.Try("ip", "link", "delete", d.name)
	return err
}

func newHost(t *testing.T, name string) (*Host, *nstest.Namespace, *dummyTunnel, *bytes.Buffer) {
	t.Helper()
	ns := nstest.New(t, 1)[0]
	tunnel := &dummyTunnel{ns: ns, name: name}
	h, err := NewHost(tunnel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	output := new(bytes.Buffer)
	h.Output = output
	h.Resolve = func(_ context.Context, e wgconf.Endpoint) (netip.AddrPort, error) {
		if e.Host == "nowhere" {
			return netip.AddrPort{}, errors.New("nowhere cannot be found")
		}
		return netip.ParseAddrPort("192.0.2.9:" + e.String()[strings.LastIndexByte(e.String(), ':')+1:])
	}
	return h, ns, tunnel, output
}

// TestUnguarded: on a kernel without nftables, or without what the guard asks of
// it, the tunnel comes up and the user is told what that means; any other refusal
// is an error that undoes all.
func TestUnguarded(t *testing.T) {
	for _, c := range []struct {
		refusal unix.Errno
		fatal   bool
	}{
		{unix.EPROTONOSUPPORT, false}, {unix.EOPNOTSUPP, false}, {unix.EAFNOSUPPORT, false}, {unix.ENOENT, false},
		{unix.EPERM, true}, {unix.EEXIST, true},
	} {
		t.Run(c.refusal.Error(), func(t *testing.T) {
			h, ns, _, output := newHost(t, "wgbt-q3")
			h.nftables = []nftables.ConnOption{nftables.WithTestDial(func([]mdnetlink.Message) ([]mdnetlink.Message, error) { return nil, c.refusal })}
			before := ns.State()
			facts, err := h.Facts(nil)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Make("wgbt-q3", parse(t, "[Interface]\nAddress = 10.0.0.2/24\n"+peer(keyA, "0.0.0.0/0")+"Endpoint = host.example:7\n"), facts)
			if err != nil {
				t.Fatal(err)
			}
			j := &Journal{Path: filepath.Join(t.TempDir(), "j")}
			err = Up(context.Background(), h, plan, j, func(Step) {})
			if c.fatal {
				if !errors.Is(err, c.refusal) || !strings.Contains(err.Error(), "the firewall table wg-quick-wgbt-q3") || output.Len() > 0 {
					t.Errorf("%v, and it said %q", err, output)
				}
				if diff := cmp.Diff(before, ns.State()); diff != "" {
					t.Errorf("left behind:\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"Warning: the firewall table wg-quick-wgbt-q3", "this kernel lacks nf_tables", "modprobe", "can send to the tunnel's addresses", "rp_filter"} {
				if !strings.Contains(output.String(), want) {
					t.Errorf("no %q in %q", want, output)
				}
			}
			if strings.Contains(ns.State(), "table ip wg-quick-wgbt-q3") {
				t.Error("there is a table after all")
			}
		})
	}
}

// TestUpAndClean sets up a namespace as a file with default routes wants it,
// and takes everything back but the kernel parameter.
func TestUpAndClean(t *testing.T) {
	h, ns, tunnel, output := newHost(t, "wgbt-q0")
	before := ns.State()
	facts, err := h.Facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.FreeTable != 51820 {
		t.Errorf("the free table is %d", facts.FreeTable)
	}
	cfg := parse(t, "[Interface]\nAddress = 10.0.0.2/24, fd00::2/64\nMTU = 1400\nPostUp = echo %i; ip -o link show dev %i | wc -l\n"+
		peer(keyA, "0.0.0.0/0, ::/0, 10.9.0.0/16, 10.0.0.7/32")+"Endpoint = host.example:7\n")
	plan, err := Make("wgbt-q0", cfg, facts)
	if err != nil {
		t.Fatal(err)
	}
	j := &Journal{Path: filepath.Join(t.TempDir(), "j")}
	if err := Up(context.Background(), h, plan, j, func(Step) {}); err != nil {
		t.Fatal(err)
	}
	guarded := !strings.Contains(output.String(), "this kernel lacks nf_tables")
	if !strings.HasSuffix(output.String(), "wgbt-q0\n1\n") {
		t.Errorf("the hook printed %q", output)
	}
	if len(tunnel.log) != 3 || !strings.Contains(tunnel.log[0], "endpoint=192.0.2.9:7") || tunnel.log[1] != "up" || tunnel.log[2] != "fwmark=51820" {
		t.Errorf("the tunnel was told %q", tunnel.log)
	}
	state := ns.State()
	for _, want := range []string{
		"inet 10.0.0.2/24 scope global", "inet6 fd00::2/64", "mtu 1400",
		"10.9.0.0/16 dev wgbt-q0 scope link",
		"default dev wgbt-q0 table 51820",
		"32764:\tfrom all lookup main suppress_prefixlength 0\n32765:\tnot from all fwmark 0xca6c lookup 51820\n",
		"src_valid_mark = 1",
	} {
		if !strings.Contains(state, want) {
			t.Errorf("no %q in\n%s", want, state)
		}
	}
	if _, err := exec.LookPath("nft"); err == nil && guarded {
		for _, want := range []string{
			"table ip wg-quick-wgbt-q0 {", "table ip6 wg-quick-wgbt-q0 {",
			`iifname != "wgbt-q0" ip daddr 10.0.0.2 fib saddr type != local drop`,
			`iifname != "wgbt-q0" ip6 daddr fd00::2 fib saddr type != local drop`,
		} {
			if !strings.Contains(state, want) {
				t.Errorf("no %q in\n%s", want, state)
			}
		}
	}
	if strings.Contains(state, "10.0.0.7 dev") {
		t.Errorf("a route that the address's own covers:\n%s", state)
	}
	if strings.Contains(state, "wgbt-q0    inet6 fe80") {
		t.Errorf("a link-local address that nobody asked for:\n%s", state)
	}
	addresses, err := h.Addresses("wgbt-q0")
	if diff := cmp.Diff([]netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}, addresses,
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("addresses: %v %s", err, diff)
	}
	if facts, err := h.Facts([]string{"wgbt-q0"}); err != nil || facts.FreeTable != 51821 || facts.PathMTU != 1400 {
		t.Errorf("facts afterwards: %+v, %v", facts, err)
	}
	if err := Clean(h, j); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(before, "src_valid_mark = 0", "src_valid_mark = 1", 1), ns.State()); diff != "" {
		t.Errorf("after Clean: %s", diff)
	}
}

// TestCleanSparesOthers: a rule that looks like ours but is somebody else's
// stays.
func TestCleanSparesOthers(t *testing.T) {
	h, ns, _, _ := newHost(t, "wgbt-q1")
	ns.Run("ip", "rule", "add", "table", "main", "suppress_prefixlength", "0")
	ns.Run("ip", "route", "add", "10.1.1.0/24", "dev", "lo", "table", "51820")
	before := ns.State()
	facts, err := h.Facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.FreeTable != 51821 {
		t.Errorf("the free table is %d although 51820 is in use", facts.FreeTable)
	}
	plan, err := Make("wgbt-q1", parse(t, peer(keyA, "0.0.0.0/0")), facts)
	if err != nil {
		t.Fatal(err)
	}
	j := &Journal{}
	if err := Up(context.Background(), h, plan, j, func(Step) {}); err != nil {
		t.Fatal(err)
	}
	if err := Clean(h, j); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(before, "src_valid_mark = 0", "src_valid_mark = 1", 1), ns.State()); diff != "" {
		t.Error(diff)
	}
}

// TestFailuresLeaveNothing: whatever fails, the namespace is as it was.
func TestFailuresLeaveNothing(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"the last hook", "[Interface]\nAddress = 10.0.0.2/24\nPostUp = true\nPostUp = false; true\n" + peer(keyA, "0.0.0.0/0, ::/0"),
			"[Interface] PostUp: bash failed: exit status 1\n(at the step: false; true)"},
		{"a hook before the link is configured", "[Interface]\nPreUp = exit 3", "[Interface] PreUp: bash failed: exit status 3\n(at the step: exit 3)"},
		{"a pipe in a hook", "[Interface]\nPostUp = false | true", "[Interface] PostUp: bash failed: exit status 1\n(at the step: false | true)"},
		{"an endpoint without address", peer(keyA, "10.0.0.0/8") + "Endpoint = nowhere:1", "wg0.conf:4: [Peer] Endpoint: nowhere cannot be found\n(at the step: wg addconf wgbt-q2 /dev/stdin)"},
		{"a route that is there already", peer(keyA, "10.5.0.0/16"),
			"the route to 10.5.0.0/16: another interface has one already (`ip route show 10.5.0.0/16`); narrow AllowedIPs, or say Table = off or a table's number\n(at the step: ip -4 route add 10.5.0.0/16 dev wgbt-q2)"},
		{"an address twice", "[Interface]\nAddress = 10.0.0.2/24, 10.0.0.2/24", "the address 10.0.0.2/24: the interface has it already; it is twice in the file, or a hook has added it: take one out\n(at the step: ip -4 address add 10.0.0.2/24 dev wgbt-q2)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ns, _, _ := newHost(t, "wgbt-q2")
			ns.Run("ip", "route", "add", "10.5.0.0/16", "dev", "lo")
			before := ns.State()
			facts, err := h.Facts(nil)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Make("wgbt-q2", parse(t, c.text), facts)
			if err != nil {
				t.Fatal(err)
			}
			err = Up(context.Background(), h, plan, &Journal{}, func(Step) {})
			if err == nil || err.Error() != c.want {
				t.Errorf("error: %s", cmp.Diff(c.want, err.Error()))
			}
			if diff := cmp.Diff(before, ns.State()); diff != "" {
				t.Errorf("the namespace has changed: %s", diff)
			}
		})
	}
}

// TestDNS uses a resolvconf of its own that notes what it is given.
func TestDNS(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >> " + dir + "/log\ncat >> " + dir + "/log\n"
	if err := os.WriteFile(filepath.Join(dir, "resolvconf"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	h, _, _, _ := newHost(t, "wgbt-q3")
	facts, err := h.Facts(nil)
	if err != nil || facts.Resolvconf != "resolvconf" {
		t.Fatalf("%+v, %v", facts, err)
	}
	facts.DNSPrefix = "" // whatever this machine has
	plan, err := Make("wgbt-q3", parse(t, "[Interface]\nDNS = 9.9.9.9, home.arpa, 2620:fe::fe, lan"), facts)
	if err != nil {
		t.Fatal(err)
	}
	j := &Journal{}
	if err := Up(context.Background(), h, plan, j, func(Step) {}); err != nil {
		t.Fatal(err)
	}
	if err := Clean(h, j); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "log"))
	want := "-a wgbt-q3 -m 0 -x\nnameserver 9.9.9.9\nnameserver 2620:fe::fe\nsearch home.arpa lan\n-d wgbt-q3 -f\n"
	if err != nil || string(got) != want {
		t.Errorf("%v %s", err, cmp.Diff(want, string(got)))
	}
}

// TestMain is also what stands in for resolvectl: it notes what it is called
// by, and given.
func TestMain(m *testing.M) {
	log := os.Getenv("RESOLVECTL_LOG")
	if log == "" || os.Args[0] != "resolvconf" {
		os.Exit(m.Run())
	}
	stdin, err := io.ReadAll(os.Stdin)
	file, openErr := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err := errors.Join(err, openErr); err != nil {
		panic(err)
	}
	fmt.Fprintf(file, "%s\n%s", strings.Join(os.Args, " "), stdin)
	file.Close()
}

// TestSystemdResolved: without a resolvconf, resolvectl is called by that name.
func TestSystemdResolved(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "resolvectl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	t.Setenv("RESOLVECTL_LOG", log)
	h, _, _, _ := newHost(t, "wgbt-q4")
	path := os.Getenv("PATH")
	t.Setenv("PATH", dir)
	facts, err := h.Facts(nil)
	if err != nil || facts.Resolvconf != Resolvectl || facts.DNSPrefix != "" {
		t.Fatalf("%+v, %v", facts, err)
	}
	set := SetDNS{Program: facts.Resolvconf, Entry: "wgbt-q4", Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, Search: []string{"lan"}}
	undo, err := h.Foresee(set)
	if err := errors.Join(err, h.Do(t.Context(), set, undo), h.Undo(undo)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	got, err := os.ReadFile(log)
	if want := "resolvconf -a wgbt-q4 -m 0 -x\nnameserver 9.9.9.9\nsearch lan\nresolvconf -d wgbt-q4 -f\n"; err != nil || string(got) != want {
		t.Errorf("%v %s", err, cmp.Diff(want, string(got)))
	}
}

func TestTableNames(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		one + "/rt_tables":           "# comment\n255 local\n42\tvpn # x\n0x50 hex\nbroken\n",
		two + "/rt_tables.d/my.conf": "43 vpn\n44 mine\n",
		two + "/rt_tables.d/no.txt":  "45 no\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]uint32{"default": 253, "main": 254, "local": 255, "vpn": 43, "hex": 80, "mine": 44}
	if diff := cmp.Diff(want, tableNames(one, two, t.TempDir())); diff != "" {
		t.Error(diff)
	}
}

func TestDNSPrefix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interface-order")
	if err := os.WriteFile(path, []byte("# order\nlo.inet6\nlo.inet\nlo.@(dnsmasq|pdnsd)\ntun*\ntap*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dnsPrefix(path); got != "tun." {
		t.Errorf("got %q", got)
	}
	if got := dnsPrefix(path + "x"); got != "" {
		t.Errorf("without a file: %q", got)
	}
}
