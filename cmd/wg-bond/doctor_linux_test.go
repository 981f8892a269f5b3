package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/doctor"
)

// TestDoctor makes real conditions, one after the other: the doctor finds each,
// and no longer finds it when it is gone.
func TestDoctor(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p2", "10.99.2.1/24", "10.99.2.2/24")
	for _, m := range ms {
		m.Run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2")
	}
	server.serve("wgbt-d1")
	behind := server.dir + "/wgbt-d1.conf"
	client.Run("ip", "route", "add", "10.99.1.2/32", "via", "10.99.2.2", "metric", "9")
	conf := client.file("wgbt-d2.conf", clientConf)
	client.file("wgbt-d2.bond.toml", clientSide)

	// Other checks find what this machine happens to be like.
	found := func(check, part string) bool {
		t.Helper()
		client.Run("ping", "-q", "-c", "3", "-i", "0.05", "-w", "60", "10.99.1.2")
		_, _, _ = client.Try("ping", "-q", "-c", "3", "-i", "0.05", "-W", "1", "-s", "1350", "10.77.0.1")
		out, errOut, err := client.Try("wg-bond", "doctor", "wgbt-d2", "--json", "--for", "250ms")
		var reports []doctor.Report
		if jsonErr := json.Unmarshal([]byte(out), &reports); jsonErr != nil || len(reports) != 1 {
			t.Fatalf("doctor: %v, %v\n%s%s", err, jsonErr, out, errOut)
		}
		if (err != nil) != (reports[0].Problems() > 0) {
			t.Errorf("doctor ended with %v: %+v", err, reports)
		}
		return slices.ContainsFunc(reports[0].Findings, func(f doctor.Finding) bool {
			return f.Check == check && strings.Contains(f.Where+": "+f.What, part)
		})
	}
	condition := func(check, part string, begin, end func()) {
		t.Helper()
		begin()
		eventually(t, fmt.Sprintf("the doctor to find %s: %s", check, part), func() bool { return found(check, part) })
		if end != nil {
			end()
			eventually(t, fmt.Sprintf("the doctor not to find %s: %s", check, part), func() bool { return !found(check, part) })
		}
	}
	run := func(line string) func() {
		return func() { t.Helper(); words := strings.Fields(line); client.Run(words[0], words[1:]...) }
	}

	condition("up", "it is not up", func() {}, func() { client.up(conf) })
	condition("route", "path second: no route to 10.99.1.2 by wgbt-p2", run("ip route delete 10.99.1.2/32 via 10.99.2.2"), run("ip route add 10.99.1.2/32 via 10.99.2.2 metric 9"))
	// Both ways lead to the server; that to the next door is the better one.
	run("ip route replace 10.99.1.2/32 dev wgbt-p1 metric 1")()
	condition("route", "reverse-path filter of wgbt-p2", func() {
		run("sysctl -q -w net.ipv4.conf.all.rp_filter=1")()
	}, run("sysctl -q -w net.ipv4.conf.all.rp_filter=2"))
	condition("mark", "mark 0x0, but", run("wg set wgbt-d2 fwmark 0"), run("wg set wgbt-d2 fwmark 0xca6c"))
	condition("paths", "path second: ", run("ip link set wgbt-p2 down"), func() {
		run("ip link set wgbt-p2 up")()
		run("ip route replace 10.99.1.2/32 via 10.99.2.2 metric 9")()
	})
	if _, err := exec.LookPath("tc"); err == nil {
		if _, errOut, err := client.Try("tc", "qdisc", "add", "dev", "wgbt-p2", "root", "tbf", "rate", "8mbit", "burst", "30kb", "latency", "50ms"); err != nil {
			t.Logf("no shaper: this kernel has no tbf: %s", errOut)
		} else {
			condition("throttle", "kind tbf holds wgbt-p2 to 8.00 Mbit/s", func() {}, run("tc qdisc delete dev wgbt-p2 root"))
		}
	}
	hasMTU := func(size string) bool {
		return strings.Contains(client.Run("ip", "-o", "link", "show", "wgbt-d2"), " mtu "+size+" ")
	}
	condition("mtu", "path second: ", run("ip link set wgbt-p2 mtu 1400"), nil)
	if !hasMTU("1420") {
		t.Error("the tunnel's MTU is not 1420 any more, though the first path carries that")
	}
	run("ip link set wgbt-p1 mtu 1380")()
	eventually(t, "the tunnel's MTU to be what the wider path carries", func() bool {
		_, _, _ = client.Try("ping", "-q", "-c", "1", "-W", "1", "-s", "1350", "10.77.0.1")
		return hasMTU("1340")
	})
	condition("server", "plain WireGuard", func() { server.Run("wg-bond", "down", behind) }, nil)
}
