package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/relayd/lease"
)

// TestLendersNearby: relay = "auto" uses lenders as they come, are borrowed
// from by an invitation, and go, while packets flow; and tells of them.
//
//	client 10.99.1.1 ─── p1 ────────────────────────── 10.99.1.2 server
//	       10.99.2.1 ─ p2 ─ 10.99.2.2 Anna, Bob 10.99.3.1 ─ p3 ─ 10.99.3.2
func TestLendersNearby(t *testing.T) {
	ms := machines(t, 3)
	client, server, lender := ms[0], ms[1], ms[2]
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(client.Namespace, lender.Namespace, "wgbt-p2", "10.99.2.1/24", "10.99.2.2/24")
	nstest.Cable(lender.Namespace, server.Namespace, "wgbt-p3", "10.99.3.1/24", "10.99.3.2/24")
	lender.Run("ip", "route", "add", "10.99.1.0/24", "via", "10.99.3.2")
	server.serve("wgbt-n1")
	for _, d := range []string{lender.dir, filepath.Dir(lender.dir)} { // relayd is not root for long
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lend := func(name string, port int, more string) (start func() *exec.Cmd) {
		key, err := wgtypes.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		file := lender.file(name+".toml", fmt.Sprintf("listen = \"10.99.2.2:%d\"\ndevice = \"wgbt-p3\"\nannounce = [\"wgbt-p2\"]\nname = %q\nprivate-key = %q\nallow-private-targets = true\ncontrol = \"%s/%s.sock\"\n%s",
			port, name, key, lender.dir, name, more))
		return func() *exec.Cmd { cmd, _ := lender.background("relayd", "--config", file); return cmd }
	}
	anna := lend("Anna", 51900, "rate = \"500 Mbit/s\"\n[[allow]]\npublic-key = \""+publicA+"\"\n")
	bob := lend("Bob", 51901, fmt.Sprintf("state-dir = \"%s/bob\"\nvolume = \"5 GB\"\n", lender.dir))

	client.file("wgbt-n2.bond.toml", "[[path]]\ndevice = \"wgbt-p1\"\n[[path]]\ndevice = \"wgbt-p2\"\nrelay = \"auto\"\n")
	conf := client.file("wgbt-n2.conf", "[Interface]\nPrivateKey = "+privateA+"\nAddress = 10.77.0.2/24\nTable = off\n[Peer]\nPublicKey = "+publicB+"\nAllowedIPs = 10.77.0.0/24\nEndpoint = 10.99.1.2:51820\nPersistentKeepalive = 1\n")
	client.up(conf)
	active := func() string {
		var names []string
		for _, p := range client.status("wgbt-n2").Peers[0].Bond.Paths {
			if p.State == "active" {
				names = append(names, regexp.MustCompile(`-[0-9a-f]{6}$`).ReplaceAllString(p.Name, ""))
			}
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	await := func(want string) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("the client says\n%s", client.Run("wg-bond", "status", "wgbt-n2"))
			}
		}()
		eventually(t, "the paths "+want, func() bool { return active() == want })
	}
	await("wgbt-p1")
	eventually(t, "a ping", func() bool {
		_, _, err := client.Try("ping", "-c", "1", "-W", "1", "10.77.0.1")
		return err == nil
	})
	transfer := client.pings()

	annas := anna()
	await("wgbt-p1 wgbt-p2-relay-Anna")
	bob()
	var code lease.Code
	eventually(t, "an invitation of Bob's", func() bool {
		out, _, err := lender.Try("relayd", "invite", "--no-qr", "--gb=1", "--control="+lender.dir+"/Bob.sock")
		first, _, _ := strings.Cut(out, "\n")
		if err == nil {
			code, err = lease.ParseCode(first)
		}
		return err == nil
	})
	if out := client.Run("wg-bond", "borrow", code.String(), conf); !strings.Contains(out, "redeemed: 10.99.2.2:51901") || strings.Contains(out, "does not use it") {
		t.Errorf("borrow says %q", out)
	}
	await("wgbt-p1 wgbt-p2-relay-Anna wgbt-p2-relay-Bob")
	for _, want := range []string{`(?m)^Anna-\S+ +wgbt-p2 +10\.99\.2\.2:51900 +by invitation +500\.00 Mbit/s +- +wgbt-n2 +active +[0-9.]+ ms`,
		`(?m)^Bob-\S+ +wgbt-p2 +10\.99\.2\.2:51901 +by invitation +- +[45]\.\d+ G`} {
		eventually(t, "relays to say "+want, func() bool {
			return regexp.MustCompile(want).MatchString(client.Run("wg-bond", "relays", "--wait=1s"))
		})
	}
	goAndCome := func() {
		t.Helper()
		if err := annas.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		await("wgbt-p1 wgbt-p2-relay-Bob")
		_ = annas.Wait() // it has said farewell, but may still have its port
		annas = anna()
		await("wgbt-p1 wgbt-p2-relay-Anna wgbt-p2-relay-Bob")
	}
	goAndCome()
	sent, came := transfer()
	// A machine that stands still at the wrong moment loses some too, but not
	// each time that a lender goes and comes.
	for deadline := time.Now().Add(patience); sent == 0 || sent-came > sent/20+1; {
		t.Logf("%d of %d pings came back", came, sent)
		if time.Now().After(deadline) {
			t.Fatal("too many are lost whenever a lender goes and comes")
		}
		transfer = client.pings()
		goAndCome()
		sent, came = transfer()
	}
	t.Logf("%d of %d pings came back while lenders came and went", came, sent)
}

// pings sends fifty a second through the tunnel until end, which tells how many
// were sent and came back.
func (m *machine) pings() (end func() (sent, came int)) {
	m.t.Helper()
	ping, report := exec.Command("ping", "-i", "0.02", "10.77.0.1"), new(lockedBuffer)
	ping.Stdout = report
	m.Start(ping)
	m.t.Cleanup(func() {
		_ = ping.Process.Kill()
		_ = ping.Wait()
	})
	return func() (sent, came int) {
		m.t.Helper()
		if err := ping.Process.Signal(syscall.SIGINT); err != nil {
			m.t.Fatal(err)
		}
		_ = ping.Wait()
		counts := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(report.String())
		if counts == nil {
			m.t.Fatalf("ping says\n%s", report)
		}
		_, _ = fmt.Sscan(counts[1], &sent) // digits
		_, _ = fmt.Sscan(counts[2], &came)
		return sent, came
	}
}
