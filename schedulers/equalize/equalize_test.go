package equalize

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

const mbit = 1e6 / 8

// link is an active path of so many Mbit/s (0: unknown) and ms, idle.
func link(id schedulers.PathID, rate float64, rtt time.Duration) schedulers.Path {
	rtt *= time.Millisecond
	return schedulers.Path{ID: id, State: schedulers.Active, Rate: rate * mbit, MinRTT: rtt, SRTT: rtt, MinOWD: rtt/2 - time.Hour, OWD: rtt/2 - time.Hour}
}

func busy(p schedulers.Path, bytes int) schedulers.Path {
	p.InFlight = bytes
	return p
}

// describe is a plan's class Bulk: base, cap and hold of each path used.
func describe(p *schedulers.Plan) string {
	var out []string
	for id, b := range p.Classes[schedulers.Bulk].Paths {
		if b.Use {
			out = append(out, fmt.Sprintf("%d: %v ms, %d B, held %v", id, b.Base/1e6, b.Cap, p.Hold[id]))
		}
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []schedulers.Path
		want  string
	}{
		{"one path", []schedulers.Path{link(0, 8, 50)}, "0: 0 ms, 10000 B, held 0s"},
		{"unlike paths cost the same", []schedulers.Path{link(0, 20, 30), link(1, 5, 120)},
			"0: 0 ms, 25000 B, held 45ms; 1: 0 ms, 6250 B, held 0s"},
		{"but for their queues: 75 kB are a round trip of path 0, 10 kB more are 4 ms",
			[]schedulers.Path{busy(link(0, 20, 30), 85_000), link(1, 5, 120)},
			"0: 4 ms, 25000 B, held 45ms; 1: 0 ms, 8750 B, held 0s"},
		{"what adds little for its delay is left out", []schedulers.Path{link(0, 50, 20), link(1, 2, 300)},
			"0: 0 ms, 62500 B, held 0s"},
		{"what may add much, if its rate is unknown, is tried", []schedulers.Path{link(0, 5, 20), link(1, 0, 120)},
			"0: 0 ms, 6250 B, held 50ms; 1: 0 ms, 15000 B, held 0s"},
		{"so is what may carry as much as a near path is assumed to", []schedulers.Path{link(0, 20, 30), link(1, 0, 120)},
			"0: 0 ms, 25000 B, held 45ms; 1: 0 ms, 15000 B, held 0s"},
		{"what adds little by all appearance takes what finds the others full", []schedulers.Path{link(0, 50, 20), link(1, 0, 300)},
			"0: 0 ms, 62500 B, held 0s; 1: 140 ms, 15000 B, held 0s"},
		{"three, in whatever order", []schedulers.Path{link(3, 5, 90), link(5, 20, 30), link(9, 10, 40)},
			"3: 0 ms, 6250 B, held 0s; 5: 0 ms, 25000 B, held 30ms; 9: 0 ms, 12500 B, held 25ms"},
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
