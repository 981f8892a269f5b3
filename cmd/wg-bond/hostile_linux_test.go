package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// village is a bonded client with a path of its own and one lent by relayd:
//
//	client 10.99.1.1 ─── p1 ─────────────────── 10.99.1.2 server
//	       10.99.2.1 ─ p2 ─ 10.99.2.2 lender 10.99.3.1 ─ p3 ─ 10.99.3.2
type village struct {
	client, server, lender *machine
	relayd                 *exec.Cmd
	relaydSays             *lockedBuffer
	relayKey               string // public
}

func newVillage(t *testing.T) *village {
	t.Helper()
	ms := machines(t, 3)
	v := &village{client: ms[0], server: ms[1], lender: ms[2]}
	nstest.Cable(v.client.Namespace, v.server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(v.client.Namespace, v.lender.Namespace, "wgbt-p2", "10.99.2.1/24", "10.99.2.2/24")
	nstest.Cable(v.lender.Namespace, v.server.Namespace, "wgbt-p3", "10.99.3.1/24", "10.99.3.2/24")
	v.lender.Run("ip", "route", "add", "10.99.1.0/24", "via", "10.99.3.2")

	v.server.serve("wgbt-h1")
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	v.relayKey = key.PublicKey().String()
	v.relayd, v.relaydSays = v.lender.background("relayd", "--config", v.lender.file("relayd.toml",
		"listen = \"10.99.2.2:51900\"\ndevice = \"wgbt-p3\"\nprivate-key = \""+key.String()+"\"\nallow-private-targets = true\n[[allow]]\npublic-key = \""+publicA+"\"\n"))
	v.client.up(v.conf("wgbt-h2", privateA, "10.77.0.2/24"))
	return v
}

// conf writes the configuration of a client with both paths.
func (v *village) conf(name, private, address string) string {
	v.client.t.Helper()
	v.client.file(name+".bond.toml", "[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\nname = \"lent\"\ndevice = \"wgbt-p2\"\nrelay = \"10.99.2.2:51900\"\nrelay-key = \""+v.relayKey+"\"\n")
	return v.client.file(name+".conf", "[Interface]\nPrivateKey = "+private+"\nAddress = "+address+"\nTable = off\n[Peer]\nPublicKey = "+publicB+"\nAllowedIPs = 10.77.0.0/24\nEndpoint = 10.99.1.2:51820\nPersistentKeepalive = 1\n")
}

// works waits until the client is bonded over both paths and pings go through.
func (v *village) works() {
	t := v.client.t
	t.Helper()
	eventually(t, "both paths to be active", func() bool {
		v.client.Run("ping", "-c", "3", "-i", "0.05", "-w", "60", "10.77.0.1")
		b := v.client.status("wgbt-h2").Peers[0].Bond
		return b != nil && b.Bonded && len(b.Paths) == 2 && b.Paths[0].State == "active" && b.Paths[1].State == "active"
	})
}

// garbage is a datagram that is wrong in one of many ways.
func garbage(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(1400))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	sizes := []int{148, 92, 64, 32 + 16*r.IntN(80)} // of WireGuard's types 1 to 4
	switch kind := r.IntN(7); kind {
	case 0, 1, 2, 3:
		b = append(b, make([]byte, 1500)...)[:sizes[kind]]
		copy(b, []byte{byte(kind + 1), 0, 0, 0})
	case 4:
		copy(b, []byte{0xb0, byte(r.IntN(6)), 0, 0})
	case 5:
		copy(b, []byte{0xb1, byte(r.IntN(6)), 0, 0})
	}
	return b
}

// pelt sends garbage to every UDP port of a machine, at an address of its.
func (m *machine) pelt(r *rand.Rand, to *machine, address string, each int) {
	m.t.Helper()
	var ports []uint16
	for line := range strings.Lines(to.Run("ss", "-Huna")) {
		f := strings.Fields(line)
		if i := strings.LastIndex(f[3], ":"); i > 0 {
			if p, err := strconv.ParseUint(f[3][i+1:], 10, 16); err == nil {
				ports = append(ports, uint16(p))
			}
		}
	}
	if len(ports) == 0 {
		m.t.Fatal("no UDP port to send to")
	}
	const sources = 100 // more than the shim has room for from one address
	var conns []*net.UDPConn
	m.Do(func() {
		for range sources {
			c, err := net.ListenUDP("udp4", nil)
			if err != nil {
				m.t.Fatal(err)
			}
			conns = append(conns, c)
		}
	})
	for _, port := range ports {
		target := netip.AddrPortFrom(netip.MustParseAddr(address), port)
		for i := range each {
			_, _ = conns[i%sources].WriteToUDPAddrPort(garbage(r), target) // full buffers are fine
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// peltUnix sends garbage to a local socket, one request a connection.
func peltUnix(t *testing.T, r *rand.Rand, path string, times int) {
	t.Helper()
	for range times {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		b := bytes.ReplaceAll(garbage(r), []byte("\n"), []byte("."))
		switch r.IntN(5) {
		case 0:
			b = append(b, '\n')
		case 1:
			b = append([]byte("set=1\n"), append(b, "\n\n"...)...)
		case 2:
			b = bytes.Repeat(append(b, 'x'), 1000) // a line without an end
		case 3:
			b = []byte(`{"operation": "no such thing"}` + "\n")
		}
		_, _ = c.Write(b) // which the other end may have closed
		c.Close()
	}
}

// size is what a process holds: resident memory in bytes, open files, threads.
type size struct{ memory, files, threads int }

func sizeOf(t *testing.T, pid int) (s size) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n int
		if _, err := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &n); err == nil {
			s.memory = n << 10
		}
		if _, err := fmt.Sscanf(lines.Text(), "Threads: %d", &n); err == nil {
			s.threads = n
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil || s.memory == 0 || s.threads == 0 {
		t.Fatalf("process %d: %v, %+v", pid, err, s)
	}
	s.files = len(files)
	return s
}

// pidOf is the process that listens at a control socket.
func pidOf(t *testing.T, name string) int {
	t.Helper()
	c, err := net.Dial("unix", ctl.SocketPath(name))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *syscall.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return int(cred.Pid)
}

// dropped is the number of datagrams that a wg-bond has dropped, for whatever
// reason.
func dropped(i *status.Interface) (n uint64) {
	for _, d := range i.Drops {
		n += d
	}
	for _, p := range i.Peers {
		if p.Bond != nil {
			for _, d := range p.Bond.Drops {
				n += d
			}
		}
	}
	return n
}

// TestGarbageEverywhere: whatever is thrown at any socket of the programs is
// counted, leaves nothing behind, and does not disturb the bond.
func TestGarbageEverywhere(t *testing.T) {
	v := newVillage(t)
	v.works()
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 0))
	round := func() {
		for _, way := range []struct {
			from, to *machine
			address  string
		}{
			{v.client, v.server, "10.99.1.2"}, {v.server, v.client, "10.99.1.1"},
			{v.client, v.lender, "10.99.2.2"}, {v.lender, v.client, "10.99.2.1"},
			{v.lender, v.server, "10.99.3.2"}, {v.server, v.lender, "10.99.3.1"},
		} {
			way.from.pelt(r, way.to, way.address, 300)
		}
		for _, path := range []string{ctl.SocketPath("wgbt-h1"), ctl.SocketPath("wgbt-h2"), filepath.Join(uapi.SocketDir, "wgbt-h2.sock")} {
			peltUnix(t, r, path, 40)
		}
		v.works()
	}
	pids := map[string]int{"client": pidOf(t, "wgbt-h2"), "server": pidOf(t, "wgbt-h1"), "relayd": v.relayd.Process.Pid}
	counted := map[string]uint64{"wgbt-h1": dropped(v.server.status("wgbt-h1")), "wgbt-h2": dropped(v.client.status("wgbt-h2"))}
	round() // what is kept ready for use is there from now on
	before := map[string]size{}
	for name, pid := range pids {
		before[name] = sizeOf(t, pid)
	}
	for range 3 {
		round()
	}
	for name, pid := range pids {
		b, a := before[name], size{}
		defer func() { t.Logf("%s: %+v, then %+v (bytes, files, threads)", name, b, a) }()
		// What is on its way to be given back is no growth.
		eventually(t, name+" to be as small as it was", func() bool {
			a = sizeOf(t, pid)
			return a.memory <= b.memory+24<<20 && a.files <= b.files+16 && a.threads <= b.threads+16
		})
	}
	for name, m := range map[string]*machine{"wgbt-h1": v.server, "wgbt-h2": v.client} {
		i := m.status(name)
		t.Logf("%s dropped %v", name, i.Drops)
		if n := dropped(i) - counted[name]; n < 300 {
			t.Errorf("%s counted %d pieces of garbage, want some hundreds", name, n)
		}
	}
	if err := v.relayd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	drops := regexp.MustCompile(`stats\.drop-[a-z0-9-]+=[1-9]\d*`)
	eventually(t, "relayd's counters", func() bool { return len(drops.FindAllString(v.relaydSays.String(), -1)) >= 3 })
	t.Logf("relayd: %v", drops.FindAllString(v.relaydSays.String(), -1))
}

// TestStrangers: one whose key nobody knows gets neither tunnel nor bond nor
// lease, and learns of the latter two why.
func TestStrangers(t *testing.T) {
	v := newVillage(t)
	v.works()
	before := dropped(v.server.status("wgbt-h1"))
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	v.client.up(v.conf("wgbt-h3", key.String(), "10.77.0.3/24"))
	var own *status.Interface
	eventually(t, "the server to count the stranger's attempts, and the relay to be asked", func() bool {
		_, _, _ = v.client.Try("ping", "-c", "1", "-W", "1", "-I", "wgbt-h3", "10.77.0.1")
		own = v.client.status("wgbt-h3")
		b := own.Peers[0].Bond
		return dropped(v.server.status("wgbt-h1")) > before && b != nil && len(b.Paths) == 2 && b.Paths[1].State == "leasing"
	})
	p := own.Peers[0]
	if p.Bond == nil || p.Bond.Bonded || p.LatestHandshake != 0 || p.RxBytes != 0 {
		t.Errorf("the stranger has %+v", p)
	}
	if s := v.server.status("wgbt-h1"); len(s.Peers) != 1 || s.Peers[0].PublicKey != publicA {
		t.Errorf("the server's peers: %+v", s.Peers)
	}
	v.works()
}
