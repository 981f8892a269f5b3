package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// everywhere is a configuration with one more line, the fourth, in
// [Interface].
func everywhere(line string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.77.0.2/24\n%s\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0\n", privateA, line, publicB)
}

// peerLine is a configuration with one more line, the fifth, in [Peer].
func peerLine(line string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\n%s\n", privateA, publicB, line)
}

const servePort = "[serve]\nlisten = \":51820\"\nupstream = \"127.0.0.1:51821\""

// busyPort has a WireGuard of another interface at port 51820.
func busyPort(m *machine) {
	m.up(m.file("wgbt-f2.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51820"))
}

func foreignLink(m *machine) { m.Run("ip", "tuntap", "add", "wgbt-f1", "mode", "tun") }

// broken is what can be wrong, and what wg-bond says to it.
var broken = []struct {
	name string
	// conf and side are the two files, the first as everywhere("") unless set.
	conf, side string
	prepare    func(m *machine)
	// mounts are commands for a shell in a mount namespace, in which wg-bond
	// then runs.
	mounts string
	user   bool   // not root
	env    string // one variable
	// args are wg-bond's; CONF and DIR stand for the file and its directory.
	// Unless set: up CONF.
	args []string
	// want is all that wg-bond says, or its beginning, if it ends in "…".
	want string
}{
	// NAME.conf
	{name: "an unknown key", conf: everywhere("Adress = 10.0.0.1"),
		want: `DIR/wgbt-f1.conf:4: [Interface]: found the unknown key "Adress"; want "Address" (did you mean that?) or one of PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig`},
	{name: "a key of the other section", conf: peerLine("Address = 10.0.0.1"),
		want: `DIR/wgbt-f1.conf:5: [Peer] Address: found a key of [Interface] in [Peer]; want it under [Interface]`},
	{name: "no equals sign", conf: everywhere("MTU 1400"),
		want: `DIR/wgbt-f1.conf:4: [Interface] MTU: found no "=" after the key; want MTU = …`},
	{name: "a key cut short", conf: "[Interface]\nPrivateKey = " + privateA[:40],
		want: `DIR/wgbt-f1.conf:2: [Interface] PrivateKey: found 40 characters; want a private key: 44 characters of base64, the last of them "="`},
	{name: "a key with a letter that is none of base64", conf: "[Interface]\nPrivateKey = " + strings.Replace(privateA, "y", "!", 1),
		want: `DIR/wgbt-f1.conf:2: [Interface] PrivateKey: found 44 characters that are not 32 bytes in base64; want a private key: 44 characters of base64, the last of them "="`},
	{name: "a peer without key", conf: "[Interface]\nPrivateKey = " + privateA + "\n[Peer]\nAllowedIPs = 10.0.0.0/8",
		want: "DIR/wgbt-f1.conf:3: [Peer]: found no PublicKey in this section; want PublicKey = the peer's key, as `wg pubkey` prints it"},
	{name: "an impossible prefix length", conf: everywhere("Address = 10.77.0.3/33"),
		want: `DIR/wgbt-f1.conf:4: [Interface] Address: found "10.77.0.3/33"; want an address with its prefix length, like 10.0.0.2/24 or fd00::2/64`},
	{name: "ranges without commas", conf: peerLine("AllowedIPs = 10.0.0.0/8 fd00::/8"),
		want: `DIR/wgbt-f1.conf:5: [Peer] AllowedIPs: found "10.0.0.0/8fd00::/8"; want address ranges like 10.0.0.0/24 or fd00::/64, with commas between them`},
	{name: "an endpoint without port", conf: peerLine("Endpoint = vpn.example.com"),
		want: `DIR/wgbt-f1.conf:5: [Peer] Endpoint: found "vpn.example.com", which has no port; want an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820`},
	{name: "an IPv6 endpoint without brackets", conf: peerLine("Endpoint = 2001:db8::1"),
		want: `DIR/wgbt-f1.conf:5: [Peer] Endpoint: found "2001:db8::1", an IPv6 address without brackets; want an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820`},
	{name: "a port that is none", conf: everywhere("ListenPort = 70000"),
		want: `DIR/wgbt-f1.conf:4: [Interface] ListenPort: found "70000"; want a port number from 0 (any) to 65535`},
	{name: "a mark that is none", conf: everywhere("FwMark = red"),
		want: `DIR/wgbt-f1.conf:4: [Interface] FwMark: found "red"; want off, or a mark from 0 to 0xffffffff`},
	{name: "an MTU that is none", conf: everywhere("MTU = jumbo"),
		want: `DIR/wgbt-f1.conf:4: [Interface] MTU: found "jumbo"; want a size in bytes from 68 to 65535 (IPv6 needs 1280)`},
	{name: "an MTU too large for paths", conf: everywhere("MTU = 9000"),
		want: `DIR/wgbt-f1.conf:4: [Interface] MTU: found 9000; want at most 2016, since datagrams over paths are limited to 2048 bytes`},
	{name: "an unknown table", conf: everywhere("Table = vnp"),
		want: `DIR/wgbt-f1.conf:4: [Interface] Table: found "vnp", which /etc/iproute2/rt_tables does not have; want auto, off, a number or a name that is there`},
	{name: "neither true nor false", conf: everywhere("SaveConfig = yes"),
		want: `DIR/wgbt-f1.conf:4: [Interface] SaveConfig: found "yes"; want true or false`},
	{name: "a keepalive in words", conf: peerLine("PersistentKeepalive = 25s"),
		want: `DIR/wgbt-f1.conf:5: [Peer] PersistentKeepalive: found "25s"; want off, or seconds from 1 to 65535`},
	{name: "a name server that is none", conf: everywhere("DNS = 1.2.3"),
		want: `DIR/wgbt-f1.conf:4: [Interface] DNS: found "1.2.3"; want addresses of name servers and domains to search`},
	{name: "an unknown section", conf: "[Interface]\n[Peers]\nPublicKey = " + publicB,
		want: `DIR/wgbt-f1.conf:2: found the section "[Peers]"; want [Interface] or [Peer]`},
	{name: "lines before any section", conf: "PrivateKey = " + privateA,
		want: `DIR/wgbt-f1.conf:1: found "PrivateKey = …" before the first section; want [Interface] or [Peer] first`},
	{name: "a byte order mark", conf: "\ufeff[Interface]\n",
		want: `DIR/wgbt-f1.conf:1: found a byte order mark before the first line; want a file saved as UTF-8 without one: wg(8) refuses it too`},
	{name: "several mistakes", conf: "[Interface]\nMTU = x\nListenPort = y\n[Peer]\nEndpoint = z\n",
		want: "DIR/wgbt-f1.conf:2: [Interface] MTU: found \"x\"; want a size in bytes from 68 to 65535 (IPv6 needs 1280)\nDIR/wgbt-f1.conf:3: [Interface] ListenPort: found \"y\"; want a port number from 0 (any) to 65535\nDIR/wgbt-f1.conf:4: [Peer]: found no PublicKey in this section; want PublicKey = the peer's key, as `wg pubkey` prints it\nDIR/wgbt-f1.conf:5: [Peer] Endpoint: found \"z\", which has no port; want an address or name with a port, like 192.0.2.1:51820, [2001:db8::1]:51820 or vpn.example.com:51820"},

	// the files and their names
	{name: "no such file", args: []string{"up", "DIR/wgbt-f3.conf"},
		want: `there is no DIR/wgbt-f3.conf; want the name of an interface with a file in /etc/wireguard, or the path of a file NAME.conf`},
	{name: "no such interface", args: []string{"up", "wgbt-f3"},
		want: `there is no /etc/wireguard/wgbt-f3.conf; want the name of an interface with a file in /etc/wireguard, or the path of a file NAME.conf`},
	{name: "a name too long for an interface", args: []string{"up", "DIR/a-name-of-17-bytes.conf"},
		want: `"DIR/a-name-of-17-bytes.conf" names no interface: found "a-name-of-17-bytes.conf"; want a file NAME.conf, where NAME has 1 to 15 letters, digits and _ = + . -`},
	{name: "a file of another kind", args: []string{"up", "DIR/wgbt-f1.toml"},
		want: `"DIR/wgbt-f1.toml" names no interface: found "wgbt-f1.toml"; want a file NAME.conf, where NAME has 1 to 15 letters, digits and _ = + . -`},
	{name: "a directory", prepare: func(m *machine) { _ = os.Mkdir(m.dir+"/wgbt-f4.conf", 0o700) }, args: []string{"up", "DIR/wgbt-f4.conf"},
		want: `read DIR/wgbt-f4.conf: is a directory`},
	{name: "a file that the user may not read", user: true,
		want: `cannot read DIR/wgbt-f1.conf: permission denied to user 65534; run it as root (sudo)`},
	{name: "a user that may not", user: true, prepare: func(m *machine) { _ = os.Chmod(m.dir+"/wgbt-f1.conf", 0o644) },
		want: `this needs root (CAP_NET_ADMIN), and you are user 65534: sudo wg-bond up DIR/wgbt-f1.conf`},

	// NAME.bond.toml
	{name: "an unknown scheduler", side: `scheduler = "earlyest"`,
		want: `DIR/wgbt-f1.bond.toml:1: scheduler: found "earlyest"; want "earliest" (did you mean that?) or one of earliest, …`},
	{name: "an unknown key of a path", side: "[[path]]\ndevice = \"lo\"\nmaxrate = \"3 Mbit/s\"",
		want: `DIR/wgbt-f1.bond.toml:3: path 1: found the unknown key "maxrate"; want "max-rate" (did you mean that?) or one of name, device, …`},
	{name: "a rate without unit", side: "[[path]]\ndevice = \"lo\"\nmax-rate = 3600000",
		want: `DIR/wgbt-f1.bond.toml:3: path 1: max-rate: found the number 3600000; want a rate with its unit in quotes, like "3.6 Mbit/s" or "450 kB/s"`},
	{name: "no TOML", side: "[[path]\ndevice = \"lo\"",
		want: `DIR/wgbt-f1.bond.toml:1: found what is not TOML: expected ']]' to close array table name; want a TOML file (https://toml.io)`},
	{name: "a relay without its key", side: "[[path]]\ndevice = \"lo\"\nrelay = \"10.9.0.2:51900\"",
		want: "DIR/wgbt-f1.bond.toml:3: path 1: relay: found no relay-key beside it; want relay-key = \"…\", what `relayd pubkey` prints at the lender's"},
	{name: "no path's device is there", side: "[[path]]\ndevice = \"wwan0\"",
		want: `DIR/wgbt-f1.bond.toml: of the paths' devices (wwan0) there is none; the interfaces here are …`},
	{name: "a plugin that is not there", side: "scheduler = \"mine\"\n[plugin.mine]",
		want: `DIR/wgbt-f1.bond.toml:2: [plugin.mine]: refused: there is no program "mine" in /usr/local/lib/wg-bond/schedulers or /usr/lib/wg-bond/schedulers; install it there, or say path = "…" in [plugin.mine]`},
	{name: "a parameter of the wrong type", side: "[plugin.earliest]\nmargin = 5",
		want: `DIR/wgbt-f1.bond.toml:2: [plugin.earliest] margin: found 5; want a duration in quotes, from "0s" to "10s"`},

	// the machine
	{name: "the port is taken", conf: everywhere("ListenPort = 51820"), prepare: busyPort,
		want: "ListenPort = 51820: another program has this port (`ss -ulpn` shows which); end it, or choose another port: …"},
	{name: "an interface of this name", prepare: foreignLink,
		want: "there is an interface wgbt-f1 already, which wg-bond did not make; remove it first, `wg-quick down wgbt-f1` perhaps"},
	{name: "the socket is another program's", prepare: func(m *machine) {
		l, err := net.Listen("unix", uapi.SocketDir+"/wgbt-f1.sock")
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { l.Close() })
	},
		want: "/var/run/wireguard/wgbt-f1.sock: unix socket in use; is another program running the interface?\n(at the step: ip tuntap add wgbt-f1 mode tun)"},
	{name: "no TUN", mounts: "mount -t tmpfs tmpfs /dev/net",
		want: "there is no /dev/net/tun; load it with `modprobe tun`, or give it to the container with `--device /dev/net/tun`\n(at the step: ip tuntap add wgbt-f1 mode tun)"},
	{name: "kernel parameters that are read-only", mounts: "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys",
		want: "open /proc/sys/net/ipv4/conf/all/src_valid_mark: read-only file system; in a container, set it from outside (--sysctl net.ipv4.conf.all.src_valid_mark=1)\n(at the step: sysctl -q net.ipv4.conf.all.src_valid_mark=1)"},
	{name: "IPv6 is off", conf: everywhere("Address = fd77::2/64"), prepare: func(m *machine) {
		m.Run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
	},
		want: "the address fd77::2/64: permission denied; IPv6 seems to be off on this machine: set net.ipv6.conf.{all,default}.disable_ipv6 to 0, or take the address out\n(at the step: ip -6 address add fd77::2/64 dev wgbt-f1)"},
	{name: "an address twice", conf: everywhere("Address = 10.77.0.2/24"),
		want: "the address 10.77.0.2/24: the interface has it already; it is twice in the file, or a hook has added it: take one out\n(at the step: ip -4 address add 10.77.0.2/24 dev wgbt-f1)"},
	{name: "a route that is there", conf: peerLine("AllowedIPs = 10.90.0.0/16"), prepare: func(m *machine) { m.Run("ip", "route", "add", "10.90.0.0/16", "dev", "lo") },
		want: "the route to 10.90.0.0/16: another interface has one already (`ip route show 10.90.0.0/16`); narrow AllowedIPs, or say Table = off or a table's number\n(at the step: ip -4 route add 10.90.0.0/16 dev wgbt-f1)"},
	{name: "DNS and nobody to take it", conf: everywhere("DNS = 9.9.9.9"), env: "PATH=DIR",
		want: `DIR/wgbt-f1.conf:4: [Interface] DNS: found name servers, but neither resolvconf(8) nor systemd-resolved's resolvectl to give them to; install openresolv or systemd-resolved, or take the line out`},
	{name: "resolvconf fails", conf: everywhere("DNS = 9.9.9.9"), env: "PATH=DIR:/usr/bin:/bin", prepare: func(m *machine) {
		if err := os.WriteFile(m.dir+"/resolvconf", []byte("#!/bin/sh\n[ $1 = -d ] || exit 5\n"), 0o700); err != nil {
			m.t.Fatal(err)
		}
	},
		want: "resolvconf failed: exit status 5\n(at the step: resolvconf -a wgbt-f1 -m 0 -x)"},
	{name: "an endpoint that nobody knows", conf: peerLine("Endpoint = wg.invalid:51820"), env: "WG_ENDPOINT_RESOLUTION_RETRIES=0",
		want: "DIR/wgbt-f1.conf:5: [Peer] Endpoint: found \"wg.invalid:51820\", whose address could not be found: lookup wg.invalid…"},
	{name: "a variable that is no number", conf: peerLine("Endpoint = wg.invalid:51820"), env: "WG_ENDPOINT_RESOLUTION_RETRIES=many",
		want: "DIR/wgbt-f1.conf:5: [Peer] Endpoint: the variable WG_ENDPOINT_RESOLUTION_RETRIES: found \"many\"; want a number or infinity\n(at the step: wg addconf wgbt-f1 /dev/stdin)"},
	{name: "the first hook fails", conf: everywhere("PreUp = exit 6"),
		want: "[Interface] PreUp: bash failed: exit status 6\n(at the step: exit 6)"},
	{name: "the last hook fails", conf: everywhere("PostUp = exit 7"),
		want: "[Interface] PostUp: bash failed: exit status 7\n(at the step: exit 7)"},
	{name: "a journal that cannot be read", prepare: func(m *machine) {
		path := ctl.JournalPath("wgbt-f1")
		m.t.Cleanup(func() { os.Remove(path) })
		if err := errors.Join(os.MkdirAll(ctl.Dir, 0o755), os.WriteFile(path, []byte("{"), 0o600)); err != nil {
			m.t.Fatal(err)
		}
	},
		want: `/run/wg-bond/wgbt-f1.json: unexpected end of JSON input; it lists what an earlier up changed: undo that by hand, then delete it`},

	// the wrong moment, the wrong command
	{name: "up already", prepare: func(m *machine) { m.up(m.dir + "/wgbt-f1.conf") },
		want: "wgbt-f1 is up already; `wg-bond down wgbt-f1` takes it down, `wg-bond status wgbt-f1` shows it"},
	{name: "down of what is not up", args: []string{"down", "CONF"},
		want: "wgbt-f1 is not up; `wg-bond status` lists what is"},
	{name: "down of somebody else's interface", prepare: foreignLink, args: []string{"down", "CONF"},
		want: "the interface wgbt-f1 is not wg-bond's; `wg-quick down wgbt-f1` perhaps takes it down"},
	{name: "save of what is not up", args: []string{"save", "CONF"},
		want: "wgbt-f1 is not up, or is the kernel's, which `wg-quick save wgbt-f1` saves; `wg-bond status` lists what is up"},
	{name: "strip of a mistake", conf: everywhere("MTU = x"), args: []string{"strip", "CONF"},
		want: `DIR/wgbt-f1.conf:4: [Interface] MTU: found "x"; want a size in bytes from 68 to 65535 (IPv6 needs 1280)`},
	{name: "a plan with a mistake", conf: everywhere("Table = vnp"), args: []string{"up", "--dry-run", "CONF"},
		want: `DIR/wgbt-f1.conf:4: [Interface] Table: found "vnp", which /etc/iproute2/rt_tables does not have; want auto, off, a number or a name that is there`},
	{name: "a name that the kernel does not take", args: []string{"-f", "wg:0"},
		want: `making the interface "wg:0": invalid argument; a name has 1 to 15 characters, none of them a slash, a colon or a space, and no interface of another kind has it`},
	{name: "serve without [serve]", args: []string{"serve", "CONF"},
		want: `DIR/wgbt-f1.bond.toml: found no [serve]; want [serve] with listen = ":51820", the port that clients know, and upstream = "127.0.0.1:51821", where the stock WireGuard listens`},
	{name: "serve before nothing", side: "[serve]\nlisten = \":51820\"", args: []string{"serve", "CONF"},
		want: `DIR/wgbt-f1.bond.toml: found neither upstream in [serve] nor a ListenPort of the stock WireGuard; want one of them, upstream = "127.0.0.1:51821" for example`},
	{name: "serve without a key", conf: "[Interface]\nListenPort = 1", side: "[serve]\nlisten = \":51820\"", args: []string{"serve", "CONF"},
		want: `DIR/wgbt-f1.bond.toml: found no private key, neither of a WireGuard device wgbt-f1 nor in DIR/wgbt-f1.conf; want the key of the stock WireGuard behind`},
	{name: "serve on a port that is taken", side: servePort, prepare: busyPort, args: []string{"serve", "CONF"},
		want: "DIR/wgbt-f1.bond.toml: listen: another program has port 51820 (`ss -ulpn` shows which); if it is the stock WireGuard, give that another ListenPort: shim: udp: listen at 0.0.0.0:51820: listen udp4 0.0.0.0:51820: bind: address already in use"},
}

// TestBroken: what is wrong is said, and what would be right; the status is
// not zero, and the machine is as it was, to the last kernel parameter.
func TestBroken(t *testing.T) {
	if len(broken) < 25 {
		t.Errorf("only %d inputs", len(broken))
	}
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			m := machines(t, 1)[0]
			program, err := exec.LookPath("wg-bond")
			if err != nil {
				t.Fatal(err)
			}
			if c.conf == "" {
				c.conf = everywhere("")
			}
			conf := m.file("wgbt-f1.conf", c.conf)
			if c.side != "" {
				m.file("wgbt-f1.bond.toml", c.side)
			}
			if c.prepare != nil {
				c.prepare(m)
			}
			before := m.State()
			args := c.args
			if args == nil {
				args = []string{"up", "CONF"}
			}
			fill := strings.NewReplacer("CONF", conf, "DIR", m.dir)
			args = slices.Clone(args)
			for i, arg := range args {
				args[i] = fill.Replace(arg)
			}
			cmd := exec.Command(program, args...)
			if c.mounts != "" {
				if _, stderr, err := m.Try("unshare", "-m", "sh", "-ec", c.mounts); err != nil {
					t.Skipf("mounting does not work here: %v\n%s", err, stderr)
				}
				cmd = exec.Command("unshare", append([]string{"-m", "sh", "-ec", c.mounts + "\nexec \"$@\"", "sh", program}, args...)...)
			}
			if c.env != "" {
				cmd.Env = append(os.Environ(), fill.Replace(c.env))
			}
			if c.user {
				m.open()
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			m.Start(cmd)
			if err := cmd.Wait(); err == nil {
				t.Fatalf("no error\n%s", &stderr)
			}
			got := regexp.MustCompile(`(?s)^.*?(^|\n)wg-bond: `).ReplaceAllString(stderr.String(), "")
			got = strings.ReplaceAll(strings.TrimSuffix(got, "\n"), m.dir, "DIR")
			if want, cut := strings.CutSuffix(c.want, "…"); cut && strings.HasPrefix(got, want) {
				got = c.want
			}
			if got != c.want {
				t.Errorf("it says\n\t%s\nwant\n\t%s", got, c.want)
			}
			if diff := cmp.Diff(before, m.State()); diff != "" {
				t.Errorf("the machine is not as it was: %s", diff)
			}
		})
	}
}

// open lets everybody look into the directories of the test.
func (m *machine) open() {
	m.t.Helper()
	bin, _ := programs()
	err := os.Chmod(bin, 0o755)
	for dir := m.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		err = errors.Join(err, os.Chmod(dir, 0o755))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}
