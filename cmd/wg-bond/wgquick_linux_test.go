package main

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

const (
	peerB = "[Peer]\nPublicKey = " + publicB + "\n"
	peerC = "[Peer]\nPublicKey = " + publicC + "\n"
)

// likeWgQuick are files that wg-quick takes. The private key of the first
// section is left out here.
var likeWgQuick = []struct{ name, text string }{
	{"nothing but a key", "[Interface]\n"},
	{"an address and a range", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "AllowedIPs = 10.77.0.0/24\nEndpoint = 192.0.2.1:51820\n"},
	{"many addresses and ranges", "[Interface]\nAddress = 10.77.0.2/24, 10.78.0.2,10.79.0.2/31\nAddress = fd77::2/64\n" +
		peerB + "AllowedIPs = 10.77.0.0/16, 10.77.0.0/24, 10.80.0.1, fd78::/32\n"},
	{"addresses of one network", "[Interface]\nAddress = 10.77.0.2/24, 10.77.0.3/24, 10.77.0.4/32\n" + peerB + "AllowedIPs = 10.77.0.0/25, 0.0.0.0/0\n"},
	{"IPv6 only", "[Interface]\nAddress = fd77::2/64, fd79::2\n" + peerB + "AllowedIPs = fd77::/64, fd80::/48, fd79::2/128\nEndpoint = [2001:db8::1]:51820\n"},
	{"everywhere", "[Interface]\nAddress = 10.77.0.2/24, fd77::2/64\n" + peerB + "AllowedIPs = 0.0.0.0/0, ::/0\n"},
	{"everywhere, without an address", "[Interface]\n" + peerB + "AllowedIPs = 0.0.0.0/0\n"},
	{"everywhere in IPv4", "[Interface]\nAddress = 10.77.0.2/32, fd77::2/128\n" + peerB + "AllowedIPs = 0.0.0.0/0, fd78::/64\n"},
	{"everywhere in IPv6", "[Interface]\nAddress = 10.77.0.2/32, fd77::2/128\n" + peerB + "AllowedIPs = ::/0, 10.78.0.0/16\n"},
	{"everywhere in halves", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1\n"},
	{"a mark of the user's", "[Interface]\nAddress = 10.77.0.2/24\nFwMark = 0x1234\n" + peerB + "AllowedIPs = 0.0.0.0/0\n"},
	{"a mark and no default route", "[Interface]\nAddress = 10.77.0.2/24\nFwMark = 4660\nListenPort = 5001\n" + peerB + "AllowedIPs = 10.77.0.0/24\n"},
	{"a mark that is off", "[Interface]\nAddress = 10.77.0.2/24\nFwMark = off\n" + peerB + "AllowedIPs = 0.0.0.0/0\n"},
	{"CRLF, upper and lower case", "[interface]\r\nFWMARK = 0x1234\r\nADDRESS = FD77::2\r\nmtu = 1300 # narrow\r\n" +
		strings.ReplaceAll(peerB, "\n", "\r\n") + "allowedips = ::/0\r\n"},
	{"tabs, spaces and no end of line", "\t[Interface]  \n\n\tAddress=10.77.0.2/24 ,\t10.78.0.2/24\n   MTU   =   1310\n  [Peer]\nPublicKey=" + publicB + "\n\tAllowedIPs =10.90.0.0/16 , 10.91.0.0/16"},
	{"comments", "# first\n[Interface] # ours\n#Address = 10.1.1.1/24\nAddress = 10.77.0.2/24 # 10.2.2.2/24\n# [Peer]\n" + peerB + "  # inside\nAllowedIPs = 10.77.0.0/24 # , 0.0.0.0/0\n# last"},
	{"the peer first", peerB + "AllowedIPs = 10.77.0.0/24\n[Interface]\nAddress = 10.77.0.2/24\n"},
	{"sections in pieces", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "AllowedIPs = 10.90.0.0/16\n[Interface]\nAddress = 10.78.0.2/24\nMTU = 1300\nMTU = 1310\n"},
	{"Table = auto", "[Interface]\nAddress = 10.77.0.2/24\nTable = auto\n" + peerB + "AllowedIPs = 0.0.0.0/0, 10.90.0.0/16\n"},
	{"Table = off", "[Interface]\nAddress = 10.77.0.2/24\nTable = off\n" + peerB + "AllowedIPs = 0.0.0.0/0, ::/0, 10.90.0.0/16\n"},
	{"a table by number", "[Interface]\nAddress = 10.77.0.2/24, fd77::2/64\nTable = 77\n" + peerB + "AllowedIPs = 0.0.0.0/0, ::/0, 10.77.0.0/24, 10.90.0.0/16\n"},
	{"the main table by number", "[Interface]\nAddress = 10.77.0.2/32\nTable = 254\n" + peerB + "AllowedIPs = 10.90.0.0/16, fd90::/32\n"},
	{"DNS", "[Interface]\nAddress = 10.77.0.2/24\nDNS = 10.77.0.1, fd77::1\nDNS = 9.9.9.9\n" + peerB + "AllowedIPs = 10.77.0.0/24\n"},
	{"DNS and domains", "[Interface]\nAddress = 10.77.0.2/24\nDNS = 10.77.0.1, home.arpa,lan\n" + peerB + "AllowedIPs = 0.0.0.0/0\n"},
	{"domains without DNS", "[Interface]\nAddress = 10.77.0.2/24\nDNS = home.arpa\n" + peerB + "AllowedIPs = 10.77.0.0/24\n"},
	{"hooks", "[Interface]\nAddress = 10.77.0.2/24\nPreUp = echo PreUp %i >> $HOOKLOG\nPostUp = echo PostUp %i %i >> $HOOKLOG; ip -4 -o address show dev %i | wc -l >> $HOOKLOG\n" +
		"PostUp = ip address add 10.81.0.1/32 dev %i; ip route add 10.82.0.0/16 dev %i # both\nPreDown = echo PreDown >> $HOOKLOG\nPostDown = echo PostDown $LC_ALL >> $HOOKLOG\n" +
		peerB + "AllowedIPs = 10.77.0.0/24, 10.77.0.9/32\n"},
	// Without "&": under bash 5.2 wg-quick save puts "[Interface]" in its place.
	{"hooks for bash", "[Interface]\nPostUp = [[ wg0 == +([a-z0-9]) ]]; a=(1 \"2 = 3\"); echo \"${a[1]}\" >> $HOOKLOG\nPostUp = shopt extglob >> $HOOKLOG\n" + peerB},
	{"SaveConfig", "[Interface]\nAddress = 10.77.0.2/24\nListenPort = 5002\nMTU = 1320\nSaveConfig = true\nPostUp = wg set %i peer " + publicC + " allowed-ips 10.83.0.0/24\n" + peerB + "AllowedIPs = 10.77.0.0/24\n"},
	{"a preshared key, keepalives", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "PresharedKey = " + publicA + "\nPersistentKeepalive = 25\nEndpoint = 192.0.2.1:7\nAllowedIPs = 10.77.0.1/32\n" +
		peerC + "PersistentKeepalive = off\nAllowedIPs = 10.77.0.3/32\n"},
	{"ranges in one another, of two peers", "[Interface]\nAddress = 10.77.0.2/32\nListenPort = 5000\n" + peerB + "AllowedIPs = 10.77.0.1/32, 10.83.0.0/24\n" + peerC + "AllowedIPs = 10.83.0.0/25, ::/0\n"},
	{"one range for two peers", "[Interface]\nAddress = 10.77.0.2/32\n" + peerB + "AllowedIPs = 10.83.0.0/24, 10.84.0.0/24\n" + peerC + "AllowedIPs = 10.83.0.0/24\n"},
	{"ranges with host bits", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "AllowedIPs = 10.77.0.9/24, 10.84.3.4/16, fd84::5/32\n"},
	{"an endpoint with a route", "[Interface]\nAddress = 10.77.0.2/24\n" + peerB + "AllowedIPs = 10.77.0.0/24\nEndpoint = 10.99.0.2:1\n"},
}

// resolvconf keeps what it is given and notes how it is called, as little as
// wg-quick needs.
const resolvconf = `#!/bin/sh
dir=$(dirname "$0")
[ "$1" = -l ] || echo "$@" >> "$dir/resolvconf.log"
case $1 in
-a) tee "$dir/$2" >> "$dir/resolvconf.log";;
-l) cat "$dir/$2";;
-d) rm "$dir/$2";;
esac
`

// TestLikeWgQuick brings up the same files with the real wg-quick, on stock
// wireguard-go, and with wg-bond, and compares all that can be seen of it: the
// steps that are told, what becomes of the machine and of WireGuard, what
// hooks and resolvconf are given, what save and strip write. Where versions of
// wg-quick differ, both ways count as the same.
func TestLikeWgQuick(t *testing.T) {
	const name = "wgbt-w1"
	if len(likeWgQuick) < 25 {
		t.Errorf("only %d files", len(likeWgQuick))
	}
	for _, c := range likeWgQuick {
		t.Run(c.name, func(t *testing.T) {
			ms := machines(t, 2)
			m := ms[0]
			wgQuick, err := exec.LookPath("wg-quick")
			if err != nil {
				t.Skip("this test needs wg-quick")
			}
			// wg-quick prefers what lies beside it to all of PATH.
			bin := t.TempDir()
			script, err := os.ReadFile(wgQuick)
			if err := errors.Join(err, os.WriteFile(bin+"/wg-quick", script, 0o700), os.WriteFile(bin+"/resolvconf", []byte(resolvconf), 0o700)); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			t.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go")
			hookLog := filepath.Join(m.dir, "hooks")
			t.Setenv("HOOKLOG", hookLog)
			nstest.Cable(m.Namespace, ms[1].Namespace, "wgbt-p0", "10.99.0.1/24", "10.99.0.2/24")
			m.Run("ip", "link", "set", "wgbt-p0", "mtu", "1440")
			m.Run("ip", "route", "add", "default", "via", "10.99.0.2")

			text := regexp.MustCompile(`(?i)\[interface\].*\n`).ReplaceAllString(c.text, "${0}PrivateKey = "+privateA+"\n")
			conf := m.file(name+".conf", text)
			before := m.State()
			wide := strings.Contains(text, "ListenPort")
			see := func(program string) string {
				showconf := m.Run("wg", "showconf", name)
				log := take(t, hookLog)
				m.Run(program, "save", conf)
				return comparable(m.State()) + "# showconf\n" + settings(showconf, wide) + "# hooks\n" + log + "# saved\n" + settings(take(t, conf), wide)
			}
			afterwards := func() string { return take(t, bin+"/resolvconf.log") + take(t, hookLog) }

			plan := m.Run("wg-bond", "up", "--dry-run", conf)
			_, steps, err := m.Try("wg-quick", "up", conf)
			if err != nil && strings.Contains(steps, "[#] nft -f ") {
				t.Skipf("this kernel cannot make wg-quick's firewall table:\n%s", steps)
			}
			if err != nil {
				t.Fatalf("wg-quick up: %v\n%s", err, steps)
			}
			if diff := cmp.Diff(told(steps), told(plan)); diff != "" {
				t.Errorf("steps: %s", diff)
			}
			theirs := see("wg-quick")
			m.file(name+".conf", text)
			stripped := m.Run("wg-quick", "strip", conf)
			m.Run("wg-quick", "down", conf)
			eventually(t, "the end of wireguard-go", func() bool {
				_, err := os.Stat(uapi.SocketDir + "/" + name + ".sock")
				return errors.Is(err, os.ErrNotExist)
			})
			theirs += afterwards()

			m.file(name+".conf", text)
			m.up(conf)
			ours := see("wg-bond")
			m.file(name+".conf", text)
			if diff := cmp.Diff(stripped, m.Run("wg-bond", "strip", conf)); diff != "" {
				t.Errorf("strip: %s", diff)
			}
			m.Run("wg-bond", "down", conf)
			m.gone(name)
			ours += afterwards()
			m.sameState(before)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("wg-quick's and ours differ: %s", diff)
			}
		})
	}
}

// TestWorldReadable: of a private key that everybody can read both warn in the
// same words, and of one in a directory that nobody else can enter neither.
func TestWorldReadable(t *testing.T) {
	m := machines(t, 1)[0]
	if _, err := exec.LookPath("wg-quick"); err != nil {
		t.Skip("this test needs wg-quick")
	}
	conf := m.file("wgbt-w2.conf", "[Interface]\n")
	for _, c := range []struct {
		dir, file os.FileMode
		warning   string
	}{{0o755, 0o644, "Warning: `" + conf + "' is world accessible\n"}, {0o755, 0o600, ""}, {0o700, 0o644, ""}} {
		if err := errors.Join(os.Chmod(m.dir, c.dir), os.Chmod(conf, c.file)); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"wg-quick", "wg-bond"} {
			if _, stderr, err := m.Try(program, "strip", conf); err != nil || stderr != c.warning {
				t.Errorf("%s, directory %o, file %o: %v %q", program, c.dir, c.file, err, stderr)
			}
		}
	}
}

// take reads a file and removes it; without one it is empty.
func take(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// comparable leaves out of a state what must differ: the interface's number,
// the order of the firewall's rules, and the link-local address that the kernel
// gives to wireguard-go's TUN but would not give to a WireGuard interface of its
// own.
func comparable(state string) string {
	var lines []string
	for line := range strings.Lines(state) {
		if !strings.Contains(line, "fe80::") && !strings.Contains(line, "multicast ff00::/8") {
			lines = append(lines, regexp.MustCompile(`^\d+: wgbt-w`).ReplaceAllString(line, "N: wgbt-w"))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// settings makes configurations comparable: the port counts if the file has
// one, the order of peers and of their ranges does not; wg-quick forgets search
// domains, and saves the link-local address.
func settings(text string, port bool) string {
	sections := strings.Split(text, "[Peer]")
	for i, section := range sections {
		sections[i] = sectionSettings(section, port)
	}
	slices.Sort(sections[1:])
	return strings.Join(sections, "[Peer]\n")
}

func sectionSettings(text string, port bool) string {
	var lines []string
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		value, _, _ = strings.Cut(value, " #")
		switch key {
		case "DNS":
			if _, err := netip.ParseAddr(value); err != nil {
				continue
			}
		case "AllowedIPs":
			words := strings.Split(value, ", ")
			slices.Sort(words)
			value = strings.Join(words, ", ")
		}
		if key == "" || key == "ListenPort" && !port || key == "Address" && strings.HasPrefix(value, "fe80::") || key == "Table" && value == "auto" {
			continue
		}
		lines = append(lines, key+" = "+value+"\n")
	}
	return strings.Join(lines, "")
}

var (
	placing    = regexp.MustCompile(`^ip -[46] (rule add|route add .* table )`)
	configures = regexp.MustCompile(`^wg (setconf|addconf) (\S+) .*`)
	isAddress  = regexp.MustCompile(`^(ip -[46] address add )(\S+)(.*)`)
)

// told are the steps that wg-quick and wg-bond print, without what differs
// between them or between versions of wg-quick: how the interface is made, and
// when before keys; whether the rules of a default route precede it or follow;
// by which descriptor a program is fed; and how an address is written.
func told(text string) []string {
	var steps []string
	end := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if end != "" {
			if line == end {
				end = ""
			}
			continue
		}
		step, ok := strings.CutPrefix(line, "[#] ")
		if !ok || strings.HasPrefix(step, "ip link add ") || strings.HasPrefix(step, "wireguard-go ") || strings.HasPrefix(step, "ip tuntap add ") {
			continue
		}
		var here bool
		if step, _, here = strings.Cut(step, " <<'EOF'"); here {
			end = "EOF"
		}
		step, _, _ = strings.Cut(step, " # ")
		if strings.HasPrefix(step, "nft -f ") {
			step = "nft -f"
		}
		step = configures.ReplaceAllString(step, "wg setconf $2")
		if match := isAddress.FindStringSubmatch(step); match != nil {
			if a, err := netip.ParseAddr(match[2]); err == nil {
				step = match[1] + netip.PrefixFrom(a, a.BitLen()).String() + match[3]
			}
		}
		steps = append(steps, step)
	}
	for i := 0; i < len(steps); i++ {
		n := i
		for n < len(steps) && placing.MatchString(steps[n]) {
			n++
		}
		slices.Sort(steps[i:n])
		i = max(i, n)
	}
	return steps
}
