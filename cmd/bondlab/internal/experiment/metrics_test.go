//go:build linux

package experiment

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/measure"
	"github.com/wg-bond/wg-bond/cmd/bondlab/internal/scenario"
)

func readings(mbit ...float64) []Reading {
	var out []Reading
	for _, m := range mbit {
		out = append(out, Reading{
			Goodput: m * 1e6, Took: time.Duration(24 / m * float64(time.Second)), Gap: 20 * time.Millisecond, During: -1, After: -1,
			Pings: measure.Pings{Sent: 4, RTTs: []time.Duration{40e6, 10e6, 20e6}},
		})
	}
	return out
}

func result() *Result {
	return &Result{
		Runs: 3,
		Scenario: &scenario.Scenario{
			Name: "test", Links: []scenario.Link{{Name: "own"}, {Name: "lent"}},
			Workload: scenario.Workload{Download: 3e6, Ping: scenario.Duration(time.Second)},
		},
		Series: []Series{
			{Traffic: Traffic{Congestion: "cubic"}, Single: [][]Reading{readings(2, 3, 4), readings(4, 5, 6)}, Bonded: readings(7.5, 6.5, 8)},
			{Traffic: Traffic{Congestion: "bbr"}, Single: [][]Reading{readings(2, 2, 2), readings(4, 4, 4)}, Bonded: readings(3, 3, 3)},
		},
	}
}

func TestMetrics(t *testing.T) {
	got := map[string]Metric{}
	for _, m := range result().Metrics() {
		got[m.Name] = m
	}
	for name, want := range map[string]Metric{
		"goodput_single_own":  {Median: 3, Min: 2, Max: 4, Unit: "Mbit/s"},
		"goodput_single_lent": {Median: 5, Min: 4, Max: 6, Unit: "Mbit/s"},
		"goodput_single_best": {Median: 5, Min: 4, Max: 6, Unit: "Mbit/s"},
		"goodput_bonded":      {Median: 7.5, Min: 6.5, Max: 8, Unit: "Mbit/s"},
		"speedup":             {Median: 1.5, Min: 1.3, Max: 1.6, Unit: "ratio"}, // over a mean of 5
		"ab":                  {Median: 2.5 / 3, Min: .5, Max: 1, Unit: "ratio"},
		"time_bonded":         {Median: 3.2, Min: 3, Max: 24 / 6.5, Unit: "s"},
		"time_single_best":    {Median: 4.8, Min: 4, Max: 6, Unit: "s"},
		"ping_p50":            {Median: 20, Min: 20, Max: 20, Unit: "ms"},
		"ping_p95":            {Median: 40, Min: 40, Max: 40, Unit: "ms"},
		"ping_loss":           {Median: .25, Min: .25, Max: .25, Unit: "ratio"},
		"gap_max":             {Median: 20, Min: 20, Max: 20, Unit: "ms"},
		"ab_bbr":              {Median: -.25, Min: -.25, Max: -.25, Unit: "ratio"},
		"speedup_bbr":         {Median: .75, Min: .75, Max: .75, Unit: "ratio"},
	} {
		m, ok := got[name]
		close := func(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }
		if !ok || !close(m.Median, want.Median) || !close(m.Min, want.Min) || !close(m.Max, want.Max) || m.Unit != want.Unit {
			t.Errorf("%s: %+v, %v; expected %+v", name, m, ok, want)
		}
	}
	if m, ok := got["goodput_during"]; ok {
		t.Errorf("goodput_during %+v without an outage", m)
	}
}

// Others script against the JSON's shape.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := result().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Scenario string
		Runs     int
		Metrics  map[string]struct {
			Median, Min, Max *float64
			Unit             string
		}
	}
	dec := json.NewDecoder(&b)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	m, ok := got.Metrics["speedup"]
	if got.Scenario != "test" || got.Runs != 3 || !ok || m.Median == nil || m.Min == nil || m.Max == nil || m.Unit != "ratio" {
		t.Errorf("decoded %+v", got)
	}
}

// With a stock client nothing is bonded and no figure pretends so.
func TestSinglesOnly(t *testing.T) {
	r := result()
	r.Series = r.Series[:1]
	r.Series[0].Bonded = nil
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "bonded") || !strings.Contains(b.String(), "goodput_single_best") {
		t.Errorf("table of single paths:\n%s", &b)
	}
}

func TestPatience(t *testing.T) {
	s := &scenario.Scenario{Links: []scenario.Link{
		{Down: scenario.Direction{Rate: 8e6}, Up: scenario.Direction{Rate: 4e6}},
		{Down: scenario.Direction{Rate: 2e6}, Up: scenario.Direction{Rate: 1e6}},
		{Behind: "a"},
	}}
	if got := patience(s, false, 1e6); got != 50*time.Second {
		t.Errorf("1 MB at 2 Mbit/s: %v, want 30 s and five times 4 s", got)
	}
	if got := patience(s, true, 1e6); got != 70*time.Second {
		t.Errorf("1 MB at 1 Mbit/s: %v, want 30 s and five times 8 s", got)
	}
}
