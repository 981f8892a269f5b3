// Package nstest gives tests network namespaces of their own, so that what
// they set up touches nothing of the machine's. Only tests import it.
//
// The namespaces have no name: they end with the last thread, process and
// socket in them, whatever becomes of the test.
package nstest

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// Namespace is a network namespace.
type Namespace struct {
	t      testing.TB
	handle netns.NsHandle
}

// New makes n namespaces with their loopback up, and puts the test's
// goroutine, which is locked to its thread from now on, into the first. The
// test is skipped, with the reason, where that cannot be.
func New(t testing.TB, n int) []*Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("this test needs iproute2's ip")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A thread that cannot go home stays locked and ends with the test.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
	})
	var all []*Namespace
	for range n {
		handle, err := netns.New()
		if err != nil {
			t.Skipf("network namespaces cannot be made here: %v", err)
		}
		t.Cleanup(func() { handle.Close() })
		ns := &Namespace{t: t, handle: handle}
		ns.Run("ip", "link", "set", "lo", "up")
		all = append(all, ns)
	}
	all[0].Enter()
	return all
}

// Enter puts the calling goroutine's thread into the namespace.
func (ns *Namespace) Enter() {
	ns.t.Helper()
	if err := netns.Set(ns.handle); err != nil {
		ns.t.Fatal(err)
	}
}

// Do calls f within the namespace, on the calling goroutine.
func (ns *Namespace) Do(f func()) {
	ns.t.Helper()
	before, err := netns.Get()
	if err != nil {
		ns.t.Fatal(err)
	}
	defer before.Close()
	ns.Enter()
	f()
	if err := netns.Set(before); err != nil {
		ns.t.Fatal(err)
	}
}

// Run runs a command in the namespace and returns what it prints to standard
// output; that it fails ends the test.
func (ns *Namespace) Run(name string, args ...string) string {
	ns.t.Helper()
	out, errOut, err := ns.Try(name, args...)
	if err != nil {
		ns.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errOut)
	}
	return out
}

// Try runs a command in the namespace and returns what it prints.
func (ns *Namespace) Try(name string, args ...string) (stdout, stderr string, err error) {
	ns.t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	ns.Do(func() { err = cmd.Run() })
	return out.String(), errOut.String(), err
}

// Start starts cmd in the namespace.
func (ns *Namespace) Start(cmd *exec.Cmd) {
	ns.t.Helper()
	var err error
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		ns.t.Fatal(err)
	}
}

// Cable joins two namespaces by a pair of interfaces of the same name, which
// is up at both ends, with an address for each.
func Cable(a, b *Namespace, name, addressA, addressB string) {
	a.t.Helper()
	// The peer is made where it belongs; it may then keep the name.
	a.Run("ip", "link", "add", name, "type", "veth", "peer", "name", name+"x")
	b.adopt(a, name)
	for ns, address := range map[*Namespace]string{a: addressA, b: addressB} {
		ns.Run("ip", "link", "set", name, "addrgenmode", "none") // nothing that comes later by itself
		add := []string{"address", "add", address, "dev", name}
		if strings.Contains(address, ":") {
			add = append(add, "nodad") // nobody else can have it, and looking takes a second
		}
		ns.Run("ip", add...)
		ns.Run("ip", "link", "set", name, "up")
	}
	// The kernel tells of the carrier in its own time.
	for _, ns := range []*Namespace{a, b} {
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(ns.Run("ip", "link", "show", name), "state UP"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				a.t.Fatalf("%s does not come up", name)
			}
		}
	}
}

// adopt moves a's interface name+"x" here and calls it name.
func (ns *Namespace) adopt(a *Namespace, name string) {
	ns.t.Helper()
	// The namespace goes by the descriptor of this process.
	path := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(ns.handle))
	a.Run("ip", "link", "set", name+"x", "netns", path)
	ns.Run("ip", "link", "set", name+"x", "name", name)
}

// State tells all that an interface's coming and going may change: links,
// addresses, routes and rules of all tables, the kernel parameter that
// wg-quick sets, and the firewall as far as there is an nft to ask.
func (ns *Namespace) State() string {
	ns.t.Helper()
	var b strings.Builder
	for _, command := range []string{
		"ip -o link show",
		"ip -o address show",
		"ip -4 route show table all",
		"ip -6 route show table all",
		"ip -4 rule show",
		"ip -6 rule show",
		"sysctl net.ipv4.conf.all.src_valid_mark",
		"nft list ruleset",
	} {
		words := strings.Fields(command)
		if _, err := exec.LookPath(words[0]); err != nil && words[0] == "nft" {
			continue
		}
		out, _, err := ns.Try(words[0], words[1:]...)
		if err != nil && !strings.Contains(command, "-6") { // there may be no IPv6
			ns.t.Fatalf("%s: %v", command, err)
		}
		b.WriteString("# " + command + "\n" + out)
	}
	return b.String()
}
