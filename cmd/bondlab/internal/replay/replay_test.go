package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"flag"
	"image/png"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/earliest"
	"github.com/wg-bond/wg-bond/wgbond"
	"github.com/wg-bond/wg-bond/wgbond/sim"
	"github.com/wg-bond/wg-bond/wgbond/sim/judge"
	"github.com/wg-bond/wg-bond/wgbond/trace"
)

var (
	record = flag.Bool("record", false, "record testdata/outage.*.gz anew, with the engine as it is now")
	update = flag.Bool("update", false, "write testdata/*.txt anew")
)

// scenario is what testdata/outage.*.gz was recorded from: a path that loses
// packets, and one that is dark for half a second.
func scenario() judge.Scenario {
	lossy := judge.Steady("lossy", 1.2e6, 1.2e6, 40*time.Millisecond, 150*time.Millisecond).With(func(c *sim.LinkConfig) {
		c.Loss = 0.03
	})
	goes := judge.Steady("goes", 0.8e6, 0.8e6, 60*time.Millisecond, 150*time.Millisecond).With(func(c *sim.LinkConfig) {
		c.Outages = []sim.Outage{{From: 1500 * time.Millisecond, To: 2 * time.Second}}
	})
	return judge.Scenario{
		Name: "replay", Paths: []judge.Path{lossy, goes}, Time: 3 * time.Second, Settle: time.Second, Seed: 4,
		Scheduler: func() schedulers.Scheduler { return earliest.New() },
	}
}

// TestGolden shows recorded traces. They stay as they are while the engine
// changes; with -record they are made anew.
func TestGolden(t *testing.T) {
	if *record {
		s := scenario()
		var files []*gzip.Writer
		s.Record = func(r wgbond.Role) io.Writer {
			f, err := os.Create("testdata/outage." + []string{"client", "server"}[r] + ".gz")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			z := gzip.NewWriter(f)
			files = append(files, z)
			return z
		}
		if _, err := judge.Run(s); err != nil {
			t.Fatal(err)
		}
		for _, z := range files {
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, end := range []string{"client", "server"} {
		run := gather(t, "testdata/outage."+end+".gz", Options{})
		var out bytes.Buffer
		show(t, &out, run)
		golden(t, "testdata/outage."+end+".txt", out.Bytes())
	}
	part := gather(t, "testdata/outage.server.gz", Options{From: 2 * time.Second, To: 3 * time.Second})
	var out bytes.Buffer
	if err := part.Table(&out, 1); err != nil {
		t.Fatal(err)
	}
	if err := part.Notes(&out, 1, part.From, part.To); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/outage.server.part.txt", out.Bytes())
}

func show(t *testing.T, out io.Writer, run *Run) {
	t.Helper()
	at, ok := run.Worst()
	if !ok {
		t.Fatal("no worst second")
	}
	for _, err := range []error{
		run.Summary(out), run.Table(out, -1), run.Notes(out, -1, 0, run.To), run.Zoom(out, -1, at),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
	}
}

func gather(t *testing.T, name string, opt Options) *Run {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	h, entries, err := trace.Read(z)
	if err != nil {
		t.Fatal(err)
	}
	run, err := Gather(h, entries, opt)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestAddsUp: what the table is made of is what the trace says, however it is
// cut into ticks.
func TestAddsUp(t *testing.T) {
	f, err := os.Open("testdata/outage.server.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	_, entries, err := trace.Read(z)
	if err != nil {
		t.Fatal(err)
	}
	var sent, got, lost [2]int
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.Event.(type) {
		case *trace.Sent:
			sent[e.Path] += e.Size
		case *trace.Got:
			got[e.Path] += e.Size
		case *trace.Lost:
			lost[e.Path]++
		}
	}
	run := gather(t, "testdata/outage.server.gz", Options{})
	for i := range run.ticks {
		for id := range sent {
			p := &run.ticks[i].paths[id]
			sent[id], got[id], lost[id] = sent[id]-p.sent, got[id]-p.got, lost[id]-p.lost
		}
	}
	if want := [2]int{}; sent != want || got != want || lost != want {
		t.Errorf("missing in the ticks: sent %v, got %v, lost %v", sent, got, lost)
	}
}

// at is an event at a time in milliseconds.
func at(ms float64, e trace.Event) trace.Entry {
	return trace.Entry{T: time.Duration(ms * float64(time.Millisecond)), Event: e}
}

func list(entries ...trace.Entry) iter.Seq2[trace.Entry, error] {
	return func(yield func(trace.Entry, error) bool) {
		for i, e := range entries {
			e.Line = i + 2
			if !yield(e, nil) {
				return
			}
		}
	}
}

func got(path schedulers.PathID, c uint64) *trace.Got {
	return &trace.Got{Path: path, Packet: trace.Packet{Pair: 1, Counter: c}, Size: 1480}
}

// TestCauses: the cause of a gap is told from who brought what while it was open.
func TestCauses(t *testing.T) {
	gap := &trace.Gap{Packet: trace.Packet{Pair: 1, Counter: 5}, Missing: 1, Held: 1}
	end := func(why string) *trace.GapEnd {
		return &trace.GapEnd{Packet: gap.Packet, Why: why, For: 60_000}
	}
	ahead := &trace.Got{Path: 1, Packet: trace.Packet{Pair: 1, Counter: 8}, Size: expressSize} // of what waits behind 5
	open := []trace.Entry{at(0, got(0, 3)), at(0, got(1, 4)), at(10, got(0, 6)), at(10, gap)}
	for _, test := range []struct {
		name string
		then []trace.Entry
		want string
	}{
		{"path behind", []trace.Entry{at(20, got(0, 7)), at(70, got(1, 5)), at(70, end("filled"))},
			"reordering waits 60 ms for packet 5: it came by b, which had brought nothing later: the path is that far behind, or was silent"},
		{"small ones go ahead", []trace.Entry{at(20, got(0, 7)), at(40, ahead), at(70, got(1, 5)), at(70, end("filled"))},
			"reordering waits 60 ms for packet 5: it came by b, which had brought nothing later: the path is that far behind, or was silent"},
		{"repaired", []trace.Entry{at(20, got(1, 7)), at(70, got(1, 5)), at(70, end("filled"))},
			"reordering waits 60 ms for packet 5: it came by b, which had brought 1 later ones: sent again, or out of order on the path"},
		{"deadline", []trace.Entry{at(20, got(0, 7)), at(70, end("deadline"))},
			"reordering waits 60 ms for packet 5: given up at the deadline; nothing newer by b (silent for 70 ms)"},
		{"void", []trace.Entry{at(70, end("void"))},
			"reordering waits 60 ms for packet 5: the sender said that it would not come"},
	} {
		h := trace.Header{Paths: []string{"a", "b"}}
		run, err := Gather(h, list(append(slices.Clone(open), test.then...)...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(run.notes) != 1 || run.notes[0].Text != test.want || run.notes[0].T != 10*time.Millisecond {
			t.Errorf("%s: notes %+v\nwant %s", test.name, run.notes, test.want)
		}
	}
}

// TestBunches: like things that follow closely are one note, and few losses none.
func TestBunches(t *testing.T) {
	var in []trace.Entry
	lose := func(ms float64, path schedulers.PathID) {
		in = append(in, at(ms, &trace.Lost{Path: path, Size: 1000, Tx: 1, Why: "overtaken"}))
	}
	for i := range 7 {
		lose(float64(10*i), 0)
	}
	for i := range 4 {
		lose(float64(200+i), 1)
	}
	void := func(ms float64, why string) {
		in = append(in, at(ms, &trace.Void{Packet: trace.Packet{Pair: 1, Counter: 1}, To: 3, Why: why, Age: 9000}))
	}
	void(300, "codel")
	void(310, "skipped")
	void(390, "codel")
	void(600, "codel")
	run, err := Gather(trace.Header{}, list(in...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Note{
		{0, 0, "7 packets (7.0 kB) taken for lost within 60ms: later ones came by the same path"},
		{300 * time.Millisecond, -1, "4 packets given up: codel, after 9.0 ms at most"},
		{310 * time.Millisecond, -1, "2 packets given up: skipped, after 9.0 ms at most"},
		{600 * time.Millisecond, -1, "2 packets given up: codel, after 9.0 ms at most"},
	}
	if diff := cmp.Diff(want, run.notes); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

func TestSilence(t *testing.T) {
	var in []trace.Entry
	for i := range uint64(100) {
		in = append(in, at(float64(i), got(0, i)))
	}
	in = append(in, at(450, got(0, 100)), at(900, got(0, 101))) // the second is no transfer any more
	run, err := Gather(trace.Header{}, list(in...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []Note{{99 * time.Millisecond, -1, "nothing comes for 351ms"}}
	if diff := cmp.Diff(want, run.notes); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

// TestWorst finds the second with the hole, not the start, the end, nor the
// time between two transfers.
func TestWorst(t *testing.T) {
	var in []trace.Entry
	c := uint64(0)
	for ms := 1000; ms < 14000; ms += 2 {
		switch {
		case ms >= 8000 && ms < 11000: // nobody wants anything
		case ms < 2000 && ms%100 != 0: // a slow start
		case ms >= 4500 && ms < 4800: // the hole
		default:
			in = append(in, at(float64(ms), got(0, c)))
		}
		c++
	}
	in = append(in, at(15_000, &trace.Bond{State: "closed", Was: "bonded"}))
	run, err := Gather(trace.Header{}, list(in...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	from, ok := run.Worst()
	if !ok || from > 4500*time.Millisecond || from+time.Second < 4800*time.Millisecond {
		t.Errorf("the worst second begins at %v (%v), the hole is from 4.5 s to 4.8 s", from, ok)
	}
	short, err := Gather(trace.Header{}, list(at(0, got(0, 0)), at(500, got(0, 1))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if from, ok := short.Worst(); ok {
		t.Errorf("half a second has a worst second, at %v", from)
	}
}

func TestGatherErrors(t *testing.T) {
	for _, test := range []struct {
		entries []trace.Entry
		opt     Options
		want    string
	}{
		{[]trace.Entry{at(5, got(0, 1)), at(4, got(0, 2))}, Options{}, "line 3: time goes back from 5ms to 4ms"},
		{[]trace.Entry{at(5, got(0, 1))}, Options{From: time.Second}, "the trace ends at 5ms, before --from 1s"},
		{[]trace.Entry{at(5, got(0, 1)), at(1e9, got(0, 2))}, Options{},
			"line 3 is 277h46m40s after the start: 30m0s are shown at a time; choose with --from and --to"},
	} {
		_, err := Gather(trace.Header{}, list(test.entries...), test.opt)
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	if _, err := Gather(trace.Header{}, list(), Options{}); err != nil {
		t.Errorf("a trace without events: %v", err)
	}
}

func TestFigure(t *testing.T) {
	run := gather(t, "testdata/outage.client.gz", Options{})
	fig := run.Figure(-1)
	sum := 0.0
	for _, l := range fig.Panels[0].Lines {
		if l.Name == "all" {
			for _, p := range l.Points {
				sum += p.Y * figureStep.Seconds() / 8 * 1e6
			}
		}
	}
	bytesGot := 0
	for i := range run.ticks {
		bytesGot += run.total(&run.ticks[i])
	}
	// The last point may be of fewer ticks.
	if math.Abs(sum/float64(bytesGot)-1) > 0.01 {
		t.Errorf("the line of all adds up to %.0f bytes, the ticks to %d", sum, bytesGot)
	}
	var b bytes.Buffer
	if err := fig.SVG(&b); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(b.Bytes(), new(struct{})); err != nil {
		t.Errorf("SVG: %v", err)
	}
	b.Reset()
	if err := fig.PNG(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(&b); err != nil {
		t.Errorf("PNG: %v", err)
	}
	if err := (&Run{}).Figure(-1).PNG(io.Discard); err == nil {
		t.Error("a figure of nothing")
	}
}
