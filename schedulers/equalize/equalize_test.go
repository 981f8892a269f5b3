package equalize

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const mbit = 1e6 / 8

// starting is a path that has delivered so much, Mbit/s, and was never full.
func starting(p schedulers.Path, delivered float64) schedulers.Path {
	p.Rate, p.Delivered = 2.885*delivered*mbit, delivered*mbit
	return p
}

// link is an active path of so many Mbit/s (0: unknown) and ms, idle.
func link(id schedulers.PathID, rate float64, rtt time.Duration) schedulers.Path {
	rtt *= time.Millisecond
	return schedulers.Path{ID: id, State: schedulers.Active, Rate: rate * mbit, Delivered: rate * mbit, MinRTT: rtt, SRTT: rtt, MinOWD: rtt/2 - time.Hour, OWD: rtt/2 - time.Hour}
}

func busy(p schedulers.Path, bytes int) schedulers.Path {
	p.InFlight = bytes
	return p
}

// describe is what a plan makes of bulk: for each path used its part in the bytes,
// Mbit/s (or that it waits until the others are full), cap and hold.
func describe(p *schedulers.Plan) string {
	var out []string
	for id, b := range p.Classes[schedulers.Bulk].Paths {
		if !b.Use {
			continue
		}
		part := "the rest"
		if b.Base == 0 && p.Drain[id] == 0 {
			part = fmt.Sprintf("%.4g", 1e9/b.PerByte/mbit)
		}
		out = append(out, fmt.Sprintf("%d: %s, %d B, held %v", id, part, b.Cap, p.Hold[id]))
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []schedulers.Path
		want  string
	}{
		{"one path", []schedulers.Path{link(0, 8, 50)}, "0: 8, 10000 B, held 0s"},
		{"unlike paths share by their rates", []schedulers.Path{link(0, 20, 30), link(1, 5, 120)},
			"0: 20, 25000 B, held 45ms; 1: 5, 6250 B, held 0s"},
		{"whatever is under way", []schedulers.Path{busy(link(0, 20, 30), 85_000), link(1, 5, 120)},
			"0: 20, 25000 B, held 45ms; 1: 5, 6250 B, held 0s"},
		{"what adds little for its delay is left out", []schedulers.Path{link(0, 50, 20), link(1, 2, 300)},
			"0: 50, 62500 B, held 0s"},
		{"what may add much, if its rate is unknown, is tried", []schedulers.Path{link(0, 5, 20), link(1, 0, 120)},
			"0: 5, 6250 B, held 50ms; 1: 3.2, 15000 B, held 0s"},
		{"so is what may carry as much as a near path is assumed to", []schedulers.Path{link(0, 20, 30), link(1, 0, 120)},
			"0: 20, 25000 B, held 45ms; 1: 3.2, 15000 B, held 0s"},
		{"a path that is starting is tried, however little it was given so far", []schedulers.Path{link(0, 20, 30), starting(link(1, 5, 120), .6)},
			"0: 20, 25000 B, held 45ms; 1: 3.2, 3000 B, held 0s"},
		{"what the near path would try next makes no other less worth", []schedulers.Path{starting(link(0, 20, 30), 20), link(1, 5, 120)},
			"0: 57.7, 72124 B, held 45ms; 1: 5, 6250 B, held 0s"},
		{"what adds little by all appearance takes what finds the others full", []schedulers.Path{link(0, 50, 20), link(1, 0, 300)},
			"0: 50, 62500 B, held 0s; 1: the rest, 15000 B, held 0s"},
		{"three, in whatever order", []schedulers.Path{link(3, 5, 90), link(5, 20, 30), link(9, 10, 40)},
			"3: 5, 6250 B, held 0s; 5: 20, 25000 B, held 30ms; 9: 10, 12500 B, held 25ms"},
	} {
		s := schedulers.Snapshot{Seq: 1, Largest: 1452, Paths: c.paths}
		var p schedulers.Plan
		New().Plan(&s, &p)
		if err := schedulers.Validate(&p, &s); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := describe(&p); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestAcks: the way that a transfer's acknowledgements go is left as quick as
// it is; a conversation's is not, for what may come of it.
func TestAcks(t *testing.T) {
	sched := New()
	for i, c := range []struct {
		what              string
		largest, inFlight int
		equal             bool
	}{
		{"nothing yet", 0, 0, true},
		{"a handshake", 112, 140, true},
		{"acknowledgements", 112, 5000, false},
		{"none at the moment", 112, 0, false},
		{"a request", 500, 528, false},
		{"an upload", 1452, 50_000, true},
		{"its end", 112, 140, true},
	} {
		s := schedulers.Snapshot{Seq: uint64(i), Largest: c.largest, Paths: []schedulers.Path{busy(link(0, 20, 30), c.inFlight), link(1, 5, 120)}}
		var p schedulers.Plan
		sched.Plan(&s, &p)
		if got := p.Hold[0] > 0; got != c.equal {
			t.Errorf("%s: equalised %v, want %v", c.what, got, c.equal)
		}
	}
}

// TestMomentary: a path whose rate falls stays in use for half a minute, with what
// it carries now.
func TestMomentary(t *testing.T) {
	sched := New()
	for i, c := range []struct {
		at   time.Duration
		slow float64
		want string
	}{
		{0, 5, "0: 20, 25000 B, held 45ms; 1: 5, 6250 B, held 0s"},
		{time.Second, 1, "0: 20, 25000 B, held 45ms; 1: 1, 3000 B, held 0s"},
		{30 * time.Second, 1, "0: 20, 25000 B, held 45ms; 1: 1, 3000 B, held 0s"},
		{31 * time.Second, 1, "0: 20, 25000 B, held 0s"},
		{32 * time.Second, 5, "0: 20, 25000 B, held 45ms; 1: 5, 6250 B, held 0s"},
	} {
		s := schedulers.Snapshot{Seq: uint64(i), Now: time.Hour + c.at, Largest: 1452, Paths: []schedulers.Path{link(0, 20, 30), link(1, c.slow, 120)}}
		var p schedulers.Plan
		sched.Plan(&s, &p)
		if got := describe(&p); got != c.want {
			t.Errorf("after %v:\n got %s\nwant %s", c.at, got, c.want)
		}
	}
}
