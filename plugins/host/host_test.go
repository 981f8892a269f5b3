//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wg-bond/wg-bond/plugins/schedpb"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
)

// patience bounds the waits of these tests; only a failure takes so long.
const patience = time.Minute

// built has the program testdata/misbehaving; names are links to it.
var built string

func TestMain(m *testing.M) {
	code := func() int {
		// Not the test's own directory: an unprivileged user must come there.
		dir, err := os.MkdirTemp("", "wgbt-host")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		built = filepath.Join(dir, "good")
		if out, err := exec.Command("go", "build", "-o", built, "./testdata/misbehaving").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	if code == 0 {
		err := goleak.Find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = goleak.Find() // which waits for half a second
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// named is the program under another name, which tells it what to do.
func named(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(built), name)
	if err := os.Link(built, path); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return path
}

// theFallback is known by its plans' validity.
const fallbackValid = 777 * time.Millisecond

type theFallback struct{ schedulers.Scheduler }

func (f theFallback) Plan(s *schedulers.Snapshot, p *schedulers.Plan) {
	f.Scheduler.Plan(s, p)
	p.Valid = fallbackValid
}

func config(t testing.TB, name string) Config {
	return Config{
		Name: name, Path: named(t, name),
		Fallback: func() schedulers.Scheduler { return theFallback{builtin.All[0].New()} },
		Limits:   Limits{BackOff: 5 * time.Millisecond, BackOffMax: 20 * time.Millisecond, Start: patience, Answer: patience},
	}
}

func launch(t testing.TB, cfg Config) *Plugin {
	t.Helper()
	p, err := Launch(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// session plays the engine's part in virtual time.
type session struct {
	t     testing.TB
	sched *Scheduler
	snap  schedulers.Snapshot
	plan  schedulers.Plan
	told  chan struct{}
}

func newSession(t testing.TB, p *Plugin) *session {
	s := &session{t: t, sched: p.NewScheduler(), told: make(chan struct{}, 1000)}
	s.sched.Notify(func() {
		select {
		case s.told <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() { s.sched.Close() })
	s.snap.Now = time.Hour
	s.snap.FeedbackInterval = 10 * time.Millisecond
	for id := range schedulers.PathID(2) {
		s.snap.Paths = append(s.snap.Paths, schedulers.Path{
			ID: id, State: schedulers.Active, Rate: 1e6, MinRTT: 30e6, SRTT: 40e6, Weight: 1, MTU: 1420,
		})
	}
	return s
}

// step lets time pass and asks for a plan, which must be sound and is either
// the plugin's or the fallback's.
func (s *session) step(d time.Duration) (followed bool) {
	s.t.Helper()
	s.snap.Seq++
	s.snap.Now += d
	s.plan = schedulers.Plan{}
	s.sched.Plan(&s.snap, &s.plan)
	if err := schedulers.Validate(&s.plan, &s.snap); err != nil {
		s.t.Fatalf("the session got a plan that it cannot follow: %v", err)
	}
	return s.plan.Valid != fallbackValid
}

// wait waits for the plugin's answer.
func (s *session) wait() {
	s.t.Helper()
	select {
	case <-s.told:
	case <-time.After(patience):
		s.t.Fatalf("no answer: %+v", s.sched.plugin.Status())
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A plan is in force as soon as it has come, and the whole of the time after.
func TestFollows(t *testing.T) {
	p := launch(t, config(t, "good"))
	s := newSession(t, p)
	if s.step(0) {
		t.Error("followed a plan that cannot be there yet")
	}
	for i := range 20 {
		s.wait()
		if !s.step(time.Millisecond) {
			t.Fatalf("round %d: the answer is not followed", i)
		}
		if got, want := s.plan.Seq, s.snap.Seq; got != want {
			t.Errorf("the plan answers snapshot %d, not %d", got, want)
		}
		if !s.step(period) {
			t.Fatalf("round %d: the last answer is not followed while the next is under way", i)
		}
	}
	s.wait()
	st := p.Status()
	if !st.Running || st.Counts.Followed < 40 || st.Counts.Fallback != 1 || st.Latency.N < 20 || st.About.Does != "wrong" {
		t.Errorf("status %+v", st)
	}
	// After a pause in traffic the old plan has expired.
	if s.step(time.Second) {
		t.Error("followed an expired plan")
	}
	s.wait()
	if !s.step(time.Millisecond) {
		t.Error("not followed after a pause")
	}
	// A path that has gone takes the plan with it, at once.
	s.snap.Paths = s.snap.Paths[:1]
	if s.step(period) {
		t.Error("followed a plan for a path that is no more")
	}
	if got := p.Status().Counts.Unfit; got != 1 {
		t.Errorf("%d plans counted as unfit", got)
	}
}

// Whatever a plugin does, the fallback decides within one plan period, and the
// reason is told.
func TestMisbehaviour(t *testing.T) {
	for _, c := range []struct {
		name, want string // in the reason
		sound      int    // rounds until it goes wrong
	}{
		{"hang", "it hung: no plan within 5s", 3},
		{"crash", "exit status 2; its last words: panic: I am no good", 3},
		{"nan", "class bulk: path 0 has a base of NaN", 0},
		{"negative", "path 0 costs -1 ns a byte", 0},
		{"absurd", "path 0 has a base of 1e+300", 0},
		{"forever", "valid for 8760h", 0},
		{"wrong-seq", "it answers snapshot", 0},
		{"unknown-path", "it uses the paths 0b1000000011, the snapshot has 0b11", 0},
		{"empty", "none of them active", 0},
		{"malformed", "it broke off: ", 0},
		{"endless-plan", "received message larger than max", 0},
		{"twice", "class bulk: path 0 is planned twice", 0},
		{"hog", "memory", 0}, // by whichever bound comes first
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "hog" && runtime.GOOS != "linux" {
				t.Skip("memory is bounded on Linux only")
			}
			cfg := config(t, c.name)
			cfg.Limits.Memory = 256 << 20
			if c.name == "hang" {
				cfg.Limits.Answer = 5 * time.Second // more than the sound answers take on the slowest machine
			}
			p := launch(t, cfg)
			s := newSession(t, p)
			s.step(period)
			for range c.sound {
				s.wait()
				if !s.step(time.Millisecond) {
					t.Fatal("a sound plan is not followed")
				}
				s.step(period)
			}
			if s.step(period) {
				t.Error("the fallback does not decide one period later")
			}
			eventually(t, "the reason", func() bool { return p.Status().Reason != "" })
			if got := p.Status().Reason; !strings.Contains(got, c.want) {
				t.Errorf("reason %q, want %q", got, c.want)
			}
			if st := p.Status(); !st.Running || st.Restarts > 0 { // it was more than a bad plan
				eventually(t, "a restart", func() bool { s.step(period); return p.Status().Restarts > 0 })
				return
			}
			s.step(period)
			if n := p.Status().Counts; n.Followed != 0 {
				t.Errorf("followed all the same: %+v", n)
			}
		})
	}
}

// TestLateness, in virtual time: a plugin that takes so long for each plan, which
// is good for so long, and who decides in a second of traffic.
func TestLateness(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name               string
		takes              []time.Duration // in turn
		valid              time.Duration
		followed, fallback int
		want               string // in Status.Missed
	}{
		{"quick", []time.Duration{ms}, 200 * ms, 74, 1, ""},
		{"just in time", []time.Duration{20 * ms}, 200 * ms, 47, 1, ""},
		{"a little slow", []time.Duration{30 * ms}, 200 * ms, 0, 65, "its plans come late: they take 30ms, the slowest 30ms, and one is due every 25ms"},
		{"slow", []time.Duration{400 * ms}, 200 * ms, 0, 42, "they take 400ms"},
		{"slow, and soon stale", []time.Duration{400 * ms}, 5 * ms, 0, 42, "they take 400ms"},
		{"now and then slow", []time.Duration{ms, ms, ms, ms, 60 * ms}, 200 * ms, 48, 17, "the slowest 60ms"},
		{"stale before the next", []time.Duration{ms}, 5 * ms, 37, 38, "they are good for 5ms, and one is due every 25ms"},
	} {
		p := &Plugin{cfg: Config{}.withDefaults(), proc: &process{runner: &runner{cmd: new(exec.Cmd)}}}
		s := &session{t: t, sched: &Scheduler{plugin: p, fallback: theFallback{builtin.All[0].New()}, wake: make(chan struct{}, 1)}}
		s.snap.Paths = []schedulers.Path{{State: schedulers.Active, Rate: 1e6, MinRTT: 30e6, SRTT: 40e6, Weight: 1}}
		s.snap.Now = time.Hour
		followed, fallback := 0, 0
		step := func(d time.Duration) {
			if s.step(d) {
				followed++
			} else {
				fallback++
			}
		}
		answer := func(to *schedulers.Snapshot, took time.Duration) {
			var plan schedulers.Plan
			builtin.All[0].New().Plan(to, &plan)
			plan.Valid = c.valid
			s.sched.answered(to, schedpb.FromPlan(&plan), took)
		}
		var thinking *schedulers.Snapshot
		var began, planned time.Duration
		for now, n := time.Duration(0), 0; now < time.Second; now += ms {
			since := now - planned
			if thinking == nil {
				if snap := new(schedulers.Snapshot); s.sched.take(snap) {
					thinking, began = snap, now
				}
			} else if took := now - began; took == c.takes[n%len(c.takes)] {
				answer(thinking, took)
				thinking = nil
				n++
				step(since) // the session is told
				planned = now
				continue
			}
			if since >= period || now == 0 {
				step(since)
				planned = now
			}
		}
		st := p.Status()
		if followed != c.followed || fallback != c.fallback || int(st.Counts.Followed) != followed {
			t.Errorf("%s: %d plans followed, %d of the fallback's; want %d, %d; %+v", c.name, followed, fallback, c.followed, c.fallback, st.Counts)
		}
		if !strings.Contains(st.Missed, c.want) || c.want == "" && st.Missed != "" {
			t.Errorf("%s: missed %q, want %q", c.name, st.Missed, c.want)
		}
		// A pause in traffic, in which it answers, is not the plugin's fault.
		if last := new(schedulers.Snapshot); s.sched.take(last) {
			answer(last, 0)
		} else if thinking != nil {
			answer(thinking, 0)
		}
		step(time.Minute)
		if now := p.Status(); now.MissedAt != st.MissedAt {
			t.Errorf("%s: a pause counts as %q", c.name, now.Missed)
		}
	}
}

// TestSlow: a process that takes its time is not killed for it, and status says
// why the fallback decides.
func TestSlow(t *testing.T) {
	p := launch(t, config(t, "slow"))
	s := newSession(t, p)
	eventually(t, "the reason", func() bool {
		s.step(period)
		return strings.Contains(p.Status().Missed, "its plans come late: they take ")
	})
	if st := p.Status(); !st.Running || st.Restarts != 0 || st.Reason != "" || st.Counts.Late == 0 {
		t.Errorf("status %+v", st)
	}
}

// What cannot be started is refused, with what to do.
func TestRefused(t *testing.T) {
	dir := filepath.Dir(built)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := func(name string, mode os.FileMode) string {
		path := filepath.Join(open, name)
		if err := os.Link(built, filepath.Join(open, name+".link")); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(built)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("just words"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"garbage", nil, `printed "Hello, I am   not a plugin" first; want the handshake, 1|1|unix|SOCKET|grpc|CERTIFICATE`},
		{"endless", func(c *Config) { c.Limits.Start = 2 * time.Second }, "handshake"},
		{"silent", func(c *Config) { c.Limits.Start = 300 * time.Millisecond }, "no handshake within 300ms"},
		{"exits", nil, "its last words: cannot find my data file"},
		{"elsewhere", nil, `it listens on tcp "127.0.0.1:22"; want a unix socket`},
		{"netrpc", nil, "another protocol than gRPC"},
		{"version", nil, "this wg-bond needs version 1: build the plugin again"},
		{"sum", func(c *Config) { c.SHA256 = strings.Repeat("0", 64) }, "if you have updated the plugin, say sha256 = "},
		{"world-writable", func(c *Config) { c.Path = copied("w", 0o777) }, "chmod go-w " + open + "/w"},
		{"not executable", func(c *Config) { c.Path = copied("x", 0o644) }, "is not executable: chmod 755"},
		{"relative", func(c *Config) { c.Path = "misbehaving" }, "want an absolute one"},
		{"a directory", func(c *Config) { c.Path = dir }, "is no file"},
		{"absent", func(c *Config) { c.Path = dir + "/nowhere" }, "no such file"},
		{"not installed", func(c *Config) { c.Path = "" }, "install it there, or say path"},
		{"no program", func(c *Config) { c.Path = text }, "no program for this machine"},
		{"a mistake in the parameters", func(c *Config) {
			c.Parameters = map[string]any{"margin": int64(11), "margn": 1.5, "paths": map[string]any{"wwan0": "much"}}
		}, `found the unknown key "margn"; want one of margin, paths`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, strings.ReplaceAll(c.name, " ", "-"))
			if c.change != nil {
				c.change(&cfg)
			}
			p, err := Launch(context.Background(), cfg)
			if err == nil {
				p.Close()
				t.Fatal("it was started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %q", err, c.want)
			}
		})
	}
	t.Run("all mistakes at once", func(t *testing.T) {
		cfg := config(t, "good")
		cfg.Parameters = map[string]any{"margin": int64(11), "margn": 1.5, "paths": map[string]any{"wwan0": "much"}}
		_, err := Launch(context.Background(), cfg)
		var e *parameters.Error
		if !errors.As(err, &e) || len(e.Problems) != 3 || strings.Join(e.Problems[2].Key, ".") != "paths.wwan0" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a directory that others may write", func(t *testing.T) {
		path := copied("y", 0o755)
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(open, 0o755)
		if err := Verify(path, ""); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "chmod go-w "+open) {
			t.Errorf("error %v", err)
		}
		link := filepath.Join(dir, "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if err := Verify(link, ""); !errors.Is(err, ErrRefused) {
			t.Errorf("through a link: %v", err)
		}
	})
	t.Run("the right checksum", func(t *testing.T) {
		sum, err := checksum(built)
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(built, strings.ToUpper(sum)); err != nil {
			t.Error(err)
		}
	})
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		mode        os.FileMode
		owner, euid int
		ok          bool
	}{
		{0o755, 0, 0, true},
		{0o755, 0, 1000, true},
		{0o755, 1000, 1000, true},
		{0o755, 1000, 0, false},
		{0o755, 1001, 1000, false},
		{0o775, 0, 0, false},
		{0o757, 0, 0, false},
		{os.ModeDir | 0o755, 0, 0, true},
		{os.ModeDir | 0o777, 0, 0, false},
		{os.ModeDir | os.ModeSticky | 0o777, 0, 0, true},
		{os.ModeSticky | 0o777, 0, 0, false},
	} {
		if err := judge("/x", c.mode, c.owner, c.euid); (err == nil) != c.ok {
			t.Errorf("%v of %d, for %d: %v", c.mode, c.owner, c.euid, err)
		}
	}
}

// A plugin has nothing but its pipe.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has rights to give up")
	}
	// Not as Go opens files, but as a shell's redirection does.
	inherited, err := syscall.Open("/etc/passwd", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	p := launch(t, config(t, "environment"))
	s := newSession(t, p)
	s.step(0)
	s.wait()
	if !s.step(time.Millisecond) {
		t.Fatalf("not followed: %+v", p.Status())
	}
	got := s.plan.Classes[schedulers.Bulk].Paths[0].Cap
	if proc, _ := p.present(); !proc.runner.limited {
		t.Log("we lack CAP_SYS_RESOURCE: files are not forbidden")
		got &^= 2
	}
	if got != 0 {
		t.Errorf("the plugin can do more than it should: bits %#b, see testdata/misbehaving", got)
	}
}

// TestBackOff: each failure doubles the pause before the next start, up to a
// bound, until a process has run for a minute.
func TestBackOff(t *testing.T) {
	const ms = time.Millisecond
	b := backOff{Limits{BackOff: 500 * ms, BackOffMax: 3 * time.Second}, 0}
	for i, c := range []struct{ ran, want time.Duration }{
		{0, 500 * ms}, {time.Second, 1000 * ms}, {time.Minute, 2000 * ms}, {0, 3000 * ms}, {0, 3000 * ms},
		{time.Minute + 1, 500 * ms}, {0, 1000 * ms},
	} {
		b.ran(c.ran)
		if got := b.next(); got != c.want {
			t.Errorf("failure %d, after %v: a pause of %v, want %v", i+1, c.ran, got, c.want)
		}
	}
}

// TestInstalled: programs are found by name, the first directory's first, and
// what is no program is not.
func TestInstalled(t *testing.T) {
	local, system := t.TempDir(), t.TempDir()
	for path, mode := range map[string]os.FileMode{
		local + "/mine": 0o755, system + "/mine": 0o755, system + "/theirs": 0o755, local + "/README": 0o644,
	} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(system+"/directory", 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := []string{local, filepath.Join(local, "absent"), system}
	want := map[string]string{"mine": local + "/mine", "theirs": system + "/theirs"}
	if got := Installed(dirs); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if got, err := Find("mine", dirs); got != want["mine"] || err != nil {
		t.Errorf("found %s, %v", got, err)
	}
	if _, err := Find("README", dirs); !errors.Is(err, ErrRefused) {
		t.Errorf("error %v", err)
	}
}

// What a plugin prints is logged, within bounds.
func TestChatty(t *testing.T) {
	var lines counter
	cfg := config(t, "chatty")
	cfg.Log = slog.New(slog.NewTextHandler(&lines, nil))
	begun := time.Now()
	p := launch(t, cfg)
	s := newSession(t, p)
	s.step(0)
	for range 5 {
		s.wait()
		s.step(period)
	}
	s.wait()
	lines.mu.Lock()
	defer lines.mu.Unlock()
	// Each line may come with one about those that were dropped before.
	if most := 2 * (logBurst + 1 + int(logRate*time.Since(begun).Seconds())); lines.n == 0 || lines.n > most {
		t.Errorf("%d lines logged, of 12000 printed, want at most %d", lines.n, most)
	}
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return len(p), nil
}

// A plugin that is killed again and again: there is always a sound plan, and
// in the end the plugin's is followed again.
func TestKilled(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 3
	}
	p := launch(t, config(t, "good"))
	s := newSession(t, p)
	for range kills {
		s.step(period)
		eventually(t, "the process to be followed", func() bool { s.step(period); return s.follows() })
		pid, err := strconv.Atoi(p.Status().Pid)
		if err != nil {
			t.Fatal(err)
		}
		_, changed := p.present()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-changed
		if s.step(0) {
			t.Error("followed a process that is dead")
		}
	}
	eventually(t, "the process to be followed", func() bool { s.step(period); return s.follows() })
	if st := p.Status(); int(st.Restarts) != kills || !strings.Contains(st.Reason, "killed") {
		t.Errorf("status %+v", st)
	}
}

// follows gives the plugin a moment to answer the last snapshot, and reports
// whether that is followed.
func (s *session) follows() bool {
	select {
	case <-s.told:
		return s.step(time.Millisecond)
	case <-time.After(50 * time.Millisecond):
		return false
	}
}

// The end of the plugin leaves no process and no socket.
func TestClose(t *testing.T) {
	p, err := Launch(context.Background(), config(t, "good"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t, p)
	s.step(0)
	s.wait()
	proc, _ := p.present()
	p.Close()
	<-proc.ended()
	if _, err := os.Stat(proc.runner.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory is still there: %v", err)
	}
	if s.step(period) {
		t.Error("followed a plugin that is closed")
	}
}

// A start that is given up leaves nothing either, and does not wait.
func TestStartCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		cfg := config(t, "silent")
		cfg.Limits.Start = time.Hour
		_, err := Launch(ctx, cfg)
		done <- err
	}()
	time.AfterFunc(50*time.Millisecond, cancel)
	select {
	case err := <-done:
		if err == nil {
			t.Error("started")
		}
	case <-time.After(patience):
		t.Error("still starting")
	}
}

// The data path's price of one plan: with a built-in, with a plugin, with one
// that hangs.
func BenchmarkPlan(b *testing.B) {
	run := func(b *testing.B, sched schedulers.Scheduler, snap schedulers.Snapshot) {
		b.ReportAllocs()
		for b.Loop() {
			var p schedulers.Plan
			snap.Seq++
			snap.Now += period
			sched.Plan(&snap, &p)
		}
	}
	for _, name := range []string{"good", "hang"} {
		p := launch(b, config(b, name))
		s := newSession(b, p)
		if name == "good" {
			b.Run("builtin", func(b *testing.B) { run(b, builtin.All[0].New(), s.snap) })
		}
		b.Run(name, func(b *testing.B) { run(b, s.sched, s.snap) })
	}
}

// One plan, there and back.
func BenchmarkRoundTrip(b *testing.B) {
	p := launch(b, config(b, "good"))
	s := newSession(b, p)
	for b.Loop() {
		s.step(period)
		s.wait()
	}
	l := p.Status().Latency
	b.ReportMetric(float64(l.P50.Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(l.P99.Nanoseconds()), "p99-ns")
}
