package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/relayd/lease"
	"github.com/wg-bond/wg-bond/wgbond/control"
	"github.com/wg-bond/wg-bond/wgbond/wire"
)

// street is three machines in network namespaces of their own:
//
//	borrower 10.66.0.1 ── 10.66.0.2 lender 10.66.1.1 (wan0)  ══ server 203.0.113.1
//	                                       10.66.2.1 (other) ══
//
// The lender's route to the server is by other; wan0 is what it lends.
type street struct {
	t                        *testing.T
	borrower, lender, server string // names of namespaces
}

func newStreet(t *testing.T) *street {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("the ip command is not installed")
	}
	pid := os.Getpid()
	s := &street{t: t, borrower: fmt.Sprintf("wgbt-b%d", pid), lender: fmt.Sprintf("wgbt-l%d", pid), server: fmt.Sprintf("wgbt-s%d", pid)}
	for _, ns := range []string{s.borrower, s.lender, s.server} {
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() }) // gone if making it failed
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("cannot make network namespaces here: %v: %s", err, out)
		}
		s.ip(ns, "link set lo up")
	}
	s.wire(s.borrower, "wlan0", "10.66.0.1/24", s.lender, "wlan0", "10.66.0.2/24")
	s.wire(s.lender, "wan0", "10.66.1.1/24", s.server, "wan0", "10.66.1.2/24")
	s.wire(s.lender, "other", "10.66.2.1/24", s.server, "other", "10.66.2.2/24")
	s.ip(s.server, "address add 203.0.113.1/32 dev lo")
	s.ip(s.lender, "route add 203.0.113.1/32 via 10.66.2.2 dev other metric 1")
	s.ip(s.lender, "route add 203.0.113.1/32 via 10.66.1.2 dev wan0 metric 100")
	return s
}

func (s *street) ip(ns, args string) {
	s.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("ip -n %s %s: %v: %s", ns, args, err, out)
	}
}

func (s *street) wire(a, aDev, aAddr, b, bDev, bAddr string) {
	s.t.Helper()
	s.ip(a, "link add "+aDev+" type veth peer name "+bDev+" netns "+b)
	for _, end := range [][3]string{{a, aDev, aAddr}, {b, bDev, bAddr}} {
		s.ip(end[0], "address add "+end[2]+" dev "+end[1])
		s.ip(end[0], "link set "+end[1]+" up")
	}
}

// listen opens a socket in a namespace: a socket stays where it was opened.
func (s *street) listen(ns, at string) *net.UDPConn {
	s.t.Helper()
	type result struct {
		conn net.PacketConn
		err  error
	}
	c := make(chan result)
	go func() {
		// The thread is spoilt by the change of namespace: it ends with this
		// goroutine, which never unlocks it.
		runtime.LockOSThread()
		h, err := netns.GetFromName(ns)
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err != nil {
			c <- result{nil, err}
			return
		}
		conn, err := net.ListenPacket("udp4", at)
		c <- result{conn, err}
	}()
	r := <-c
	if r.err != nil {
		s.t.Fatal(r.err)
	}
	s.t.Cleanup(func() { r.conn.Close() })
	return r.conn.(*net.UDPConn)
}

// receive waits for one datagram. What a lender says of the lease is passed
// over: an answer may come twice to who has asked twice.
func receive(t *testing.T, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		if wire.Kind(buf[:n]) != wire.LeaseControl {
			return buf[:n], from
		}
	}
}

func TestLendsTheDeviceToWhomIsAllowed(t *testing.T) {
	s := newStreet(t)
	var relayKey, borrowerKey control.Key
	relayKey[1], borrowerKey[1] = 1, 2
	dir := t.TempDir()
	config := filepath.Join(dir, "relayd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen = \":51900\"\ndevice = \"wan0\"\nprivate-key = %q\n[[allow]]\npublic-key = %q\n",
		relayKey.String(), borrowerKey.Public().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, []string{"ip", "netns", "exec", s.lender}, "--config="+config, "--log-level=debug")
	p.await("msg=lending")

	relay := netip.MustParseAddrPort("10.66.0.2:51900")
	server := s.listen(s.server, "203.0.113.1:51820")
	target := netip.MustParseAddrPort("203.0.113.1:51820")
	data := make([]byte, 100)
	data[0] = wire.TypeWGData

	// A stranger first, who knows the lender's key but is not allowed, and
	// sends data all the same. Its target is told from the borrower's.
	stranger := s.listen(s.borrower, "10.66.0.1:0")
	ask(t, stranger, relay, control.Key{1: 3}, relayKey.Public(), target, false)
	p.await("key is not allowed")
	if _, err := stranger.WriteToUDPAddrPort(data, relay); err != nil {
		t.Fatal(err)
	}

	// The allowed one is refused a private target, and lent the device for a
	// public one.
	borrower := s.listen(s.borrower, "10.66.0.1:0")
	if got := ask(t, borrower, relay, borrowerKey, relayKey.Public(), netip.MustParseAddrPort("10.66.2.2:51820"), true); got.State != lease.Refused || got.Reason != lease.BadTarget {
		t.Errorf("a private target: %+v", got)
	}
	if got := ask(t, borrower, relay, borrowerKey, relayKey.Public(), target, true); got.State != lease.Granted {
		t.Fatalf("got %+v\n%s", got, p.text())
	}
	data[8] = 1
	if _, err := borrower.WriteToUDPAddrPort(data, relay); err != nil {
		t.Fatal(err)
	}
	got, from := receive(t, server)
	if !bytes.Equal(got, data) {
		t.Errorf("the server got %x, want the borrower's %x", got, data)
	}
	if from.Addr() != netip.MustParseAddr("10.66.1.1") {
		t.Errorf("it came from %v: not by the device that is lent, whose address is 10.66.1.1", from)
	}
	if _, err := server.WriteToUDPAddrPort(data, from); err != nil {
		t.Fatal(err)
	}
	if back, from := receive(t, borrower); !bytes.Equal(back, data) || from != relay {
		t.Errorf("%x came back from %v", back, from)
	}

	// Everybody on the way may see that it is a borrower's: DSCP LE.
	raw, err := server.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := borrower.WriteToUDPAddrPort(data, relay); err != nil {
		t.Fatal(err)
	}
	about := make([]byte, 64)
	_, n, _, _, err := server.ReadMsgUDPAddrPort(make([]byte, 2048), about)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := unix.ParseSocketControlMessage(about[:n]); err != nil || len(said) != 1 || said[0].Header.Type != unix.IP_TOS || said[0].Data[0] != 1<<2 {
		t.Errorf("the packet is %+v, %v, want a TOS byte of 4", said, err)
	}

	// The lent device goes: the borrower is told.
	s.ip(s.lender, "link del wan0")
	buf := make([]byte, 2048)
	for told, end := false, time.Now().Add(patience); !told || !strings.Contains(p.text(), "the lent link is down"); {
		if time.Now().After(end) {
			t.Fatalf("told: %v; the log says\n%s", told, p.text())
		}
		if _, err := borrower.WriteToUDPAddrPort(data, relay); err != nil {
			t.Fatal(err)
		}
		if err := borrower.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, _, err := borrower.ReadFromUDPAddrPort(buf)
		told = told || err == nil && wire.Kind(buf[:n]) == wire.LeaseControl
	}

	p.stop()
	if log := p.text(); !strings.Contains(log, "stats.drop-no-lease=") || !strings.Contains(log, "stats.drop-control-unknown-peer=") || !strings.Contains(log, "stats.granted=1 ") {
		t.Errorf("the statistics do not tell what happened:\n%s", log)
	}
}

func TestInvitations(t *testing.T) {
	s := newStreet(t)
	var relayKey, borrowerKey control.Key
	relayKey[1], borrowerKey[1] = 1, 2
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // which relayd must pass when it is no longer root
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	state, socket, config := filepath.Join(dir, "state"), filepath.Join(dir, "control.sock"), filepath.Join(dir, "relayd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "device = \"wan0\"\nannounce = [\"wlan0\"]\nprivate-key = %q\nstate-dir = %q\ncontrol = %q\n",
		relayKey.String(), state, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	// An audit log that is full is kept under another name: also by nobody.
	full := filepath.Join(state, auditFile)
	if err := errors.Join(os.Mkdir(state, 0o700), os.WriteFile(full, nil, 0o600), os.Truncate(full, auditMost<<20)); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, []string{"ip", "netns", "exec", s.lender}, "--config="+config)
	p.await("msg=lending")
	relay, target := netip.MustParseAddrPort("10.66.0.2:51900"), netip.MustParseAddrPort("203.0.113.1:51820")

	out, errs, err := run(t, "", "invite", "--gb=2", "--days=7", "--for=Bob", "--at="+relay.String(), "--control="+socket)
	if err != nil || !strings.Contains(out, "2 GB") || !strings.ContainsAny(out, "█▀▄") {
		t.Fatalf("invite: %v\n%s%s", err, out, errs)
	}
	var code lease.Code
	for line := range strings.Lines(out) {
		if c, err := lease.ParseCode(strings.TrimSpace(line)); err == nil {
			code = c
		}
	}
	if !code.Of(relayKey.Public()) {
		t.Fatalf("no code of this lender:\n%s", out)
	}
	borrower := s.listen(s.borrower, "10.66.0.1:0")
	redeem := &lease.Redeem{ID: code.ID(), Proof: code.Proof(relayKey.Public(), borrowerKey.Public())}
	if got := askWith(t, borrower, relay, borrowerKey, relayKey.Public(), target, true, redeem); got.State != lease.Granted || got.Terms.Left != 2e9 {
		t.Fatalf("redeemed: %+v\n%s", got, p.text())
	}
	list, _, err := run(t, "", "invitations", "--control="+socket)
	if err != nil || !strings.Contains(list, code.ID().String()) || !strings.Contains(list, "redeemed") || !strings.Contains(list, borrowerKey.Public().String()) {
		t.Errorf("invitations: %v\n%s", err, list)
	}
	if strings.Contains(list+p.text(), code.String()) {
		t.Error("the list or the log shows the code itself")
	}
	if out, errs, err := run(t, "", "uninvite", code.ID().String(), "--control="+socket); err != nil || out != "1 revoked\n" {
		t.Errorf("uninvite: %q %q %v", out, errs, err)
	}
	p.await("the invitation was revoked")
	again := s.listen(s.borrower, "10.66.0.1:0")
	ask(t, again, relay, borrowerKey, relayKey.Public(), target, false)
	p.await("key is not allowed")
	// The process is nobody now and can start nothing.
	about, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nCapEff:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"} {
		if !strings.Contains(string(about), want) {
			t.Errorf("not %q in\n%s", want, about)
		}
	}
	if strings.Contains(string(about), "\nUid:\t0\t") {
		t.Error("it is still root")
	}
	p.stop()
	audit, err := os.ReadFile(full)
	if old, _ := filepath.Glob(filepath.Join(state, "audit-*.jsonl*")); err != nil || len(audit) > 10_000 || len(old) == 0 || !strings.Contains(string(audit), "lease granted") {
		t.Errorf("beside %q the audit log has %d bytes, %v", old, len(audit), err)
	}
	if info, err := os.Stat(filepath.Join(state, invitationsFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of invitations: %v, %v", info, err)
	}
}

// TestQuotaAcrossKills: a relayd that is killed without notice while it forwards,
// again and again, lends no byte beyond the month's volume.
func TestQuotaAcrossKills(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes")
	}
	s := newStreet(t)
	var relayKey, borrowerKey control.Key
	relayKey[1], borrowerKey[1] = 1, 2
	dir := t.TempDir()
	config := filepath.Join(dir, "relayd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "device = \"wan0\"\nvolume = \"1 MB\"\nstate-dir = %q\ncontrol = %q\nuser = \"root\"\nprivate-key = %q\n[[allow]]\npublic-key = %q\n",
		dir, filepath.Join(dir, "control.sock"), relayKey.String(), borrowerKey.Public().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	const quota, kills, headers = 1_000_000, 5, 28
	relay, target := netip.MustParseAddrPort("10.66.0.2:51900"), netip.MustParseAddrPort("203.0.113.1:51820")
	server := s.listen(s.server, target.String())
	data, buf := make([]byte, 1000), make([]byte, 2048)
	data[0] = wire.TypeWGData
	carried := 0
	// came counts a datagram if one comes in time.
	came := func(at *net.UDPConn, wait time.Duration) (from netip.AddrPort, ok bool) {
		t.Helper()
		if err := at.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		for {
			n, from, err := at.ReadFromUDPAddrPort(buf)
			if err != nil {
				return from, false
			}
			if wire.Kind(buf[:n]) != wire.LeaseControl {
				carried += n + headers
				return from, true
			}
		}
	}
	for life := range kills + 1 {
		p := startProcess(t, []string{"ip", "netns", "exec", s.lender}, "--config="+config)
		p.await("msg=lending")
		borrower := s.listen(s.borrower, "10.66.0.1:0")
		if got := ask(t, borrower, relay, borrowerKey, relayKey.Public(), target, true); got.State != lease.Granted {
			t.Fatalf("got %+v with %d bytes carried\n%s", got, carried, p.text())
		}
		send := func() {
			t.Helper()
			if _, err := borrower.WriteToUDPAddrPort(data, relay); err != nil {
				t.Fatal(err)
			}
		}
		send()
		wan, ok := came(server, patience)
		if !ok {
			t.Fatal("nothing comes")
		}
		if _, err := server.WriteToUDPAddrPort(data, wan); err != nil {
			t.Fatal(err)
		}
		if _, ok := came(borrower, patience); !ok {
			t.Fatal("nothing comes back")
		}
		if life == kills { // the last one ends as it should
			for end := time.Now().Add(patience); !strings.Contains(p.text(), "used up"); {
				if time.Now().After(end) {
					t.Fatalf("%d bytes are carried and it lends on\n%s", carried, p.text())
				}
				send()
				came(server, 20*time.Millisecond)
			}
			for ok := true; ok; {
				_, ok = came(server, 50*time.Millisecond)
			}
			break
		}
		for range 40 + 20*life {
			send()
			came(server, 20*time.Millisecond) // no more than was debited ahead
		}
		for range 20 {
			send()
		}
		p.kill()
		for ok := true; ok; {
			_, ok = came(server, 50*time.Millisecond)
		}
	}
	if carried > quota || carried < quota/2 {
		t.Errorf("%d bytes were carried, of %d", carried, quota)
	}
	t.Logf("%d kills, %d bytes carried of %d", kills, carried, quota)
}

// switches is how often the threads of a process have been awake so far.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, file := range files {
		about, _ := os.ReadFile(file) // a thread may have ended
		for _, m := range regexp.MustCompile(`(?m)^(?:non)?voluntary_ctxt_switches:\s*(\d+)$`).FindAllSubmatch(about, -1) {
			k, err := strconv.Atoi(string(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	return n
}

// TestNobodyBorrowsNothingWakes: a relayd that announces itself, and would on a
// device that is not there, sleeps while nobody borrows.
func TestNobodyBorrowsNothingWakes(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds of sleep")
	}
	s := newStreet(t)
	relayKey := control.Key{1: 1}
	config := filepath.Join(t.TempDir(), "relayd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "device = \"wan0\"\nannounce = [\"wlan0\", \"wgbt-none\"]\nprivate-key = %q\n[[allow]]\npublic-key = %q\n",
		relayKey.String(), other), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, []string{"ip", "netns", "exec", s.lender}, "--config="+config)
	p.await("msg=announcing")
	p.await("wgbt-none")
	// Longer than any timer of a relayd's own; the Go runtime collects garbage
	// every two minutes.
	const quiet = 5500 * time.Millisecond
	woken, since := switches(t, p.cmd.Process.Pid), time.Now()
	for end := since.Add(patience); time.Since(since) < quiet; time.Sleep(100 * time.Millisecond) {
		if n := switches(t, p.cmd.Process.Pid); n != woken {
			woken, since = n, time.Now()
		}
		if time.Now().After(end) {
			t.Fatalf("nobody borrows, and in no %v of %v it sleeps; it has been awake %d times", quiet, patience, woken)
		}
	}
	t.Logf("awake %d times until it slept", woken)
	if woken == 0 {
		t.Error("it has never been awake: nothing is counted here")
	}
}

// ask asks a relayd for a lease and gives its answer. If there will be none it
// only sends the question.
func ask(t *testing.T, conn *net.UDPConn, relay netip.AddrPort, private, relayKey control.Key, target netip.AddrPort, answers bool) lease.Status {
	t.Helper()
	return askWith(t, conn, relay, private, relayKey, target, answers, nil)
}

func askWith(t *testing.T, conn *net.UDPConn, relay netip.AddrPort, private, relayKey control.Key, target netip.AddrPort, answers bool, redeem *lease.Redeem) lease.Status {
	t.Helper()
	i, err := control.NewInitiator(control.InitiatorConfig{Service: control.Lease, Private: private, Remote: relayKey, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	b, err := lease.NewBorrower(lease.BorrowerConfig{Initiator: i, Target: target, Redeem: redeem})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	buf := make([]byte, 2048)
	for {
		now := time.Since(start)
		if s := b.Status(now); s.State != lease.Seeking {
			return s
		}
		out, err := b.Transmit(now, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, datagram := range out {
			if _, err := conn.WriteToUDPAddrPort(datagram, relay); err != nil {
				t.Fatal(err)
			}
		}
		if !answers {
			return b.Status(now)
		}
		if now > patience {
			t.Fatal("the relayd does not answer")
		}
		if err := conn.SetReadDeadline(start.Add(b.Next())); err != nil {
			t.Fatal(err)
		}
		n, _, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			continue // it is time to ask again
		}
		_ = b.Consume(time.Since(start), buf[:n]) // what is of no use changes nothing
	}
}
