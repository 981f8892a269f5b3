//go:build linux

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/emulator"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/web"
	"github.com/wg-bond/wg-bond/cmd/bondlab/scenarios"
)

// The laboratory starts its web server as "this program web ADDR".
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "web" {
		fmt.Fprintln(os.Stderr, web.Serve(os.Args[2]))
		os.Exit(1)
	}
	sandbox.Main(func() int {
		code := m.Run()
		if programs != "" {
			os.RemoveAll(programs)
		}
		return code
	})
}

// programs is where buildPrograms put them.
var programs string

// buildPrograms builds the programs under test, as `make build` does.
func buildPrograms(t *testing.T) string {
	t.Helper()
	if programs != "" {
		return programs
	}
	dir, err := os.MkdirTemp("", "bondlab-test-")
	if err != nil {
		t.Fatal(err)
	}
	programs = dir
	for _, args := range [][]string{
		{dir + "/", "github.com/wg-bond/wg-bond/cmd/wg-bond", "github.com/wg-bond/wg-bond/cmd/relayd"},
		{dir + "/wireguard-go", "golang.zx2c4.com/wireguard"},
		{dir + "/" + builtinPlugin, "github.com/wg-bond/wg-bond/plugins/examples/builtin"},
	} {
		if out, err := exec.Command("go", append([]string{"build", "-o"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	return dir
}

// build makes the laboratory of a scenario with a stock server.
func build(t *testing.T, name string) *Lab {
	t.Helper()
	for _, program := range []string{"wireguard-go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %s", program, packageOf(program))
		}
	}
	return buildWith(t, name, Options{StockServer: true})
}

func buildWith(t *testing.T, name string, opt Options) *Lab {
	t.Helper()
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TUN devices")
	}
	for _, program := range []string{"wg", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %s", program, packageOf(program))
		}
	}
	s, err := scenario.Find(scenarios.Files, name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Build(s, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

const wait = time.Minute

// Everyone reaches whom they should and nobody else: links, air and LAN.
func TestTopology(t *testing.T) {
	l := build(t, "four")
	for _, c := range []struct {
		from string
		to   netip.Addr
	}{
		{Borrower, l.Links[0].Gate.Addr()},
		{Borrower, l.ServerAddr()}, // over its first link
		{Borrower, l.net.air(2).Addr()},
		{Borrower, l.net.air(3).Addr()},
		{"r", l.ServerAddr()},
		{"q", l.ServerAddr()},
		{Server, WebAddr},
		{Server, l.Links[1].Mobile.Addr()},
		{Web, l.ServerAddr()},
	} {
		if _, err := measure.Echo(l.Host(c.from), c.to, wait); err != nil {
			t.Errorf("%s → %s: %v", c.from, c.to, err)
		}
	}
	// The web host is reached through the tunnel only, and there is none yet.
	err := l.Host(Borrower).Do(func() error {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(WebAddr, webPort).String(), 500*time.Millisecond)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err == nil {
		t.Error("the borrower reached the web host without a tunnel")
	}
}

// A socket bound to a device leaves by that link, whatever the routes prefer.
func TestBoundToDevice(t *testing.T) {
	l := build(t, "four")
	before := l.Links[1].wire.Stats(emulator.AB).Pushed
	if _, err := l.Host(Borrower).Output("ping", "-c", "1", "-W", "60", "-I", l.Links[1].Device, l.ServerAddr().String()); err != nil {
		t.Fatal(err)
	}
	if l.Links[1].wire.Stats(emulator.AB).Pushed == before {
		t.Errorf("no packet went up link %s", l.Links[1].Name)
	}
}

// A stock client downloads over each path alone, own and lent.
func TestStockClient(t *testing.T) {
	l := build(t, "cold")
	for _, link := range l.Links {
		c, err := l.StartStock(link)
		if err != nil {
			t.Fatal(err)
		}
		a, err := measure.Curl{Host: l.Host(Borrower), URL: l.URL(100_000, "cubic"), Patience: time.Minute}.Run()
		if err != nil || a.Total() != 100_000 {
			t.Errorf("over %s: %d bytes, %v; expected 100000", link.Name, a.Total(), err)
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		if carried := link.wire.Stats(emulator.BA).DeliveredBytes; carried < 100_000 {
			t.Errorf("%s carried %d bytes of a download of 100000", link.Name, carried)
		}
	}
}

// Hosts do not see each other's or the machine's WireGuard sockets and keys.
func TestPrivateFiles(t *testing.T) {
	l := build(t, "cold")
	out, err := l.Host(Borrower).Output("wg", "show", "interfaces")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("the borrower sees WireGuard devices %q, %v; expected none", out, err)
	}
	out, err = l.Host(Server).Output("wg", "show", "interfaces")
	if err != nil || strings.TrimSpace(out) != "wg0" {
		t.Errorf("the server sees WireGuard devices %q, %v; expected wg0", out, err)
	}
	var names []string
	err = l.Host(Borrower).Do(func() error {
		entries, err := os.ReadDir("/etc/wireguard")
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) || !slices.Equal(names, nil) {
		t.Errorf("/etc/wireguard of the borrower holds %q, %v; expected nothing", names, err)
	}
}
