package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wg-bond/wg-bond/schedulers"
)

// golden has the format's lines as other programs read them: a change here is
// a change of the format.
var golden = []struct {
	t     time.Duration
	event Event
	line  string
}{
	{0, &Path{Path: 0, Label: "wwan \"0\"\n", Weight: 1, MaxRate: 1.5e6, Lent: true},
		`{"t":0,"ev":"path","path":0,"name":"wwan \"0\"\u000a","weight":1,"max_rate":1.5e+06,"lent":true}`},
	{time.Millisecond, &State{Path: 1, State: "active", Was: "probing", Attached: true, Silent: 250},
		`{"t":1000,"ev":"state","path":1,"state":"active","was":"probing","attached":true,"silent_us":250}`},
	{time.Millisecond, &Mode{Path: 1, Mode: "cruise", Was: "drain", Rate: 625000, Window: 90000, MinRTT: 120000},
		`{"t":1000,"ev":"mode","path":1,"mode":"cruise","was":"drain","rate":625000,"window":90000,"min_rtt_us":120000}`},
	{time.Millisecond, &Bond{State: "bonded", Was: "keyed"},
		`{"t":1000,"ev":"bond","state":"bonded","was":"keyed"}`},
	{time.Second, &Plan{Seq: 9, Queue: 3000, SmallCopies: 2, Paths: []PathPlan{
		{Path: 0, State: "active", Rate: 2500000, SRTT: 31000, MinRTT: 30000, InFlight: 75000, Loss: 0.001, Drain: 2500000,
			Bulk: &ClassPlan{Base: 15000000, PerByte: 400.5, Cap: 300000}, Small: &ClassPlan{Cap: 1}},
		{Path: 1, State: "suspect", OWD: 46000, MinOWD: 45000, Queued: 1480, Oldest: 700000}}},
		`{"t":1000000,"ev":"plan","seq":9,"queue":3000,"small_copies":2,"paths":[` +
			`{"path":0,"state":"active","rate":2500000,"srtt_us":31000,"min_rtt_us":30000,"in_flight":75000,"loss":0.001,"drain":2500000,` +
			`"bulk":{"base_ns":15000000,"per_byte_ns":400.5,"cap":300000},"small":{"cap":1}},` +
			`{"path":1,"state":"suspect","owd_us":46000,"min_owd_us":45000,"queued":1480,"oldest_us":700000}]}`},
	{time.Second, &Bind{Path: 0, Packet: Packet{1, 17}, Size: 1480, Why: "plan", Waited: 12, Queue: 4440, Queued: 1480},
		`{"t":1000000,"ev":"bind","path":0,"pair":1,"c":17,"size":1480,"why":"plan","waited_us":12,"queue":4440,"queued":1480}`},
	{time.Second, &Sent{Path: 0, Packet: Packet{1, 0}, Size: 1480, Tx: 1, InFlight: 1480, Window: 48000, Pacing: 1600000},
		`{"t":1000000,"ev":"sent","path":0,"pair":1,"c":0,"size":1480,"tx":1,"in_flight":1480,"window":48000,"pacing":1600000}`},
	{time.Second, &Slack{Path: 3, Window: 48000}, `{"t":1000000,"ev":"slack","path":3,"window":48000}`},
	{time.Second, &Ack{Path: 1, Packets: 3, Delivered: 4440, RTT: 61000, QueueOWD: 900, SRTT: 61500, MinRTT: 60000,
		Sample: 440000, Rate: 450000, Pacing: 562500, Window: 30000, InFlight: 29600, Mode: "cruise", Lost: 1, Loss: 0.25},
		`{"t":1000000,"ev":"ack","path":1,"packets":3,"delivered":4440,"rtt_us":61000,"queue_us":900,"srtt_us":61500,"min_rtt_us":60000,` +
			`"sample":440000,"rate":450000,"pacing":562500,"window":30000,"in_flight":29600,"mode":"cruise","lost":1,"loss":0.25}`},
	{time.Second, &Lost{Path: 1, Packet: Packet{1, 5}, Size: 1480, Tx: 1, Age: 70000, Why: "overtaken"},
		`{"t":1000000,"ev":"lost","path":1,"pair":1,"c":5,"size":1480,"tx":1,"age_us":70000,"why":"overtaken"}`},
	{time.Second, &Repair{Path: 0, Packet: Packet{1, 5}, Size: 1480, Age: 71000, Budget: 94520},
		`{"t":1000000,"ev":"repair","path":0,"pair":1,"c":5,"size":1480,"age_us":71000,"budget":94520}`},
	{time.Second, &Void{Packet: Packet{1, 6}, To: 7, Why: "codel", Age: 60000, Queue: 90000},
		`{"t":1000000,"ev":"void","pair":1,"c":6,"to":7,"why":"codel","waited_us":60000,"queue":90000}`},
	{time.Second, &ControlSent{Control{Path: 0, Size: 120, Frames: []Frame{
		{Kind: "feedback", Ranges: 2, Reports: []Report{{Path: 0, Last: 9, Age: 400, Packets: 10, Bytes: 14800}, {Path: 1, Last: 0}}},
		{Kind: "tune", Hold: 80000, Deadline: 1000000, Live: 3}}}},
		`{"t":1000000,"ev":"control_sent","path":0,"size":120,"frames":[` +
			`{"f":"feedback","ranges":2,"reports":[{"path":0,"last":9,"age_us":400,"packets":10,"bytes":14800},{"path":1,"last":0}]},` +
			`{"f":"tune","hold_us":80000,"deadline_us":1000000,"live":3}]}`},
	{time.Second, &ControlGot{Control{Path: 2, Stray: true, Size: 90, Frames: []Frame{{Kind: "marker", Path: 2, Pair: 1, To: 40}}}},
		`{"t":1000000,"ev":"control_got","path":2,"stray":true,"size":90,"frames":[{"f":"marker","path":2,"pair":1,"to":40}]}`},
	{time.Second, &Got{Path: 1, Packet: Packet{2, 1 << 40}, Size: 1480},
		`{"t":1000000,"ev":"got","path":1,"pair":2,"c":1099511627776,"size":1480}`},
	{time.Second, &Gap{Packet: Packet{1, 8}, Missing: 3, Held: 1}, `{"t":1000000,"ev":"gap","pair":1,"c":8,"missing":3,"held":1}`},
	{time.Second, &GapEnd{Packet: Packet{1, 8}, Why: "passed", For: 45000},
		`{"t":1000000,"ev":"gap_end","pair":1,"c":8,"why":"passed","for_us":45000}`},
	{time.Second, &Released{Packets: 12, Waited: 22000, Held: 1}, `{"t":1000000,"ev":"released","packets":12,"waited_us":22000,"held":1}`},
	{time.Second, &Disorder{Why: "late", Packets: 1}, `{"t":1000000,"ev":"disorder","why":"late","packets":1}`},
	{time.Second, &Drop{Why: "queue-full", N: 2}, `{"t":1000000,"ev":"drop","why":"queue-full","n":2}`},
	{time.Second, &Late{By: 338000}, `{"t":1000000,"ev":"late","by_us":338000}`},
	{time.Second, &Untraced{Events: 400}, `{"t":1000000,"ev":"untraced","events":400}`},
}

const goldenHeader = `{"wg-bond-trace":1,"role":"client","session":"192.0.2.1:51820","scenario":"unequal","seed":7,` +
	`"started":"2026-11-22T14:00:00Z","paths":["fast","slow"]}`

var header = Header{
	Version: Version, Role: "client", Session: "192.0.2.1:51820", Scenario: "unequal", Seed: 7,
	Started: "2026-11-22T14:00:00Z", Paths: []string{"fast", "slow"},
}

func TestGolden(t *testing.T) {
	var out bytes.Buffer
	r := NewRecorder(&out, header)
	start := 5 * time.Hour // the engine's clock; times count from the first event
	want := goldenHeader + "\n"
	seen := map[string]bool{}
	for _, g := range golden {
		r.Record(start+g.t, g.event)
		want += g.line + "\n"
		seen[g.event.Name()] = true
	}
	r.Flush()
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error("what is written differs (-want +got):\n", diff)
	}
	for name := range events {
		if !seen[name] {
			t.Errorf("no golden line for event %q", name)
		}
	}
	h, entries, err := Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(header, h); diff != "" {
		t.Error("header (-want +got):\n", diff)
	}
	i := 0
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Entry{i + 2, golden[i].t, golden[i].event}, e); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		i++
	}
	if i != len(golden) {
		t.Errorf("%d events read of %d", i, len(golden))
	}
}

// TestRoundTrip reads back events with random fields, written by the encoder
// and read by encoding/json.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, make := range events {
		for range 200 {
			want := make()
			fill(random, reflect.ValueOf(want).Elem())
			line := want.append(object(`{"t":7,"ev":"` + name + `"`))
			e, err := parse(append(line, '}'), 3)
			if err != nil {
				t.Fatalf("%s}: %v", line, err)
			}
			if diff := cmp.Diff(Entry{3, 7 * time.Microsecond, want}, e); diff != "" {
				t.Fatalf("%s: (-want +got)\n%s", name, diff)
			}
		}
	}
}

// fill sets each field to its zero value, a small or a large one.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		n := r.IntN(4)
		if n == 0 {
			// Frames and plans have their array always, reports only if any.
			if v.Type().Elem() == reflect.TypeFor[Report]() {
				return
			}
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) > 0)
	case reflect.String:
		v.SetString([]string{"", "plan", "wwan0", "a\"b\\c\x00\x1f\x7f", "Büro ☎ 𝔘"}[r.IntN(5)])
	case reflect.Float64:
		v.SetFloat([]float64{0, 1, r.Float64(), r.ExpFloat64() * 1e12, 1e-9}[r.IntN(5)])
	default:
		if v.Type() == reflect.TypeFor[schedulers.PathID]() {
			v.SetUint(r.Uint64N(schedulers.MaxPaths))
		} else if v.CanUint() {
			v.SetUint([]uint64{0, 3, r.Uint64() >> (64 - v.Type().Bits())}[r.IntN(3)])
		} else {
			v.SetInt([]int64{0, 3, -3, r.Int64() >> (64 - v.Type().Bits())}[r.IntN(4)])
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", `trace: line 1: there is no line: want the header, {"wg-bond-trace":1,…}`},
		{"time,rate\n", `trace: line 1: want the header, {"wg-bond-trace":1,…}: invalid character 'i' in literal true (expecting 'r')`},
		{"{\"qlog\":1}\n", `trace: line 1: no "wg-bond-trace": want the header, {"wg-bond-trace":1,…}`},
		{"{\"wg-bond-trace\":2}\n", "trace: line 1: format 2: this program reads format 1"},
		{goldenHeader + "\n{\"t\":1}\n", `trace: line 2: want {"t":µs,"ev":"name",…}, found "{\"t\":1}"`},
		{goldenHeader + "\n{\"ev\":\"got\"}\n", `trace: line 2: want {"t":µs,"ev":"name",…}, found "{\"ev\":\"got\"}"`},
		{goldenHeader + "\n{\"t\":1,\"ev\":\"got\",\"path\":16,\"c\":1}\n", "trace: line 2: event got: path 16: the highest is 15"},
		{goldenHeader + "\n\n", "trace: line 2: want an object on a line: unexpected end of JSON input"},
		{goldenHeader + "\n" + strings.Repeat(" ", maxLine+1) + "\n", "trace: line 2: longer than 1048576 bytes"},
	} {
		_, entries, err := Read(strings.NewReader(test.in))
		if err == nil {
			for _, err = range entries {
			}
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("%.80q:\n got %v\nwant %s", test.in, err, test.want)
		}
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%v: not ErrFormat", err)
		}
	}
}

// TestForwards: what a newer version adds is kept or ignored, and a line that a
// killed program left half written is left out.
func TestForwards(t *testing.T) {
	in := goldenHeader + "\n" +
		`{"t":1,"ev":"weather","rain":true}` + "\n" +
		`{"ev":"got","c":4,"new":{"deep":[1]},"path":0,"t":2}` + "\n" +
		`{"t":3,"ev":"go`
	_, entries, err := Read(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var got []Entry
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	want := []Entry{
		{2, time.Microsecond, &Unknown{"weather", []byte(`{"t":1,"ev":"weather","rain":true}`)}},
		{3, 2 * time.Microsecond, &Got{Packet: Packet{0, 4}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

// busy is a writer that is busy for the first n calls.
type busy struct {
	n   int
	out bytes.Buffer
}

func (b *busy) Write(p []byte) (int, error) {
	if b.n--; b.n >= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return b.out.Write(p)
}

// TestUntraced: what the writer did not take is counted in the trace, which
// has its header all the same.
func TestUntraced(t *testing.T) {
	w := &busy{n: 2}
	r := NewRecorder(w, Header{Role: "server"})
	now := time.Duration(0)
	for range 2 {
		for range 10 {
			r.Record(now, &Slack{})
		}
		r.Flush()
	}
	if r.Missing() != 20 {
		t.Errorf("Missing %d, want 20", r.Missing())
	}
	r.Record(now, &Slack{Path: 5})
	r.Flush()
	r.Record(now, &Slack{Path: 6})
	r.Flush()
	want := `{"wg-bond-trace":1,"role":"server"}
{"t":0,"ev":"untraced","events":20}
{"t":0,"ev":"slack","path":5}
{"t":0,"ev":"slack","path":6}
`
	if diff := cmp.Diff(want, w.out.String()); diff != "" {
		t.Error("(-want +got)\n", diff)
	}
}

// TestFlush: events are written in pieces of whole lines, and none stays
// behind for long while others follow.
func TestFlush(t *testing.T) {
	var pieces [][]byte
	r := NewRecorder(writerFunc(func(p []byte) (int, error) {
		pieces = append(pieces, bytes.Clone(p))
		return len(p), nil
	}), Header{})
	r.Record(0, &Slack{})
	r.Record(999*time.Millisecond, &Slack{})
	if len(pieces) != 0 {
		t.Fatal("written too soon")
	}
	r.Record(time.Second, &Slack{})
	if len(pieces) != 1 {
		t.Fatal("not written after a second")
	}
	for range 10_000 {
		r.Record(time.Second, &Slack{})
	}
	for _, p := range pieces {
		if len(p) > chunk+room || p[len(p)-1] != '\n' {
			t.Errorf("a piece of %d bytes that ends in %q", len(p), p[len(p)-1])
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAllocations: neither the nil Recorder nor one at work allocates.
func TestAllocations(t *testing.T) {
	discard := writerFunc(func(p []byte) (int, error) { return len(p), nil })
	for _, r := range []*Recorder{nil, NewRecorder(discard, Header{})} {
		r.Record(0, &Slack{}) // makes the buffer
		now := time.Duration(0)
		if n := testing.AllocsPerRun(100, func() {
			for _, g := range golden {
				r.Record(now, g.event)
				now += time.Millisecond
			}
			r.Flush()
		}); n != 0 {
			t.Errorf("%v allocations with recorder %v, want none", n, r != nil)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r := NewRecorder(writerFunc(func(p []byte) (int, error) { return len(p), nil }), Header{})
	e := &Sent{Path: 1, Packet: Packet{1, 123456}, Size: 1480, Tx: 1, Waited: 3000, InFlight: 90000, Window: 100000, Pacing: 2500000}
	for b.Loop() {
		r.Record(0, e)
	}
}

func BenchmarkRead(b *testing.B) {
	var out bytes.Buffer
	r := NewRecorder(&out, header)
	for range 1000 {
		for _, g := range golden {
			r.Record(0, g.event)
		}
	}
	r.Flush()
	b.SetBytes(int64(out.Len()))
	for b.Loop() {
		_, entries, err := Read(bytes.NewReader(out.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range entries {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// FuzzRead: whatever is read can be written and read again, and is the same.
func FuzzRead(f *testing.F) {
	all := goldenHeader + "\n"
	for _, g := range golden {
		f.Add([]byte(goldenHeader + "\n" + g.line + "\n"))
		all += g.line + "\n"
	}
	f.Add([]byte(all))
	f.Add([]byte(goldenHeader + "\n{\"t\":1,\"ev\":\"weather\"}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, entries, err := Read(bytes.NewReader(in))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v: not ErrFormat", err)
			}
			return
		}
		for e, err := range entries {
			if err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatalf("%v: not ErrFormat", err)
				}
				return
			}
			if _, ok := e.Event.(*Unknown); ok {
				continue
			}
			line := append(e.Event.append(object(`{"t":0,"ev":"`+e.Event.Name()+`"`)), '}')
			if !json.Valid(line) {
				t.Fatalf("not JSON: %s", line)
			}
			again, err := parse(line, e.Line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			once := again.Event.append(begin())
			if want := e.Event.append(begin()); !bytes.Equal(once, want) {
				t.Fatalf("read %s, then %s", want, once)
			}
		}
	})
}

func begin() object { return object("{") }
