//go:build linux

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/experiment"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/lab"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/replay"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/sandbox"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/virtual"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/web"
	"github.com/wg-bond/wg-bond/cmd/bondlab/scenarios"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

// TestMain runs the tests in a sandbox; the laboratory's web server is this
// program again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "web" {
		panic(web.Serve(os.Args[2]))
	}
	sandbox.Main(m.Run)
}

func names(rows []Row) (list []string) {
	for _, r := range rows {
		list = append(list, r.Name())
	}
	return list
}

func TestChoose(t *testing.T) {
	all := Choose(nil, "", nil)
	if len(all) != len(Rows) {
		t.Errorf("%d rows of %d when nothing is chosen", len(all), len(Rows))
	}
	for _, test := range []struct {
		scenarios []string
		direction string
		controls  []string
		want      []string
	}{
		{[]string{"rekey"}, "", nil, []string{"rekey-cubic-down"}},
		{[]string{"page", "four"}, "down", nil, []string{"page-cubic-down", "four-cubic-down", "four-bbr-down"}},
		{[]string{"page"}, "both", nil, []string{"page-cubic-down", "page-cubic-up"}},
		{[]string{"unequal"}, "down", []string{"bbr"}, []string{"unequal-bbr-down"}},
		{[]string{"./mine.toml"}, "", nil, []string{".-mine-cubic-down"}},
	} {
		if got := names(Choose(test.scenarios, test.direction, test.controls)); !slices.Equal(got, test.want) {
			t.Errorf("%q %q %q: got %q, want %q", test.scenarios, test.direction, test.controls, got, test.want)
		}
	}
	if up := Choose([]string{"cold"}, "up", nil); len(up[0].Aims) != 1 || up[0].Aims[0].Metric != "time_bonded" {
		t.Errorf("the upload's aims are %v, want the download's", up[0].Aims)
	}
	if other := Choose([]string{"cold"}, "down", []string{"reno"}); other[0].Aims != nil {
		t.Errorf("aims %v for an inner TCP that has none", other[0].Aims)
	}
}

// TestRows: every row's scenario is there, its figures are known, and it can be
// computed in virtual time.
func TestRows(t *testing.T) {
	known := byName(full(t))
	for _, r := range Rows {
		s, err := scenario.Find(scenarios.Files, r.Scenario)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, a := range r.Aims {
			if _, ok := known[a.Metric]; !ok {
				t.Errorf("%s: aim for %q: no such figure", r.Name(), a.Metric)
			}
		}
		if s.Workload.Bulk == 0 {
			continue
		}
		shorten(s)
		if w := s.Workload; time.Duration(w.Bulk) > 17*time.Second && !slices.Contains(tooLong, r.Scenario) || w.Skip >= w.Bulk {
			t.Errorf("%s: a quick run of %v without its first %v", r.Name(), time.Duration(w.Bulk), time.Duration(w.Skip))
		}
	}
}

// full is a result in which all figures are.
func full(t *testing.T) *experiment.Result {
	t.Helper()
	r := experiment.Reading{
		Goodput: 1e6, Took: time.Second, Against: 1, CPU: 1, During: 1, After: 1, Fetches: []time.Duration{1},
		Pings: measure.Pings{Sent: 1, RTTs: []time.Duration{1}}, Course: &experiment.Course{Arrivals: &measure.Arrivals{}},
	}
	one := []experiment.Reading{r}
	return &experiment.Result{
		Scenario: &scenario.Scenario{
			Links:    []scenario.Link{{Name: "a"}, {Name: "b"}},
			Workload: scenario.Workload{Download: 1, Fetch: 1, Ping: 1, Against: true},
		},
		Series: []experiment.Series{{Single: [][]experiment.Reading{one, one}, Bonded: one, Reference: one, MPTCP: one}},
	}
}

// TestQuickFits: five quick runs of all rows take less than 45 minutes.
func TestQuickFits(t *testing.T) {
	opt := Options{Runs: 5, Quick: true, MPTCP: true, Scenarios: scenarios.Files}
	jobs, err := arrange(Choose(nil, "", nil), opt)
	if err != nil {
		t.Fatal(err)
	}
	if e := estimate(jobs, opt); e > 45*time.Minute || e < 10*time.Minute {
		t.Errorf("estimated at %v, want 10 to 45 minutes", e)
	}
}

func TestReport(t *testing.T) {
	o := &Outcome{Row: Row{"seed", "cubic", false, []Aim{best(.9), ab(.5)}}, Result: full(t), Virtual: full(t), About: "two links"}
	missing := &Outcome{Row: Row{"cold", "bbr", true, []Aim{best(1)}}, Notes: []string{"run 1: broken\nbadly"}}
	notYet := &Outcome{Row: Row{"equal", "cubic", false, []Aim{ab(.9)}}}
	loaded := &Outcome{Row: Row{"four", "cubic", false, []Aim{best(.9)}}, Result: full(t), Load: Load{Others: 1, Idle: 1}}
	r := Report{Outcomes: []*Outcome{o, missing, loaded, notYet}}
	var text, object bytes.Buffer
	if err := r.Markdown(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| seed | cubic | down | × best path | ≥ 0.9 | 1 | 1 | 1 | 0.958 | met",
		"| seed | cubic | down | AB | ≥ 0.5 | 0 | 0 | 0 | -0.0425 | **missed**",
		"| cold | bbr | up | × best path | ≥ 1 | – | – | – | – | **failed** |",
		"| equal | cubic | down | AB | ≥ 0.9 | – | – | – | – | not measured |",
		"* cold-bbr-up: run 1: broken\n",
		"* *seed*: two links\n",
		"* four-cubic-down: not to be trusted: other programs used 1.0 processors\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := r.JSON(&object); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Direction string
			Real      map[string]experiment.Metric
		}
	}
	if err := json.Unmarshal(object.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 4 || got.Rows[0].Real["speedup"].Median != 1 || got.Rows[1].Real != nil || got.Rows[1].Direction != "up" {
		t.Errorf("JSON: %+v", got)
	}
}

func TestUpdate(t *testing.T) {
	doc := "a\n" + beginMark + "\nold\n" + endMark + "\nb\n"
	want := "a\n" + beginMark + "\n\nnew\n\n" + endMark + "\nb\n"
	for range 2 { // and again over its own
		got, err := Update(doc, "new\n")
		if err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
		doc = got
	}
	for _, bad := range []string{"", beginMark + "\n", endMark + beginMark + "\n"} {
		if _, err := Update(bad, "new"); err == nil || !strings.Contains(err.Error(), endMark) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

const small = `about = "two small links"
[[link]]
name = "a"
down = { rate = "10Mbit", delay = "5ms", queue = "100ms" }
up   = { rate = "10Mbit", delay = "5ms", queue = "100ms" }
[[link]]
name = "b"
via = "r"
behind = "a"
[workload]
download = "300kB"
ping = "50ms"
`

// TestRun measures a small scenario both ways with everything that a row may
// have, and writes all that is written.
func TestRun(t *testing.T) {
	if sandbox.ID() == "" {
		t.Skip("needs root: network namespaces and TUN devices")
	}
	if testing.Short() {
		t.Skip("some seconds of real transfers")
	}
	for _, program := range []string{"wg", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for _, pkg := range []string{"../../../wg-bond", "../../../relayd", "golang.zx2c4.com/wireguard"} {
		name := strings.Replace(filepath.Base(pkg), "wireguard", "wireguard-go", 1)
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg).CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	file, doc := filepath.Join(dir, "small.toml"), filepath.Join(dir, "doc.md")
	for name, text := range map[string]string{file: small, doc: beginMark + "\n" + endMark + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rows := Choose([]string{file}, "both", []string{"cubic"})
	opt := Options{
		Runs: 1, Quick: true, MPTCP: lab.CanMPTCP() == nil, Lab: lab.Options{Bin: bin}, Scenarios: scenarios.Files,
		Out: filepath.Join(dir, "out"), Docs: doc, Traces: filepath.Join(dir, "traces"), Progress: t.Logf,
	}
	if err := Run(rows, opt, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(doc)
	if err != nil || strings.Contains(string(text), "run 1") {
		t.Errorf("in the document: %v\n%s", err, text)
	}
	for _, name := range []string{"table.md", "table.json", rows[0].Name() + ".png", rows[1].Name() + ".png", "../traces/small/server-1.jsonl"} {
		if info, err := os.Stat(filepath.Join(opt.Out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVirtualOnly: without a laboratory a row has its figure in virtual time, a
// verdict by that, and traces that replay reads.
func TestVirtualOnly(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Runs: 1, Quick: true, Virtual: true, Traces: dir, Scenarios: scenarios.Files, Progress: t.Logf}
	var out bytes.Buffer
	if err := Run(Choose([]string{"cold"}, "", []string{"cubic"}), opt, &out); err != nil {
		t.Fatal(err)
	}
	if want := "| cold | cubic | down | 3 MB, s | ≤ 1.36 | – | 1."; !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "| met |") {
		t.Errorf("no %q, or not met:\n%s", want, out.String())
	}
	for _, end := range []string{"client", "server"} {
		f, err := os.Open(filepath.Join(dir, "cold-cubic-down-"+end+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h, entries, err := trace.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		if run, err := replay.Gather(h, entries, replay.Options{}); err != nil || len(run.Paths()) != 2 {
			t.Errorf("%s: %v, %v", end, run, err)
		}
	}
}

// TestVirtual: the laboratory's links in virtual time are those of the judge.
func TestVirtual(t *testing.T) {
	s, err := scenario.Find(scenarios.Files, "seed")
	if err != nil {
		t.Fatal(err)
	}
	r, err := virtual.Run(s, experiment.Traffic{Congestion: "cubic"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := byName(r)
	// By 3.6 Mbit/s of packets of 1480 bytes that carry 1368: 7.2 s, and a slow start.
	if took := f["time_single_best"].Median; took < 7.25 || took > 7.6 {
		t.Errorf("3 MB take %.2f s over one path, want 7.25 to 7.6", took)
	}
	if f["speedup"].Median < 1.8 || f["speedup"].Median > 2 {
		t.Errorf("bonded is %.2f times as fast, want 1.8 to 2", f["speedup"].Median)
	}
	if _, err := virtual.Run(s, experiment.Traffic{Congestion: "reno"}, nil); err == nil {
		t.Error("there is a model of Reno?")
	}
}

// TestShared: rows share the measurements of stock wireguard-go over the same
// links, and nothing else.
func TestShared(t *testing.T) {
	opt := Options{Runs: 5, Quick: true, MPTCP: true, Scenarios: scenarios.Files}
	jobs, err := arrange(Choose([]string{"lossy", "lossy-slow", "shuffled", "unequal", "many2", "many8", "outage", "cellular"}, "down", []string{"cubic"}), opt)
	if err != nil {
		t.Fatal(err)
	}
	alone := map[string]string{} // scenario and link → key
	rows := map[string][]string{}
	for _, j := range jobs {
		o := j.rows[0]
		for _, st := range steps(j.scenario, opt, 0) {
			key := o.key(j.scenario, st)
			if st.as == experiment.StockAlone {
				alone[o.Scenario+" "+j.scenario.Links[st.link].Name] = key
			}
			rows[key] = append(rows[key], o.Scenario)
		}
	}
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"lossy fast", "lossy-slow fast", true}, // baselines have no loss
		{"lossy slow", "shuffled slow", true},
		{"lossy fast", "lossy slow", false},
		{"unequal fast", "lossy fast", false}, // with fetches
		{"many2 p0", "many8 p0", true},
		{"many2 p0", "outage own", true}, // as long, without the outage
		{"cellular own", "cellular lent", false},
	} {
		if got := alone[test.a] == alone[test.b]; got != test.same || alone[test.a] == "" {
			t.Errorf("%s and %s: the same %v, want %v: %q, %q", test.a, test.b, got, test.same, alone[test.a], alone[test.b])
		}
	}
	if n := len(rows[alone["lossy fast"]]); n != 3 {
		t.Errorf("lossy's fast link is in %d rows, want 3", n)
	}
}

// TestResume: what was measured and not disturbed is kept, marked with its
// version; what was disturbed is shown until it is measured again, which is
// wanted; another kind of bench is refused.
func TestResume(t *testing.T) {
	outcomes := func() []*Outcome {
		return []*Outcome{
			{Row: Row{"seed", "cubic", false, []Aim{best(.9)}}}, {Row: Row{"four", "cubic", false, []Aim{best(.9)}}},
			{Row: Row{"cold", "bbr", true, []Aim{best(1)}}}, {Row: Row{"rekey", "cubic", false, []Aim{best(1)}}},
		}
	}
	before := Report{Options: Options{Runs: 5, Quick: true, Version: "old", Out: t.TempDir()}, Outcomes: outcomes()}
	o := before.Outcomes
	quiet := Load{Idle: float64(runtime.NumCPU())}
	o[0].Result, o[0].Load = full(t), quiet
	o[1].Result, o[1].Load = full(t), Load{Stolen: 1}
	o[2].Notes = []string{"run 1: broken"}
	o[3].Result, o[3].Load, o[3].Notes = full(t), quiet, []string{"1 runs, not 5"}
	if err := before.write(); err != nil {
		t.Fatal(err)
	}
	now := Report{Options: before.Options, Outcomes: outcomes()}
	now.Options.Version = "new"
	for range 2 { // what is kept is kept again
		for _, o := range now.Outcomes {
			o.Kept, o.Load, o.Notes = nil, Load{}, nil
		}
		if err := now.keep(); err != nil {
			t.Fatal(err)
		}
		for i, wanted := range []bool{false, true, true, false} {
			if o := now.Outcomes[i]; o.wanted() != wanted {
				t.Errorf("%s is to be measured: %v, want %v", o.Name(), o.wanted(), wanted)
			}
		}
		var text bytes.Buffer
		if err := errors.Join(now.Markdown(&text), now.write()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"| seed | cubic | down | × best path | ≥ 0.9 | 1 |", "* seed-cubic-down: measured of old\n", "* four-cubic-down: measured of old\n", "* four-cubic-down: not to be trusted", "* rekey-cubic-down: 1 runs, not 5\n"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in\n%s", want, text.String())
			}
		}
	}
	now.Options.Runs = 3
	if err := now.keep(); err == nil || !strings.Contains(err.Error(), "found a bench of 5 runs (quick: true); want one of 3 (true)") {
		t.Errorf("another number of runs: %v", err)
	}
}
