package netwatch

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestWatcher sets up and changes devices in a namespace of its own, and sees
// each change told, from another thread, which is in the machine's namespace.
func TestWatcher(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("network namespaces cannot be made here: %v", err)
	}
	defer ns.Close()
	defer func() {
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := Open()
	must(err)
	defer w.Close()
	// until waits for events until the state is as wished.
	until := func(what string, is func(State) bool) {
		t.Helper()
		result := make(chan error)
		go func() {
			deadline := time.After(30 * time.Second)
			for {
				s, err := w.Read()
				if err != nil || is(s) {
					result <- err
					return
				}
				select {
				case <-w.Changes():
				case <-deadline:
					result <- os.ErrDeadlineExceeded
					return
				}
			}
		}()
		if err := <-result; err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wwan0"
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far0"}))
	link, err := netlink.LinkByName("wwan0")
	must(err)
	until("a device is there, with its driver", func(s State) bool {
		l, ok := s.Link("wwan0")
		return ok && !l.Up && l.Driver == "veth" && l.USB == ""
	})
	far, err := netlink.LinkByName("far0")
	must(err)
	must(netlink.LinkSetUp(far))
	must(netlink.LinkSetUp(link))
	addr, err := netlink.ParseAddr("192.168.8.100/24")
	must(err)
	must(netlink.AddrAdd(link, addr))
	until("it is up, with an address", func(s State) bool {
		return s.Reach("wwan0").V4 == Neighbour && len(s.Matching(Match{Driver: "veth", Device: "wwan*"}, nil)) == 1
	})
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: addr.IP.Mask(addr.Mask)}
	route.Gw[3] = 1
	must(netlink.RouteAdd(route))
	until("it has a default route", func(s State) bool {
		c := s.Candidates(nil)
		return len(c) == 1 && c[0] == "wwan0" && s.Reach("wwan0").V4 == Everywhere
	})
	must(netlink.RouteDel(route))
	until("the route is gone", func(s State) bool { return len(s.Candidates(nil)) == 0 })
	must(netlink.AddrDel(link, addr))
	until("the address is gone", func(s State) bool { return s.Reach("wwan0").V4 == Nowhere })
	must(netlink.LinkDel(link))
	until("the device is gone", func(s State) bool { _, ok := s.Link("wwan0"); return !ok })
	if !func() bool { s, _ := w.Read(); l, ok := s.Link("lo"); return ok && l.Loop }() {
		t.Error("the loopback is not among the links")
	}
}

// TestUSBPort: a device's port is found among its hardware's parents.
func TestUSBPort(t *testing.T) {
	dir := t.TempDir()
	usb := filepath.Join(dir, "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.4/1-2.4:1.0")
	pci := filepath.Join(dir, "devices/pci0000:00/0000:00:1c.0/0000:01:00.0")
	net := filepath.Join(dir, "class/net")
	for device, at := range map[string]string{"wwan0": usb, "eth0": pci, "veth0": ""} {
		if err := os.MkdirAll(filepath.Join(net, device), 0o755); err != nil {
			t.Fatal(err)
		}
		if at == "" {
			continue // no hardware
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(at, filepath.Join(net, device, "device")); err != nil {
			t.Fatal(err)
		}
	}
	for device, want := range map[string]string{"wwan0": "1-2.4", "eth0": "", "veth0": "", "gone": ""} {
		if got := usbPort(net, device); got != want {
			t.Errorf("%s: port %q, want %q", device, got, want)
		}
	}
}
