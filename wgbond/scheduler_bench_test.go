//go:build linux

package wgbond

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
)

// planner counts the plans that are made.
type planner struct {
	schedulers.Scheduler
	plans int
}

func (c *planner) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	c.plans++
	c.Scheduler.Plan(s, p)
}

// BenchmarkSchedulers is what a data packet costs its sending session (as
// BenchmarkSessionSend, over two paths) side by side in one run: with the
// built-in scheduler, with the same one as a plugin, and with a plugin that
// hangs. They take turns of a plan period each; the median turn counts, in
// processor time of the one thread, so that other programs do not.
func BenchmarkSchedulers(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	type subject struct {
		*traffic
		planner
		told   chan struct{} // the plugin has answered; nil: nobody waits
		each   []float64     // a turn's time per packet, nanoseconds
		plugin *host.Plugin
	}
	newSubject := func() *subject {
		x := &subject{traffic: newTraffic(b, 2)}
		x.timed, x.processor = true, threadTime
		x.Scheduler = earliest.New()
		return x
	}
	plugged := func(name, pkg string, waits bool) *subject {
		x := newSubject()
		x.plugin = launchPlugin(b, name, pkg)
		s := x.plugin.NewScheduler()
		b.Cleanup(func() { _ = s.Close() })
		if x.Scheduler = s; waits {
			x.told = make(chan struct{}, 1)
			s.Notify(func() { x.told <- struct{}{} })
		}
		return x
	}
	subjects := []*subject{
		newSubject(),
		plugged("earliest", "../plugins/examples/builtin", true),
		plugged("hang", "../plugins/host/testdata/misbehaving", false),
	}
	for _, x := range subjects {
		x.server.SetScheduler(x.serverNow(), &x.planner)
	}
	turn := func(x *subject) {
		from, spent := x.delivered, x.sendTime
		for to := x.now + planInterval; x.now < to; {
			before := x.plans
			x.step()
			if x.told == nil || x.plans == before {
				continue
			}
			// Virtual time waits for a real process, which in truth has answered
			// before the next step. It is not asked soon after it was.
			select {
			case <-x.told:
				start := x.clock()
				x.server.Replan(x.serverNow())
				x.sendTime += x.clock() - start
			case <-time.After(20 * time.Millisecond):
			}
		}
		if n := x.delivered - from; n > 0 {
			x.each = append(x.each, float64(x.sendTime-spent)/float64(n))
		}
	}
	for range 20 {
		for _, x := range subjects {
			turn(x)
		}
	}
	for _, x := range subjects {
		x.each = nil
	}
	for b.Loop() {
		for _, x := range subjects {
			turn(x)
		}
	}
	median := func(x *subject) float64 {
		slices.Sort(x.each)
		return x.each[len(x.each)/2]
	}
	builtin := median(subjects[0])
	b.ReportMetric(builtin, "ns/packet")
	b.ReportMetric(median(subjects[1])/builtin, "plugin/builtin")
	b.ReportMetric(median(subjects[2])/builtin, "hanging/builtin")
	b.ReportMetric(0, "ns/op") // would be of all three
	b.Logf("%d turns; plans of the plugin %+v, of the one that hangs %+v", len(subjects[0].each),
		subjects[1].plugin.Status().Counts, subjects[2].plugin.Status().Counts)
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(t.Nano())
}

// launchPlugin builds and starts the plugin in pkg, under a name that tells it
// what to do.
func launchPlugin(b *testing.B, name, pkg string) *host.Plugin {
	b.Helper()
	// An unprivileged user must come there: not the test's own directory.
	dir, err := os.MkdirTemp("", "wgbt-plugin")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	// One that hangs would be killed, and made anew.
	p, err := host.Launch(context.Background(), host.Config{Name: name, Path: path, Limits: host.Limits{Answer: time.Hour}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	return p
}
