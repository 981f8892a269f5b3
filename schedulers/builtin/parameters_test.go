package builtin

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wg-bond/wg-bond/schedulers"
	"github.com/wg-bond/wg-bond/schedulers/parameters"
	"github.com/wg-bond/wg-bond/schedulers/schedtest"
)

// TestParameters shows what each parameter changes in the plan for two paths:
// near has 1 MB/s at 40 ms, far the same at 140.
func TestParameters(t *testing.T) {
	for _, c := range []struct {
		name, key    string
		value        any
		without, now string // the plan for bulk, or for small if it begins so
	}{
		{"earliest", "margin", "20 ms",
			"0: base 0 ms + 1000 ns/B, cap 60000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06",
			"0: base 0 ms + 1000 ns/B, cap 70000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 20000, drain 1e+06"},
		{"earliest", "farthest", "40 ms", "0: base 0 ms + 1000 ns/B, cap 60000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06",
			"0: base 0 ms + 1000 ns/B, cap 3000, drain 1e+06"},
		{"earliest", "gain", "0s", "0: base 0 ms + 1000 ns/B, cap 60000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06",
			"0: base 0 ms + 1000 ns/B, cap 3000, drain 1e+06"},
		{"minrtt", "queue", "50 ms", "0: base 40 ms + 0 ns/B, cap 10000, drain 1e+06 1: base 140 ms + 0 ns/B, cap 10000, drain 1e+06",
			"0: base 40 ms + 0 ns/B, cap 50000, drain 1e+06 1: base 140 ms + 0 ns/B, cap 50000, drain 1e+06"},
		{"backup", "order", []any{"far"}, "0: base 0 ms + 0 ns/B, cap 10000, drain 1e+06",
			"1: base 0 ms + 0 ns/B, cap 10000, drain 1e+06"},
		{"redundant", "bulk", false, "0: base 0 ms + 1000 ns/B, cap 10000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06 copies 0b11",
			"0: base 0 ms + 1000 ns/B, cap 60000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06"},
		{"equalize", "margin", "20 ms", "0: base 0 ms + 1000 ns/B, cap 10000, drain 0 1: base 0 ms + 1000 ns/B, cap 10000, drain 0",
			"0: base 0 ms + 1000 ns/B, cap 20000, drain 0 1: base 0 ms + 1000 ns/B, cap 20000, drain 0"},
		{"auto", "margin", "20 ms", "0: base 0 ms + 1000 ns/B, cap 60000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 10000, drain 1e+06",
			"0: base 0 ms + 1000 ns/B, cap 70000, drain 1e+06 1: base 50 ms + 1000 ns/B, cap 20000, drain 1e+06"},
	} {
		plan := func(table map[string]any) string {
			maker, err := Configured(c.name, table)
			if err != nil {
				t.Fatalf("%s %v: %v", c.name, table, err)
			}
			s := schedulers.Snapshot{Seq: 1, Largest: 1452, Paths: []schedulers.Path{
				{ID: 0, Name: "near", State: schedulers.Active, Rate: 1e6, Delivered: 1e6, MinRTT: 40e6, SRTT: 40e6, MinOWD: 20e6, Weight: 1},
				{ID: 1, Name: "far", State: schedulers.Active, Rate: 1e6, Delivered: 1e6, MinRTT: 140e6, SRTT: 140e6, MinOWD: 70e6, Weight: 1},
			}}
			var p schedulers.Plan
			maker().Plan(&s, &p)
			return describe(&p, schedulers.Bulk)
		}
		if got := plan(nil); got != c.without {
			t.Errorf("%s without %s:\n got %s\nwant %s", c.name, c.key, got, c.without)
		}
		if got := plan(map[string]any{c.key: c.value}); got != c.now {
			t.Errorf("%s, %s = %v:\n got %s\nwant %s", c.name, c.key, c.value, got, c.now)
		}
	}
}

// TestExtremes: with every parameter at either end, and with some at one and
// some at the other, a scheduler still makes plans that can be followed.
func TestExtremes(t *testing.T) {
	least := map[string]any{"margin": "0s", "tolerate": "0s", "farthest": "0s", "gain": "0s", "queue": "0s", "wait": "1s", "bulk": false, "order": []any{}}
	most := map[string]any{"margin": "10s", "tolerate": "10s", "farthest": "10s", "gain": "10s", "queue": "1s", "wait": "1h", "bulk": false, "order": []any{"path9", "path3"}}
	sessions := map[string][]schedulers.Snapshot{}
	for name, s := range schedtest.Awkward() {
		sessions[name] = []schedulers.Snapshot{s}
	}
	for seed := range uint64(5) {
		sessions[fmt.Sprint("seed ", seed)] = schedtest.Session(seed, schedtest.Steps)
	}
	for _, s := range All {
		for _, values := range []map[string]any{least, most, {"margin": "0s", "gain": "10s"}, {"margin": "10s", "gain": "0s"}} {
			table := map[string]any{}
			for key, v := range values {
				if takes(s.Name, key, v) {
					table[key] = v
				}
			}
			maker, err := Configured(s.Name, table)
			if err != nil {
				t.Errorf("%s %v: %v", s.Name, table, err)
				continue
			}
			for what, snapshots := range sessions {
				if err := schedtest.Check(maker(), maker(), snapshots); err != nil {
					t.Errorf("%s %v: %s: %v", s.Name, table, what, err)
				}
			}
		}
	}
}

// takes reports whether the scheduler has that parameter.
func takes(name, key string, v any) bool {
	_, err := Configured(name, map[string]any{key: v})
	return err == nil
}

// TestWrongParameters: every mistake is told, with what would be right.
func TestWrongParameters(t *testing.T) {
	for _, c := range []struct {
		name  string
		table map[string]any
		want  string
	}{
		{"earliest", map[string]any{"margin": "11s", "gain": int64(400), "marge": 1.5},
			"[plugin.earliest]: margin: found \"11s\"; want a duration in quotes, from \"0s\" to \"10s\"\n" +
				"[plugin.earliest]: gain: found 400; want a duration in quotes, from \"0s\" to \"10s\"\n" +
				`[plugin.earliest]: marge: found the unknown key "marge"; want one of farthest, gain, margin, tolerate`},
		{"roundrobin", map[string]any{"margin": "10 ms"}, `[plugin.roundrobin]: margin: found the unknown key "margin"; want nothing: it takes no parameters`},
		{"backup", map[string]any{"order": []any{"a", "a"}}, `[plugin.backup]: order: found a list; want a list of names in quotes, each once, like ["wwan0", "wlan0"]`},
		{"redundant", map[string]any{"bulk": "no"}, `[plugin.redundant]: bulk: found "no"; want true or false, without quotes`},
		{"auto", map[string]any{"wait": "0s"}, `[plugin.auto]: wait: found "0s"; want a duration in quotes, from "1s" to "1h0m0s"`},
	} {
		_, err := Configured(c.name, c.table)
		var wrong *parameters.Error
		if !errors.As(err, &wrong) || wrong.Name != c.name || err.Error() != c.want {
			t.Errorf("%s %v:\n got %v\nwant %s", c.name, c.table, err, c.want)
		}
	}
	if _, err := Configured("best", nil); err == nil || !strings.Contains(err.Error(), "there are earliest") {
		t.Errorf("error %v", err)
	}
}
