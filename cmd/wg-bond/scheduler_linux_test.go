package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
	"github.com/wg-bond/wg-bond/cmd/wg-bond/internal/decide"
)

// buildPlugin builds an example where an unprivileged user may run it.
func buildPlugin(t *testing.T, name, pkg string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wgbt-plugin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

func (m *machine) schedulers(name string) *decide.Show {
	m.t.Helper()
	show := new(decide.Show)
	if err := json.Unmarshal([]byte(m.Run("wg-bond", "scheduler", "show", "-i", name, "--json")), show); err != nil {
		m.t.Fatal(err)
	}
	return show
}

// TestSchedulers: a plugin in charge of a real interface, another in shadow,
// changed by the command, by SIGHUP, and killed.
func TestSchedulers(t *testing.T) {
	ms := machines(t, 2)
	client, server := ms[0], ms[1]
	metered := buildPlugin(t, "metered", "../../plugins/examples/metered")
	minrtt := buildPlugin(t, "minrtt", "../../plugins/examples/builtin")
	nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
	behind := server.file("wgbt-m3.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51821\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	server.file("wgbt-m3.bond.toml", "[serve]\nlisten = \":51820\"\n")
	stock, _ := server.background("wireguard-go", "-f", "wgbt-m3")
	eventually(t, "wireguard-go", func() bool { _, _, err := server.Try("wg", "setconf", "wgbt-m3", behind); return err == nil })
	server.Run("ip", "address", "add", "10.77.0.1/24", "dev", "wgbt-m3")
	server.Run("ip", "link", "set", "wgbt-m3", "up")
	server.Run("wg-bond", "serve", behind)
	t.Cleanup(func() { _, _, _ = server.Try("wg-bond", "down", behind); server.gone("wgbt-m3") })

	side := func(charge, budget string) {
		client.file("wgbt-c3.bond.toml", `scheduler = "`+charge+`"
[[path]]
device = "wgbt-p1"
metered = true
[plugin.metered]
path = "`+metered+`"
budget = "`+budget+`"
[plugin.watcher]
path = "`+minrtt+`"
`)
	}
	side("metered", "much")
	conf := client.file("wgbt-c3.conf", clientConf)
	_, errs, err := client.Try("wg-bond", "up", conf)
	if want := `wgbt-c3.bond.toml:7: [plugin.metered] budget: found "much"; want a size in quotes, like "5 GB"`; err == nil || !strings.Contains(errs, want) {
		t.Fatalf("error %v %q, want %q", err, errs, want)
	}
	side("metered", "5 GB")
	client.up(conf)
	ping := func() { client.t.Helper(); client.Run("ping", "-c", "3", "-i", "0.05", "-w", "60", "10.77.0.1") }
	ping()
	var show *decide.Show
	eventually(t, "the plugin to be followed", func() bool {
		ping()
		show = client.schedulers("wgbt-c3")
		return show.Charge.Plugin != nil && show.Charge.Plugin.Plans.Followed > 0
	})
	if show.Charge.Name != "metered" || !show.Charge.Plugin.Running || show.Sessions == 0 {
		t.Errorf("show: %+v", show)
	}

	// Another in shadow, and compared. (A link called minrtt serves as the
	// plugin watcher: the name is the user's.)
	client.Run("wg-bond", "scheduler", "use", "watcher", "--shadow", "-i", "wgbt-c3")
	eventually(t, "plans to be compared", func() bool {
		ping()
		show = client.schedulers("wgbt-c3")
		return show.Score != nil && show.Score.Plans > 5
	})
	if show.Shadow.Name != "watcher" || len(show.Score.Shares) != 1 || show.Score.Shares[0].Path != "wgbt-p1" || show.Score.Shares[0].Shadow != 1 {
		t.Errorf("score: %+v %+v", show.Shadow, show.Score)
	}
	if text := client.Run("wg-bond", "scheduler", "show", "-i", "wgbt-c3"); !strings.Contains(text, "share of path wgbt-p1") {
		t.Errorf("show as text:\n%s", text)
	}

	// Killed: packets flow, status says why the default decides, or did.
	pid, err := strconv.Atoi(show.Charge.Plugin.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ping()
	eventually(t, "the reason in status", func() bool {
		return strings.Contains(client.status("wgbt-c3").SchedulerTrouble, "killed")
	})
	eventually(t, "the plugin's return", func() bool { ping(); return client.schedulers("wgbt-c3").Charge.Plugin.Restarts > 0 })

	// Changed by the command, then by the side file and SIGHUP.
	client.Run("wg-bond", "scheduler", "use", "roundrobin", "-i", "wgbt-c3")
	if show = client.schedulers("wgbt-c3"); show.Charge.Name != "roundrobin" || show.Charge.Plugin != nil {
		t.Errorf("show: %+v", show)
	}
	ping()
	if _, errs, err := client.Try("wg-bond", "scheduler", "use", "roundrobbin", "-i", "wgbt-c3"); err == nil || !strings.Contains(errs, `"roundrobin" (did you mean that?)`) {
		t.Errorf("use of what is not there: %v %q", err, errs)
	}
	side("backup", "5 GB")
	daemon := strings.Fields(client.Run("pgrep", "-f", "wg-bond.* up.*"+client.dir))
	if len(daemon) != 1 {
		t.Fatalf("processes %q", daemon)
	}
	client.Run("kill", "-HUP", daemon[0])
	eventually(t, "the side file's scheduler", func() bool { return client.status("wgbt-c3").Scheduler == "backup" })
	ping()
	list := client.Run("wg-bond", "scheduler", "list", "-i", "wgbt-c3")
	for _, want := range []string{"earliest", "built in", "watcher", minrtt} {
		if !strings.Contains(list, want) {
			t.Errorf("list has no %q:\n%s", want, list)
		}
	}
	client.Run("wg-bond", "down", conf)
	client.gone("wgbt-c3")
	eventually(t, "the plugin's end with its interface", func() bool {
		pids, _, _ := client.Try("pgrep", "-f", metered)
		return strings.TrimSpace(pids) == ""
	})
	_ = stock.Process.Signal(syscall.SIGTERM)
	_ = stock.Wait()
}
