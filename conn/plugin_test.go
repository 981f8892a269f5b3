//go:build unix

package conn

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/conn/internal/wgtest"
	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/plugins/choice"
	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
)

// builtinPlugin builds the plugin that serves the built-in of that name.
func builtinPlugin(t testing.TB, name string) host.Config {
	t.Helper()
	return buildPlugin(t, name, "../plugins/examples/builtin")
}

// buildPlugin builds a plugin that does what its name says.
func buildPlugin(t testing.TB, name, pkg string) host.Config {
	t.Helper()
	// An unprivileged user must come there: not the test's own directory.
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
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// A busy machine may take its time with the process.
	limits := host.Limits{Start: wgtest.Patience, Answer: wgtest.Patience, BackOff: time.Millisecond, BackOffMax: 5 * time.Millisecond}
	return host.Config{Name: name, Path: path, Limits: limits}
}

func pluginOption(t *testing.T, cfg host.Config) *choice.Option {
	t.Helper()
	p, err := host.Launch(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return choice.FromPlugin(cfg.Name, p)
}

func builtinOption(t *testing.T, name string) *choice.Option {
	t.Helper()
	return &choice.Option{Name: name, New: func() schedulers.Scheduler {
		s, err := builtin.New(name)
		if err != nil {
			panic(err) // a slip in the test
		}
		return s
	}}
}

// chosenPair is a pair whose ends both follow the choice.
func chosenPair(t *testing.T, c *choice.Choice) *pair {
	t.Helper()
	p := &pair{net: wgtest.NewNet()}
	bind := func(cfg Config) *Bind {
		cfg.Scheduler = c.NewScheduler
		b, err := NewBind(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p.serverBind = bind(Config{})
	p.clientBind = bind(Config{Listen: p.net.Listen, Paths: []mux.PathSpec{{Name: "a", Device: "a"}, {Name: "b", Device: "b"}}})
	p.connect(t)
	p.client.Up(t)
	p.bonded(t, 2)
	return p
}

// transfers runs transfers both ways until stop is closed; each checks that
// what came is what was sent.
func (p *pair) transfers(t *testing.T, stop <-chan struct{}) (n int) {
	t.Helper()
	for {
		select {
		case <-stop:
			return n
		default:
			wgtest.Transfer(t, p.client, p.server, n%2 == 0, 2<<20)
			n++
		}
	}
}

// TestPluginKilled: the scheduler's process is killed 200 times while data
// flow, and the applications see nothing of it.
func TestPluginKilled(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	c := choice.New(pluginOption(t, builtinPlugin(t, "earliest")))
	t.Cleanup(c.Close)
	p := chosenPair(t, c)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := range kills {
			// A process that has not planned yet would not be missed.
			before := c.Status().ChargePlugin.Counts.Followed
			var st *host.Status
			if !eventually(func() bool {
				st = c.Status().ChargePlugin
				return st.Running && st.Restarts == uint64(i) && st.Counts.Followed > before
			}) {
				t.Errorf("kill %d: the plugin does not come back: %+v", i, st)
				return
			}
			pid, err := strconv.Atoi(st.Pid)
			if err != nil {
				t.Error(err)
				return
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
				return
			}
		}
	}()
	n := p.transfers(t, stop)
	st := c.Status().ChargePlugin
	t.Logf("%d kills during %d transfers of 2 MiB; plans %+v", kills, n, st.Counts)
	if st.Counts.NotThere == 0 || st.Counts.Followed == 0 {
		t.Errorf("the plugin was never missed, or never followed: %+v", st.Counts)
	}
}

func eventually(is func() bool) bool {
	for deadline := time.Now().Add(wgtest.Patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// TestSwaps: the scheduler is changed 50 times while data flow, between
// built-ins and a plugin, and no packet is lost by it.
func TestSwaps(t *testing.T) {
	cfg := builtinPlugin(t, "minrtt")
	c := choice.New(builtinOption(t, "earliest"))
	t.Cleanup(c.Close)
	p := chosenPair(t, c)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := range 50 {
			if i%2 == 0 {
				p, err := host.Launch(context.Background(), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				o := choice.FromPlugin("minrtt", p)
				c.Use(o)
				if !eventually(func() bool { return p.Status().Counts.Followed > 2 }) {
					t.Errorf("swap %d: the plugin is not followed: %+v", i, p.Status())
				}
			} else {
				c.Use(builtinOption(t, builtin.Names()[i%len(builtin.Names())]))
			}
		}
	}()
	n := p.transfers(t, stop)
	if got := c.Status().Swaps; got != 50 {
		t.Errorf("%d swaps", got)
	}
	for _, b := range []*Bind{p.clientBind, p.serverBind} {
		s := sessionOf(t, b)
		var lost uint64
		for _, path := range s.Paths {
			lost += path.LostPackets
		}
		t.Logf("of %d packets sent, %d lost on the way (loopback's buffers), %d sent again; %d transfers", s.Sent, lost, s.RepairsSent, n)
	}
}
