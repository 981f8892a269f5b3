package builtin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/schedulers"
)

// TestPolicies shows what each simple policy makes of one snapshot: two good
// paths, a dead one and a backup. (earliest has tables of its own.)
func TestPolicies(t *testing.T) {
	s := schedulers.Snapshot{Seq: 1, Paths: []schedulers.Path{
		{ID: 0, State: schedulers.Dead, Weight: 1},
		{ID: 1, State: schedulers.Active, Rate: 1e6, MinRTT: 50e6, SRTT: 70e6, MinOWD: 30e6, Weight: 1},
		{ID: 2, State: schedulers.Active, Rate: 4e6, MinRTT: 40e6, SRTT: 60e6, MinOWD: 20e6, Weight: 4},
		{ID: 3, State: schedulers.Active, Rate: 9e6, MinRTT: 10e6, SRTT: 10e6, Weight: 9, Backup: true},
	}}
	for name, want := range map[string]string{
		"minrtt": `1: base 70 ms + 0 ns/B, cap 10000, drain 1e+06
		           2: base 60 ms + 0 ns/B, cap 40000, drain 4e+06`,
		"weighted": `1: base 0 ms + 4 ns/B, cap none, drain 0
		             2: base 0 ms + 1 ns/B, cap none, drain 0`,
		"roundrobin": `1: base 0 ms + 1 ns/B, cap none, drain 0
		               2: base 0 ms + 1 ns/B, cap none, drain 0`,
		"backup": `1: base 0 ms + 0 ns/B, cap 10000, drain 1e+06`,
		"redundant": `1: base 10 ms + 1000 ns/B, cap 10000, drain 1e+06
		              2: base 0 ms + 250 ns/B, cap 40000, drain 4e+06
		              copies 0b110`,
	} {
		sched, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		var p schedulers.Plan
		sched.Plan(&s, &p)
		for _, c := range []schedulers.Class{schedulers.Small, schedulers.Bulk} {
			if got, want := describe(&p, c), strings.Join(strings.Fields(want), " "); got != want {
				t.Errorf("%s, class %v:\n got %s\nwant %s", name, c, got, want)
			}
		}
		if got := p.Classes[schedulers.Control].Copies; got != 0b1110 {
			t.Errorf("%s copies handshakes to %#b", name, got)
		}
		if p.Valid < 200*time.Millisecond {
			t.Errorf("%s: valid for %v", name, p.Valid)
		}
	}
}

func describe(p *schedulers.Plan, c schedulers.Class) string {
	var out []string
	for id, path := range p.Classes[c].Paths {
		if path.Use {
			cap := fmt.Sprint(path.Cap)
			if path.Cap == schedulers.NoCap {
				cap = "none"
			}
			out = append(out, fmt.Sprintf("%d: base %v ms + %v ns/B, cap %s, drain %v", id, path.Base/1e6, path.PerByte, cap, p.Drain[id]))
		}
	}
	if m := p.Classes[c].Copies; m != 0 {
		out = append(out, fmt.Sprintf("copies %#b", m))
	}
	return strings.Join(out, " ")
}
