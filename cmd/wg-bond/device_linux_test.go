package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// ended waits until a device is gone, with its sockets.
func (m *machine) ended(name string) {
	m.t.Helper()
	m.gone(name)
	if _, _, err := m.Try("ip", "link", "show", name); err == nil {
		m.t.Errorf("the interface %s is still there", name)
	}
}

// TestStockToolsOnOurDevice: the real wg-quick and wg do with wg-bond all that
// they do with wireguard-go.
func TestStockToolsOnOurDevice(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	if _, err := exec.LookPath("wg-quick"); err != nil {
		t.Skip("this test needs wg-quick")
	}
	if _, err := os.Stat("/sys/module/wireguard"); err == nil {
		t.Skip("this kernel has WireGuard, and wg-quick would use that")
	}
	t.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", "wg-bond")
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	client.Run("ip", "route", "add", "default", "via", "10.99.1.2")
	// With the guard's marks even a strict filter lets replies pass.
	client.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=1")
	stock, _ := server.background("wireguard-go", "-f", "wgbt-s1")
	behind := server.file("wgbt-s1.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51820\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	eventually(t, "wireguard-go", func() bool { _, _, err := server.Try("wg", "setconf", "wgbt-s1", behind); return err == nil })
	server.Run("ip", "address", "add", "10.77.0.1/24", "dev", "wgbt-s1")
	server.Run("ip", "link", "set", "wgbt-s1", "up")

	before := client.State()
	conf := client.file("wgbt-d1.conf", clientConf)
	client.Run("wg-quick", "up", conf)
	t.Cleanup(func() { _, _, _ = client.Try("ip", "link", "delete", "wgbt-d1"); client.gone("wgbt-d1") })
	client.Run("ping", "-c", "3", "-i", "0.05", "-w", "60", "10.77.0.1")
	if show := client.Run("wg", "show", "wgbt-d1"); !strings.Contains(show, "latest handshake:") || !strings.Contains(show, "fwmark: 0xca6c") {
		t.Errorf("wg show:\n%s", show)
	}
	if i := client.status("wgbt-d1"); i.Role != "device" || len(i.Peers) != 1 || i.Peers[0].Bond == nil || len(i.Peers[0].Bond.Paths) != 1 {
		t.Errorf("status: %+v", i)
	}

	client.Run("wg", "set", "wgbt-d1", "peer", publicC, "endpoint", "10.99.1.2:7", "allowed-ips", "10.78.0.0/24")
	if i := client.status("wgbt-d1"); len(i.Peers) != 2 || i.Peers[1].Bond == nil {
		t.Errorf("after wg set: %+v", i)
	}
	client.Run("wg-quick", "save", conf)
	if saved, err := os.ReadFile(conf); err != nil || !strings.Contains(string(saved), publicC) || !strings.Contains(string(saved), "PrivateKey = "+privateA) {
		t.Errorf("wg-quick save: %v\n%s", err, saved)
	}
	client.file("wgbt-d1.conf", clientConf)
	sync := client.Run("wg-quick", "strip", conf) // without a mark, which wg would take away
	client.Run("wg", "syncconf", "wgbt-d1", client.file("sync.conf", strings.Replace(sync, "]", "]\nFwMark = 0xca6c", 1)))
	if i := client.status("wgbt-d1"); len(i.Peers) != 1 || i.Peers[0].LatestHandshake == 0 {
		t.Errorf("after wg syncconf: %+v", i)
	}

	if _, stderr, err := client.Try("wg-bond", "down", conf); err == nil ||
		stderr != "wg-bond: wgbt-d1 was not brought up by wg-bond up: `wg-quick down wgbt-d1` takes it down, `ip link delete wgbt-d1` if it was not wg-quick either\n" {
		t.Errorf("wg-bond down of a bare device: %v %s", err, stderr)
	}
	client.Run("wg-quick", "down", conf)
	client.ended("wgbt-d1")
	client.sameState(before)
	_ = stock.Process.Signal(syscall.SIGTERM)
	_ = stock.Wait()
}

// TestBondByWgQuick: an interface in /etc/wireguard with a side file beside it
// bonds when the stock wg-quick brings it up by name, and by wg-bond's own
// commands.
func TestBondByWgQuick(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	if _, err := exec.LookPath("wg-quick"); err != nil {
		t.Skip("this test needs wg-quick")
	}
	if _, err := os.Stat("/sys/module/wireguard"); err == nil {
		t.Skip("this kernel has WireGuard, and wg-quick would use that")
	}
	const own = "mount -t tmpfs tmpfs /etc/wireguard"
	if _, stderr, err := client.Try("unshare", "-m", "sh", "-ec", own); err != nil {
		t.Skipf("an /etc/wireguard of our own cannot be had here: %v\n%s", err, stderr)
	}
	t.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", "wg-bond")
	for n, device := range []string{"wgbt-p1", "wgbt-p2"} {
		net := fmt.Sprintf("10.99.%d.", n+1)
		nstest.Cable(client.Namespace, server.Namespace, device, net+"1/24", net+"2/24")
	}
	client.Run("ip", "route", "add", "10.99.1.2/32", "via", "10.99.2.2", "metric", "9")
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
	}
	server.serve("wgbt-m5")
	client.file("wgbt-d5.conf", clientConf)
	client.file("wgbt-d5.bond.toml", clientSide)
	for _, up := range []string{"wg-quick up wgbt-d5", "wg-bond up wgbt-d5", "wg-bond wgbt-d5"} {
		client.Run("unshare", "-m", "sh", "-ec", own+"; cp -p "+client.dir+"/wgbt-d5.* /etc/wireguard; exec "+up)
		var names []string
		if up != "wg-bond wgbt-d5" {
			eventually(t, "both paths after "+up, func() bool {
				_, _, _ = client.Try("ping", "-c", "1", "-W", "1", "10.77.0.1")
				names = nil
				if b := client.status("wgbt-d5").Peers[0].Bond; b != nil && b.Bonded {
					for _, p := range b.Paths {
						if p.State == "active" {
							names = append(names, p.Name)
						}
					}
				}
				return slices.Equal(names, []string{"wgbt-p1", "second"})
			})
		}
		down := "wg-bond down "
		if client.status("wgbt-d5").Role == "device" {
			down = "wg-quick down "
		}
		client.Run(strings.Fields(down)[0], "down", client.dir+"/wgbt-d5.conf")
		client.ended("wgbt-d5")
	}
}

// TestDevice: a device of either kind is ready when the command says so, and
// ends in every way in which wireguard-go does.
func TestDevice(t *testing.T) {
	const name = "wgbt-d2"
	endings := []struct {
		name string
		end  func(m *machine, p *exec.Cmd)
	}{
		{"SIGTERM", func(_ *machine, p *exec.Cmd) { _ = p.Process.Signal(syscall.SIGTERM) }},
		{"SIGINT", func(_ *machine, p *exec.Cmd) { _ = p.Process.Signal(os.Interrupt) }},
		{"the interface is deleted", func(m *machine, _ *exec.Cmd) { m.Run("ip", "link", "delete", name) }},
		{"the socket is deleted", func(_ *machine, _ *exec.Cmd) { _ = os.Remove(uapi.SocketDir + "/" + name + ".sock") }},
	}
	for _, c := range endings {
		t.Run("foreground, "+c.name, func(t *testing.T) {
			m := machines(t, 1)[0]
			args := []string{"-f", name}
			if c.name == "SIGINT" {
				t.Setenv("WG_PROCESS_FOREGROUND", "1")
				args = args[1:]
			}
			p, out := m.background("wg-bond", args...)
			eventually(t, "the device", func() bool { _, _, err := m.Try("wg", "show", name); return err == nil })
			c.end(m, p)
			if err := p.Wait(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			m.ended(name)
		})
	}
	for _, c := range endings[2:] {
		t.Run("background, "+c.name, func(t *testing.T) {
			m := machines(t, 1)[0]
			m.Run("wg-bond", name)
			m.Run("wg", "show", name) // at once: the socket is there
			m.Run("ip", "link", "set", name, "up")
			c.end(m, nil)
			m.ended(name)
		})
	}
	t.Run("the name is taken", func(t *testing.T) {
		m := machines(t, 1)[0]
		m.Run("wg-bond", name)
		defer m.ended(name)
		defer m.Run("ip", "link", "delete", name)
		_, stderr, err := m.Try("wg-bond", name)
		if want := "wg-bond: making the interface " + name + ": device or resource busy: another program has an interface of this name\n"; err == nil || stderr != want {
			t.Errorf("%v: %s", err, stderr)
		}
	})
}

// TestDeviceDescriptors: who opened the TUN device and the socket hands them
// over, also through the way into the background.
func TestDeviceDescriptors(t *testing.T) {
	m := machines(t, 1)[0]
	const name = "wgbt-d3"
	device, err := tun.CreateTUN(name, 1420) // in the namespace, which is this thread's
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(uapi.SocketDir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(uapi.SocketDir, name+".sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wg-bond", "not-"+name)
	cmd.ExtraFiles = []*os.File{nil, device.File(), nil, socket}
	cmd.Env = append(os.Environ(), "WG_TUN_FD=4", "WG_UAPI_FD=6")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	m.Start(cmd)
	if err := errors.Join(cmd.Wait(), device.Close(), listener.Close(), socket.Close()); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	m.Run("wg", "set", name, "listen-port", "7001")
	if i := m.status(name); i.Role != "device" || i.Name != name {
		t.Errorf("%+v", i)
	}
	if _, err := os.Stat(ctl.SocketPath("not-" + name)); !errors.Is(err, os.ErrNotExist) {
		t.Error("it goes by the name on the command line, which is not the device's")
	}
	m.Run("ip", "link", "delete", name)
	m.ended(name)

	for value, want := range map[string]string{
		"x":  "wg-bond: the variable WG_TUN_FD: found \"x\"; want the number of an open descriptor\n",
		"97": "wg-bond: the variable WG_TUN_FD: found \"97\"; want the number of an open descriptor: ",
	} {
		t.Setenv("WG_TUN_FD", value)
		if _, stderr, err := m.Try("wg-bond", name); err == nil || !strings.HasPrefix(stderr, want) {
			t.Errorf("WG_TUN_FD=%s: %v: %s", value, err, stderr)
		}
	}
}
