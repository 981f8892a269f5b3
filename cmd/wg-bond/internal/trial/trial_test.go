package trial

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/plugins/host"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/wgbond/sim/judge"
)

// here makes the built-in of that name in this process.
func here(t *testing.T, name string) func() schedulers.Scheduler {
	t.Helper()
	maker, err := builtin.Configured(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return maker
}

// builtinPlugins answers with what makes the built-in of a name in a process of
// its own.
func builtinPlugins(t *testing.T) func(name string) func() schedulers.Scheduler {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("plugins run on Unix only")
	}
	// An unprivileged user must come there: not the test's own directory.
	dir, err := os.MkdirTemp("", "wgbt-trial")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-o", program, "../../../../plugins/examples/builtin").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(name string) func() schedulers.Scheduler {
		path := filepath.Join(dir, name)
		if err := os.Link(program, path); err != nil {
			t.Fatal(err)
		}
		p, err := host.Launch(context.Background(), host.Config{Name: name, Path: path, Limits: host.Limits{Start: time.Minute, Answer: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return func() schedulers.Scheduler {
			d, err := p.NewDirect()
			if err != nil {
				panic(err)
			}
			return d
		}
	}
}

// TestBuiltinsAsPlugins: each built-in, run as a plugin's process, has the same
// figures in virtual time as in this one.
func TestBuiltinsAsPlugins(t *testing.T) {
	plugin := builtinPlugins(t)
	unequal := judge.Unequal()
	unequal.Time, unequal.Fetch = 15*time.Second, nil
	scenarios := []judge.Scenario{unequal, judge.Cold()}
	names := builtin.Names()
	if testing.Short() {
		scenarios, names = scenarios[1:], names[:2]
	}
	var subjects []Subject
	for _, name := range names {
		subjects = append(subjects, Subject{name, here(t, name)}, Subject{name + " (plugin)", plugin(name)})
	}
	results := Run(scenarios, subjects)
	var out strings.Builder
	if err := Table(&out, scenarios, subjects, results); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &out)
	for i, s := range scenarios {
		for j := 0; j < len(subjects); j += 2 {
			in, as := results[i][j], results[i][j+1]
			if in.Err != nil || as.Err != nil {
				t.Errorf("%s, %s: %v, %v", s.Name, subjects[j].Name, in.Err, as.Err)
				continue
			}
			for _, figures := range [][2]float64{
				{in.Report.Goodput, as.Report.Goodput},
				{in.Report.Done.Seconds(), as.Report.Done.Seconds()},
				{in.Report.Ping.P50.Seconds(), as.Report.Ping.P50.Seconds()},
			} {
				if math.Abs(figures[0]-figures[1]) > .02*figures[0] {
					t.Errorf("%s, %s: %v here, %v as a plugin", s.Name, subjects[j].Name, figures[0], figures[1])
				}
			}
		}
	}
}

func TestConform(t *testing.T) {
	var out strings.Builder
	sound := Subject{"earliest", func() schedulers.Scheduler { s, _ := builtin.New(""); return s }}
	if err := Conform(&out, sound, 1); err != nil || !strings.Contains(out.String(), "earliest conforms") {
		t.Errorf("%v: %s", err, &out)
	}
	out.Reset()
	if err := Conform(&out, Subject{"idle", func() schedulers.Scheduler { return idle{} }}, 1); err == nil || !strings.Contains(out.String(), "answers snapshot 0") {
		t.Errorf("%v: %s", err, &out)
	}
}

type idle struct{}

func (idle) Plan(*schedulers.Snapshot, *schedulers.Plan) {}

func TestPick(t *testing.T) {
	if all, err := Pick(nil); err != nil || len(all) != len(Scenarios()) {
		t.Errorf("%d scenarios, %v", len(all), err)
	}
	if _, err := Pick([]string{"uneven"}); err == nil || !strings.Contains(err.Error(), `found the scenario "uneven"; want one of ["seed"`) {
		t.Errorf("error %v", err)
	}
}
