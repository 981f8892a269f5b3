package schedpb

import (
	"encoding/hex"
	"errors"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/builtin"
	"github.com/wg-bond/wg-bond/schedulers/schedtest"
)

// overTheWire encodes m, decodes it into a new message and returns that.
func overTheWire[M proto.Message](t testing.TB, m M, into M) M {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// Whatever a session shows, and a built-in answers, arrives as it was sent.
func TestRoundTrip(t *testing.T) {
	var got schedulers.Snapshot
	var gotPlan schedulers.Plan
	for seed := range uint64(20) {
		for _, s := range schedtest.Session(seed, 40) {
			if err := ToSnapshot(overTheWire(t, FromSnapshot(&s), new(Snapshot)), &got); err != nil {
				t.Fatal(err)
			}
			if len(s.Paths) == 0 {
				got.Paths, s.Paths = nil, nil
			}
			if !reflect.DeepEqual(got, s) {
				t.Fatalf("sent %+v\ngot  %+v", s, got)
			}
			for _, b := range builtin.All {
				var p schedulers.Plan
				b.New().Plan(&s, &p)
				if err := ToPlan(overTheWire(t, FromPlan(&p), new(SchedulerPlan)), &gotPlan); err != nil {
					t.Fatal(err)
				}
				if gotPlan != p {
					t.Fatalf("%s: sent %+v\ngot  %+v", b.Name, p, gotPlan)
				}
			}
		}
	}
}

// everyField is a snapshot in which each field differs from all others.
func everyField() schedulers.Snapshot {
	return schedulers.Snapshot{Seq: 1, Now: 2, Queue: 3, FeedbackInterval: 4, Largest: 23, Paths: []schedulers.Path{{
		ID: 5, Name: "six", State: schedulers.Dead, Rate: 8, MinRTT: 9, SRTT: 10, MinOWD: -11, OWD: 12, RTTVar: 13,
		InFlight: 14, Queued: 15, OldestUnacked: 16, Loss: .17, MTU: 18, Backup: true, Metered: true, Weight: 19, MaxRate: 20,
		Sent: 21, Received: 22, Delivered: 23,
	}}}
}

// everyPlan is the same for plans.
func everyPlan() schedulers.Plan {
	p := schedulers.Plan{Seq: 1, Valid: 2}
	for c := range p.Classes {
		f := float64(3 + 4*c)
		p.Classes[c].Paths[c] = schedulers.PathPlan{Use: true, Base: f, PerByte: f + 1, Cap: int(f) + 2}
		p.Classes[c].Copies = 1 << (c + 3)
	}
	p.Drain[6], p.Hold[7] = 15, 16
	return p
}

// TestStable: what version 1 of the protocol has always looked like is read as
// ever, also with fields that it does not know. These bytes never change: a field
// that is added to everyField must be its default here.
func TestStable(t *testing.T) {
	const (
		snapshot = "08011002180320042a550805120373697818042100000000000020402809300a38f5ffffffffffffffff01400c480d500e58" +
			"0f601069c3f5285c8fc2c53f701278018001018901000000000000334091010000000000003440980115a001163017"
		plan = "080110021a190a141100000000000008401900000000000010402005120103221b0a160801110000000000001c4019000000" +
			"000000204020091201042a1b0a160802110000000000002640190000000000002840200d120105320b080611000000000000" +
			"2e403a0408071010"
	)
	unknown := protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "from the future")
	read := func(hexed string, m proto.Message, extra []byte) {
		t.Helper()
		data, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(append(data, extra...), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, extra := range [][]byte{nil, unknown} {
		var s Snapshot
		var p SchedulerPlan
		read(snapshot, &s, extra)
		read(plan, &p, extra)
		var got schedulers.Snapshot
		want := everyField()
		want.Paths[0].Delivered = 0
		if err := ToSnapshot(&s, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("snapshot %+v, %v", got, err)
		}
		var gotPlan schedulers.Plan
		if err := ToPlan(&p, &gotPlan); err != nil || gotPlan != everyPlan() {
			t.Errorf("plan %+v, %v", gotPlan, err)
		}
	}
}

// TestDocumented: scheduler.proto says of every field what it is, and of every
// number in which unit.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("scheduler.proto")
	if err != nil {
		t.Fatal(err)
	}
	var comment []string
	fields := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if about, ok := strings.CutPrefix(line, "//"); ok {
			comment = append(comment, about)
			continue
		}
		if f := regexp.MustCompile(`^(?:repeated )?(\w+|[\w.]+) (\w+) = \d+;`).FindStringSubmatch(line); f != nil {
			fields++
			about := strings.Join(comment, " ")
			unit := map[string]string{"_ns": "anosecond", "_bytes": "bytes", "_bytes_per_second": "bytes per second"}
			for suffix, word := range unit {
				if strings.HasSuffix(f[2], suffix) && !strings.Contains(strings.ToLower(about), word) {
					t.Errorf("%s: no unit in %q; want %q", f[2], about, word)
				}
			}
			if about == "" {
				t.Errorf("%s has no comment", f[2])
			}
		}
		comment = nil
	}
	if fields < 40 {
		t.Errorf("%d fields found: is the pattern still right?", fields)
	}
}

// A field that is not set in one of a kind must not be mistaken for another:
// each field of a path differs here from all others.
func TestEveryField(t *testing.T) {
	s := everyField()
	for _, v := range []reflect.Value{reflect.ValueOf(s), reflect.ValueOf(s.Paths[0])} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test does not set %v.%s", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	var got schedulers.Snapshot
	if err := ToSnapshot(overTheWire(t, FromSnapshot(&s), new(Snapshot)), &got); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, %v; want %+v", got, err, s)
	}
}

// Numbers that make no sense must arrive as well, for Validate to see them.
func TestNonsenseArrives(t *testing.T) {
	p := schedulers.Plan{Seq: math.MaxUint64, Valid: -1}
	p.Classes[schedulers.Bulk].Paths[15] = schedulers.PathPlan{Use: true, Base: math.Inf(-1), PerByte: math.NaN(), Cap: 7}
	p.Drain[3] = math.NaN()
	p.Hold[4] = -1
	var got schedulers.Plan
	if err := ToPlan(overTheWire(t, FromPlan(&p), new(SchedulerPlan)), &got); err != nil {
		t.Fatal(err)
	}
	path := got.Classes[schedulers.Bulk].Paths[15]
	if got.Seq != p.Seq || got.Valid != -1 || !math.IsInf(path.Base, -1) || !math.IsNaN(path.PerByte) || !math.IsNaN(got.Drain[3]) || got.Hold[4] != -1 {
		t.Errorf("got %+v", got)
	}
}

func TestUnusable(t *testing.T) {
	for _, c := range []struct {
		want string
		m    *SchedulerPlan
	}{
		{"class bulk: path 16 is planned; ids end at 15", &SchedulerPlan{Bulk: &ClassPlan{Paths: []*PathPlan{{Path: 16}}}}},
		{"class small: path 3 is planned twice", &SchedulerPlan{Small: &ClassPlan{Paths: []*PathPlan{{Path: 3}, {Path: 3}}}}},
		{"path 0 has a cap of -1", &SchedulerPlan{Small: &ClassPlan{Paths: []*PathPlan{{CapBytes: -1}}}}},
		{"cap of 4294967296 bytes", &SchedulerPlan{Small: &ClassPlan{Paths: []*PathPlan{{CapBytes: 1 << 32}}}}},
		{"class control: path 40 carries a copy", &SchedulerPlan{Control: &ClassPlan{Copies: []uint32{1, 40}}}},
		{"path 99 drains", &SchedulerPlan{Drains: []*Drain{{Path: 99}}}},
		{"path 16 holds", &SchedulerPlan{Holds: []*Hold{{Path: 16}}}},
	} {
		err := ToPlan(c.m, new(schedulers.Plan))
		if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	twice := &Snapshot{Paths: []*Path{{Id: 1}, {Id: 1}}}
	if err := ToSnapshot(twice, new(schedulers.Snapshot)); !errors.Is(err, ErrMessage) {
		t.Errorf("a path that is there twice: %v", err)
	}
	// Nothing at all is a message too; its plan is for Validate to refuse.
	var p schedulers.Plan
	if err := ToPlan(new(SchedulerPlan), &p); err != nil || p != (schedulers.Plan{}) {
		t.Errorf("an empty message: %v, %+v", err, p)
	}
}

// A newer wg-bond may know states that this one does not.
func TestUnknownState(t *testing.T) {
	var s schedulers.Snapshot
	m := &Snapshot{Paths: []*Path{{Id: 0, State: 77}, {Id: 1, State: -3}, {Id: 2}}}
	if err := ToSnapshot(m, &s); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Paths {
		if p.State != schedulers.Probing {
			t.Errorf("path %d is %v", p.ID, p.State)
		}
	}
}

// What a plugin sends is anybody's: nothing may panic, what Validate lets pass
// must arrive again as it is, and Validate must stand what ToPlan lets pass.
func FuzzPlan(f *testing.F) {
	s := schedtest.Session(1, 20)[19]
	for _, b := range builtin.All {
		var p schedulers.Plan
		b.New().Plan(&s, &p)
		data, err := proto.Marshal(FromPlan(&p))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(SchedulerPlan)
		if proto.Unmarshal(data, m) != nil {
			return
		}
		var p, again schedulers.Plan
		if err := ToPlan(m, &p); err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("%v does not wrap ErrMessage", err)
			}
			return
		}
		p.Seq = s.Seq
		if schedulers.Validate(&p, &s) != nil {
			return
		}
		if err := ToPlan(overTheWire(t, FromPlan(&p), new(SchedulerPlan)), &again); err != nil || again != p {
			t.Errorf("%v: sent %+v\ngot  %+v", err, p, again)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	for _, s := range schedtest.Session(2, 3) {
		data, err := proto.Marshal(FromSnapshot(&s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(Snapshot)
		if proto.Unmarshal(data, m) != nil {
			return
		}
		var s schedulers.Snapshot
		if ToSnapshot(m, &s) != nil {
			return
		}
		again := FromSnapshot(&s)
		var back schedulers.Snapshot
		if err := ToSnapshot(again, &back); err != nil {
			t.Errorf("%v", err)
		}
		var p schedulers.Plan
		builtin.All[0].New().Plan(&s, &p)
		if err := schedulers.Validate(&p, &s); err != nil {
			t.Errorf("the default's plan: %v", err)
		}
	})
}
