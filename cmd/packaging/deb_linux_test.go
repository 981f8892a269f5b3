package packaging

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

var packages = flag.String("deb", "", "the directory of the packages to try; TestDeb is skipped without")

// Keys of the borrower and of the server.
const (
	privateA = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	publicA  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
	privateB = "2AJ26z6k0PsCbrqI1UqZDlKKKZ60jvup5O2j2wLvZF4="
	publicB  = "CA7MjiDxct3cDKotDsUaF+/DT/DPJfS0DCj27ZMwaH8="
)

// machine is a fresh Debian in a network namespace.
type machine struct {
	*nstest.Namespace
	t    *testing.T
	root string
}

// command is a shell's command line within the machine.
func (m *machine) command(line string) []string {
	const enter = `mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys" && cd / && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$1" sh -ec "$2"`
	return []string{"unshare", "--mount", "sh", "-c", enter, "sh", m.root, line}
}

// sh runs a command line within the machine.
func (m *machine) sh(line string) string {
	m.t.Helper()
	out, errOut, err := m.try(line)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s%s", line, err, out, errOut)
	}
	return out
}

func (m *machine) try(line string) (out, errOut string, err error) {
	m.t.Helper()
	c := m.command(line)
	return m.Try(c[0], c[1:]...)
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

// files are all there are but for what the package manager keeps and what
// systems have at run time.
func (m *machine) files() []string {
	m.t.Helper()
	var all []string
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = strings.TrimPrefix(path, m.root)
		if d.IsDir() && slices.Contains([]string{"/var/lib/dpkg", "/var/log", "/var/cache", "/proc", "/sys", "/dev", "/tmp", "/etc/wireguard"}, path) {
			return filepath.SkipDir
		}
		all = append(all, path)
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// debian makes the root of a fresh Debian of this machine's release, from its
// mirror, as newcomers have it with WireGuard's tools.
func debian(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a fresh Debian needs root")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("this test needs mmdebstrap")
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Skip("this test needs a Debian")
	}
	name := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(release)
	if name == nil || !strings.Contains(string(release), "ID=debian") {
		t.Skip("this test needs a Debian")
	}
	root := filepath.Join(t.TempDir(), "root")
	args := []string{"--quiet", "--variant=essential", "--include=iproute2,iputils-ping,procps,wireguard-tools,wireguard-go,systemd-sysv,dbus", string(name[1]), root}
	for _, sources := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
		if _, err := os.Stat(sources); err == nil {
			args = append(args, sources)
			break
		}
	}
	if out, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		t.Skipf("a fresh Debian cannot be made, from the mirror of this one: %v\n%s", err, out)
	}
	for _, args := range [][]string{
		{"mkdir", "-p", root + "/dev/net"},
		{"mknod", root + "/dev/net/tun", "c", "10", "200"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", args, err, out)
		}
	}
	return root
}

// readme has the README's displays of a section, in order.
func readme(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n### "+section+"\n")
	if !found {
		t.Fatalf("the README has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n### ")
	rest, _, _ = strings.Cut(rest, "\n## ")
	var all []string
	for _, block := range regexp.MustCompile(`(?m)(?:^ {4}.*\n|^\n)+`).FindAllString(rest, -1) {
		if block = strings.TrimSpace(strings.ReplaceAll("\n"+block, "\n    ", "\n")); block != "" {
			all = append(all, block+"\n")
		}
	}
	return all
}

// display is the one that has part.
func display(t *testing.T, all []string, part string) string {
	t.Helper()
	for _, d := range all {
		if strings.Contains(d, part) {
			return d
		}
	}
	t.Fatalf("no display with %q in %q", part, all)
	return ""
}

// fill puts values where the README has "…", in order.
func fill(t *testing.T, text string, values ...string) string {
	t.Helper()
	if n := strings.Count(text, "…"); n != len(values) {
		t.Fatalf("the README has %d places to fill, want %d:\n%s", n, len(values), text)
	}
	for _, v := range values {
		text = strings.Replace(text, "…", v, 1)
	}
	return text
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// older makes of a package one that differs in its version alone, which is lower
// than any.
func older(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "unpacked")
	out, err := exec.Command("dpkg-deb", "--raw-extract", deb, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := filepath.Join(dir, "DEBIAN/control")
	control, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	control = regexp.MustCompile(`(?m)^Version: .*$`).ReplaceAll(control, []byte("Version: "+oldVersion))
	if err := os.WriteFile(file, control, 0o644); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), filepath.Base(deb))
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", dir, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return old
}

const oldVersion = "0~~"

// install installs packages, or upgrades to them.
func (m *machine) install(debs []string) {
	m.t.Helper()
	for _, deb := range debs {
		text, err := os.ReadFile(deb)
		if err != nil {
			m.t.Fatal(err)
		}
		m.write("tmp/"+filepath.Base(deb), string(text))
	}
	m.sh("dpkg -i /tmp/*.deb </dev/null && rm /tmp/*.deb")
}

// upgraded upgrades a machine on which things are set up and run: none of that
// is disturbed, and what its owner has written stays.
func (m *machine) upgraded(debs []string, files ...string) {
	m.t.Helper()
	text := func() (all string) {
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join(m.root, file))
			if err != nil {
				m.t.Error(err)
			}
			all += file + ":\n" + string(data)
		}
		return all
	}
	versions := func() string { return m.sh("dpkg-query -W -f '${Version} ' wg-bond wg-bond-relayd") }
	before, was := text(), versions()
	m.install(debs)
	if now := versions(); was != oldVersion+" "+oldVersion+" " || strings.Contains(now, oldVersion) {
		m.t.Errorf("upgraded from %q to %q", was, now)
	}
	if diff := cmp.Diff(before, text()); diff != "" {
		m.t.Errorf("the upgrade has changed:\n%s", diff)
	}
}

// TestDeb is the newcomers' way, by the README's own words: three fresh
// Debians, on which the packages are installed, used and removed.
//
//	borrower ── wwan0 ─────────────────────────── server
//	       └─── wlan0 ── lender ── wwan1 ─────────┘
func TestDeb(t *testing.T) {
	if *packages == "" {
		t.Skip("no packages given: make deb-test makes and tries them")
	}
	root := debian(t) // while there is a network
	namespaces := nstest.New(t, 3)
	fresh := &machine{namespaces[0], t, root}
	before := fresh.files()
	debs, err := filepath.Glob(filepath.Join(*packages, "*.deb"))
	if err != nil || len(debs) != 2 {
		t.Fatalf("%q: %q, %v; want two packages", *packages, debs, err)
	}
	var old []string
	for _, deb := range debs {
		old = append(old, older(t, deb))
	}
	fresh.install(old)
	if info, err := os.Stat(filepath.Join(root, "etc/wg-bond/relayd.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("relayd's key: %v, %v", info, err)
	}
	if version := fresh.sh("wg-bond --version && wg-bond-relayd --version"); !strings.HasPrefix(version, "wg-bond ") || !strings.Contains(version, "\nwg-bond-relayd ") {
		t.Errorf("version: %s", version)
	}

	var all []*machine
	for n, ns := range namespaces {
		m := &machine{ns, t, root}
		if n > 0 {
			m.root = filepath.Join(t.TempDir(), "root")
			if out, err := exec.Command("cp", "-a", root, m.root).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
		all = append(all, m)
	}
	t.Run("services", func(t *testing.T) {
		m := &machine{all[0].Namespace, t, filepath.Join(t.TempDir(), "root")}
		if out, err := exec.Command("cp", "-a", root, m.root).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		services(t, m)
	})
	borrower, lender, server := all[0], all[1], all[2]
	nstest.Cable(borrower.Namespace, server.Namespace, "wwan0", "203.0.113.1/24", "203.0.113.2/24")
	nstest.Cable(borrower.Namespace, lender.Namespace, "wlan0", "10.9.0.1/24", "10.9.0.2/24")
	nstest.Cable(lender.Namespace, server.Namespace, "wwan1", "198.51.100.1/24", "198.51.100.2/24")
	borrower.Run("ip", "route", "add", "default", "via", "203.0.113.2")
	lender.Run("ip", "route", "add", "default", "via", "198.51.100.2")
	borrower.write("etc/hosts", "203.0.113.2 server.example\n")

	// The server.
	steps := readme(t, "The server")
	server.write("etc/wireguard/wg0.conf", fill(t, display(t, steps, "ListenPort"), privateB, publicA))
	server.write("etc/wireguard/wg0.bond.toml", display(t, steps, "[serve]"))
	t.Cleanup(func() { _, _, _ = server.try("wg-bond down wg0; wg-quick down wg0") })
	server.sh(display(t, steps, "wg-bond serve wg0"))

	// The lender. Test networks are as private as home networks.
	steps = readme(t, "The lender")
	keys := strings.ReplaceAll(display(t, steps, "genkey"), "relayd ", "wg-bond-relayd ")
	public := strings.TrimSpace(lender.sh("cd /etc/wg-bond && " + strings.ReplaceAll(keys, "\n", " && ") + " true"))
	toml := fill(t, display(t, steps, "[[allow]]"), publicA)
	lender.write("etc/wg-bond/relayd.toml", "allow-private-targets = true\nuser = \"root\"\n"+strings.Replace(toml, `"wwan0"`, `"wwan1"`, 1))
	relayd := lender.command("cd /etc/wg-bond && exec " + strings.TrimSpace(strings.ReplaceAll(display(t, steps, "relayd --config"), "relayd --", "wg-bond-relayd --")))
	cmd := exec.Command(relayd[0], relayd[1:]...)
	lender.Start(cmd)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	// The borrower: a stock wg0.conf, and the README's side file with links of
	// 20 Mbit/s, so that one alone does not do.
	steps = readme(t, "The borrower")
	borrower.write("etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = "+privateA+"\nAddress = 10.0.0.2/24\n[Peer]\nPublicKey = "+publicB+"\nAllowedIPs = 10.0.0.0/24\nEndpoint = server.example:51820\n")
	side := fill(t, display(t, steps, "relay-key"), public)
	borrower.write("etc/wireguard/wg0.bond.toml", strings.ReplaceAll(side, "\ndevice", "\nmax-rate = \"20 Mbit/s\"\ndevice"))
	t.Cleanup(func() { _, _, _ = borrower.try("ip link delete wg0") })
	lines := strings.Split(display(t, steps, "wg-bond up wg0"), "\n")
	borrower.sh(lines[0])
	is := func() *status.Bond {
		i := new(status.Interface)
		if err := json.Unmarshal([]byte(borrower.sh("wg-bond status wg0 --json")), i); err != nil {
			t.Fatal(err)
		}
		return i.Peers[0].Bond
	}
	eventually(t, "both paths to work", func() bool {
		borrower.sh("ping -q -c 1 -w 20 10.0.0.1")
		b := is()
		return b.Bonded && len(b.Paths) == 2 && b.Paths[0].State == "active" && b.Paths[1].State == "active"
	})
	const size = 6 << 20
	upload(t, borrower.Namespace, server.Namespace, "10.0.0.1:4000", size)
	for _, p := range is().Paths {
		if p.TxBytes < size/5 {
			t.Errorf("of %d bytes, path %s carried %d: not bonded", size, p.Name, p.TxBytes)
		}
	}
	for _, line := range lines[1:] {
		if strings.Contains(line, "wg-bond status") {
			borrower.sh(line)
		}
	}
	if out, errOut, _ := borrower.try("wg-bond doctor wg0 --for 1s"); !strings.Contains(out, "wg0: ") {
		t.Errorf("doctor: %s%s", out, errOut)
	}

	// Upgraded while it is up, the interface stays as it is, with the program of
	// before, which the new one's commands understand; so does the lender's.
	pid := func() int {
		i := new(status.Interface)
		if err := json.Unmarshal([]byte(borrower.sh("wg-bond status wg0 --json")), i); err != nil {
			t.Fatal(err)
		}
		return i.PID
	}
	running := pid()
	borrower.upgraded(debs, "etc/wireguard/wg0.conf", "etc/wireguard/wg0.bond.toml", "etc/wg-bond/relayd.key")
	lender.upgraded(debs, "etc/wg-bond/relayd.toml", "etc/wg-bond/relayd.key")
	if now := pid(); now != running {
		t.Errorf("after the upgrade wg0 is process %d's, before %d's", now, running)
	}
	upload(t, borrower.Namespace, server.Namespace, "10.0.0.1:4001", size)
	borrower.sh("wg-bond down wg0 && wg-bond up wg0 && ping -q -c 1 -w 20 10.0.0.1")

	// Removed while it is up, it takes the interface down, and purged it leaves
	// nothing.
	borrower.sh("dpkg -r wg-bond && dpkg --purge wg-bond wg-bond-relayd")
	if _, _, err := borrower.Try("ip", "link", "show", "wg0"); err == nil {
		t.Error("wg0 is still there")
	}
	after := slices.DeleteFunc(borrower.files(), func(path string) bool {
		return path == "/run/wg-bond" || path == "/run/wireguard" || path == "/etc/hosts"
	})
	if diff := cmp.Diff(slices.DeleteFunc(before, func(path string) bool { return path == "/etc/hosts" }), after); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
	server.sh("wg-bond down wg0 && wg-quick down wg0")
}

// upload sends size bytes from one namespace to an address in the other.
func upload(t *testing.T, from, to *nstest.Namespace, address string, size int) {
	t.Helper()
	var l net.Listener
	var c net.Conn
	var err error
	to.Do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from.Do(func() { c, err = net.Dial("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	go func() {
		_, _ = io.CopyN(c, zeros{}, int64(size))
		c.Close()
	}()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	_ = got.SetDeadline(time.Now().Add(60 * time.Second))
	if n, err := io.Copy(io.Discard, got); err != nil || n != int64(size) {
		t.Fatalf("of %d bytes arrived %d: %v", size, n, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
