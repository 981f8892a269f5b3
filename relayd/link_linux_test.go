package relayd

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestCountersOfANamespace: the counters are those of the network namespace that
// we are in, whatever namespace's devices /sys shows.
func TestCountersOfANamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	runtime.LockOSThread() // for good: the thread ends with the test, and the namespace with it
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	const device, peer = "wgbt-lent", "wgbt-far"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{device, peer} {
		d, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lent, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: lent.Index}}, &netlink.Addr{
		IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
	read, header := deviceCounters(device)
	if header != etherHeader {
		t.Errorf("a veth device counts %d bytes beside a packet, want %d", header, etherHeader)
	}
	_, before, ok := read()
	if !ok {
		t.Fatalf("%s is not found", device)
	}
	c, err := net.Dial("udp", "192.0.2.255:9") // nobody need answer to an address
	if err == nil {
		defer c.Close()
	}
	const size = 1000
	for end := time.Now().Add(30 * time.Second); ; {
		if err == nil {
			_, err = c.Write(make([]byte, size))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, sent, _ := read(); sent >= before+size {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s has sent, and the counters stand at %d", device, before)
		}
	}
}
