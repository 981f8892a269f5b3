package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// Keys of two machines.
const (
	privateA = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	publicA  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
	privateB = "2AJ26z6k0PsCbrqI1UqZDlKKKZ60jvup5O2j2wLvZF4="
	publicB  = "CA7MjiDxct3cDKotDsUaF+/DT/DPJfS0DCj27ZMwaH8="
	privateC = "iAt66yRr4eUauWM0vD6rdOIKSrneEhlMHhSpVe/wD0w="
	publicC  = "Irtnz1sudFUe/OeMPky0hhuSHb7TXxqE9e3CZ1l92TE="
)

// programs builds wg-bond and stock wireguard-go, once.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wg-bond-test")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"wg-bond": ".", "relayd": "../relayd", "wireguard-go": "golang.zx2c4.com/wireguard"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput(); err != nil {
			return dir, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil || dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// machine is a network namespace with a directory of configurations.
type machine struct {
	*nstest.Namespace
	t   *testing.T
	dir string
}

// machines makes n of them.
func machines(t *testing.T, n int) []*machine {
	t.Helper()
	namespaces := nstest.New(t, n)
	for _, tool := range []string{"wg", "ping"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this test needs %s", tool)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("this test needs TUN devices: %v", err)
	}
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("LOG_LEVEL", "")
	var all []*machine
	for _, ns := range namespaces {
		all = append(all, &machine{ns, t, t.TempDir()})
	}
	return all
}

// file writes a configuration and returns its path.
func (m *machine) file(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// up brings up a configuration; it goes down with the test.
func (m *machine) up(conf string) {
	m.t.Helper()
	m.Run("wg-bond", "up", conf)
	name := strings.TrimSuffix(filepath.Base(conf), ".conf")
	m.t.Cleanup(func() {
		_, _, _ = m.Try("ip", "link", "delete", name) // which ends it, unless it has ended
		m.gone(name)
	})
}

// gone waits until nothing is left of an interface's wg-bond.
func (m *machine) gone(name string) {
	m.t.Helper()
	for _, path := range []string{ctl.SocketPath(name), ctl.JournalPath(name), uapi.SocketDir + "/" + name + ".sock"} {
		eventually(m.t, path+" to go", func() bool {
			_, err := os.Stat(path)
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// background starts a program that is killed with the test, if it has not
// ended, and returns it with what it prints to standard error.
func (m *machine) background(name string, args ...string) (*exec.Cmd, *lockedBuffer) {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	out := new(lockedBuffer)
	cmd.Stderr = out
	m.Start(cmd)
	m.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, out
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)

// patience bounds the waits of these tests; only a failure takes so long.
const patience = 90 * time.Second

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (m *machine) status(name string) *status.Interface {
	m.t.Helper()
	i := new(status.Interface)
	if err := json.Unmarshal([]byte(m.Run("wg-bond", "status", name, "--json")), i); err != nil {
		m.t.Fatal(err)
	}
	return i
}

// metrics asks at the socket in the machine's directory.
func (m *machine) metrics() string {
	m.t.Helper()
	c, err := net.Dial("unix", filepath.Join(m.dir, "metrics"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	_, err = io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n")
	text, readErr := io.ReadAll(c)
	if err := errors.Join(err, readErr); err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

const clientConf = `[Interface]
PrivateKey = ` + privateA + `
Address = 10.77.0.2/24, fd77::2/64
[Peer]
PublicKey = ` + publicB + `
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 10.99.1.2:51820
PersistentKeepalive = 25
`

const clientSide = `
[[path]]
device = "wgbt-p1"
[[path]]
device = "wgbt-p2"
name = "second"
metered = true
`

// serve starts a stock wireguard-go and wg-bond serve before it, for the client
// of clientConf. Both end with the test.
func (m *machine) serve(name string) {
	m.t.Helper()
	behind := m.file(name+".conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51821\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	m.file(name+".bond.toml", "[serve]\nlisten = \":51820\"\n")
	stock, _ := m.background("wireguard-go", "-f", name)
	eventually(m.t, "wireguard-go", func() bool { _, _, err := m.Try("wg", "setconf", name, behind); return err == nil })
	m.Run("ip", "address", "add", "10.77.0.1/24", "dev", name)
	m.Run("ip", "link", "set", name, "up")
	m.Run("wg-bond", "serve", behind)
	m.t.Cleanup(func() {
		_, _, _ = m.Try("wg-bond", "down", behind)
		eventually(m.t, "the server's end", func() bool {
			_, err := os.Stat(ctl.SocketPath(name))
			return errors.Is(err, os.ErrNotExist)
		})
		_ = stock.Process.Signal(syscall.SIGTERM)
		_ = stock.Wait()
	})
}

// TestNoSideFile: without a side file every interface that has a default route
// is a path, also one that gets it later; others are none.
func TestNoSideFile(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	for n, metric := range []string{"10", "20", ""} {
		device, net := fmt.Sprintf("wgbt-p%d", n+1), fmt.Sprintf("10.99.%d.", n+1)
		nstest.Cable(client.Namespace, server.Namespace, device, net+"1/24", net+"2/24")
		if metric != "" {
			client.Run("ip", "route", "add", "default", "via", net+"2", "metric", metric)
		}
	}
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
	}
	server.serve("wgbt-n2")
	client.up(client.file("wgbt-n3.conf", strings.Replace(clientConf, "0.0.0.0/0, ::/0", "10.77.0.0/24", 1)))
	paths := func(want ...string) {
		t.Helper()
		eventually(t, "the paths to be "+strings.Join(want, ", "), func() bool {
			client.Run("ping", "-c", "1", "-w", "60", "10.77.0.1")
			var got []string
			for _, p := range client.status("wgbt-n3").Peers[0].Bond.Paths {
				if p.State == "active" {
					got = append(got, p.Device)
				}
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
	paths("wgbt-p1", "wgbt-p2")
	client.Run("ip", "route", "add", "default", "via", "10.99.3.2", "metric", "30")
	paths("wgbt-p1", "wgbt-p2", "wgbt-p3")
	client.Run("ip", "route", "delete", "default", "via", "10.99.1.2")
	paths("wgbt-p2", "wgbt-p3")
}

// sameState fails the test if the namespace is not as it was, but for the
// kernel parameter that stays set once an `up` has succeeded.
func (m *machine) sameState(before string) {
	m.t.Helper()
	sorted := func(state string) string {
		lines := strings.Split(regexp.MustCompile(`src_valid_mark = \d`).ReplaceAllString(state, ""), "\n")
		slices.Sort(lines) // the kernel lists some routes by age
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(sorted(before), sorted(m.State())); diff != "" {
		m.t.Errorf("the machine is not as it was: %s", diff)
	}
}

// TestBonded: two links, wg-bond at one end, at the other wg-bond serve
// before a stock wireguard-go.
func TestBonded(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p2", "10.99.2.1/24", "10.99.2.2/24")
	client.Run("ip", "route", "add", "10.99.1.2/32", "via", "10.99.2.2", "metric", "9")
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
	}
	clientBefore, serverBefore := client.State(), server.State()

	behind := server.file("wgbt-m1.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51821\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	server.file("wgbt-m1.bond.toml", "[serve]\nlisten = \":51820\"\n")
	stock, _ := server.background("wireguard-go", "-f", "wgbt-m1")
	eventually(t, "wireguard-go", func() bool { _, _, err := server.Try("wg", "setconf", "wgbt-m1", behind); return err == nil })
	server.Run("ip", "address", "add", "10.77.0.1/24", "dev", "wgbt-m1")
	server.Run("ip", "link", "set", "wgbt-m1", "up")
	server.Run("wg-bond", "serve", behind, "--metrics", "unix:"+server.dir+"/metrics")
	serveGone := func() {
		eventually(t, "the server's end", func() bool {
			_, err := os.Stat(ctl.SocketPath("wgbt-m1"))
			return errors.Is(err, os.ErrNotExist)
		})
	}
	t.Cleanup(func() { _, _, _ = server.Try("wg-bond", "down", behind); serveGone() })

	conf := client.file("wgbt-c1.conf", clientConf)
	client.file("wgbt-c1.bond.toml", "metrics = \"unix:"+client.dir+"/metrics\"\n"+clientSide)
	client.up(conf)
	ping := func() { client.t.Helper(); client.Run("ping", "-c", "3", "-i", "0.05", "-w", "60", "10.77.0.1") }
	ping()

	// The stock tools understand the interface.
	show := client.Run("wg", "show", "wgbt-c1")
	for _, want := range []string{"public key: " + publicA, "fwmark: 0xca6c", "peer: " + publicB, "endpoint: 10.99.1.2:51820", "latest handshake:", "persistent keepalive: every 25 seconds"} {
		if !strings.Contains(show, want) {
			t.Errorf("wg show has no %q:\n%s", want, show)
		}
	}

	// status knows the paths, at both ends.
	var is *status.Interface
	eventually(t, "both paths to be active", func() bool {
		ping()
		is = client.status("wgbt-c1")
		b := is.Peers[0].Bond
		return b != nil && b.Bonded && len(b.Paths) == 2 && b.Paths[0].State == "active" && b.Paths[1].State == "active"
	})
	p := is.Peers[0].Bond.Paths
	if p[0].Name != "wgbt-p1" || p[0].Device != "wgbt-p1" || p[1].Name != "second" || !p[1].Metered || p[0].TxBytes == 0 || p[1].RxBytes == 0 {
		t.Errorf("paths: %+v", p)
	}
	if is.PublicKey != publicA || is.Role != "up" || is.Scheduler != "earliest" || is.FwMark != 51820 || is.Peers[0].LatestHandshake == 0 {
		t.Errorf("status: %+v", is)
	}
	eventually(t, "the server to know of the bond", func() bool {
		is = server.status("wgbt-m1")
		return len(is.Peers) == 1 && is.Peers[0].Bond != nil && is.Peers[0].Bond.Bonded
	})
	if is.Role != "serve" || is.Upstream != "127.0.0.1:51821" || is.ListenPort != 51820 || len(is.Peers) != 1 || is.Peers[0].PublicKey != publicA ||
		is.Peers[0].Bond == nil || !is.Peers[0].Bond.Bonded || is.Peers[0].Bond.ClientAddress != is.Peers[0].Endpoint {
		t.Errorf("status of the server: %+v", is)
	}
	for _, want := range []string{"private key: (hidden)\n", "  path: second\n    device: wgbt-p2\n", "    state: active, metered\n", "    share: "} {
		eventually(t, fmt.Sprintf("status to have %q", want), func() bool {
			return strings.Contains(client.Run("wg-bond", "status", "wgbt-c1"), want)
		})
	}
	eventually(t, "the status of all", func() bool { // others of this machine's may be ending just now
		all, _, err := client.Try("wg-bond", "status")
		return err == nil && strings.Contains(all, "interface: wgbt-c1\n") && strings.Contains(all, "interface: wgbt-m1\n")
	})
	t.Setenv("WG_HIDE_KEYS", "never")
	if text := client.Run("wg-bond", "status", "wgbt-c1"); !strings.Contains(text, "private key: "+privateA+"\n") {
		t.Errorf("WG_HIDE_KEYS=never is not honoured:\n%s", text)
	}

	for m, want := range map[*machine]string{
		client: `wgbond_path_active{interface="wgbt-c1",path="second",peer="` + publicB + `"} 1`,
		server: `wgbond_path_active{interface="wgbt-m1",path="1",peer="` + publicA + `"} 1`,
	} {
		eventually(t, "the metric "+want, func() bool { return strings.Contains(m.metrics(), want) })
	}

	// One link goes away.
	client.Run("ip", "link", "set", "wgbt-p1", "down")
	client.Run("ping", "-c", "3", "-i", "0.2", "-w", "60", "10.77.0.1")
	client.Run("ip", "link", "set", "wgbt-p1", "up")

	// Another port has WireGuard close the Bind and open it again; the bond goes on.
	bonded := client.status("wgbt-c1").Peers[0].Bond.BondedFor
	client.Run("wg", "set", "wgbt-c1", "listen-port", "7777", "fwmark", "0xca6c")
	eventually(t, "both paths to be active on a new port", func() bool {
		ping()
		i := client.status("wgbt-c1")
		b := i.Peers[0].Bond
		return i.ListenPort == 7777 && b.BondedFor > bonded && b.Paths[0].State == "active" && b.Paths[1].State == "active"
	})

	// A peer that wg set adds is known to the bond, on either side.
	client.Run("wg", "set", "wgbt-c1", "peer", publicC, "endpoint", "10.99.1.2:7", "allowed-ips", "10.78.0.0/24")
	eventually(t, "the bond with a new peer", func() bool {
		i := client.status("wgbt-c1")
		return len(i.Peers) == 2 && i.Peers[0].Bond != nil && i.Peers[1].Bond != nil
	})
	server.Run("wg", "set", "wgbt-m1", "peer", publicA, "remove")
	eventually(t, "the end of the bond with a peer that is removed", func() bool { return len(server.status("wgbt-m1").Peers) == 0 })

	server.Run("wg-bond", "down", behind)
	serveGone()
	if err := stock.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	_ = stock.Wait()
	client.Run("wg-bond", "down", conf)
	client.gone("wgbt-c1")
	client.Run("ip", "route", "replace", "10.99.1.2/32", "via", "10.99.2.2", "metric", "9") // went with the link
	client.sameState(clientBefore)
	server.sameState(serverBefore)
}

// TestUpToAStockServer: without a shim at the other end, wg-bond is a plain
// WireGuard client.
func TestUpToAStockServer(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	stock, _ := server.background("wireguard-go", "-f", "wgbt-m2")
	conf := server.file("wgbt-m2.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51820\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	eventually(t, "wireguard-go", func() bool { _, _, err := server.Try("wg", "setconf", "wgbt-m2", conf); return err == nil })
	server.Run("ip", "address", "add", "10.77.0.1/24", "dev", "wgbt-m2")
	server.Run("ip", "link", "set", "wgbt-m2", "up")
	client.file("wgbt-c2.bond.toml", "[[path]]\ndevice = \"wgbt-p1\"\n")
	client.up(client.file("wgbt-c2.conf", clientConf))
	client.Run("ping", "-c", "3", "-i", "0.05", "-w", "60", "10.77.0.1")
	b := client.status("wgbt-c2").Peers[0].Bond
	if b == nil || b.Bonded || b.PlainReason == "" {
		t.Errorf("bond: %+v", b)
	}
	_ = stock.Process.Signal(syscall.SIGTERM)
	_ = stock.Wait()
}

const hooks = `[Interface]
PrivateKey = ` + privateA + `
Address = 10.77.0.2/24
PreUp = echo PreUp >> $HOOKLOG
PostUp = echo PostUp >> $HOOKLOG
PreDown = ip -o link show dev %i > /dev/null && echo PreDown >> $HOOKLOG
PostDown = ip -o link show dev %i 2> /dev/null || echo PostDown >> $HOOKLOG
[Peer]
PublicKey = ` + publicB + `
AllowedIPs = 0.0.0.0/0, ::/0
`

// TestEndings: an interface may end in several ways, and each leaves the
// machine as it was. The hooks are run once, by whoever ends it; wg-quick and
// ip know nothing of us.
func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(m *machine, conf string, up *exec.Cmd)
		hooks string
	}{
		{"wg-bond down", func(m *machine, conf string, _ *exec.Cmd) { m.Run("wg-bond", "down", conf) }, "PreUp PostUp PreDown PostDown"},
		{"a signal", func(m *machine, _ string, up *exec.Cmd) { _ = up.Process.Signal(syscall.SIGTERM) }, "PreUp PostUp PreDown PostDown"},
		{"an interrupt", func(m *machine, _ string, up *exec.Cmd) { _ = up.Process.Signal(os.Interrupt) }, "PreUp PostUp PreDown PostDown"},
		{"wg-quick down", func(m *machine, conf string, _ *exec.Cmd) { m.Run("wg-quick", "down", conf) }, "PreUp PostUp PreDown PostDown"},
		{"the interface is deleted", func(m *machine, _ string, _ *exec.Cmd) { m.Run("ip", "link", "delete", "wgbt-e1") }, "PreUp PostUp"},
		{"the UAPI socket is deleted", func(m *machine, _ string, _ *exec.Cmd) { _ = os.Remove(uapi.SocketDir + "/wgbt-e1.sock") }, "PreUp PostUp"},
		{"a crash, then down", func(m *machine, conf string, up *exec.Cmd) {
			_ = up.Process.Kill()
			_ = up.Wait()
			m.Run("wg-bond", "down", conf)
			_ = os.Remove(uapi.SocketDir + "/wgbt-e1.sock") // wg(8) would remove it
			_ = os.Remove(ctl.SocketPath("wgbt-e1"))
		}, "PreUp PostUp PostDown"},
		{"a crash, then up and down", func(m *machine, conf string, up *exec.Cmd) {
			_ = up.Process.Kill()
			_ = up.Wait()
			m.Run("wg-bond", "up", conf)
			m.Run("wg-bond", "down", conf)
		}, "PreUp PostUp PreUp PostUp PreDown PostDown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machines(t, 1)[0]
			log := filepath.Join(m.dir, "hooks")
			t.Setenv("HOOKLOG", log)
			before := m.State()
			conf := m.file("wgbt-e1.conf", hooks)
			up, out := m.background("wg-bond", "up", "-f", conf)
			eventually(t, "the last hook", func() bool { data, _ := os.ReadFile(log); return strings.Contains(string(data), "PostUp") })
			eventually(t, "the status", func() bool { _, _, err := m.Try("wg-bond", "status", "wgbt-e1"); return err == nil })
			c.end(m, conf, up)
			m.gone("wgbt-e1")
			err := up.Wait()
			if err != nil && !strings.HasPrefix(c.name, "a crash") {
				t.Errorf("wg-bond up ended with %v:\n%s", err, out)
			}
			m.sameState(before)
			data, _ := os.ReadFile(log)
			if got := strings.Join(strings.Fields(string(data)), " "); got != c.hooks {
				t.Errorf("hooks: %s; want %s", got, c.hooks)
			}
		})
	}
}

// TestInterruptedUp: who interrupts an up, in the foreground or not, finds the
// machine as it was once the command has ended.
func TestInterruptedUp(t *testing.T) {
	for name, flags := range map[string][]string{"foreground": {"up", "-f"}, "background": {"up"}} {
		t.Run(name, func(t *testing.T) {
			m := machines(t, 1)[0]
			before := m.State()
			mark := filepath.Join(m.dir, "reached")
			conf := m.file("wgbt-i1.conf", "[Interface]\nPrivateKey = "+privateA+"\nAddress = 10.77.0.2/24\nPostUp = touch "+mark+"; exec sleep 60\n[Peer]\nPublicKey = "+publicB+"\nAllowedIPs = 0.0.0.0/0\n")
			up, out := m.background("wg-bond", append(flags, conf)...)
			eventually(t, "the hook", func() bool { _, err := os.Stat(mark); return err == nil })
			if err := up.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := up.Wait(); err == nil {
				t.Error("an interrupted up succeeds")
			}
			if !strings.HasSuffix(out.String(), "wg-bond: interrupted; all that was done is undone\n") {
				t.Errorf("it said\n%s", out)
			}
			if diff := cmp.Diff(before, m.State()); diff != "" {
				t.Errorf("the machine is not as it was: %s", diff)
			}
			m.gone("wgbt-i1")
		})
	}
}

// TestCrashDuringUp: what a kill leaves behind in mid-step, the next command
// finds and takes away.
func TestCrashDuringUp(t *testing.T) {
	for _, next := range []string{"down", "up"} {
		t.Run("then "+next, func(t *testing.T) {
			m := machines(t, 1)[0]
			t.Setenv("PATH", m.dir+":"+os.Getenv("PATH"))
			names := m.dir + "/names"
			script := "#!/bin/sh\ncase $1 in -a) cat > " + names + ";; -d) rm -f " + names + ";; esac\n"
			if err := os.WriteFile(m.dir+"/resolvconf", []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			before := m.State()
			pid := filepath.Join(m.dir, "pid")
			const text = "[Interface]\nPrivateKey = " + privateA + "\nAddress = 10.77.0.2/24\nDNS = 9.9.9.9\n%s\n[Peer]\nPublicKey = " + publicB + "\nAllowedIPs = 0.0.0.0/0, ::/0\n"
			conf := m.file("wgbt-i2.conf", fmt.Sprintf(text, "PostUp = echo $$ > "+pid+".new; mv "+pid+".new "+pid+"; exec sleep 60"))
			up, _ := m.background("wg-bond", "up", "-f", conf)
			eventually(t, "the hook", func() bool { _, err := os.Stat(pid); return err == nil })
			var hook int
			if _, err := fmt.Sscan(take(t, pid), &hook); err != nil {
				t.Fatal(err)
			}
			_ = up.Process.Kill()
			_ = syscall.Kill(hook, syscall.SIGKILL) // it would keep the output open
			_ = up.Wait()
			if state := m.State(); !strings.Contains(state, "lookup 51820") {
				t.Fatalf("the crash has left nothing:\n%s", state)
			}
			m.file("wgbt-i2.conf", fmt.Sprintf(text, ""))
			if _, stderr, err := m.Try("wg-bond", next, conf); err != nil || !strings.Contains(stderr, "wgbt-i2 had ended without cleaning up; doing that ") {
				t.Errorf("%s: %v\n%s", next, err, stderr)
			}
			if next == "up" {
				m.Run("wg-bond", "down", conf)
			}
			_ = os.Remove(uapi.SocketDir + "/wgbt-i2.sock") // wg(8) would remove it
			_ = os.Remove(ctl.SocketPath("wgbt-i2"))
			m.gone("wgbt-i2")
			m.sameState(before)
			if _, err := os.Stat(names); !errors.Is(err, os.ErrNotExist) {
				t.Error("resolvconf still has the name servers")
			}
		})
	}
}

// TestGuard: with a default route, what listens in the tunnel cannot be
// reached by a path's link.
func TestGuard(t *testing.T) {
	ms := machines(t, 2)
	client, neighbour := ms[0], ms[1]
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("this test needs nft")
	}
	nstest.Cable(client.Namespace, neighbour.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	neighbour.Run("ip", "route", "add", "10.77.0.2/32", "via", "10.99.1.1")
	conf := client.file("wgbt-g1.conf", clientConf)
	_, stderr, err := client.Try("wg-bond", "up", conf)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	t.Cleanup(func() { _, _, _ = client.Try("ip", "link", "delete", "wgbt-g1"); client.gone("wgbt-g1") })
	if strings.Contains(stderr, "this kernel lacks nf_tables") {
		t.Skip(stderr)
	}
	neighbour.Run("ping", "-c", "1", "-w", "60", "10.99.1.1")
	if out, _, err := neighbour.Try("ping", "-c", "2", "-i", "0.1", "-W", "1", "10.77.0.2"); err == nil {
		t.Errorf("a neighbour reaches the tunnel's address:\n%s", out)
	}
	// It is the guard that keeps it out; and that it is gone hinders nobody.
	client.Run("nft", "delete", "table", "ip", "wg-quick-wgbt-g1")
	neighbour.Run("ping", "-c", "1", "-w", "60", "10.77.0.2")
	client.Run("wg-bond", "down", conf)
}

// TestKeyByHook: an interface may come up without a key, and get it from a
// hook, as people do who keep keys elsewhere. wg syncconf works on it.
func TestKeyByHook(t *testing.T) {
	m := machines(t, 1)[0]
	m.file("key", privateA+"\n")
	m.up(m.file("wgbt-k1.conf", "[Interface]\nAddress = 10.77.0.2/24\nListenPort = 7000\nPostUp = wg set %i private-key "+m.dir+"/key\n[Peer]\nPublicKey = "+publicB+"\nEndpoint = 192.0.2.1:9\n"))
	m.Run("wg", "syncconf", "wgbt-k1", m.file("sync.conf", "[Interface]\nListenPort = 7000\nPrivateKey = "+privateA+"\n[Peer]\nPublicKey = "+publicC+"\nEndpoint = 192.0.2.1:9\n"))
	if i := m.status("wgbt-k1"); i.PublicKey != publicA || i.ListenPort != 7000 || len(i.Peers) != 1 || i.Peers[0].PublicKey != publicC || i.Peers[0].Bond == nil {
		t.Errorf("%+v", i)
	}
}

// TestSaveConfig: down writes what the interface has become.
func TestSaveConfig(t *testing.T) {
	m := machines(t, 1)[0]
	conf := m.file("wgbt-v1.conf", "# a comment that is lost\n[Interface]\nPrivateKey = "+privateA+"\nListenPort = 7000\nAddress = 10.77.0.2/24\nTable = off\nSaveConfig = true\nPostDown = true\n")
	m.up(conf)
	m.Run("wg", "set", "wgbt-v1", "peer", publicB, "endpoint", "192.0.2.1:9", "allowed-ips", "10.77.0.0/24", "persistent-keepalive", "25")
	m.Run("ip", "address", "add", "fd77::2/64", "dev", "wgbt-v1")
	m.Run("wg-bond", "down", conf)
	got, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	want := "[Interface]\nAddress = 10.77.0.2/24\nAddress = fd77::2/64\nTable = off\nSaveConfig = true\nPostDown = true\nListenPort = 7000\nPrivateKey = " + privateA + "\n" +
		"\n[Peer]\nPublicKey = " + publicB + "\nAllowedIPs = 10.77.0.0/24\nEndpoint = 192.0.2.1:9\nPersistentKeepalive = 25\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(conf); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
